//! What went wrong inside, as a session's caller is told of it.

use contract::{Complaint, EngineError};

use crate::nets::dit::DitError;
use crate::picture::PictureError;
use crate::sampler::SamplerError;

pub(super) fn net(error: candle_core::Error) -> EngineError {
    EngineError::Failed(error.to_string())
}

pub(super) fn unseen(error: PictureError) -> EngineError {
    match error {
        PictureError::Source(error) => error.into(),
        error => Complaint::new("bad_picture", error.to_string(), "send another picture or clip").into(),
    }
}

/// What was asked for cannot be sampled.
pub(super) fn asked(error: SamplerError) -> Complaint {
    Complaint::new("bad_setting", error.to_string(), "correct it, or leave it out")
}

/// An error of the subject on its way through the sampler.
pub(super) fn sampled(error: EngineError) -> SamplerError {
    SamplerError::Scene(Box::new(error))
}

pub(super) fn failed(error: SamplerError) -> EngineError {
    match error {
        SamplerError::Stopped => EngineError::Stopped,
        SamplerError::Scene(error) => match error.downcast::<EngineError>() {
            Ok(error) => *error,
            Err(error) => EngineError::Failed(error.to_string()),
        },
        SamplerError::NotFinite { .. } | SamplerError::Dit(DitError::NotFinite { .. }) => {
            let hint = "`talkie models check infinitetalk` says which file is wrong";
            EngineError::Rejected(Complaint::new("wrong_weights", error.to_string(), hint))
        }
        error => EngineError::Failed(error.to_string()),
    }
}
