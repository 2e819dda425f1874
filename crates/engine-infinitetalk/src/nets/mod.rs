//! The nets that InfiniteTalk is made of, one file each.

pub mod clip_visual;
pub mod dit;
pub mod umt5;
pub mod wan_vae;
pub mod wav2vec2;
