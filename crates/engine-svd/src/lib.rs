//! Stable Video Diffusion (Blattmann et al. 2023): a few seconds of video from a picture. So far this crate holds its nets and their files; the
//! image encoder is in `encoders`. The engine that runs them comes with its own issue.

pub mod nets;
pub mod weights;

/// Adds the cases and the full-size nets of this crate to what can be verified.
pub fn register(registry: &mut golden::Registry) {
    nets::temporal_vae::register(registry);
    nets::unet::register(registry);
}
