//! Where the files of Stable Video Diffusion lie, and what is in them: a config and a `VarBuilder` for each net, checked against what the net asks for, key by
//! key and shape by shape, before anything of it is read. Each net is opened when it is asked for.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use encoders::clip_vision::{ClipVisionConfig, ClipVisionWithProjection};
use encoders::kl_vae::{KlEncoder, KlVaeConfig};
use layers::weights::{Checkpoint, Inventory, Outline};
use serde::de::DeserializeOwned;

use super::error::BadFiles;
use super::names::{LAYERS, LEVELS, Part};
use super::preprocessor::Normalisation;
use super::scheduler::SigmaRange;
use super::single::SinglePart;
use crate::nets::temporal_vae::{self, TemporalDecoder};
use crate::nets::unet::{Levels, Unet, UnetConfig};

/// Which of two files of one net is taken, where both are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// `*.fp16.safetensors`
    Fp16,
    /// `*.safetensors`, f32
    Full,
}

/// The configs of all nets and the schedule.
#[derive(Clone, Debug)]
pub struct Configs {
    pub unet: UnetConfig,
    pub vae: KlVaeConfig,
    pub image_encoder: ClipVisionConfig,
    pub preprocessor: Normalisation,
    pub schedule: SigmaRange,
}

impl Configs {
    /// Of the published models; they differ in the frames they were trained for.
    fn of(unet: UnetConfig) -> Self {
        let (vae, image_encoder) = (temporal_vae::svd(), ClipVisionConfig::vit_h_14());
        Self { unet, vae, image_encoder, preprocessor: Normalisation::CLIP, schedule: SigmaRange::SVD }
    }

    /// stabilityai/stable-video-diffusion-img2vid, 14 frames
    pub fn img2vid() -> Self {
        Self::of(UnetConfig::img2vid())
    }

    /// stabilityai/stable-video-diffusion-img2vid-xt, 25 frames
    pub fn img2vid_xt() -> Self {
        Self::of(UnetConfig::img2vid_xt())
    }

    /// What a single file holds is told by its name alone: the word `xt` stands in the names of the models of 25 frames.
    pub fn named(path: &Path) -> Self {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        if name.split(|c: char| !c.is_alphanumeric()).any(|word| word == "xt") {
            Self::img2vid_xt()
        } else {
            Self::img2vid()
        }
    }
}

/// Where the weights lie.
#[derive(Clone, Debug)]
enum Layout {
    Folders { unet: PathBuf, vae: PathBuf, image_encoder: PathBuf },
    Single(PathBuf),
}

/// A model that was found; its configs are read and known to be possible.
#[derive(Clone, Debug)]
pub struct Files {
    configs: Configs,
    layout: Layout,
}

/// A net's config and its weights.
pub struct Opened<C> {
    pub config: C,
    pub weights: VarBuilder<'static>,
}

/// How many values each net holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    pub unet: u64,
    pub vae: u64,
    pub image_encoder: u64,
}

/// A file of weights, for a report.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightsFile<'a> {
    /// `unet`, `vae`, `image_encoder`, or `svd` for all of them
    pub part: &'static str,
    pub path: &'a Path,
}

