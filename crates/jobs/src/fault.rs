//! Why a job ended without a take.

use contract::{Complaint, EngineError, SourceError};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The user's input or this machine's state; the complaint says the remedy.
    #[error("{0}")]
    Rejected(#[from] Complaint),
    #[error("canceled")]
    Canceled,
    #[error("{message}")]
    Failed { code: &'static str, message: String },
}

impl Fault {
    pub fn failed(code: &'static str, message: impl Into<String>) -> Self {
        Fault::Failed { code, message: message.into() }
    }

    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Fault::Rejected(complaint) => complaint.code,
            Fault::Canceled => "canceled",
            Fault::Failed { code, .. } => code,
        }
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Rejected(complaint) => Fault::Rejected(complaint),
            EngineError::Stopped => Fault::Canceled,
            EngineError::OutOfMemory(_) => Fault::failed("out_of_memory", error.to_string()),
            EngineError::Failed(_) => Fault::failed("engine_failed", error.to_string()),
        }
    }
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Rejected(complaint) => Fault::Rejected(complaint),
            SourceError::Stopped => Fault::Canceled,
        }
    }
}
