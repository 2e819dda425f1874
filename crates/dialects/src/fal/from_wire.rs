//! From fal's words to orders. The only place that knows its defaults and its limits.

use std::time::Duration;

use axum::http::HeaderMap;
use contract::{EngineCard, Fps, Value};
use futures_util::StreamExt;
use jobs::{Delivery, Held, Order, Source, SubjectSpec, TakeSpec, Terms, VoiceSpec, Work, is_data_uri};
use sha2::{Digest, Sha256};

use super::apps::{App, FPS, Plays, Shape};
use super::crowd;
use super::files::{self, FileName};
use super::way::Bases;
use super::wire::Note;
use super::{DIALECT, Door};
use crate::front_door::aside::aside;
use crate::front_door::errand::{fingerprint, idempotency};
use crate::front_door::house::settings;
use crate::front_door::json::Json;
use crate::front_door::keys::Owner;
use crate::front_door::model::{Fitting, Mistake, Place};
use crate::front_door::refused::{Refused, broken};

/// How long the same request still finds what it asked for.
const ATTACH_S: u32 = 60;
const CRF: u8 = 20;
/// Characters of a `data:` URI, and of any other address.
const DATA_URI_LIMIT: usize = 10 << 20;
const URL_LIMIT: usize = 2048;
/// Billed at this multiple beyond so many frames, where a clip is the input.
const LONG_CLIP: (i64, f64) = (81, 1.25);

const BODY: Place<'_> = Place::Root("body");

/// Who plays an app: its engine's card.
pub fn engine<'a>(door: &'a Door, app: &App) -> Result<&'a EngineCard, Refused> {
    match app.plays {
        Plays::Cast(dialect) => door.room.engine_of(dialect),
        Plays::Engine(name) => {
            let card = door.room.house.desk.engines().iter().find(|card| card.name == name);
            card.ok_or_else(|| Refused::later(format!("the engine `{name}` is not there"), 60))
        }
    }
}

/// What a client wants of an app.
pub struct Input {
    pub fields: Fitting,
    /// Of all fields, those that were left out included: hex.
    pub sha256: String,
}

impl Input {
    /// `{"image_url": …}`, whatever content type it comes under.
    pub fn of_body(app: &App, bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(Refused::Invalid(vec![BODY.missing(&Json::Null)]));
        }
        let mut mistakes = Vec::new();
        let fields = app.input.read(&json_of(bytes)?, BODY, &mut mistakes);
        Self::checked(fields, mistakes)
    }

    /// The same from a query, of a client that says `method: "get"`.
    pub fn of_query(app: &App, query: Option<&str>) -> Result<Self, Refused> {
        let mut mistakes = Vec::new();
        let fields = crate::front_door::body::query(query.unwrap_or_default(), app.input, &mut mistakes);
        Self::checked(fields, mistakes)
    }

    fn checked(fields: Fitting, mistakes: Vec<Mistake>) -> Result<Self, Refused> {
        if !mistakes.is_empty() {
            return Err(Refused::Invalid(mistakes));
        }
        let sha256 = hex::encode(Sha256::digest(fields.dump().to_string()));
        Ok(Self { fields, sha256 })
    }
}

fn json_of(bytes: &[u8]) -> Result<Json, Refused> {
    if crowd::in_json(bytes) {
        let most = crowd::MOST;
        return Err(Refused::bad(format!(
            "the body holds more than {most} values, the limit; send the app's fields only"
        )));
    }
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| {
        let msg = format!("JSON decode error: {error}");
        Refused::Invalid(vec![BODY.mistake("json_invalid", msg, &Json::Null)])
    })?;
    Ok(value.into())
}

/// What a client may say of a request besides its input.
#[derive(Debug, Default)]
pub struct Conditions {
    pub priority: i32,
    /// Seconds until it must have begun.
    pub start: Option<Duration>,
    pub webhook: Option<String>,
    /// How long its files are kept after its end.
    pub life: Option<Duration>,
}

