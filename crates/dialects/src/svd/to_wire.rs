//! From the record to the backend's words.

use contract::EngineCard;
use jobs::{Ending, JobView, State, Work};

use super::wire::{GenerateRequest, Generation, Health};
use crate::front_door::dates;

const NO_SCRIPT: &str = "the script is kept but cannot steer the video: Stable Video Diffusion knows no text";
const STANDS_IN: &str =
    "no weights are configured: the built-in engine moves the portrait, and the script cannot steer it";

pub fn generation(view: &JobView, stand_in: bool) -> Generation {
    let request: Option<GenerateRequest> = serde_json::from_value(view.note.clone()).ok();
    let request = request.unwrap_or(GenerateRequest {
        character_image_url: String::new(),
        script: String::new(),
        duration: 0,
        quality: String::new(),
    });
    let (status, video_url) = match view.state {
        State::Queued => ("pending", None),
        State::Running => ("processing", None),
        State::Done => ("completed", Some(format!("/videos/video_{}.mp4", view.id))),
        State::Failed | State::Canceled => ("failed", None),
    };
    let error = match &view.ending {
        Some(Ending::Failed(failure)) => Some(failure.message.clone()),
        Some(Ending::Canceled) => Some("canceled".to_owned()),
        Some(Ending::Made(_) | Ending::Prepared(_)) | None => None,
    };
    let warning = if stand_in { STANDS_IN } else { NO_SCRIPT };
    Generation {
        id: view.id.clone(),
        character_image_url: request.character_image_url,
        script: request.script,
        duration: request.duration,
        quality: request.quality,
        video_url,
        status,
        created_at: dates::iso(view.created_ms),
        engine: view.work.as_ref().map(Work::engine).unwrap_or_default().to_owned(),
        warning: Some(warning.to_owned()),
        error,
    }
}

/// `video_{id}.mp4` -> id
pub fn video_id(name: &str) -> Option<&str> {
    name.strip_prefix("video_")?.strip_suffix(".mp4")
}

pub fn health() -> Health {
    Health { status: "ok", service: "AI Video Generator API" }
}

pub fn engine(card: &EngineCard) -> axum::http::HeaderValue {
    crate::front_door::house::engine_header(card.name, &card.weights)
}
