//! MuseTalk v1 and v1.5 (Zhang et al. 2024, arXiv 2410.10122; TMElyralab/MuseTalk at 0a89dec). So far it holds the nets and what turns their
//! raw output into boxes and points (the SD VAE is in `encoders`), and what hears a voice for them. It is no engine yet: it makes no video.

pub mod audio;
mod golden;
pub mod nets;

pub use golden::register;
