//! The model on this machine: its files, and the nets made of them, loaded at first use. The image encoder leaves when it has seen the picture, unless there
//! is room for it beside the others. Refused before anything is loaded: work for which the memory is not there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use candle_core::{DType, Device};
use contract::{Complaint, EngineError};
use encoders::clip_vision::ClipVisionWithProjection;
use encoders::kl_vae::KlEncoder;
use layers::free_memory::free;
use layers::shelf::{Shelf, Use, make_room};

use crate::nets::temporal_vae::TemporalDecoder;
use crate::nets::unet::Unet;
use crate::settings::Options;
use crate::weights::{BadFiles, Files, SigmaRange};

/// What an engine is made of.
pub struct Setup {
    pub files: Files,
    pub device: Device,
    pub idle_unload: Option<Duration>,
}

impl Setup {
    /// Frames the weights were trained for.
    pub fn frames(&self) -> usize {
        self.files.configs().unet.num_frames
    }

    /// Of a take of a picture whose sides are as 16 to 9.
    pub fn memory_bytes(&self, usual: &Options) -> u64 {
        self.weights_bytes() + Work::of((usual.size, usual.size * 9 / 16), usual).bytes()
    }

    /// Of the nets that are in memory while a take is made.
    fn weights_bytes(&self) -> u64 {
        let files = self.files.of_weights();
        let of = |part: &str| -> u64 {
            let paths = files.iter().filter(|file| file.part == part).map(|file| file.path);
            paths.filter_map(|path| std::fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
        };
        // in f32, whatever the file holds
        let full = |part: &str, path_is_half: bool| of(part) * if path_is_half { 2 } else { 1 };
        let half = files.iter().any(|file| file.path.to_string_lossy().contains("fp16"));
        full("unet", half) + full("vae", half) + of("svd")
    }
}

/// What a take asks of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// (width, height)
    pub size: (usize, usize),
    /// Of a window.
    pub frames: usize,
    /// Frames that are decoded at once.
    pub decoded: usize,
    /// 2 where guidance is on.
    pub halves: usize,
}

impl Work {
    /// size: (width, height)
    pub fn of(size: (usize, usize), options: &Options) -> Self {
        let (frames, decoded) = (options.num_frames, options.decode_chunk_size);
        Self { size, frames, decoded, halves: if options.is_guided() { 2 } else { 1 } }
    }

    /// Above the weights: the larger of a forward of the UNet and of a chunk that is decoded.
    pub fn bytes(&self) -> u64 {
        let pixels = (self.size.0 * self.size.1) as u64;
        let latents = pixels / 64;
        let denoised = (self.halves * self.frames) as u64 * latents * UNET_VALUES;
        let decoded = self.decoded as u64 * pixels * DECODER_VALUES;
        denoised.max(decoded) * size_of::<f32>() as u64
    }
}

/// Values alive at once in the UNet, of a latent place, and in the decoder, of a pixel: as they were measured (docs/svd.md).
const UNET_VALUES: u64 = 6_000;
const DECODER_VALUES: u64 = 700;

pub struct Model {
    setup: Setup,
    shelf: Shelf<Loaded>,
    turn: Mutex<()>,
}

#[derive(Default)]
pub struct Loaded {
    image_encoder: Option<Arc<ClipVisionWithProjection>>,
    vae_encoder: Option<Arc<KlEncoder>>,
    unet: Option<Arc<Unet>>,
    decoder: Option<Arc<TemporalDecoder>>,
}

impl Model {
    pub fn new(setup: Setup) -> Self {
        let shelf = Shelf::new(setup.idle_unload);
        Self { setup, shelf, turn: Mutex::new(()) }
    }

    pub fn device(&self) -> &Device {
        &self.setup.device
    }

    /// Of the nets, but for the VAE's encoder, which is f32 everywhere: half precision on a card, as diffusers' fp16 pipeline.
    pub fn dtype(&self) -> DType {
        if self.setup.device.is_cpu() { DType::F32 } else { DType::F16 }
    }

