//! `pipeline`: a clip of four frames in four steps with tiny nets and stored noise, from the picture to latents and frames.

use candle_core::Tensor;
use contract::Stopped;
use encoders::clip_vision::{ClipVisionConfig, ClipVisionWithProjection};
use encoders::kl_vae::{KlEncoder, KlVaeConfig};
use golden::{Case, CaseError, Given, Outputs, every};
use pictures::View;
use serde::Deserialize;

use crate::nets::temporal_vae::TemporalDecoder;
use crate::nets::unet::{Unet, UnetConfig};
use crate::picture::{canvas, clip_input};
use crate::sampler::schedule::Schedule;
use crate::sampler::{Sampling, Watcher, decode};
use crate::weights::{Normalisation, SigmaRange};

#[derive(Deserialize)]
struct Config {
    unet: UnetConfig,
    vae: KlVaeConfig,
    image_encoder: ClipVisionConfig,
    scheduler: Scheduler,
    height: usize,
    width: usize,
    num_frames: usize,
    steps: usize,
    min_guidance: f64,
    max_guidance: f64,
    fps: f64,
    motion_bucket_id: f64,
    noise_aug_strength: f64,
    decode_chunk_size: usize,
}

#[derive(Deserialize)]
struct Scheduler {
    sigma_min: f64,
    sigma_max: f64,
}

/// The latents of every step.
#[derive(Default)]
struct Steps(Vec<Tensor>);

impl Watcher for Steps {
    fn stopped(&self) -> bool {
        false
    }

    fn stepped(&mut self, _: usize, latents: &Tensor) -> Result<(), Stopped> {
        self.0.push(latents.clone());
        Ok(())
    }
}

pub struct Pipeline;

impl Case for Pipeline {
    fn components(&self) -> &[&str] {
        &["StableVideoDiffusionPipeline"]
    }

    /// Bytes behind four steps and a decoder of untrained nets: single ones say nothing, all of them together do.
    fn under_bf16(&self, output: &str) -> Option<f64> {
        (output == "frames_u8").then_some(0.03)
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let config: Config = given.config()?;
        let rgb = given.input("in.rgb_u8")?;
        let (h, w, _) = rgb.dims3()?;
        let bytes: Vec<u8> = rgb.flatten_all()?.to_vec1()?;
        let picture = View::new(&bytes, (w, h))?;
        let encoder = ClipVisionWithProjection::load(&config.image_encoder, given.weights()?)?;
        let seen = clip_input::resized(picture, encoder.vision().image_size())?;
        let embedding = encoder.forward(&clip_input::normalised(&seen, Normalisation::CLIP)?)?; // (1, c)
        let sampling = Sampling {
            schedule: Schedule::new(
                SigmaRange { sigma_min: config.scheduler.sigma_min, sigma_max: config.scheduler.sigma_max },
                config.steps,
            ),
            guidance: (config.min_guidance, config.max_guidance),
            frames: config.num_frames,
            fps: config.fps,
            motion_bucket_id: config.motion_bucket_id,
            noise_aug_strength: config.noise_aug_strength,
        };
        let painted = canvas::painted(picture, (config.width, config.height))?;
        let noise = given.float_input("in.image_noise")?.permute((0, 2, 3, 1))?.contiguous()?;
        let vae = KlEncoder::load(&config.vae, given.weights()?)?;
        let known = sampling.condition(&vae, (&painted, &noise), &embedding)?;
        let unet = Unet::load(&config.unet, given.weights()?)?;
        let latents = given.float_input("in.latents")?.squeeze(0)?.permute((0, 2, 3, 1))?.contiguous()?;
        let mut steps = Steps::default();
        let latents = sampling.sample(&unet, &known, &latents, &mut steps)?;
        let mut outputs = Outputs::new();
        for (step, latents) in steps.0.iter().enumerate() {
            outputs.out(&format!("latents_step{step}"), channels_first(latents)?.unsqueeze(0)?);
        }
        let decoder = TemporalDecoder::load(&config.vae, given.weights()?)?;
        let mut frames = Vec::new();
        let mut bytes = Vec::new();
        let show = |chunk: &Tensor| -> Result<(), CaseError> {
            frames.push(((chunk * 0.5)? + 0.5)?.clamp(0f32, 1f32)?);
            bytes.extend(canvas::to_bytes(chunk)?);
            Ok(())
        };
        decode(&decoder, (&latents, given.dtype(), config.decode_chunk_size), &|| false, show)?;
        let frames = Tensor::cat(&frames, 0)?; // (f, 8h, 8w, 3)
        let shown = Tensor::from_vec(bytes, frames.shape(), frames.device())?;
        outputs.out("frames_f32_sub4", channels_first(&every(4, &every(4, &frames, 1)?, 2)?)?);
        outputs.out("frames_u8", channels_first(&shown)?);
        Ok(outputs)
    }
}

/// (f, h, w, c) -> (f, c, h, w)
fn channels_first(x: &Tensor) -> candle_core::Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()
}
