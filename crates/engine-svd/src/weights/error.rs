//! Why files cannot be used: which file, which key, and what would help.

use std::path::PathBuf;

use contract::Complaint;
use layers::weights::{WeightsError, WrongCheckpoint};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum BadFiles {
    #[error("there is no {}{}", path.display(), or.as_ref().map(|or| format!(", nor {}", or.display())).unwrap_or_default())]
    NotThere { path: PathBuf, or: Option<PathBuf> },
    #[error("{} is not {what}: {why}", path.display())]
    NotThat { path: PathBuf, what: &'static str, why: String },
    #[error(transparent)]
    Unusable(#[from] WeightsError),
    #[error(transparent)]
    Wrong(#[from] WrongCheckpoint),
}

impl BadFiles {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotThere { .. } => {
                "`talkie models list` names the sets of svd, `talkie models path NAME` shows what is where, `talkie models pull NAME` fetches it"
            }
            Self::NotThat { .. } | Self::Unusable(_) | Self::Wrong(_) => {
                "`talkie models check NAME` says which files of a set are wrong (svd, svd-xt, svd-xt-1-1), `talkie models pull NAME --replace` fetches them anew"
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotThere { .. } => "no_weights",
            Self::NotThat { .. } | Self::Unusable(_) | Self::Wrong(_) => "wrong_weights",
        }
    }
}

impl From<BadFiles> for Complaint {
    fn from(error: BadFiles) -> Self {
        Self::new(error.code(), error.to_string(), error.remedy())
    }
}
