//! The nets that Stable Video Diffusion is made of, one file each.

pub mod temporal_vae;
