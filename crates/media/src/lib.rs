//! Bytes <-> `Frame` and `Pcm`: probe, decode, encode. The only room that spawns ffmpeg, ffprobe and espeak-ng.
//! Users' files are opened here but parsed only in caged children; frames and samples stream, nothing holds a whole
//! clip. Blocking, on the caller's thread: no tokio.

mod album;
mod arriving;
mod child;
mod choir;
mod clip;
mod error;
mod frames;
mod input;
mod join;
mod jpeg;
mod limits;
mod mp4;
mod picture;
mod probe;
mod sandbox;
mod scale;
mod scratch;
mod soundtrack;
mod tools;
mod tts;
mod turn;
mod voice;
pub mod wav;
mod webp;

pub use album::album;
pub use arriving::arriving;
pub use clip::{Clip, ClipSpec, clip, clip_once};
pub use error::MediaError;
pub use frames::{FramesSpec, frames};
pub use join::{Joining, Segment, join};
pub use jpeg::Jpeg;
pub use limits::Limits;
pub use mp4::{Content, Mp4Options, Mp4Sink, Part};
pub use picture::{Picture, PictureSpec, picture, picture_filling};
pub use probe::{AudioProbe, Probe, VideoProbe, probe};
pub use sandbox::SandboxReport;
pub use scale::encoded;
pub use scratch::Scratch;
pub use soundtrack::{Soundtrack, Track};
pub use tools::{Encoder, ToolPaths, Tools, Version};
pub use tts::{Spoken, Tts, TtsBackend, TtsConfig, TtsEndpoint};
pub use voice::{Voice, VoiceSpec, audio, voice};
