//! The checkpoints in their official layout, and the nets made of them: loaded at first use, each once, kept for all sessions, let go when
//! nothing has used them for a while. A file that is not what its place says is refused with the first key that differs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use contract::{Complaint, EngineError, Weights};
use encoders::kl_vae::{KlDecoder, KlEncoder, KlVaeConfig};
use layers::shelf::{Shelf, Use, make_room};
use layers::weights::{Checkpoint, WeightsError};
use serde::de::DeserializeOwned;

use crate::generator::Generator;
use crate::nets::bisenet::{Bisenet, BisenetConfig};
use crate::nets::rtmpose::{Rtmpose, RtmposeConfig};
use crate::nets::s3fd::S3fd;
use crate::nets::unet::{Unet, UnetConfig};
use crate::nets::whisper::{WhisperConfig, WhisperEncoder};
use crate::settings::{DetectorKind, Options, Version};

/// One file of weights.
#[derive(Clone, Debug)]
pub struct File {
    pub path: PathBuf,
    /// Of the net; the official one where there is none.
    pub config: Option<PathBuf>,
    /// How a take names it.
    pub card: Weights,
}

/// What finds and parses faces.
#[derive(Clone, Debug)]
pub struct FaceFiles {
    /// `s3fd-619a316812.pth`
    pub detector: File,
    /// `dw-ll_ucoco_384.pth`
    pub pose: File,
    /// `79999_iter.pth`
    pub parser: File,
}

impl FaceFiles {
    fn each(&self) -> [&File; 3] {
        [&self.detector, &self.pose, &self.parser]
    }
}

/// Where everything lies.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    /// At least one.
    pub unets: BTreeMap<Version, File>,
    pub vae: File,
    pub whisper: File,
    /// Or why not: which file is missing.
    pub face: Result<FaceFiles, Complaint>,
}

impl Checkpoints {
    /// What is used where nobody says which version.
    pub fn usual_version(&self) -> Version {
        self.unets.keys().next_back().copied().unwrap_or(Version::V15)
    }

    pub fn unet(&self, version: Version) -> Result<&File, Complaint> {
        self.unets.get(&version).ok_or_else(|| {
            let there: Vec<_> = self.unets.keys().map(|version| version.name()).collect();
            Complaint::new(
                "no_weights",
                format!(
                    "version {} was asked for, and its UNet is not here; there is {}",
                    version.name(),
                    there.join(", ")
                ),
                format!("fetch it: talkie models pull musetalk-{}", version.name()),
            )
        })
    }

    /// What a take with these options is made with.
    pub fn used(&self, options: &Options) -> Result<Vec<Weights>, Complaint> {
        let face = match options.detector {
            DetectorKind::Official => self.face.iter().flat_map(FaceFiles::each).collect(),
            DetectorKind::Face => Vec::new(),
        };
        let mut all = self.of_faces(options.version)?;
        all.extend(face.into_iter().map(|file: &File| file.card.clone()));
        Ok(all)
    }

    /// Those that make faces: what a prepared person is shown with.
    pub fn of_faces(&self, version: Version) -> Result<Vec<Weights>, Complaint> {
        Ok([self.unet(version)?, &self.vae, &self.whisper].map(|file| file.card.clone()).into())
    }
}

/// The nets that look at faces.
pub struct FaceNets {
    pub detector: S3fd,
    pub pose: Rtmpose,
    pub pose_config: RtmposeConfig,
    pub parser: Bisenet,
}

/// The VAE's way in.
pub struct Encoder {
    pub net: KlEncoder,
    pub scaling: f64,
}

/// How the nets use the machine's memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// After how long without work they leave it; `None`: never.
    pub idle_unload: Option<Duration>,
    /// Bytes that weights may still take, where that is known.
    pub free: fn(&Device) -> Option<u64>,
}

/// The nets that are in memory.
pub struct Nets {
    files: Checkpoints,
    device: Device,
    shelf: Shelf<Loaded>,
    memory: Memory,
}

#[derive(Default)]
pub struct Loaded {
    generators: BTreeMap<Version, Arc<Generator>>,
    encoder: Option<Arc<Encoder>>,
    whisper: Option<Arc<WhisperEncoder>>,
    face: Option<Arc<FaceNets>>,
}

impl Nets {
    pub fn new(files: Checkpoints, device: Device, memory: Memory) -> Self {
        Self { files, device, shelf: Shelf::new(memory.idle_unload), memory }
    }

