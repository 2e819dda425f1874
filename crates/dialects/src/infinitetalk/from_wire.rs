//! From InfiniteTalk's words to an order. The only place that knows its defaults.

use std::path::PathBuf;

use axum::http::HeaderMap;
use contract::{EngineCard, Fps, Value};
use jobs::{Delivery, Order, SubjectSpec, TakeSpec, Terms, VoiceSpec, Work};

use super::wire::{GenerateRequest, Metadata, Resolution};
use crate::front_door::dates;
use crate::front_door::errand::{fingerprint, idempotency};
use crate::front_door::house::{Room, settings};
use crate::front_door::json;
use crate::front_door::keys::Owner;
use crate::front_door::model::{Field, Fitting, INT, Kind, Model, Need};
use crate::front_door::refused::Refused;

/// The same request finds its job for this long after its end.
const ATTACH_S: u32 = 60;
/// Characters of the prompt in a file's name.
const PROMPT_IN_NAME: usize = 30;
const FPS: Fps = Fps::whole(25);
/// x264; the original saves at ffmpeg's default quality.
const CRF: u8 = 20;

/// Documented; with weights that were made for others, what is left out is theirs.
const STEPS: i64 = 40;
const TEXT_SCALE: f64 = 5.0;
const AUDIO_SCALE: f64 = 4.0;

pub static GENERATE: Model = Model {
    name: "VideoGenerationRequest",
    fields: &[
        Field {
            name: "audio_path",
            kind: Kind::Text,
            need: Need::Required,
            help: "The voice: a file below a media root of this server",
        },
        Field {
            name: "image_path",
            kind: Kind::Text,
            need: Need::Required,
            help: "The portrait: a file below a media root of this server",
        },
        Field { name: "prompt", kind: Kind::Text, need: Need::Text(""), help: "What is to be seen" },
        Field {
            name: "resolution",
            kind: Kind::Text,
            need: Need::Text("infinitetalk-480"),
            help: "infinitetalk-480 or infinitetalk-720",
        },
        Field { name: "seed", kind: INT, need: Need::Int(42), help: "Equal seeds give equal videos" },
        Field { name: "diffusion_steps", kind: INT, need: Need::Int(STEPS), help: "" },
        Field { name: "text_guide_scale", kind: Kind::Float, need: Need::Float(TEXT_SCALE), help: "" },
        Field { name: "audio_guide_scale", kind: Kind::Float, need: Need::Float(AUDIO_SCALE), help: "" },
        Field {
            name: "motion_frame",
            kind: INT,
            need: Need::Int(9),
            help: "Frames by which the pieces of a video overlap",
        },
        Field { name: "use_color_correction", kind: Kind::Bool, need: Need::Bool(true), help: "" },
    ],
};

pub fn request(room: &Room, fitting: &Fitting) -> Result<GenerateRequest, Refused> {
    let resolution = match fitting.text("resolution") {
        "infinitetalk-480" => Resolution::P480,
        "infinitetalk-720" => Resolution::P720,
        other => {
            let detail =
                format!("Unsupported resolution: {other}. Use 'infinitetalk-480' or 'infinitetalk-720'");
            return Err(Refused::bad(detail));
        }
    };
    let sent = |name: &'static str| (!fitting.left_out(name)).then_some(name);
    Ok(GenerateRequest {
        audio_path: fitting.text("audio_path").to_owned(),
        image_path: fitting.text("image_path").to_owned(),
        prompt: fitting.text("prompt").to_owned(),
        resolution,
        seed: fitting.int("seed").unwrap_or_default(),
        diffusion_steps: sent("diffusion_steps").and_then(|name| fitting.int(name)),
        text_guide_scale: sent("text_guide_scale").and_then(|name| fitting.float(name)),
        audio_guide_scale: sent("audio_guide_scale").and_then(|name| fitting.float(name)),
        motion_frame: match fitting.left_out("motion_frame") {
            true => room.house.infinitetalk.motion_frame,
            false => fitting.int("motion_frame").unwrap_or_default(),
        },
        use_color_correction: fitting.flag("use_color_correction"),
    })
}

