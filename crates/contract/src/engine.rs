//! The `Engine` trait: how a job meets the thing that makes frames.
//! An engine owns its device thread and may run many sessions at once; frames leave as soon as they exist.

use std::sync::mpsc;
use std::time::Duration;

use crate::{
    Act, Complaint, EngineCard, FaceReport, Frame, FrameSource, Settings, SourceError, Value, VideoFormat,
    Warning, Weights,
};

pub trait Engine: Send + Sync {
    /// Name, weights, limits: what a dialect may promise.
    fn card(&self) -> &EngineCard;

    /// Makes an avatar of a person, once, for many acts.
    fn prepare(
        &self,
        source: &mut dyn FrameSource,
        settings: &Settings,
        out: &mut dyn AvatarSink,
    ) -> Result<(), EngineError>;

    /// Checks the act, then works on it in the engine's own thread. Mistakes in the settings are told here, not at frame 300.
    fn start(&self, act: Act, out: Box<dyn FrameSink + Send>) -> Result<Session, EngineError>;
}

/// Where frames go. Every method may block (the sink is bounded) and any may answer `Stopped`: then the engine leaves at once.
pub trait FrameSink {
    /// Said once, before the first frame.
    fn begin(&mut self, format: VideoFormat) -> Result<(), Stopped>;
    /// `of` is 0 where the end is not known yet.
    fn stage(&mut self, stage: Stage, done: u64, of: u64) -> Result<(), Stopped>;
    fn frame(&mut self, frame: Frame) -> Result<(), Stopped>;
    fn warn(&mut self, warning: Warning) -> Result<(), Stopped>;
    /// Long engines: every frame so far belongs to a finished piece, and with this state (`Act::checkpoint`) the rest can be made later.
    fn checkpoint(&mut self, state: &[u8]) -> Result<(), Stopped>;
}

/// Where the parts of an avatar go.
pub trait AvatarSink {
    fn part(&mut self, name: &str, bytes: &[u8]) -> Result<(), Stopped>;
}

/// The job was canceled or its output broke; whoever owns the sink knows which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped")]
pub struct Stopped;

/// What a job is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Inputs are being fetched.
    Fetching,
    /// Weights are being loaded.
    Loading,
    /// The subject is being read and measured.
    Preparing,
    /// Voice and prompt are being encoded.
    Conditioning,
    /// Denoising steps.
    Denoising,
    /// Latents are becoming pictures.
    Decoding,
    /// Frames are being drawn.
    Rendering,
    /// The file is being completed.
    Finishing,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Stage::Fetching => "fetching",
            Stage::Loading => "loading",
            Stage::Preparing => "preparing",
            Stage::Conditioning => "conditioning",
            Stage::Denoising => "denoising",
            Stage::Decoding => "decoding",
            Stage::Rendering => "rendering",
            Stage::Finishing => "finishing",
        }
    }
}

/// Time an engine spent on a stage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    pub stage: Stage,
    pub elapsed: Duration,
}

/// What a finished session has to say about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Of the whole take, also where it was gone on with.
    pub frames: u64,
    pub face: Option<FaceReport>,
    /// The settings used: as sent, else the default.
    pub settings: Vec<(String, Value)>,
    /// What the engine measured of its take, or had to do for it, for whoever wants to know.
    pub measured: Vec<(String, Value)>,
    /// What it was made with: of the card's weights, those that this take needed.
    pub weights: Vec<Weights>,
    pub timings: Vec<Timing>,
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The input cannot be used; the user can change that.
    #[error("{0}")]
    Rejected(#[from] Complaint),
    #[error("stopped")]
    Stopped,
    #[error("the device has too little memory: {0}")]
    OutOfMemory(String),
    /// A bug or a broken machine.
    #[error("the engine failed: {0}")]
    Failed(String),
}

impl From<Stopped> for EngineError {
    fn from(_: Stopped) -> Self {
        EngineError::Stopped
    }
}

impl From<SourceError> for EngineError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Rejected(complaint) => EngineError::Rejected(complaint),
            SourceError::Stopped => EngineError::Stopped,
        }
    }
}

/// A running take, seen from the job's side.
pub struct Session {
    outcome: mpsc::Receiver<Result<Report, EngineError>>,
}

/// The engine's side of a session; dropping it without a word (a panic) fails the session, not the process.
pub struct SessionEnd {
    outcome: mpsc::SyncSender<Result<Report, EngineError>>,
}

impl Session {
    pub fn pair() -> (Session, SessionEnd) {
        let (sender, receiver) = mpsc::sync_channel(1);
        (Session { outcome: receiver }, SessionEnd { outcome: sender })
    }

    /// Blocks until the engine has put out its last frame, or failed.
    pub fn wait(self) -> Result<Report, EngineError> {
        self.outcome.recv().unwrap_or_else(|_| {
            Err(EngineError::Failed("its thread ended without a result (a panic)".into()))
        })
    }
}

impl SessionEnd {
    pub fn finish(self, outcome: Result<Report, EngineError>) {
        // nobody waits any more: the outcome has no reader, and that is not the engine's trouble
        let _ = self.outcome.send(outcome);
    }
}
