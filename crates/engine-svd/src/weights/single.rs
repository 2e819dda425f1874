//! The original single file as three sources under diffusers' names. Refused: a key below a known prefix that is no tensor of these nets.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use layers::weights::{Checkpoint, Inventory};

use super::error::BadFiles;
use super::names::{Form, Known, Named, Part, known};

/// Where a tensor of diffusers comes from.
#[derive(Clone, Debug)]
enum Origin {
    Stored {
        key: String,
        form: Form,
    },
    /// A convolution that changes nothing, with this many channels.
    Identity(usize),
    Zeros(usize),
}

/// One net's part of the file.
pub struct SinglePart {
    checkpoint: Arc<Checkpoint>,
    tensors: BTreeMap<String, Origin>,
}

/// The quant_conv of the VAE, which the spare encoder does not have.
const QUANT_CONV: &str = "quant_conv";

impl SinglePart {
    /// latents: channels of the encoder's end, for a file whose encoder has no `quant_conv`
    pub fn open(path: &Path, part: Part, latents: usize) -> std::result::Result<Self, BadFiles> {
        let checkpoint = Checkpoint::open(path)?;
        let (mut tensors, mut spare) = (BTreeMap::new(), BTreeMap::new());
        for key in checkpoint.entries().keys() {
            let put = |to: &mut BTreeMap<String, Origin>, named: Named| {
                if named.part == part {
                    to.insert(named.name, Origin::Stored { key: key.clone(), form: named.form });
                }
            };
            match known(key) {
                Known::Tensors(all) => all.into_iter().for_each(|named| put(&mut tensors, named)),
                Known::SpareEncoder(named) => put(&mut spare, named),
                Known::Unused => {}
                Known::Strange => {
                    return Err(BadFiles::NotThat {
                        path: path.to_owned(),
                        what: "the single file of Stable Video Diffusion",
                        why: format!("`{key}` is in it"),
                    });
                }
            }
        }
        if part == Part::Vae && !tensors.keys().any(|name| name.starts_with("encoder.")) {
            tensors.append(&mut spare);
            tensors.insert(format!("{QUANT_CONV}.weight"), Origin::Identity(latents));
            tensors.insert(format!("{QUANT_CONV}.bias"), Origin::Zeros(latents));
        }
        Ok(Self { checkpoint: Arc::new(checkpoint), tensors })
    }

    pub fn inventory(&self) -> Inventory {
        let shapes = self.tensors.iter().map(|(name, origin)| (name.clone(), self.shape(origin)));
        Inventory::of_shapes(shapes)
    }

    pub fn into_builder(self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self), dtype, device.clone())
    }

    /// As diffusers has it; as it is stored where its form does not fit.
    fn shape(&self, origin: &Origin) -> Vec<usize> {
        let (key, form) = match origin {
            Origin::Stored { key, form } => (key, form),
            Origin::Identity(n) => return vec![*n, *n, 1, 1],
            Origin::Zeros(n) => return vec![*n],
        };
        let stored = self.checkpoint.entries()[key].shape.clone();
        match (form, stored.as_slice()) {
            (Form::Squeezed, &[o, i, 1, 1]) => vec![o, i],
            (Form::Transposed, &[i, o]) => vec![o, i],
            (Form::Third(_), &[rows, ref rest @ ..]) if rows.is_multiple_of(3) => {
                [&[rows / 3], rest].concat()
            }
            _ => stored,
        }
    }

    fn tensor(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let Some(origin) = self.tensors.get(name) else {
            bail!("{} has nothing that is `{name}`", self.checkpoint.path().display());
        };
        let (key, form) = match origin {
            Origin::Stored { key, form } => (key, form),
            Origin::Identity(n) => return Tensor::eye(*n, dtype, device)?.reshape((*n, *n, 1, 1)),
            Origin::Zeros(n) => return Tensor::zeros(*n, dtype, device),
        };
        let whole = || self.checkpoint.tensor(key, dtype, device).map_err(candle_core::Error::wrap);
        match form {
            Form::Plain => whole(),
            Form::Squeezed => whole()?.squeeze(3)?.squeeze(2),
            Form::Transposed => whole()?.t()?.contiguous(),
            Form::Third(i) => {
                let shape = self.shape(origin);
                let n: usize = shape.iter().product();
                let values =
                    self.checkpoint.values(key, i * n..(i + 1) * n).map_err(candle_core::Error::wrap)?;
                Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
            }
        }
    }
}

impl SimpleBackend for SinglePart {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if let Some(origin) = self.tensors.get(name) {
            let found = self.shape(origin);
            if found != shape.dims() {
                let file = self.checkpoint.path().display();
                bail!("{file}: what is `{name}` is {found:?}, the net needs {:?}", shape.dims());
            }
        }
        self.tensor(name, dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.tensor(name, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}

#[cfg(test)]
mod tests;
