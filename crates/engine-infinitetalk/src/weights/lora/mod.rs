//! LoRA files (Hu et al. 2021) that are merged into a net's weights while they are read: W += scale * f * (up @ down), and plain
//! differences of weights, biases and modulations. Several files, each with a scale of its own, in any order. Refused: a file of
//! another model, with the first key that has no place in this one; DoRA, LoHa and LoKr.

mod names;
mod peft;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use candle_core::{DType, Device, Result, Tensor};
use contract::Warning;
use layers::weights::{Checkpoint, Entry, Inventory};

use super::error::BadWeights;
use names::{Key, Modules, Part, of_text_encoder};
use peft::Adapter;

/// The one module whose inputs differ between Wan's text-to-video and image-to-video nets. LoRA files of the former are used with the
/// latter all the time; what they have for this module has no place.
const PATCHES: &str = "patch_embedding";

/// A file, and how strongly it is merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// A file, or PEFT's folder with `adapter_config.json` and `adapter_model.safetensors`.
    pub path: PathBuf,
    pub scale: f64,
}

impl Lora {
    /// The file of weights: the path itself, or the one in PEFT's folder.
    pub fn file(&self) -> PathBuf {
        peft::weights_in(&self.path)
    }

    /// Each file with its own scale. The official program applies only as many files as there are scales; here that is an error.
    pub fn pairs(files: &[PathBuf], scales: &[f64]) -> std::result::Result<Vec<Self>, BadWeights> {
        if files.len() != scales.len() {
            return Err(BadWeights::Scales { files: files.len(), scales: scales.len() });
        }
        Ok(files.iter().zip(scales).map(|(path, &scale)| Self { path: path.clone(), scale }).collect())
    }
}

/// What of a file counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// All of it, in any of the usual spellings, with f = alpha / rank.
    AsWritten,
    /// What the official program reads: keys that begin with `diffusion_model.`, `lora_down` / `lora_up`, `diff` and `diff_b`, f = 1. The
    /// rest is left out with a warning.
    AsOfficial,
}

/// The changes of all files, by the key of the tensor they change.
pub struct Loras {
    modules: Modules,
    files: Vec<Checkpoint>,
    deltas: BTreeMap<String, Vec<Delta>>,
    /// What was left out, for the user.
    pub warnings: Vec<Warning>,
}

enum Delta {
    /// factor * (up @ down)
    Product { file: usize, up: String, down: String, rank: usize, factor: f64 },
    /// scale * value
    Sum { file: usize, key: String, scale: f64 },
}

impl Loras {
    /// `net`: what the net asks for.
    pub fn open(wanted: &[Lora], rules: Rules, net: &Inventory) -> std::result::Result<Self, BadWeights> {
        let mut loras = Self::of(net);
        for lora in wanted {
            loras.lay(Checkpoint::open(&lora.file())?, lora.scale, rules)?;
        }
        Ok(loras)
    }

    /// None yet.
    pub fn of(net: &Inventory) -> Self {
        Self { modules: Modules::of(net), files: Vec::new(), deltas: BTreeMap::new(), warnings: Vec::new() }
    }

    /// One more file.
    pub fn lay(
        &mut self,
        checkpoint: Checkpoint,
        scale: f64,
        rules: Rules,
    ) -> std::result::Result<(), BadWeights> {
        // other files may lie in the same folder: the config is that of PEFT's file
        let of_peft = checkpoint.entries().keys().any(|key| names::of_peft(key));
        let path = checkpoint.path();
        let adapter = if of_peft { Adapter::beside(path)? } else { None };
        if of_peft && adapter.is_none() {
            let message = format!(
                "{} has no adapter_config.json beside it: alpha is taken to be the rank",
                path.display()
            );
            self.warnings.push(Warning::new("lora_without_config", message));
        }
        let opening = Opening { file: self.files.len(), checkpoint: &checkpoint, adapter, rules, scale };
        let found = opening.deltas(&self.modules)?;
        for (target, delta) in found.deltas {
            self.deltas.entry(target).or_default().push(delta);
        }
        self.warnings.extend(found.warnings);
        self.files.push(checkpoint);
        Ok(())
    }

    /// Whether a tensor is changed.
    pub fn change(&self, key: &str) -> bool {
        self.deltas.contains_key(key)
    }

    /// The keys of the tensors that are changed.
    pub fn changed(&self) -> impl Iterator<Item = &str> {
        self.deltas.keys().map(String::as_str)
    }

