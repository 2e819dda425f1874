//! The files of a model, opened: a `VarBuilder` for each net, checked against what the net asks for, key by key and shape by shape, before
//! anything of it is read.

use std::path::Path;

use candle_core::{DType, Device, Result};
use candle_nn::VarBuilder;
use contract::Warning;
use encoders::clip_vision::ClipVisionConfig;
use layers::weights::{Checkpoint, Inventory, Outline};
use serde::de::DeserializeOwned;

use super::error::BadWeights;
use super::files::{Base, DitFiles, Files, Pair, Umt5Files, Wav2VecFiles};
use super::lora::Loras;
use super::quanto::{Kind, Quanto, kind_of};
use super::shapes::Shapes;
use super::source::{Quantised, Source};
use crate::nets::clip_visual::ClipVisual;
use crate::nets::dit::{Dit, DitConfig, Loading, Variant};
use crate::nets::umt5::{Umt5Config, Umt5Encoder};
use crate::nets::wan_vae::{WanVae, WanVaeConfig};
use crate::nets::wav2vec2::{Wav2Vec2, Wav2Vec2Config};

/// What a net is to be in memory.
#[derive(Clone, Debug)]
pub struct Form {
    pub dtype: DType,
    pub device: Device,
    pub quantised: Quantised,
}

/// A net's config and its weights.
pub struct Opened<C> {
    pub config: C,
    pub weights: VarBuilder<'static>,
    /// Numbers of the weights that the net asks for.
    pub parameters: u64,
    pub warnings: Vec<Warning>,
}

impl<C> Opened<C> {
    fn new(config: C, (source, asked): (Source, &Inventory), form: &Form) -> Self {
        let weights = source.quantised(form.quantised).into_builder(form.dtype, &form.device);
        let count = |shape: &[usize]| shape.iter().map(|&side| side as u64).product::<u64>();
        let parameters = asked.iter().map(|(_, shape)| count(shape)).sum();
        Self { config, weights, parameters, warnings: Vec::new() }
    }
}

impl Files {
    /// The DiT with everything that lies over it. Without audio modules it is Wan's own, which is deaf.
    pub fn dit(&self, form: &Form) -> std::result::Result<Opened<DitConfig>, BadWeights> {
        let what = "the config of the DiT";
        let mut config: DitConfig = read_config(&self.config, what)?;
        if matches!(self.dit, DitFiles::Plain { audio: None, .. }) {
            config.variant = Variant::WanI2v;
        }
        let asked = dit_keys(&config).map_err(|error| not_a_config(&self.config, what, error))?;
        let source = match &self.dit {
            DitFiles::Quantised(pair) => quantised(pair)?,
            DitFiles::Plain { base, audio } => {
                let base = Source::of(match base {
                    Base::Indexed { index, .. } => Checkpoint::open(index)?,
                    Base::Shards { folder, shards } => Checkpoint::open_all(folder, shards)?,
                    Base::One(path) => Checkpoint::open(path)?,
                });
                match audio {
                    Some(path) => base.under(Checkpoint::open(path)?),
                    None => base,
                }
            }
        };
        source.check(&asked, &[], "the DiT of this config.json")?;
        if self.loras.is_empty() {
            return Ok(Opened::new(config, (source, &asked), form));
        }
        let mut loras = Loras::open(&self.loras, self.lora_rules, &asked)?;
        let warnings = std::mem::take(&mut loras.warnings);
        Ok(Opened { warnings, ..Opened::new(config, (source.with(loras), &asked), form) })
    }

    /// Whether umT5's layers lie in int8 here, a byte a number.
    pub fn umt5_is_int8(&self) -> std::result::Result<bool, BadWeights> {
        match &self.umt5 {
            Umt5Files::Plain(_) => Ok(false),
            Umt5Files::Quantised(pair) => Ok(kind_of(&pair.map)? == Kind::Int8),
        }
    }

    pub fn umt5(&self, form: &Form) -> std::result::Result<Opened<Umt5Config>, BadWeights> {
        let source = match &self.umt5 {
            Umt5Files::Plain(path) => Source::of(Checkpoint::open(path)?),
            Umt5Files::Quantised(pair) => quantised(pair)?,
        };
        let net = "umT5's encoder";
        let config = Shapes { source: &source, net }.umt5()?;
        let asked = outline(Outline::new(), |vb| Umt5Encoder::load(&config, vb).map(drop), net)?;
        source.check(&asked, &[], net)?;
        Ok(Opened::new(config, (source, &asked), form))
    }

