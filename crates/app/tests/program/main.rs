//! The program as its users meet it: the real binary, real files, a real ffmpeg.

mod bad_input;
mod bench;
mod generate;
mod serve;
mod stage;
#[cfg(feature = "neural")]
mod verify;