    pub fn files(&self) -> &Checkpoints {
        &self.files
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    pub fn in_use(&self) -> Use<Loaded> {
        self.shelf.in_use()
    }

    pub fn generator(&self, version: Version) -> Result<Arc<Generator>, EngineError> {
        let file = self.files.unet(version)?;
        self.shelf.once(
            |loaded| loaded.generators.get(&version).cloned(),
            || {
                let unet = Unet::load(&config(file, UnetConfig::musetalk)?, self.open(file, None)?)
                    .map_err(|error| unloadable(file, error))?;
                let cfg = config(&self.files.vae, KlVaeConfig::sd)?;
                let decoder = KlDecoder::load(&cfg, self.open(&self.files.vae, None)?)
                    .map_err(|error| unloadable(&self.files.vae, error))?;
                Ok(Arc::new(Generator::new(unet, (decoder, cfg.scaling_factor))))
            },
            |loaded, net| drop(loaded.generators.insert(version, net)),
        )
    }

    pub fn encoder(&self) -> Result<Arc<Encoder>, EngineError> {
        let file = &self.files.vae;
        self.shelf.once(
            |loaded| loaded.encoder.clone(),
            || {
                let cfg = config(file, KlVaeConfig::sd)?;
                let net = KlEncoder::load(&cfg, self.open(file, None)?);
                let net = net.map_err(|error| unloadable(file, error))?;
                Ok(Arc::new(Encoder { net, scaling: cfg.scaling_factor }))
            },
            |loaded, net| loaded.encoder = Some(net),
        )
    }

    pub fn whisper(&self) -> Result<Arc<WhisperEncoder>, EngineError> {
        let file = &self.files.whisper;
        self.shelf.once(
            |loaded| loaded.whisper.clone(),
            || {
                let net = WhisperEncoder::load(&config(file, WhisperConfig::tiny)?, self.open(file, None)?);
                net.map(Arc::new).map_err(|error| unloadable(file, error))
            },
            |loaded, net| loaded.whisper = Some(net),
        )
    }

    pub fn face(&self) -> Result<Arc<FaceNets>, EngineError> {
        let files = self.files.face.as_ref().map_err(Complaint::clone)?;
        self.shelf.once(
            |loaded| loaded.face.clone(),
            || {
                let FaceFiles { detector, pose, parser } = files;
                let pose_config = RtmposeConfig::dwpose();
                Ok(Arc::new(FaceNets {
                    detector: S3fd::load(self.open(detector, None)?)
                        .map_err(|error| unloadable(detector, error))?,
                    pose: Rtmpose::load(&pose_config, self.open(pose, Some("state_dict"))?)
                        .map_err(|error| unloadable(pose, error))?,
                    parser: Bisenet::load(&BisenetConfig::celeb_a_mask(), self.open(parser, None)?)
                        .map_err(|error| unloadable(parser, error))?,
                    pose_config,
                }))
            },
            |loaded, net| loaded.face = Some(net),
        )
    }

    fn open(&self, file: &File, key: Option<&str>) -> Result<VarBuilder<'static>, EngineError> {
        // rather than be ended by the system half-way
        let needed = std::fs::metadata(&file.path).map_or(0, |metadata| metadata.len());
        make_room(needed, &self.device);
        if let Some(free) = (self.memory.free)(&self.device).filter(|&free| free < needed) {
            return Err(no_memory(file, needed, free));
        }
        let opened = match key {
            None => Checkpoint::open(&file.path),
            Some(key) => Checkpoint::open_at(&file.path, key),
        };
        let checkpoint = opened.map_err(|error| unopened(file, &error))?;
        Ok(checkpoint.into_builder(DType::F32, &self.device))
    }
}

/// The net's config.json, or the official one.
fn config<T: DeserializeOwned>(file: &File, official: impl FnOnce() -> T) -> Result<T, EngineError> {
    let Some(path) = &file.config else { return Ok(official()) };
    let wrong = |why: String| {
        let message = format!("{} is not the config of {}: {why}", path.display(), file.card.name);
        EngineError::Rejected(Complaint::new("wrong_weights", message, "fetch it again, or remove it"))
    };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))
}

const HINT: &str = "`talkie models check` says what is wrong with the files, `talkie models pull --replace` fetches them anew";

fn no_memory(file: &File, needed: u64, free: u64) -> EngineError {
    let (name, needed, free) = (&file.card.name, needed.div_ceil(1 << 20), free >> 20);
    EngineError::OutOfMemory(format!(
        "{name} takes {needed} MiB, and {free} MiB are free; end other programs, or raise the limit of this one"
    ))
}

fn unopened(file: &File, error: &WeightsError) -> EngineError {
    EngineError::Rejected(Complaint::new("wrong_weights", format!("{}: {error}", file.card.name), HINT))
}

fn unloadable(file: &File, error: candle_core::Error) -> EngineError {
    let message = format!("{} cannot be loaded from {}: {error}", file.card.name, shown(&file.path));
    EngineError::Rejected(Complaint::new("wrong_weights", message, HINT))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