pub async fn order(
    room: &Room,
    card: &EngineCard,
    Owner(owner): Owner,
    headers: &HeaderMap,
    request: &GenerateRequest,
) -> Result<Order, Refused> {
    let desk = &room.house.desk;
    let source =
        |name: &str| desk.source(room.dialect, name).map_err(|complaint| Refused::complaint(&complaint));
    let (voice, picture) = (source(&request.audio_path)?, source(&request.image_path)?);
    let twin = fingerprint(room.dialect, &format!("{owner} {request:?}"), &[&voice, &picture]).await;
    let mut sent = vec![
        ("size", Value::Int(request.resolution.longest())),
        ("resolution", Value::Text(request.resolution.name().to_owned())),
        ("motion_frame", Value::Int(request.motion_frame)),
        ("color_correction", Value::Bool(request.use_color_correction)),
    ];
    let scales =
        [("text_guide_scale", request.text_guide_scale), ("audio_guide_scale", request.audio_guide_scale)];
    sent.extend(request.diffusion_steps.map(|steps| ("diffusion_steps", Value::Int(steps))));
    sent.extend(scales.into_iter().filter_map(|(name, scale)| Some((name, Value::Float(scale?)))));
    let take = TakeSpec {
        engine: card.name.to_owned(),
        subject: SubjectSpec::Picture(picture),
        voice: VoiceSpec::File { source: voice, start: None, duration: None },
        prompt: Some(request.prompt.clone()).filter(|prompt| !prompt.is_empty()),
        fps: Some(FPS),
        max_frames: None,
        seed: request.seed as u64,
        settings: settings(card, sent),
        landmarks: None,
        crf: CRF,
    };
    let now_ms = room.house.clock.now_ms();
    let timestamp = dates::stamp(now_ms);
    let path = place(room, request, now_ms).await;
    Ok(Order {
        dialect: room.dialect,
        owner,
        work: Work::Take(take),
        priority: 0,
        idempotency: idempotency(headers)?,
        twin: Some(twin),
        attach_s: ATTACH_S,
        deliver: Delivery { path: Some(path), s3: None },
        avatar: None,
        note: serde_json::to_value(metadata(request, timestamp)).unwrap_or_default(),
        terms: Terms::default(),
    })
}

/// Where the video is delivered: never where another lies, or is about to.
async fn place(room: &Room, request: &GenerateRequest, now_ms: i64) -> PathBuf {
    let timestamp = dates::stamp(now_ms);
    let path = room.house.infinitetalk.output.join(file_name(request, &timestamp));
    let first = room.house.common.first_in(now_ms.div_euclid(1000));
    if first && matches!(tokio::fs::try_exists(&path).await, Ok(false)) {
        return path;
    }
    let random = uuid::Uuid::new_v4().simple().to_string();
    path.with_file_name(file_name(request, &format!("{timestamp}_{}", &random[..8])))
}

/// `infinitetalk_{resolution}_{prompt}_{timestamp}.mp4`
pub fn file_name(request: &GenerateRequest, timestamp: &str) -> String {
    let safe = |c: char| if c == ' ' || c == '/' || c.is_control() { '_' } else { c };
    let prompt: String = request.prompt.chars().map(safe).take(PROMPT_IN_NAME).collect();
    format!("infinitetalk_{}_{prompt}_{timestamp}.mp4", request.resolution.name())
}

/// What is known of it before it is made.
fn metadata(request: &GenerateRequest, timestamp: String) -> Metadata {
    let float = |value: Option<f64>, usual| json::float(value.unwrap_or(usual)).unwrap_or_default();
    Metadata {
        seed: request.seed.to_string(),
        diffusion_steps: request.diffusion_steps.unwrap_or(STEPS).to_string(),
        text_guide_scale: float(request.text_guide_scale, TEXT_SCALE),
        audio_guide_scale: float(request.audio_guide_scale, AUDIO_SCALE),
        resolution_bucket: request.resolution.name().to_owned(),
        actual_resolution: String::new(),
        motion_frame: request.motion_frame.to_string(),
        color_correction: request.use_color_correction.to_string(),
        timestamp,
        engine: String::new(),
        weights: String::new(),
    }
}