    /// The vision tower; the text tower, the last block and what follows it are not asked for.
    pub fn clip(&self, form: &Form) -> std::result::Result<Opened<ClipVisionConfig>, BadWeights> {
        let source = Source::of(Checkpoint::open(&self.clip)?);
        let net = "CLIP's vision tower";
        let config = Shapes { source: &source, net }.clip()?;
        let asked = outline(Outline::new(), |vb| ClipVisual::load(&config, vb).map(drop), net)?;
        let last = format!("visual.transformer.{}.", config.num_hidden_layers - 1); // checked: there is one
        let unused = ["log_scale", "textual.", last.as_str(), "visual.post_norm.", "visual.head"];
        source.check(&asked, &unused, net)?;
        Ok(Opened::new(config, (source, &asked), form))
    }

    pub fn vae(&self, form: &Form) -> std::result::Result<Opened<WanVaeConfig>, BadWeights> {
        let source = Source::of(Checkpoint::open(&self.vae)?);
        let net = "Wan's VAE";
        let config = Shapes { source: &source, net }.vae()?;
        let asked = outline(Outline::new(), |vb| WanVae::load(&config, vb).map(drop), net)?;
        source.check(&asked, &[], net)?;
        Ok(Opened::new(config, (source, &asked), form))
    }
}

impl Wav2VecFiles {
    /// The encoder of a `Wav2Vec2ForPreTraining`: its quantizer and its heads are not asked for.
    pub fn open(&self, form: &Form) -> std::result::Result<Opened<Wav2Vec2Config>, BadWeights> {
        let config: Wav2Vec2Config = read_config(&self.config, "the config of wav2vec2")?;
        config.check().map_err(|error| not_a_config(&self.config, "the config of wav2vec2", error))?;
        let hearing: Preprocessor = read_config(&self.preprocessor, PREPROCESSOR)?;
        hearing.check().map_err(|error| not_a_config(&self.preprocessor, PREPROCESSOR, error))?;
        let source = Source::of(Checkpoint::open(&self.weights)?);
        let net = "wav2vec2";
        let spelling = if source.shape("wav2vec2.encoder.pos_conv_embed.conv.weight_g").is_some() {
            Outline::new()
        } else {
            Outline::new().without("weight_g")
        };
        let asked = outline(spelling, |vb| Wav2Vec2::load(&config, vb).map(drop), net)?;
        let unused = ["wav2vec2.masked_spec_embed", "quantizer.", "project_hid.", "project_q."];
        source.check(&asked, &unused, net)?;
        Ok(Opened::new(config, (source, &asked), form))
    }
}

const PREPROCESSOR: &str = "the preprocessor of a wav2vec2 that hears raw voices";

/// preprocessor_config.json: how the voices are brought to the net, which here is one way only. What is not there is transformers' default.
#[derive(serde::Deserialize)]
struct Preprocessor {
    #[serde(default = "normalised")]
    do_normalize: bool,
    #[serde(default = "rate_hz")]
    sampling_rate: u32,
}

fn normalised() -> bool {
    true
}

fn rate_hz() -> u32 {
    16_000
}

impl Preprocessor {
    fn check(&self) -> std::result::Result<(), String> {
        if self.do_normalize {
            return Err("do_normalize is true, only false is known".into());
        }
        if self.sampling_rate != crate::audio::RATE_HZ {
            return Err(format!(
                "sampling_rate is {}, only {} is known",
                self.sampling_rate,
                crate::audio::RATE_HZ
            ));
        }
        Ok(())
    }
}

/// What the DiT of a config asks for.
pub(crate) fn dit_keys(cfg: &DitConfig) -> Result<Inventory> {
    let outline = Outline::new();
    Dit::load(cfg, &Loading::default(), outline.builder())?;
    Ok(outline.inventory())
}

fn quantised(pair: &Pair) -> std::result::Result<Source, BadWeights> {
    Quanto::open(&pair.weights, &pair.map).map(Source::of)
}

/// What a net asks for.
fn outline(
    outline: Outline,
    load: impl FnOnce(VarBuilder<'static>) -> Result<()>,
    net: &'static str,
) -> std::result::Result<Inventory, BadWeights> {
    load(outline.builder()).map_err(|error| BadWeights::NotThat {
        path: net.into(),
        what: "a net that can be made",
        why: error.to_string(),
    })?;
    Ok(outline.inventory())
}

fn read_config<T: DeserializeOwned>(path: &Path, what: &'static str) -> std::result::Result<T, BadWeights> {
    let text = std::fs::read(path).map_err(|error| not_a_config(path, what, error))?;
    serde_json::from_slice(&text).map_err(|error| not_a_config(path, what, error))
}

fn not_a_config(path: &Path, what: &'static str, why: impl ToString) -> BadWeights {
    BadWeights::NotThat { path: path.to_owned(), what, why: why.to_string() }
}
