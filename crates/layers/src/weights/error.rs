//! Why a checkpoint cannot be used: which file, which key, and what would help.

use std::path::{Path, PathBuf};

use thiserror::Error;

#[derive(Debug, Error)]
pub enum WeightsError {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} is neither safetensors nor a PyTorch file: {why}", path.display())]
    UnknownFormat { path: PathBuf, why: String },
    #[error("{} is damaged or not understood: {why}", path.display())]
    Malformed { path: PathBuf, why: String },
    #[error("{}: tensor `{key}`: {why}", path.display())]
    Tensor { path: PathBuf, key: String, why: String },
    #[error("{} has no tensor `{key}`{}", path.display(), near.as_ref().map(|n| format!("; it has `{n}`")).unwrap_or_default())]
    Missing { path: PathBuf, key: String, near: Option<String> },
}

impl WeightsError {
    pub(super) fn malformed(path: &Path, why: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), why: why.into() }
    }

    pub(super) fn tensor(path: &Path, key: &str, why: impl Into<String>) -> Self {
        Self::Tensor { path: path.to_owned(), key: key.to_owned(), why: why.into() }
    }
}

/// A checkpoint that holds something else than the net that is to be made of it: the first difference, in the net's order.
#[derive(Debug, Error, PartialEq)]
#[error("{what} is not {wanted}: `{key}` {why}")]
pub struct WrongCheckpoint {
    pub what: String,
    pub wanted: String,
    pub key: String,
    pub why: String,
}
