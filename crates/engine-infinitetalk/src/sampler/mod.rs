//! From noise to a video of any length: the levels of noise, guidance, which passes are skipped, the noise itself, and the plan of chunks.

mod error;
pub mod guidance;
mod noise;
pub mod plan;
mod sampling;
pub mod schedule;
pub mod teacache;

pub use error::SamplerError;
pub use noise::Noise;
pub use sampling::Sampling;
