//! From a picture and noise to a clip: noise levels, guidance that grows over the frames, and the decoding of what comes out.

pub mod noise;
pub mod schedule;
mod shot;

pub use shot::{SamplerError, Sampling, Watcher, decode};
