//! The nets of MuseTalk, and what makes boxes and points of their outputs. Pictures are (b, h, w, c).

pub mod bisenet;
mod pool;
pub mod positional;
pub mod rtmpose;
pub mod s3fd;
pub mod unet;
pub mod whisper;
