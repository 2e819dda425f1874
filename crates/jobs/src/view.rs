//! A job as the record tells it: what a dialect turns into its answer.

use contract::Stage;
use serde_json::Value;

use crate::{AvatarName, Ending, Prepared, State, Work};

/// uuid 4, lower case with hyphens.
pub type JobId = String;

#[derive(Clone, Debug, PartialEq)]
pub struct JobView {
    pub id: JobId,
    pub dialect: String,
    pub owner: String,
    /// `None` for a live session, which has no ticket, and where the record cannot be read.
    pub work: Option<Work>,
    pub note: Value,
    pub state: State,
    /// Jobs that go before it; `None` unless queued.
    pub position: Option<u64>,
    pub progress: Option<ProgressView>,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
    pub started_ms: Option<i64>,
    pub ended_ms: Option<i64>,
    pub attempt: u32,
    /// `None` until it has ended.
    pub ending: Option<Ending>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProgressView {
    pub stage: Stage,
    pub done: u64,
    /// 0 while the end is not known.
    pub of: u64,
    pub eta_ms: Option<u64>,
}

/// `rendering 40/145, about 12.0 s left`
impl std::fmt::Display for ProgressView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.stage.name())?;
        if self.of > 0 {
            write!(f, " {}/{}", self.done, self.of)?;
        }
        match self.eta_ms {
            Some(ms) => write!(f, ", about {:.1} s left", ms as f64 / 1000.0),
            None => Ok(()),
        }
    }
}

/// A line of a job's log. `n` counts from 1 and has no gaps within a job.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    pub n: u64,
    pub at_ms: i64,
    pub level: Level,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

/// Which jobs `Desk::list` tells of, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    pub dialect: Option<String>,
    pub owner: Option<String>,
    pub state: Option<State>,
    pub limit: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AvatarView {
    pub avatar: AvatarName,
    /// Of the asset that the name stands for now.
    pub key: String,
    pub engine: String,
    /// sha256 of the source's bytes, hex.
    pub source_sha256: String,
    pub created_ms: i64,
    /// What the dialect noted when it ordered it.
    pub note: Value,
}

impl AvatarView {
    /// What an order pins to get this very asset.
    pub fn asset(&self) -> Prepared {
        Prepared {
            key: self.key.clone(),
            engine: self.engine.clone(),
            source_sha256: self.source_sha256.clone(),
        }
    }
}
