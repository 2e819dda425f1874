//! Why files of weights cannot be used: which file, which key, and what would help.

use std::path::PathBuf;

use contract::Complaint;
use layers::weights::{WeightsError, WrongCheckpoint};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum BadWeights {
    /// `by`: the flag or variable that named the path.
    #[error("{by} leads to {}, {why}", path.display())]
    NotThere { by: String, path: PathBuf, why: String },
    #[error(transparent)]
    Unusable(#[from] WeightsError),
    #[error(transparent)]
    Wrong(#[from] WrongCheckpoint),
    #[error("{} is not {what}: {why}", path.display())]
    NotThat { path: PathBuf, what: &'static str, why: String },
    #[error("{} is no checkpoint of optimum-quanto that can be used: {why}", path.display())]
    Quantised { path: PathBuf, why: String },
    #[error("{} is no LoRA for this model: `{key}` {why}", path.display())]
    Lora { path: PathBuf, key: String, why: String },
    #[error("{scales} LoRA scales were given for {files} LoRA files")]
    Scales { files: usize, scales: usize },
}

impl BadWeights {
    pub(super) fn lora(path: &std::path::Path, key: &str, why: impl Into<String>) -> Self {
        Self::Lora { path: path.to_owned(), key: key.to_owned(), why: why.into() }
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NotThere { by, .. } => format!(
                "correct {by}; `talkie models path infinitetalk` shows what is where, `talkie models pull infinitetalk` fetches it"
            ),
            Self::Unusable(_) | Self::Wrong(_) | Self::NotThat { .. } => {
                "`talkie models check infinitetalk` says which files are wrong, `talkie models pull infinitetalk --replace` fetches them anew".into()
            }
            Self::Quantised { .. } => {
                "weights and map belong together: fetch both anew with `talkie models pull infinitetalk-fp8 --replace`".into()
            }
            Self::Lora { .. } => {
                "use a LoRA that was made for Wan 2.1 14B, or leave it out".into()
            }
            Self::Scales { files, .. } => format!("give one scale for each file: {files} of them, in the same order"),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotThere { .. } => "no_weights",
            Self::Unusable(_) | Self::Wrong(_) | Self::NotThat { .. } | Self::Quantised { .. } => {
                "wrong_weights"
            }
            Self::Lora { .. } => "bad_lora",
            Self::Scales { .. } => "bad_lora_scale",
        }
    }
}

impl From<BadWeights> for Complaint {
    fn from(error: BadWeights) -> Self {
        Self::new(error.code(), error.to_string(), error.remedy())
    }
}
