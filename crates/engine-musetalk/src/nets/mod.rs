//! The nets of MuseTalk, under the keys of the released files.

pub mod positional_encoding;
pub mod whisper_encoder;