impl Files {
    /// The layout of diffusers: `unet/`, `vae/`, `image_encoder/`, `scheduler/` and, where it is there, `feature_extractor/`.
    pub fn diffusers(folder: &Path, variant: Variant) -> Result<Self, BadFiles> {
        let weights = |part: &str, stem: &str| {
            let [half, full] = ["fp16.safetensors", "safetensors"]
                .map(|ending| folder.join(part).join(format!("{stem}.{ending}")));
            let (first, second) = match variant {
                Variant::Fp16 => (half, full),
                Variant::Full => (full, half),
            };
            match (first.is_file(), second.is_file()) {
                (true, _) => Ok(first),
                (false, true) => Ok(second),
                (false, false) => Err(BadFiles::NotThere { path: first, or: Some(second) }),
            }
        };
        let config = |part: &str| folder.join(part).join("config.json");
        let scheduler = folder.join("scheduler/scheduler_config.json");
        let schedule = SigmaRange::read(&read(&scheduler)?)
            .map_err(|why| not_that(&scheduler, "a schedule this engine can follow", why))?;
        let preprocessor = folder.join("feature_extractor/preprocessor_config.json");
        let preprocessor = match read(&preprocessor) {
            Ok(text) => Normalisation::read(&text)
                .map_err(|why| not_that(&preprocessor, "the preprocessor of an image encoder", why))?,
            // every published model has the same, and copies without it are about
            Err(BadFiles::NotThere { .. }) => Normalisation::CLIP,
            Err(error) => return Err(error),
        };
        let unet = config("unet");
        let configs = Configs {
            unet: parse(&unet, "the config of SVD's UNet")?,
            vae: vae_config(&config("vae"))?,
            image_encoder: parse(&config("image_encoder"), "the config of an image encoder")?,
            preprocessor,
            schedule,
        };
        let layout = Layout::Folders {
            unet: weights("unet", "diffusion_pytorch_model")?,
            vae: weights("vae", "diffusion_pytorch_model")?,
            image_encoder: weights("image_encoder", "model")?,
        };
        Self::checked(configs, layout, folder)
    }

    /// The original program's file, which has no configs: `Configs::named` knows those of the published ones.
    pub fn single(path: &Path, configs: Configs) -> Result<Self, BadFiles> {
        if !path.is_file() {
            return Err(BadFiles::NotThere { path: path.to_owned(), or: None });
        }
        let shapes = [
            configs.unet.block_out_channels.len(),
            configs.vae.block_out_channels.len(),
            configs.vae.layers_per_block + LEVELS - LAYERS,
        ];
        if shapes != [LEVELS; 3] || configs.unet.layers_per_block != Levels::All(LAYERS) {
            let why = format!("its nets have {LEVELS} levels of {LAYERS} layers, these configs have others");
            return Err(not_that(path, "a single file of these configs", why));
        }
        Self::checked(configs, Layout::Single(path.to_owned()), path)
    }

    fn checked(configs: Configs, layout: Layout, path: &Path) -> Result<Self, BadFiles> {
        let wrong = |error: candle_core::Error| not_that(path, "a model this engine can be", error);
        configs.unet.check().map_err(wrong)?;
        configs.vae.check().map_err(wrong)?;
        configs.image_encoder.check().map_err(wrong)?;
        let (told, taken) = (configs.image_encoder.projection_dim, &configs.unet.cross_attention_dim);
        if *taken != Levels::All(told) {
            let why = format!("projection_dim is {told}, but the UNet's cross_attention_dim is {taken:?}");
            return Err(not_that(path, "one model", why));
        }
        Ok(Self { configs, layout })
    }

    pub fn configs(&self) -> &Configs {
        &self.configs
    }

