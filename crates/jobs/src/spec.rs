//! What was asked for, parsed: every dialect and the CLI turn their own words into a `JobSpec`.

use std::io::Write;
use std::path::PathBuf;

use contract::{Fps, Landmarks, Settings};
use store::Existing;

pub struct JobSpec {
    /// `EngineCard::name` of the engine that is to do it. There is no fall-back to another.
    pub engine: String,
    pub subject: SubjectSpec,
    pub voice: VoiceSpec,
    /// `None`: the clip's own rate for a clip, else the engine's default.
    pub fps: Option<Fps>,
    pub seed: u64,
    pub settings: Settings,
    /// In pixels of the subject's own picture.
    pub landmarks: Option<Landmarks>,
    pub take: TakeSpec,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SubjectSpec {
    Picture(PathBuf),
    Clip(PathBuf),
}

#[derive(Clone, Debug, PartialEq)]
pub enum VoiceSpec {
    /// Anything with a sound track; `start` and `duration` in seconds.
    File { path: PathBuf, start: Option<f64>, duration: Option<f64> },
    /// To be spoken by the configured speech synthesis.
    Text(String),
    /// No voice: the engine idles for this many seconds.
    Idle { seconds: f64 },
}

pub struct TakeSpec {
    pub target: Target,
    /// x264's constant rate factor, 0 (lossless) .. 51.
    pub crf: u8,
}

pub enum Target {
    /// A complete file under this name, or nothing.
    File { path: PathBuf, existing: Existing },
    /// A fragmented MP4, written as it is made.
    Stream(Box<dyn Write + Send>),
}
