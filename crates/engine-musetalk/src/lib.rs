//! MuseTalk v1 and v1.5 (Zhang et al. 2024, arXiv 2410.10122; TMElyralab/MuseTalk at 0a89dec) as an engine: a clip or a portrait and a voice
//! to a clip whose mouth speaks. `engine` is the way in; a take's way is `session`: the person (`person`, `material`), what is heard
//! (`audio`), the nets (`generator`, `device`) and the painting (`blend`). The SD VAE is in `encoders`.

pub mod audio;
mod avatar;
pub mod blend;
mod checkpoints;
mod device;
mod engine;
pub mod face_box;
pub mod face_crop;
mod generator;
mod golden;
pub mod mask;
mod material;
pub mod nets;
#[cfg(test)]
mod noise;
mod person;
mod roll;
mod session;
mod settings;
mod sight;
mod steady;

pub use checkpoints::{Checkpoints, FaceFiles, File, Memory};
pub use engine::Musetalk;
pub use golden::register;
pub use settings::Version;
