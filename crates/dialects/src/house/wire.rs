//! Talkie's own words: jobs and avatars of every dialect.

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Jobs {
    pub jobs: Vec<Job>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Job {
    pub id: String,
    pub dialect: String,
    pub owner: String,
    /// `take`, `prepare` or `live`.
    pub kind: &'static str,
    pub engine: Option<String>,
    pub state: &'static str,
    /// Jobs that go before it.
    pub position: Option<u64>,
    /// Until it is likely to begin, by how long the last jobs took.
    pub wait_ms: Option<u64>,
    pub progress: Option<Progress>,
    pub created_at: String,
    pub started_at: Option<String>,
    pub ended_at: Option<String>,
    pub attempt: u32,
    pub take: Option<Take>,
    pub error: Option<Error>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Progress {
    pub stage: &'static str,
    pub done: u64,
    /// 0 while the end is not known.
    pub of: u64,
    pub eta_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Take {
    /// Of a live session there is none: it was shown and not kept.
    pub url: Option<String>,
    pub duration_s: f64,
    pub frames: u64,
    pub width: u32,
    pub height: u32,
    pub bytes: u64,
    pub sha256: String,
    pub engine: String,
    pub weights: Vec<String>,
    pub seed: u64,
    pub path: Option<String>,
    pub s3: Option<String>,
    pub warnings: Vec<String>,
    /// What the engine measured of it, by name.
    pub measured: serde_json::Map<String, serde_json::Value>,
    /// Retention took the file; the record stays.
    pub removed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Error {
    /// `client` or `server`.
    pub blame: &'static str,
    pub code: String,
    pub message: String,
    pub hint: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Log {
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub n: u64,
    pub at: String,
    pub level: &'static str,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Canceled {
    pub id: String,
    /// `canceled`: it had not begun. `requested`: it will be, within a frame. `ended`: it had ended before.
    pub outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Avatars {
    pub avatars: Vec<Avatar>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Avatar {
    pub dialect: String,
    pub owner: String,
    pub name: String,
    pub engine: String,
    pub source_sha256: String,
    pub created_at: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deleted {
    pub dialect: String,
    pub name: String,
    pub deleted: bool,
}
