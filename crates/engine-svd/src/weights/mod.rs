//! Stable Video Diffusion's weights as files: the folders of the diffusers layout, or the single file of the original program under diffusers' names, to
//! a config and a `VarBuilder` a net. A net never knows which of the two it came from.

mod error;
mod files;
mod names;
mod preprocessor;
mod scheduler;
mod single;

pub use error::BadFiles;
pub use files::{Configs, Files, Opened, Values, Variant, WeightsFile};
pub use preprocessor::Normalisation;
pub use scheduler::SigmaRange;
