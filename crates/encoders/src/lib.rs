//! Nets that more than one engine runs: what they see with and what they keep pictures in. Nets only: pictures come in as tensors,
//! and what an engine does with the result is its own affair.

pub mod clip_vision;
pub mod kl_vae;

/// Adds the cases and the full-size nets of this crate to what can be verified.
pub fn register(registry: &mut golden::Registry) {
    clip_vision::register(registry);
    kl_vae::register(registry);
}