pub fn conditions(door: &Door, headers: &HeaderMap, webhook: Option<String>) -> Result<Conditions, Refused> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let priority = match text("x-fal-queue-priority") {
        Some("low") => -1,
        _ => 0,
    };
    let start = match text("x-fal-request-timeout") {
        None => None,
        Some(given) => {
            let seconds: Option<f64> = given.trim().parse().ok().filter(|seconds| *seconds > 0.1);
            let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            Some(seconds.ok_or_else(|| {
                Refused::bad(format!("X-Fal-Request-Timeout is `{given}`, it must be seconds, more than 0.1"))
            })?)
        }
    };
    if let Some(url) = &webhook {
        let refused = |why: String| Refused::bad(format!("fal_webhook cannot be used: {why}"));
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(refused(format!("`{}` is no http: or https: address", shown(url))));
        }
        door.room.house.desk.source(DIALECT, url).map_err(|complaint| refused(complaint.to_string()))?;
    }
    Ok(Conditions { priority, start, webhook, life: lifecycle(headers) })
}

/// `{"expiration_duration_seconds": n}`, as an object or its text.
pub fn lifecycle(headers: &HeaderMap) -> Option<Duration> {
    let told =
        headers.get("x-fal-object-lifecycle-preference").or_else(|| headers.get("x-fal-object-lifecycle"))?;
    let told: serde_json::Value = serde_json::from_slice(told.as_bytes()).ok()?;
    Duration::try_from_secs_f64(told.get("expiration_duration_seconds")?.as_f64()?).ok()
}

fn shown(url: &str) -> String {
    url.chars().take(80).collect()
}

