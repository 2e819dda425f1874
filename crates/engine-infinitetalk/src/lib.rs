//! InfiniteTalk (MeiGen-AI/InfiniteTalk at 0107cd9, on Wan 2.1): a video of any length from a picture or a clip and a voice. So far this
//! crate holds nets only; the engine that runs them comes with its own issue.

pub mod audio;
mod golden;
pub mod nets;
pub mod picture;
pub mod sampler;
pub mod text;

/// Adds the cases and the full-size nets of this crate to what can be verified.
pub fn register(registry: &mut ::golden::Registry) {
    golden::register(registry);
    nets::clip_visual::register(registry);
    nets::dit::register(registry);
    nets::umt5::register(registry);
    nets::wan_vae::register(registry);
    nets::wav2vec2::register(registry);
}
