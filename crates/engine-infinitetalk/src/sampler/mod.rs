//! From noise to a video of any length: the levels of noise, guidance, which passes are skipped, the noise itself, the plan of chunks, and the
//! loop over chunks (`film`), each a loop over steps (`denoise`).

mod condition;
mod denoise;
mod drift;
mod error;
mod film;
pub mod guidance;
mod noise;
pub mod plan;
mod sampling;
pub mod schedule;
mod state;
pub mod teacache;
mod video;
mod watcher;

pub use condition::{Condition, Prompt, Speech};
pub use drift::{Anchor, ColourReference, Drift};
pub use error::SamplerError;
pub use film::{Exposed, Film, Look, Scene, Take};
pub use noise::Noise;
pub use sampling::Sampling;
pub use state::{ChunkState, StateError};
pub use watcher::{Progress, Watcher};

use crate::nets::dit::Dit;
use crate::nets::wan_vae::WanVae;

/// What a take is made with, all on one device.
#[derive(Clone, Copy, Debug)]
pub struct Nets<'a> {
    pub dit: &'a Dit,
    pub vae: &'a WanVae,
}
