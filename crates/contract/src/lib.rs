//! The nouns and traits every room shares: what an engine is given (`Act`), what it gives back (`Frame`s into a
//! `FrameSink`, then a `Report`), and how either side says no. Holds no I/O, no threads' policy, no serde, no tensor.

mod act;
mod card;
mod colour;
mod complaint;
mod engine;
mod face;
mod frame;
mod sent;
mod settings;
mod sound;
mod stop;
mod time;

pub use act::{Act, AvatarSource, Length, Subject};
pub use card::{Device, EngineCard, SettingCard, SubjectKind, Weights};
pub use colour::{Rgb, Yuv, rgb_to_yuv, yuv_to_rgb};
pub use complaint::{Complaint, Warning};
pub use engine::{
    AvatarSink, Engine, EngineError, FrameSink, Report, Session, SessionEnd, Stage, Stopped, Timing,
};
pub use face::{FaceReport, LandmarkOrigin, Landmarks, Point};
pub use frame::{
    Frame, FrameError, FrameSource, Layout, Planes, Size, SourceError, SourceFormat, VideoFormat,
};
pub use sent::{Sent, bad_value};
pub use settings::{Settings, Value};
pub use sound::{Pcm, Turns, VoiceSource};
pub use stop::{Stop, StopGuard};
pub use time::Fps;
