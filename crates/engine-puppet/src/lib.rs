//! Puppet: the built-in engine. One portrait (or a clip) and a voice become a talking video by closed-form warping, painted
//! teeth and lids; no weights to download, one CPU core, faster than real time. Works natively in I420.

mod avatar;
mod cavity;
mod clip;
mod curve;
mod engine;
mod field;
mod framing;
mod head;
mod level;
mod lids;
mod motion;
mod mouth;
mod plate;
mod portrait;
mod pose;
mod sample;
mod search;
mod session;
mod settings;
mod tone;
mod track;
mod voice;
mod warp;

pub use engine::Puppet;
pub use level::Level;
pub use plate::Plate;
pub use portrait::Portrait;
pub use pose::{HeadPose, Pose};
