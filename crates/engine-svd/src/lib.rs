//! Stable Video Diffusion (Blattmann et al. 2023): a picture becomes a moving clip. Nets under the keys of the released files, the sampler, windows that
//! make a take longer than the model's clip, and the engine. No voice and no text moves it. Reference: diffusers 0.42.1,
//! `StableVideoDiffusionPipeline`.

mod engine;
mod golden;
mod model;
pub mod nets;
mod picture;
mod sampler;
mod session;
mod settings;
pub mod weights;
mod windows;

pub use engine::Svd;
pub use model::Setup;

/// Adds the cases and the full-size nets of this crate to what can be verified.
pub fn register(registry: &mut ::golden::Registry) {
    nets::temporal_vae::register(registry);
    nets::unet::register(registry);
    self::golden::register(registry);
}
