//! The engine against a server on this machine that speaks the documented protocol, faults included; videos are real ones of a real ffmpeg.

mod cancel;
mod fal;
mod faults;
mod forms;
mod server;
mod stage;
