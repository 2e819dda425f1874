//! From a job that has ended to the MuseTalk S3 API's words.

use axum::http::StatusCode;
use jobs::{Ending, JobView};

use super::wire::{InferenceRequest, InferenceResponse};
use crate::front_door::errand::made;
use crate::front_door::hold::Answer;
use crate::front_door::house::{take_header, weight_names};
use crate::front_door::refused::Refused;

/// The original's words before a reason; `upload` is where the result was to go.
pub fn opening(view: &JobView, upload: Option<&str>) -> &'static str {
    match &view.ending {
        Some(Ending::Failed(failure)) if failure.code.starts_with("s3") => {
            if upload.is_some_and(|upload| failure.message.contains(upload)) {
                "Failed to upload file to S3: "
            } else {
                "Failed to download file from S3: "
            }
        }
        _ => "Inference failed: ",
    }
}

/// Whosever fault it is that S3 does not give or take a file, the original documents a 500.
pub fn s3_failure(view: &JobView, upload: Option<&str>) -> Result<(), Refused> {
    match &view.ending {
        Some(Ending::Failed(failure)) if failure.code.starts_with("s3") => {
            let detail = format!("{}{}", opening(view, upload), failure.message);
            Err(Refused::said(StatusCode::INTERNAL_SERVER_ERROR, detail))
        }
        _ => Ok(()),
    }
}

pub fn answer(request: &InferenceRequest, upload: Option<&str>, view: &JobView) -> Result<Answer, Refused> {
    s3_failure(view, upload)?;
    let made = made(opening(view, upload), view)?;
    let response = InferenceResponse {
        avatar_id: request.avatar_id.clone(),
        audio_id: request.audio_id.clone(),
        output_path: made.path.as_ref().map(|path| path.display().to_string()),
        s3_output_path: made.s3.clone(),
        message: "Inference completed successfully",
        engine: made.take.engine.clone(),
        weights: weight_names(&made.take.weights),
    };
    let body = serde_json::to_string(&response)
        .map_err(|error| Refused::said(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(Answer::of(body, take_header(&made.take)))
}