    /// The changes of a tensor with rows of `width` numbers.
    pub(super) fn begin(&self, key: &str, width: usize) -> Result<Change<'_>> {
        let mut parts = Vec::new();
        for delta in self.deltas.get(key).into_iter().flatten() {
            parts.push(match delta {
                Delta::Sum { file, key, scale } => {
                    Adding::Sum { file: &self.files[*file], key, scale: *scale }
                }
                Delta::Product { file, up, down, rank, factor } => {
                    let file = &self.files[*file];
                    let values = file.values(down, 0..rank * width).map_err(candle_core::Error::wrap)?;
                    let down = Tensor::from_vec(values, (*rank, width), &Device::Cpu)?;
                    Adding::Product { file, up, down, rank: *rank, factor: *factor }
                }
            });
        }
        Ok(Change { parts, width })
    }
}

/// The changes of one tensor, ready to be added block by block.
pub(super) struct Change<'a> {
    parts: Vec<Adding<'a>>,
    width: usize,
}

enum Adding<'a> {
    Sum { file: &'a Checkpoint, key: &'a str, scale: f64 },
    Product { file: &'a Checkpoint, up: &'a str, down: Tensor, rank: usize, factor: f64 },
}

impl Change<'_> {
    /// All of a tensor in f32, where it is computed on: what a card adds in a moment takes a CPU a second.
    pub fn on(&self, tensor: Tensor) -> Result<Tensor> {
        let (rows, device) = (tensor.elem_count() / self.width, tensor.device().clone());
        let mut sum = tensor;
        for part in &self.parts {
            let (factor, change) = match part {
                Adding::Sum { file, key, scale } => {
                    (*scale, file.tensor(key, DType::F32, &device).map_err(candle_core::Error::wrap)?)
                }
                Adding::Product { file, up, down, rank, factor } => {
                    let up = file.tensor(up, DType::F32, &device).map_err(candle_core::Error::wrap)?;
                    (*factor, up.reshape((rows, *rank))?.matmul(&down.to_device(&device)?)?) // (rows, width)
                }
            };
            sum = (change.reshape(sum.shape())?.affine(factor, 0.0)? + sum)?;
        }
        Ok(sum)
    }

    /// values: those of `rows`, in order.
    pub fn add(&self, rows: Range<usize>, values: &mut [f32]) -> Result<()> {
        for part in &self.parts {
            let (factor, change) = match part {
                Adding::Sum { file, key, scale } => {
                    let range = rows.start * self.width..rows.end * self.width;
                    (*scale, file.values(key, range).map_err(candle_core::Error::wrap)?)
                }
                Adding::Product { file, up, down, rank, factor } => {
                    let up = file.values(up, rows.start * rank..rows.end * rank);
                    let up = Tensor::from_vec(
                        up.map_err(candle_core::Error::wrap)?,
                        (rows.len(), *rank),
                        &Device::Cpu,
                    )?;
                    (*factor, up.matmul(down)?.flatten_all()?.to_vec1()?) // (rows, width)
                }
            };
            for (value, change) in values.iter_mut().zip(change) {
                *value = (f64::from(*value) + factor * f64::from(change)) as f32;
            }
        }
        Ok(())
    }
}

/// One file on its way.
struct Opening<'a> {
    file: usize,
    checkpoint: &'a Checkpoint,
    adapter: Option<Adapter>,
    rules: Rules,
    scale: f64,
}

/// What one file has for one module.
#[derive(Default)]
struct Parts {
    down: Option<String>,
    up: Option<String>,
    alpha: Option<f64>,
    sums: Vec<(Part, String)>,
}

#[derive(Default)]
struct Deltas {
    deltas: Vec<(String, Delta)>,
    warnings: Vec<Warning>,
}