    pub fn sigmas(&self) -> SigmaRange {
        self.setup.files.configs().schedule
    }

    pub fn in_use(&self) -> Use<Loaded> {
        self.shelf.in_use()
    }

    /// One take at a time: a clip fills the device.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        // who panicked with it left no half-made thing behind
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whatever nobody uses leaves memory, if that is what the work needs.
    pub fn make_room(&self, work: &Work) -> Result<(), EngineError> {
        if !self.setup.device.is_cpu() {
            return Ok(());
        }
        let there = self.shelf.look(|loaded| loaded.unet.is_some());
        let needed = work.bytes() + if there { 0 } else { self.setup.weights_bytes() };
        make_room(needed);
        match free() {
            Some(free) if free < needed => {
                let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
                let (width, height) = work.size;
                Err(EngineError::OutOfMemory(format!(
                    "{:.1} GiB are needed for {} frames of {width}x{height}, {:.1} GiB are free; end other programs, or choose a smaller size, num_frames or decode_chunk_size",
                    gib(needed),
                    work.frames,
                    gib(free)
                )))
            }
            _ => Ok(()),
        }
    }

    pub fn image_encoder(&self) -> Result<Arc<ClipVisionWithProjection>, EngineError> {
        self.shelf.once(
            |loaded| loaded.image_encoder.clone(),
            || {
                let opened =
                    self.setup.files.image_encoder(self.dtype(), &self.setup.device).map_err(refused)?;
                ClipVisionWithProjection::load(&opened.config, opened.weights)
                    .map(Arc::new)
                    .map_err(unloadable)
            },
            |loaded, net| loaded.image_encoder = Some(net),
        )
    }

    /// The image encoder has seen the picture: it stays only where there is room for as much again as the UNet takes.
    pub fn has_seen(&self) {
        let unet =
            if self.shelf.look(|loaded| loaded.unet.is_some()) { 0 } else { self.setup.weights_bytes() };
        if free().is_none_or(|free| free < 2 * unet) {
            self.shelf.drop_of(|loaded| loaded.image_encoder = None);
        }
    }

    pub fn vae_encoder(&self) -> Result<Arc<KlEncoder>, EngineError> {
        self.shelf.once(
            |loaded| loaded.vae_encoder.clone(),
            || {
                let opened = self.setup.files.vae(DType::F32, &self.setup.device).map_err(refused)?;
                KlEncoder::load(&opened.config, opened.weights).map(Arc::new).map_err(unloadable)
            },
            |loaded, net| loaded.vae_encoder = Some(net),
        )
    }

    pub fn decoder(&self) -> Result<Arc<TemporalDecoder>, EngineError> {
        self.shelf.once(
            |loaded| loaded.decoder.clone(),
            || {
                let opened = self.setup.files.vae(self.dtype(), &self.setup.device).map_err(refused)?;
                TemporalDecoder::load(&opened.config, opened.weights).map(Arc::new).map_err(unloadable)
            },
            |loaded, net| loaded.decoder = Some(net),
        )
    }

    pub fn unet(&self) -> Result<Arc<Unet>, EngineError> {
        self.shelf.once(
            |loaded| loaded.unet.clone(),
            || {
                let opened = self.setup.files.unet(self.dtype(), &self.setup.device).map_err(refused)?;
                Unet::load(&opened.config, opened.weights).map(Arc::new).map_err(unloadable)
            },
            |loaded, net| loaded.unet = Some(net),
        )
    }
}

fn refused(error: BadFiles) -> EngineError {
    EngineError::Rejected(error.into())
}

fn unloadable(error: candle_core::Error) -> EngineError {
    let hint = "`talkie models check svd` says which file is wrong";
    EngineError::Rejected(Complaint::new("wrong_weights", error.to_string(), hint))
}
