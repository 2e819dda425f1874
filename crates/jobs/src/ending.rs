//! How a job ended, in a form that can be kept: in the record, and on the way from a worker to the server.

use serde::{Deserialize, Serialize};

use crate::Take;

#[allow(clippy::large_enum_variant, reason = "one a job, never many at a time")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Made(Made),
    Prepared(Prepared),
    Failed(Failure),
    Canceled,
}

/// A take that is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Made {
    pub take: Take,
    /// Key of the file in the store.
    pub key: String,
    pub bytes: u64,
    /// sha256 of the file, hex; its ETag.
    pub sha256: String,
    /// Where it was delivered, if anywhere: `Delivery::path` and `Delivery::s3`.
    pub path: Option<std::path::PathBuf>,
    pub s3: Option<String>,
    /// When retention removed the file; the record stays.
    #[serde(default)]
    pub removed_ms: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// Folder of the avatar's parts in the store.
    pub key: String,
    pub engine: String,
    pub source_sha256: String,
}

/// A `Fault` that has been told: whose fault it is decides the HTTP status of a dialect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub blame: Blame,
    /// Stable, for programs.
    pub code: String,
    pub message: String,
    pub hint: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The input or the request; sending it again will not help.
    Client,
    /// The machine, the engine or a bug.
    Server,
}