impl Opening<'_> {
    fn deltas(&self, modules: &Modules) -> std::result::Result<Deltas, BadWeights> {
        let path = self.checkpoint.path();
        let mut found = Deltas::default();
        let (mut parts, mut of_texts, mut ignored) =
            (BTreeMap::<String, Parts>::new(), Vec::new(), Vec::new());
        for key in self.checkpoint.entries().keys() {
            if self.rules == Rules::AsOfficial && !names::official(key) {
                ignored.push(key.as_str());
                continue;
            }
            if of_text_encoder(key) {
                of_texts.push(key.as_str());
                continue;
            }
            let Key { module, part } = Key::parse(key).map_err(|why| BadWeights::lora(path, key, why))?;
            let Some(module) = modules.find(module) else {
                return Err(BadWeights::lora(path, key, modules.unknown(module)));
            };
            let of_module = parts.entry(module.to_owned()).or_default();
            match part {
                Part::Down => of_module.down = Some(key.clone()),
                Part::Up => of_module.up = Some(key.clone()),
                Part::Alpha => of_module.alpha = Some(self.number(key)?),
                part => of_module.sums.push((part, key.clone())),
            }
        }
        for (module, parts) in &parts {
            self.module(module, parts, (modules, &mut found))?;
        }
        if found.deltas.is_empty() {
            let first = self.checkpoint.entries().keys().next().map_or("", String::as_str);
            return Err(BadWeights::lora(
                path,
                first,
                "is its first key, and nothing in it changes this model",
            ));
        }
        let mut left_out = |what: &str, keys: &[&str]| {
            if let [first, ..] = keys {
                let message = format!("{}: {} {what}, first `{first}`", path.display(), keys.len());
                found.warnings.push(Warning::new("lora_left_out", message));
            }
        };
        left_out("keys change the text encoder only and are left out", &of_texts);
        left_out("keys are left out as the official program does", &ignored);
        Ok(found)
    }

    fn number(&self, key: &str) -> std::result::Result<f64, BadWeights> {
        match self.checkpoint.values(key, 0..1)?[0] {
            alpha if alpha.is_finite() => Ok(f64::from(alpha)),
            other => Err(BadWeights::lora(self.checkpoint.path(), key, format!("is {other}"))),
        }
    }

    fn module(
        &self,
        module: &str,
        parts: &Parts,
        (modules, found): (&Modules, &mut Deltas),
    ) -> std::result::Result<(), BadWeights> {
        let path = self.checkpoint.path();
        let entry = |key: &str| &self.checkpoint.entries()[key];
        let misfit = |key: &str, target: &str, shape: &[usize]| {
            let why = format!("is {:?}, which does not fit `{target}` {shape:?}", entry(key).shape);
            BadWeights::lora(path, key, why)
        };
        let spared = |key: &str, target: &str, shape: &[usize]| {
            let message = format!(
                "{}: `{key}` {:?} does not fit `{target}` {shape:?} and is left out: the file was made for Wan's text-to-video net",
                path.display(),
                entry(key).shape
            );
            Warning::new("lora_left_out", message)
        };
        match (&parts.down, &parts.up) {
            (Some(down), Some(up)) => {
                let target = format!("{module}.weight");
                let Some(shape) = modules.shape(&target) else {
                    return Err(BadWeights::lora(
                        path,
                        down,
                        format!("is for `{target}`, which the net does not have"),
                    ));
                };
                match product(entry(down), entry(up), shape) {
                    Some(rank) => {
                        let factor = self.scale * self.factor(module, parts, rank);
                        let (up, down) = (up.clone(), down.clone());
                        found
                            .deltas
                            .push((target, Delta::Product { file: self.file, up, down, rank, factor }));
                    }
                    None if module == PATCHES => found.warnings.push(spared(down, &target, shape)),
                    None => {
                        let why = format!(
                            "{:?} and `{up}` {:?} do not make `{target}` {shape:?}",
                            entry(down).shape,
                            entry(up).shape
                        );
                        return Err(BadWeights::lora(path, down, why));
                    }
                }
            }
            (Some(alone), None) | (None, Some(alone)) => {
                return Err(BadWeights::lora(
                    path,
                    alone,
                    "has no counterpart: a pair of up and down belongs together",
                ));
            }
            (None, None) => {}
        }
        for (part, key) in &parts.sums {
            let target = format!("{module}.{}", part.target());
            let Some(shape) = modules.shape(&target) else {
                return Err(BadWeights::lora(
                    path,
                    key,
                    format!("is for `{target}`, which the net does not have"),
                ));
            };
            if entry(key).shape == shape {
                found
                    .deltas
                    .push((target, Delta::Sum { file: self.file, key: key.clone(), scale: self.scale }));
            } else if module == PATCHES {
                found.warnings.push(spared(key, &target, shape));
            } else {
                return Err(misfit(key, &target, shape));
            }
        }
        Ok(())
    }

    /// alpha / rank, or PEFT's.
    fn factor(&self, module: &str, parts: &Parts, rank: usize) -> f64 {
        if self.rules == Rules::AsOfficial {
            return 1.0;
        }
        match (&self.adapter, parts.alpha) {
            (_, Some(alpha)) => alpha / rank as f64,
            (Some(adapter), None) => adapter.factor(module, rank),
            _ => 1.0,
        }
    }
}

/// The rank, where down (rank, …) and up (outputs, rank, 1…) make a tensor of this shape.
fn product(down: &Entry, up: &Entry, shape: &[usize]) -> Option<usize> {
    let (&rank, inputs) = down.shape.split_first()?;
    let (&outputs, row) = shape.split_first()?;
    let fits = rank > 0
        && inputs == row
        && up.shape.first() == Some(&outputs)
        && up.shape.get(1) == Some(&rank)
        && up.shape[2..].iter().all(|&n| n == 1);
    fits.then_some(rank)
}

#[cfg(test)]
mod tests;
