//! One window: what is known of the picture, the steps from noise to latents, and the frames of these. Reference: diffusers 0.42.1,
//! `StableVideoDiffusionPipeline.__call__`. The latents stay f32 between steps, whatever the net computes in. Of the two halves that guidance
//! weighs, the one without the picture comes first: its embedding and its latents are zeros, its micro-conditions are the same.

use candle_core::{DType, Tensor};
use contract::Stopped;
use encoders::kl_vae::KlEncoder;
use layers::Probe;
use thiserror::Error;

use super::schedule::Schedule;
use crate::nets::temporal_vae::TemporalDecoder;
use crate::nets::unet::Unet;
use crate::nets::{NetError, Watch};

/// Of the decoder's latents (vae/config.json, `scaling_factor`); the picture's own are taken as they are.
const SCALING: f64 = 0.182_15;

#[derive(Debug, Error)]
pub enum SamplerError {
    #[error("stopped")]
    Stopped,
    #[error(
        "{part} gave values that are not finite: its weights are broken, or they overflow in half precision; check the checkpoint and fetch it again, or compute on the CPU, in f32"
    )]
    NotFinite { part: String },
    #[error(transparent)]
    Net(#[from] candle_core::Error),
}

impl SamplerError {
    /// What `net` says.
    fn of(net: &'static str) -> impl Fn(NetError) -> Self {
        move |error| match error {
            NetError::Stopped { .. } => SamplerError::Stopped,
            NetError::NotFinite { part } => SamplerError::NotFinite { part: format!("{net}, {part},") },
            NetError::Net(error) => SamplerError::Net(error),
        }
    }
}

impl From<Stopped> for SamplerError {
    fn from(_: Stopped) -> Self {
        SamplerError::Stopped
    }
}

/// Who a clip is made for.
pub trait Watcher {
    /// Asked before every block of the net and every chunk that is decoded: whether the clip is no longer wanted.
    fn stopped(&self) -> bool;

    /// Told after every step; latents: (f, h, w, 4)
    fn stepped(&mut self, step: usize, latents: &Tensor) -> Result<(), Stopped>;
}

/// How a window is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    pub schedule: Schedule,
    /// Of the first frame and of the last.
    pub guidance: (f64, f64),
    pub frames: usize,
    pub fps: f64,
    pub motion_bucket_id: f64,
    pub noise_aug_strength: f64,
}

/// What every step knows of the picture; of two halves, where guidance needs both.
pub struct Conditioned {
    context: Tensor,  // (b, 1, c)
    pictures: Tensor, // (b, h, w, 4)
}

impl Sampling {
    fn guided(&self) -> bool {
        self.guidance.0.max(self.guidance.1) > 1.0
    }

    /// picture: (1, 8h, 8w, 3) on [-1, 1]; noise: the same; embedding: (1, c), CLIP's
    pub fn condition(
        &self,
        vae: &KlEncoder,
        (picture, noise): (&Tensor, &Tensor),
        embedding: &Tensor,
    ) -> Result<Conditioned, SamplerError> {
        let noisy = (picture + (noise * self.noise_aug_strength)?)?;
        let latents = vae.forward(&noisy)?.mean; // (1, h, w, 4)
        finite(&latents, "the VAE's encoder")?;
        finite(embedding, "the image encoder")?;
        let halves = |own: Tensor| {
            if self.guided() { Tensor::cat(&[own.zeros_like()?, own], 0) } else { Ok(own) }
        };
        Ok(Conditioned { context: halves(embedding.unsqueeze(1)?)?, pictures: halves(latents)? })
    }

    /// noise: (f, h, w, 4) of variance 1 -> latents: the same
    pub fn sample(
        &self,
        unet: &Unet,
        known: &Conditioned,
        noise: &Tensor,
        watcher: &mut dyn Watcher,
    ) -> Result<Tensor, SamplerError> {
        let (f, h, w, _) = noise.dims4()?;
        let b = known.context.dim(0)?;
        let added =
            [self.fps - 1.0, self.motion_bucket_id, self.noise_aug_strength].map(|value| value as f32);
        let added = Tensor::new(&added, noise.device())?.expand((b, 3))?.contiguous()?;
        let clip = unet.clip(&known.context, f, &added)?;
        let probe = Probe::off();
        let pictures = known.pictures.unsqueeze(1)?.expand((b, f, h, w, 4))?;
        let scales = self.scales(noise)?;
        let mut x = (noise * f64::from(self.schedule.initial_scale()))?;
        for step in 0..self.schedule.steps() {
            let scaled = self.schedule.scaled(step, &x)?.unsqueeze(0)?.expand((b, f, h, w, 4))?;
            let input = Tensor::cat(&[&scaled, &pictures], 4)?.to_dtype(unet.dtype())?; // (b, f, h, w, 8)
            let watch = Watch { stop: &|| watcher.stopped(), probe: &probe };
            let time = unet.step(self.schedule.timestep(step), &clip, &watch)?;
            let v = unet.forward(&input, &time, &clip, &watch).map_err(SamplerError::of("the UNet"))?;
            let v = v.to_dtype(DType::F32)?;
            let v = if b == 2 {
                let (without, with) = (v.get(0)?, v.get(1)?);
                (&without + (with - &without)?.broadcast_mul(&scales)?)?
            } else {
                v.squeeze(0)?
            };
            x = self.schedule.step(step, &x, &v)?;
            finite(&x, "the UNet")?;
            watcher.stepped(step, &x)?;
        }
        Ok(x)
    }

    /// Guidance of each frame: (f, 1, 1, 1)
    fn scales(&self, like: &Tensor) -> candle_core::Result<Tensor> {
        let (first, last) = self.guidance;
        let along = |frame: usize| frame as f64 / self.frames.saturating_sub(1).max(1) as f64;
        let scale = |frame| (first + (last - first) * along(frame)) as f32;
        Tensor::from_iter((0..self.frames).map(scale), like.device())?.reshape(((), 1, 1, 1))
    }
}

/// latents: (f, h, w, 4); dtype: of the decoder -> `show` is called with (n, 8h, 8w, 3) on about [-1, 1], at most `chunk` frames at a time; frames of a chunk see each other.
pub fn decode<E: From<SamplerError>>(
    decoder: &TemporalDecoder,
    (latents, dtype, chunk): (&Tensor, DType, usize),
    stopped: &dyn Fn() -> bool,
    mut show: impl FnMut(&Tensor) -> Result<(), E>,
) -> Result<(), E> {
    let frames = latents.dim(0).map_err(SamplerError::from)?;
    let probe = Probe::off();
    let watch = Watch { stop: stopped, probe: &probe };
    let decoded = |begin: usize| -> Result<Tensor, SamplerError> {
        let part = latents.narrow(0, begin, chunk.min(frames - begin))?;
        let part = (part / SCALING)?.unsqueeze(0)?.to_dtype(dtype)?;
        let pictures = decoder.forward(&part, &watch).map_err(SamplerError::of("the VAE's decoder"))?;
        Ok(pictures.squeeze(0)?.to_dtype(DType::F32)?)
    };
    for begin in (0..frames).step_by(chunk) {
        show(&decoded(begin)?)?;
    }
    Ok(())
}

fn finite(values: &Tensor, part: &str) -> Result<(), SamplerError> {
    if layers::is_finite(values)? { Ok(()) } else { Err(SamplerError::NotFinite { part: part.to_owned() }) }
}
