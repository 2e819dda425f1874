//! From a job that has ended to InfiniteTalk's words.

use axum::http::StatusCode;
use contract::Value;
use jobs::JobView;

use super::wire::{Endpoints, GenerateResponse, Health, Index, Metadata, VERSION};
use crate::front_door::errand::made;
use crate::front_door::hold::Answer;
use crate::front_door::house::{Room, take_header, weight_names};
use crate::front_door::json;
use crate::front_door::refused::Refused;

const OPENING: &str = "Video generation failed: ";

pub fn answer(view: &JobView) -> Result<Answer, Refused> {
    let made = made(OPENING, view)?;
    let lost = |what: &str| Refused::said(StatusCode::INTERNAL_SERVER_ERROR, format!("{OPENING}{what}"));
    let path = made.path.as_ref().ok_or_else(|| lost("the video was not delivered"))?;
    let take = &made.take;
    let noted: Metadata = serde_json::from_value(view.note.clone()).map_err(|_| lost("its note is lost"))?;
    // what was left out is what the weights are made for
    let resolved = |name: &str, noted: String| match take.settings.iter().find(|(known, _)| known == name) {
        Some((_, Value::Int(whole))) => whole.to_string(),
        Some((_, Value::Float(real))) => json::float(*real).unwrap_or(noted),
        _ => noted,
    };
    let response = GenerateResponse {
        video_path: path.display().to_string(),
        duration_seconds: take.duration_s,
        resolution: take.size.to_string(),
        frame_count: take.frames,
        metadata: Metadata {
            actual_resolution: take.size.to_string(),
            engine: take.engine.clone(),
            weights: weight_names(&take.weights),
            diffusion_steps: resolved("diffusion_steps", noted.diffusion_steps),
            text_guide_scale: resolved("text_guide_scale", noted.text_guide_scale),
            audio_guide_scale: resolved("audio_guide_scale", noted.audio_guide_scale),
            ..noted
        },
    };
    let body = serde_json::to_string(&response).map_err(|_| lost("its answer cannot be written"))?;
    Ok(Answer::of(body, take_header(take)))
}

pub fn health(room: &Room) -> Health {
    Health {
        status: "healthy",
        model_loaded: room.ready(),
        gpu_available: room.house.gpu_available,
        version: VERSION,
    }
}

pub fn index() -> Index {
    Index {
        name: "InfiniteTalk API Server",
        version: VERSION,
        description: "Audio-driven talking head video generation",
        endpoints: Endpoints { health: "/api/health", generate: "/api/generate-video" },
    }
}