    /// The files that hold weights.
    pub fn of_weights(&self) -> Vec<WeightsFile<'_>> {
        match &self.layout {
            Layout::Single(path) => vec![WeightsFile { part: "svd", path }],
            Layout::Folders { unet, vae, image_encoder } => vec![
                WeightsFile { part: "unet", path: unet },
                WeightsFile { part: "vae", path: vae },
                WeightsFile { part: "image_encoder", path: image_encoder },
            ],
        }
    }

    /// Values that the nets hold.
    pub fn values(&self) -> Result<Values, BadFiles> {
        let Configs { unet, vae, image_encoder, .. } = &self.configs;
        let of = |inventory: Inventory| -> u64 {
            inventory.iter().map(|(_, shape)| shape.iter().map(|side| *side as u64).product::<u64>()).sum()
        };
        Ok(Values {
            unet: of(asked(|vb| Unet::load(unet, vb).map(drop))?),
            vae: of(asked(|vb| {
                KlEncoder::load(vae, vb.clone())?;
                TemporalDecoder::load(vae, vb).map(drop)
            })?),
            image_encoder: of(asked(|vb| ClipVisionWithProjection::load(image_encoder, vb).map(drop))?),
        })
    }

    pub fn unet(&self, dtype: DType, device: &Device) -> Result<Opened<UnetConfig>, BadFiles> {
        let config = self.configs.unet.clone();
        let asked = asked(|vb| Unet::load(&config, vb).map(drop))?;
        let weights = self.open(Part::Unet, (&asked, &[]), (dtype, device))?;
        Ok(Opened { config, weights })
    }

    /// Encoder and temporal decoder.
    pub fn vae(&self, dtype: DType, device: &Device) -> Result<Opened<KlVaeConfig>, BadFiles> {
        let config = self.configs.vae.clone();
        let asked = asked(|vb| {
            KlEncoder::load(&config, vb.clone())?;
            TemporalDecoder::load(&config, vb).map(drop)
        })?;
        let weights = self.open(Part::Vae, (&asked, &[]), (dtype, device))?;
        Ok(Opened { config, weights })
    }

    pub fn image_encoder(&self, dtype: DType, device: &Device) -> Result<Opened<ClipVisionConfig>, BadFiles> {
        let config = self.configs.image_encoder.clone();
        let asked = asked(|vb| ClipVisionWithProjection::load(&config, vb).map(drop))?;
        // 0 to 256, in files of older transformers
        let unused = ["vision_model.embeddings.position_ids"];
        let weights = self.open(Part::ImageEncoder, (&asked, &unused), (dtype, device))?;
        Ok(Opened { config, weights })
    }

    fn open(
        &self,
        part: Part,
        (asked, unused): (&Inventory, &[&str]),
        (dtype, device): (DType, &Device),
    ) -> Result<VarBuilder<'static>, BadFiles> {
        let (path, wanted) = match (&self.layout, part) {
            (Layout::Single(path), Part::Unet) => (path, "SVD's UNet"),
            (Layout::Single(path), Part::Vae) => (path, "SVD's VAE"),
            (Layout::Single(path), Part::ImageEncoder) => (path, "SVD's image encoder"),
            (Layout::Folders { unet, .. }, Part::Unet) => (unet, "the UNet of its config.json"),
            (Layout::Folders { vae, .. }, Part::Vae) => (vae, "the VAE of its config.json"),
            (Layout::Folders { image_encoder, .. }, Part::ImageEncoder) => {
                (image_encoder, "the image encoder of its config.json")
            }
        };
        let what = path.display().to_string();
        if matches!(self.layout, Layout::Single(_)) {
            let source = SinglePart::open(path, part, 2 * self.configs.vae.latent_channels)?;
            asked.check(&source.inventory(), unused, (&what, wanted))?;
            return Ok(source.into_builder(dtype, device));
        }
        let source = Checkpoint::open(path)?;
        // dtypes may differ from file to file
        let found = source.entries().iter().map(|(key, entry)| (key.clone(), entry.shape.clone()));
        asked.check(&Inventory::of_shapes(found), unused, (&what, wanted))?;
        Ok(source.into_builder(dtype, device))
    }
}

/// What a net of a config that was checked asks for.
fn asked(load: impl FnOnce(VarBuilder<'static>) -> candle_core::Result<()>) -> Result<Inventory, BadFiles> {
    let outline = Outline::new();
    load(outline.builder()).map_err(|error| not_that(Path::new("the config"), "one of a net", error))?;
    Ok(outline.inventory())
}

fn read(path: &Path) -> Result<Vec<u8>, BadFiles> {
    std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => BadFiles::NotThere { path: path.to_owned(), or: None },
        _ => not_that(path, "a file that can be read", error),
    })
}

fn parse<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, BadFiles> {
    serde_json::from_slice(&read(path)?).map_err(|error| not_that(path, what, error))
}

/// The VAE's, whose class tells it from that of Stable Diffusion.
fn vae_config(path: &Path) -> Result<KlVaeConfig, BadFiles> {
    const CLASS: &str = "AutoencoderKLTemporalDecoder";
    let what = "the config of SVD's VAE";
    let raw: serde_json::Value = parse(path, what)?;
    match raw["_class_name"].as_str() {
        Some(CLASS) => serde_json::from_value(raw).map_err(|error| not_that(path, what, error)),
        other => {
            let class = other.unwrap_or("not there");
            Err(not_that(path, what, format!("_class_name is {class}, only {CLASS} is known")))
        }
    }
}

fn not_that(path: &Path, what: &'static str, why: impl ToString) -> BadFiles {
    BadFiles::NotThat { path: path.to_owned(), what, why: why.to_string() }
}
