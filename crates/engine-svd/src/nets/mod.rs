//! The nets that Stable Video Diffusion is made of, one file or folder each.

mod res_block;
pub mod temporal_vae;
pub mod unet;
mod watch;

pub use watch::{NetError, Outcome, Watch};