/// An order of `app`, by whoever asks for it from the addresses of `bases`, and the copies that were made for it.
pub async fn order(
    door: &Door,
    owner: &Owner,
    (app, input, bases): (&'static App, &Input, &Bases),
    conditions: Conditions,
    headers: &HeaderMap,
) -> Result<(Order, Vec<Held>), Refused> {
    let card = engine(door, app)?;
    let fields = &input.fields;
    let mut copies = Vec::new();
    let (take, drawn) = take(door, card, (app, fields, bases), &mut copies).await?;
    let words = format!("{} {} {} {:?}", owner.0, app.id, input.sha256, conditions.webhook);
    let idempotency = idempotency(headers)?;
    // a drawn seed asks for something else each time, unless the client's own key says that it is the same request
    let twin = match (&idempotency, drawn) {
        (_, false) => Some(words),
        (Some(key), true) => Some(format!("{words} {key}")),
        (None, true) => None,
    };
    let twin = match twin {
        Some(words) => Some(fingerprint(DIALECT, &words, &[]).await),
        None => None,
    };
    let now_ms = door.room.house.clock.now_ms();
    let note =
        Note { app: app.id.to_owned(), rate: rate(app, fields), cdn: bases.cdn().into_owned(), wrong: None };
    let ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    let order = Order {
        dialect: DIALECT,
        owner: owner.0.clone(),
        work: Work::Take(take),
        priority: conditions.priority,
        idempotency,
        twin,
        attach_s: ATTACH_S,
        deliver: Delivery::default(),
        avatar: None,
        note: serde_json::to_value(note).unwrap_or_default(),
        terms: Terms {
            start_by_ms: conditions.start.map(|span| now_ms.saturating_add(ms(span))),
            keep_ms: conditions.life.map(ms),
            webhook: conditions.webhook,
        },
    };
    Ok((order, copies))
}

/// The take, and whether its seed was drawn.
async fn take(
    door: &Door,
    card: &EngineCard,
    (app, fields, bases): (&App, &Fitting, &Bases),
    copies: &mut Vec<Held>,
) -> Result<(TakeSpec, bool), Refused> {
    let drawn = fields.int("seed").is_none();
    let seed = fields.int("seed").unwrap_or_else(|| (uuid::Uuid::new_v4().as_u128() & 0x7fff_ffff) as i64);
    let mut source =
        async |field: &'static str| source(door, bases, (field, fields.text(field)), copies).await;
    let (subject, voice) = match app.shape {
        Shape::Picture => {
            (filling(source("image_url").await?, (fields, card)), file(source("audio_url").await?))
        }
        Shape::Text => (filling(source("image_url").await?, (fields, card)), text(fields, "text_input")?),
        Shape::Clip => (SubjectSpec::Clip(source("video_url").await?), file(source("audio_url").await?)),
        Shape::MuseTalk => {
            (SubjectSpec::PictureOrClip(source("video_url").await?), file(source("audio_url").await?))
        }
        Shape::Svd => {
            let seconds = fields.int("seconds").unwrap_or_default() as f64;
            (SubjectSpec::Picture(source("image_url").await?), VoiceSpec::Idle { seconds })
        }
        Shape::Puppet => {
            let voice = match one_of(fields)? {
                Saying::Audio => file(source("audio_url").await?),
                Saying::Text => text(fields, "text_input")?,
                Saying::Nothing { seconds } => VoiceSpec::Idle { seconds },
            };
            (SubjectSpec::PictureOrClip(source("image_url").await?), voice)
        }
    };
    // of the longest of the shapes, so that none is made smaller
    let longest = |fields: &Fitting| match fields.text("resolution") {
        "720p" => 2048,
        _ => 1280,
    };
    let (fps, frames, sent) = match app.shape {
        Shape::Picture | Shape::Text | Shape::Clip => {
            let sent = vec![
                ("size", Value::Int(longest(fields).min(i64::from(card.max_longest)))),
                ("resolution", Value::Text(fields.text("resolution").to_owned())),
                ("acceleration", Value::Text(fields.text("acceleration").to_owned())),
            ];
            (Some(Fps::whole(FPS)), fields.int("num_frames"), sent)
        }
        Shape::MuseTalk => (
            Some(Fps::whole(FPS)),
            None,
            vec![("bbox_shift", Value::Int(fields.int("bbox_shift").unwrap_or(0)))],
        ),
        Shape::Svd => (None, None, vec![("size", Value::Int(fields.int("size").unwrap_or(1024)))]),
        Shape::Puppet => {
            let mut sent = vec![("crop", Value::Text(fields.text("crop").to_owned()))];
            sent.extend(fields.int("size").map(|size| ("size", Value::Int(size))));
            (None, None, sent)
        }
    };
    let prompt = fields.optional("prompt").filter(|prompt| !prompt.is_empty()).map(str::to_owned);
    prompt.iter().try_for_each(|prompt| check_length("prompt", prompt))?;
    let take = TakeSpec {
        engine: card.name.to_owned(),
        subject,
        voice,
        prompt,
        fps,
        max_frames: frames.and_then(|frames| u64::try_from(frames).ok()),
        seed: seed as u64,
        settings: settings(card, sent),
        landmarks: None,
        crf: CRF,
    };
    Ok((take, drawn))
}

/// Width and height, for each shape that a picture can have: the model's own.
#[rustfmt::skip]
const P480: [(u32, u32); 15] = [
    (1216, 320), (1024, 384), (896, 448), (768, 512), (704, 576), (640, 640), (576, 704), (512, 768), (448, 832),
    (448, 896), (384, 960), (384, 1088), (320, 1152), (320, 1216), (320, 1280),
];
#[rustfmt::skip]
const P720: [(u32, u32); 21] = [
    (2048, 448), (1792, 512), (1600, 576), (1408, 640), (1280, 704), (1216, 768), (1088, 832), (1024, 896), (960, 960),
    (896, 1024), (832, 1088), (768, 1152), (768, 1216), (704, 1280), (704, 1344), (640, 1408), (640, 1472), (576, 1536),
    (576, 1664), (512, 1856), (512, 1920),
];

/// "If the input image does not match the chosen aspect ratio, it is resized and center cropped."
/// An engine that has the model's own sizes does that itself.
fn filling(picture: Source, (fields, card): (&Fitting, &EngineCard)) -> SubjectSpec {
    if card.settings.iter().any(|setting| setting.name == "resolution") {
        return SubjectSpec::Picture(picture);
    }
    let sizes = match fields.text("resolution") {
        "720p" => P720.to_vec(),
        _ => P480.to_vec(),
    };
    SubjectSpec::Filling { picture, sizes }
}

fn file(source: Source) -> VoiceSpec {
    VoiceSpec::File { source, start: None, duration: None }
}

fn text(fields: &Fitting, field: &'static str) -> Result<VoiceSpec, Refused> {
    let text = fields.text(field);
    if text.trim().is_empty() {
        let msg = "String should have at least 1 character";
        let at = Place::In(&BODY, field);
        let input = Json::Text(text.to_owned());
        return Err(Refused::Invalid(vec![at.beyond("string_too_short", msg, ("min_length", 1), &input)]));
    }
    check_length(field, text)?;
    Ok(VoiceSpec::Text(text.to_owned()))
}

/// Of a prompt, and of a text that is spoken: what the speech synthesis takes, and many times what a model reads.
const LONGEST_TEXT: usize = 20_000;

fn check_length(field: &'static str, text: &str) -> Result<(), Refused> {
    if text.chars().take(LONGEST_TEXT + 1).count() <= LONGEST_TEXT {
        return Ok(());
    }
    let msg = format!("String should have at most {LONGEST_TEXT} characters");
    let at = Place::In(&BODY, field);
    let begin: String = text.chars().take(100).collect();
    let limit = ("max_length", LONGEST_TEXT as i64);
    Err(Refused::Invalid(vec![at.beyond("string_too_long", &msg, limit, &Json::Text(begin))]))
}

enum Saying {
    Audio,
    Text,
    Nothing { seconds: f64 },
}

fn one_of(fields: &Fitting) -> Result<Saying, Refused> {
    let seconds = fields.float("seconds");
    let (audio, text) = (fields.optional("audio_url"), fields.optional("text_input"));
    let wrong = |msg: &str| Err(Refused::Invalid(vec![BODY.mistake("value_error", msg, &fields.dump())]));
    match (audio, text, seconds) {
        (Some(_), None, None) => Ok(Saying::Audio),
        (None, Some(_), None) => Ok(Saying::Text),
        (None, None, Some(seconds)) if seconds > 0.0 => Ok(Saying::Nothing { seconds }),
        (None, None, Some(_)) => wrong("seconds must be more than 0"),
        (None, None, None) => wrong("one of audio_url, text_input and seconds is needed"),
        _ => wrong("only one of audio_url, text_input and seconds can be used"),
    }
}

/// Where an input lies: a file of ours, or an address that this server may fetch. `copies`: what is made for it joins them.
pub async fn source(
    door: &Door,
    bases: &Bases,
    (field, url): (&'static str, &str),
    copies: &mut Vec<Held>,
) -> Result<Source, Refused> {
    let at = Place::In(&BODY, field);
    let told = Json::Text(shown(url));
    let wrong = |mistake: Mistake| Refused::Invalid(vec![mistake]);
    let data = is_data_uri(url);
    let limit = if data { DATA_URI_LIMIT } else { URL_LIMIT };
    if url.len() > limit {
        let msg = format!("URL should have at most {limit} characters; upload the file instead");
        return Err(wrong(at.beyond("string_too_long", msg, ("max_length", limit as i64), &told)));
    }
    if let Some(path) = bases.file_path(url)
        && let Some(source) = own_file(door, &path, copies).await?
    {
        return Ok(source);
    }
    if !data && !url.starts_with("https://") && !url.starts_with("http://") {
        let msg = "URL should be https:, http: or data:, or a file uploaded before";
        return Err(wrong(at.mistake("url_scheme", msg, &told)));
    }
    let (desk, owned) = (door.room.house.desk.clone(), url.to_owned());
    aside(url.len(), move || desk.source(DIALECT, &owned)).await.map_err(|complaint| {
        wrong(at.mistake("file_download_error", format!("Failed to download the file: {complaint}"), &told))
    })
}

/// A file of ours by its path: an upload as it is, a take as a copy, so that either may go while the other stays.
async fn own_file(door: &Door, path: &str, copies: &mut Vec<Held>) -> Result<Option<Source>, Refused> {
    let desk = &door.room.house.desk;
    match files::named(path) {
        Some(FileName::Upload(key)) => {
            let there = desk.open_upload(&key).await.map_err(broken)?.is_some();
            Ok(there.then_some(Source::Stored(key)))
        }
        Some(FileName::Take(job)) => {
            let Some(reading) = desk.open_take(&job).await.map_err(broken)? else { return Ok(None) };
            let complaint = |complaint| Refused::complaint(&complaint);
            let mut upload = desk.receive("take.mp4", reading.bytes).await.map_err(complaint)?;
            let mut pieces = reading.range(0, reading.bytes).await;
            while let Some(piece) = pieces.next().await {
                let piece =
                    piece.map_err(|error| Refused::later(format!("a take cannot be read: {error}"), 5))?;
                upload.write(&piece).await.map_err(complaint)?;
            }
            let copy = upload.hold().await.map_err(complaint)?;
            let source = copy.source.clone();
            copies.push(copy);
            Ok(Some(source))
        }
        None => Ok(None),
    }
}

/// Billable units a second: $0.2 each at fal, doubled at 720p.
fn rate(app: &App, fields: &Fitting) -> f64 {
    let doubled = if fields.text("resolution") == "720p" { 2.0 } else { 1.0 };
    let (frames, more) = LONG_CLIP;
    let long = app.shape == Shape::Clip && fields.int("num_frames").is_some_and(|asked| asked > frames);
    if long { doubled * more } else { doubled }
}
