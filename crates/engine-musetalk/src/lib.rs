//! MuseTalk v1 and v1.5 (Zhang et al. 2024, arXiv 2410.10122; TMElyralab/MuseTalk at 0a89dec). So far it holds the nets, what turns their
//! raw output into boxes and points, and what is done to pictures before and after them; the SD VAE is in `encoders`. It is no engine yet: it reads no audio and makes no video.

pub mod audio;
pub mod blend;
pub mod face_box;
pub mod face_crop;
mod golden;
pub mod mask;
pub mod nets;
pub mod picture;

pub use golden::register;
