//! The model on this machine: its files, and the nets made of them, loaded at first use. The image encoder leaves when it has seen the picture, unless there
//! is room for it beside the others. Refused before anything is loaded: work for which the memory is not there.

use std::sync::Arc;
use std::time::Duration;

use candle_core::{DType, Device};
use contract::{Complaint, EngineError};
use encoders::clip_vision::ClipVisionWithProjection;
use encoders::kl_vae::KlEncoder;
use layers::free_memory::of;
use layers::shelf::{Shelf, Use, make_room};
use stagehand::Turn;

use crate::nets::temporal_vae::TemporalDecoder;
use crate::nets::unet::Unet;
use crate::settings::Options;
use crate::weights::{BadFiles, Files, Normalisation, SigmaRange, Values};

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
    pub fn memory_bytes(&self, usual: &Options) -> Result<u64, Complaint> {
        let work = Work::of((usual.size, usual.size * 9 / 16), usual);
        let Values { unet, vae, .. } = self.files.values()?;
        Ok((unet + vae + work.values()) * self.bytes_a_value())
    }

    /// In half precision on a card, as diffusers' fp16 pipeline.
    fn dtype(&self) -> DType {
        if self.device.is_cpu() { DType::F32 } else { DType::F16 }
    }

    fn bytes_a_value(&self) -> u64 {
        self.dtype().size_in_bytes() as u64
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
    pub fn values(&self) -> u64 {
        let pixels = (self.size.0 * self.size.1) as u64;
        let denoised = (self.halves * self.frames) as u64 * (pixels / 64) * UNET_VALUES;
        denoised.max(self.decoded as u64 * pixels * DECODER_VALUES)
    }
}

/// Values alive at once in the UNet, of a latent place, and in the decoder, of a pixel (docs/svd.md, "Memory").
const UNET_VALUES: u64 = 7_000;
const DECODER_VALUES: u64 = 1_100;

pub struct Model {
    setup: Setup,
    shelf: Shelf<Loaded>,
    turn: Turn,
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
        Self { setup, shelf, turn: Turn::default() }
    }

    pub fn device(&self) -> &Device {
        &self.setup.device
    }

    /// Of the nets, but for the VAE's encoder, which is f32 everywhere.
    pub fn dtype(&self) -> DType {
        self.setup.dtype()
    }

    pub fn sigmas(&self) -> SigmaRange {
        self.setup.files.configs().schedule
    }

    pub fn preprocessor(&self) -> Normalisation {
        self.setup.files.configs().preprocessor
    }

    pub fn in_use(&self) -> Use<Loaded> {
        self.shelf.in_use()
    }

    /// One take at a time: it fills the device.
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// Bytes that the work takes beside the weights.
    pub fn bytes(&self, work: &Work) -> u64 {
        work.values() * self.setup.bytes_a_value()
    }

    /// Whatever nobody uses leaves memory, if that is what the work needs.
    pub fn make_room(&self, work: &Work) -> Result<(), EngineError> {
        let needed = self.bytes(work) + self.missing().map_err(refused)?;
        make_room(needed, &self.setup.device);
        match of(&self.setup.device) {
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

    /// Bytes of the weights that are to be loaded yet. The image encoder leaves before the decoder comes, and what is larger counts.
    fn missing(&self) -> Result<u64, BadFiles> {
        let Values { unet, vae, image_encoder } = self.setup.files.values()?;
        let values = self.shelf.look(|loaded| {
            let of = |there: bool, values: u64| if there { 0 } else { values };
            let nets = of(loaded.unet.is_some(), unet) + of(loaded.decoder.is_some(), vae);
            nets.max(of(loaded.image_encoder.is_some(), image_encoder))
        });
        Ok(values * self.setup.bytes_a_value())
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

    /// The image encoder has seen the picture: it stays only where the work has room beside it.
    pub fn has_seen(&self, work: &Work) -> Result<(), EngineError> {
        let needed = self.bytes(work) + self.missing().map_err(refused)?;
        if of(&self.setup.device).is_none_or(|free| free < 2 * needed) {
            self.shelf.drop_of(|loaded| loaded.image_encoder = None);
        }
        Ok(())
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
    let hint = "`talkie models check NAME` says which file of a set is wrong: svd, svd-xt, svd-xt-1-1";
    EngineError::Rejected(Complaint::new("wrong_weights", error.to_string(), hint))
}
