//! From the record to the backend's words.

use contract::{EngineCard, Value};
use jobs::{Ending, JobView, State, Work};

use super::wire::{GenerateRequest, Generation, Health};
use crate::front_door::dates;

const NO_SCRIPT: &str =
    "the script is kept but cannot steer the video: the engine that makes it knows no text";
const STANDS_IN: &str =
    "no weights are configured: the built-in engine moves the portrait, and the script cannot steer it";

/// Of the one who answers.
#[derive(Clone, Copy)]
pub struct Cast {
    pub stand_in: bool,
    /// The script steers the video.
    pub reads_prompt: bool,
}

pub fn generation(view: &JobView, cast: Cast) -> Generation {
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
    let mut warnings = Vec::new();
    match cast {
        Cast { stand_in: true, .. } => warnings.push(STANDS_IN.to_owned()),
        Cast { reads_prompt: false, .. } => warnings.push(NO_SCRIPT.to_owned()),
        Cast { reads_prompt: true, .. } => {}
    }
    if let Some(Ending::Made(made)) = &view.ending {
        warnings.extend(chained(&made.take.measured));
        warnings.extend(made.take.warnings.iter().map(|remark| remark.message.clone()));
    }
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
        warning: (!warnings.is_empty()).then(|| warnings.join("; ")),
        error,
    }
}

/// What the engine says of a video that is longer than its model's clip.
fn chained(measured: &[(String, Value)]) -> Option<String> {
    let whole = |name: &str| {
        measured.iter().find_map(|(of, value)| match value {
            Value::Int(value) if of == name => Some(*value),
            _ => None,
        })
    };
    let windows = whole("windows").filter(|windows| *windows > 1)?;
    Some(format!(
        "the video is {windows} clips of {} frames, one continued by the next",
        whole("window_frames")?
    ))
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
