//! InfiniteTalk (MeiGen-AI/InfiniteTalk at 0107cd9, on Wan 2.1): a video of any length from a picture or a clip and one or two voices. Without the
//! audio modules it is Wan's own image-to-video model.

pub mod audio;
mod engine;
mod golden;
mod model;
pub mod nets;
pub mod picture;
pub mod plan;
pub mod presets;
pub mod sampler;
mod scenes;
mod session;
pub mod settings;
pub mod text;
pub mod weights;

pub use engine::InfiniteTalk;
pub use model::Setup;

/// Adds the cases and the full-size nets of this crate to what can be verified.
pub fn register(registry: &mut ::golden::Registry) {
    golden::register(registry);
    nets::clip_visual::register(registry);
    nets::dit::register(registry);
    nets::umt5::register(registry);
    nets::wan_vae::register(registry);
    nets::wav2vec2::register(registry);
}
