//! From the record to fal's words: statuses, results, and fal's three shapes of errors. Never 408 or 409: fal's Python client
//! sends a request again that is answered so.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jobs::{Blame, Ending, Failure, JobView, Level, LogLine, State, Work};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::apps::{self, App};
use super::files::take_url;
use super::way::Bases;
use super::wire::{File, Log, Metrics, Note, Output, Status};
use crate::front_door::dates::iso;
use crate::front_door::house::{ENGINE_HEADER, take_header, weight_names};
use crate::front_door::model::{Mistake, Step};
use crate::front_door::refused::{Refused, json_text, told_as};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-fal-request-id");
pub const BILLABLE: HeaderName = HeaderName::from_static("x-fal-billable-units");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-fal-error-type");
const RETRYABLE: HeaderName = HeaderName::from_static("x-fal-retryable");
const NEEDS_RETRY: HeaderName = HeaderName::from_static("x-fal-needs-retry");
const TIMEOUT_TYPE: HeaderName = HeaderName::from_static("x-fal-request-timeout-type");

/// The request was canceled: nginx's word for a client that is gone.
const CLIENT_CLOSED: u16 = 499;

pub fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    let mut response = told_as(body);
    if response.status() == StatusCode::OK {
        *response.status_mut() = status;
    }
    response
}

pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A "no" as fal would say it.
#[derive(Clone, Debug, PartialEq)]
pub struct No {
    pub status: StatusCode,
    pub body: Value,
    /// Of errors that are not about the input.
    pub kind: Option<String>,
    pub retry_s: Option<u32>,
    /// The client's own deadline, which it set with the request, has passed.
    pub own_deadline: bool,
}

impl No {
    /// `{"detail": "…", "error_type": "…"}`
    pub fn flat(status: StatusCode, detail: impl Into<String>, kind: &str) -> Self {
        let detail: String = detail.into();
        let body = json!({ "detail": detail, "error_type": kind });
        Self { status, body, kind: Some(kind.to_owned()), retry_s: None, own_deadline: false }
    }

    /// `{"detail": "…"}`
    pub fn said(status: StatusCode, detail: impl Into<String>) -> Self {
        let detail: String = detail.into();
        Self { status, body: json!({ "detail": detail }), kind: None, retry_s: None, own_deadline: false }
    }

    /// `{"detail": [{"loc": …}]}`
    fn about(status: StatusCode, mistakes: Vec<Value>) -> Self {
        let body = json!({ "detail": mistakes });
        Self { status, body, kind: None, retry_s: None, own_deadline: false }
    }

    /// What the status of a request says in one line.
    pub fn line(&self) -> String {
        match &self.body["detail"] {
            Value::String(text) => text.clone(),
            Value::Array(mistakes) => {
                let lines: Vec<_> = mistakes.iter().filter_map(|mistake| mistake["msg"].as_str()).collect();
                lines.join("; ")
            }
            other => other.to_string(),
        }
    }

    /// Its kind, or that of the first mistake.
    pub fn named(&self) -> String {
        let first = || self.body["detail"][0]["type"].as_str().map(str::to_owned);
        self.kind.clone().or_else(first).unwrap_or_else(|| "internal_error".to_owned())
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let mut response = json_text(self.status, self.body.to_string());
        let headers = response.headers_mut();
        headers.insert(BILLABLE, HeaderValue::from_static("0"));
        if let Some(kind) = self.kind.as_deref().and_then(|kind| HeaderValue::from_str(kind).ok()) {
            headers.insert(ERROR_TYPE, kind);
        }
        let again =
            matches!(self.status.as_u16(), 502 | 503) || self.status.as_u16() == 504 && !self.own_deadline;
        let again = HeaderValue::from_static(if again { "true" } else { "false" });
        headers.insert(RETRYABLE, again.clone());
        headers.insert(NEEDS_RETRY, again);
        if self.own_deadline {
            headers.insert(TIMEOUT_TYPE, HeaderValue::from_static("user"));
        }
        if let Some(seconds) = self.retry_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Refused> for No {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(mistakes) => {
                No::about(StatusCode::UNPROCESSABLE_ENTITY, mistakes.into_iter().map(mistake).collect())
            }
            Refused::Said { status, detail, retry_s } => {
                let no = match status.as_u16() {
                    400 | 408 => No::flat(StatusCode::BAD_REQUEST, detail, "bad_request"),
                    // the key came with other work: sending it again would not help
                    409 => No::flat(StatusCode::UNPROCESSABLE_ENTITY, detail, "idempotency_mismatch"),
                    503 => No::flat(status, detail, "runner_scheduling_failure"),
                    500 | 507 => No::flat(StatusCode::INTERNAL_SERVER_ERROR, detail, "internal_error"),
                    _ => No::said(status, detail),
                };
                No { retry_s, ..no }
            }
        }
    }
}

fn error_url(kind: &str) -> String {
    format!("https://docs.fal.ai/errors#{kind}")
}

/// Characters of a text of the input that an error repeats: a `data:` URI is no news to its sender.
const REPEATED: usize = 200;
/// Characters of the whole input that it repeats, about: it is kept with the request.
const ROOM: usize = 4096;

/// `room`: what is left for this and what comes behind it.
fn shortened(input: Value, room: &mut usize) -> Value {
    *room = room.saturating_sub(4);
    let cut = |text: String, room: &mut usize| {
        let most = REPEATED.min(*room);
        *room = room.saturating_sub(text.len());
        match text.char_indices().nth(most) {
            Some((at, _)) => format!("{}…", &text[..at]),
            None => text,
        }
    };
    match input {
        Value::String(text) => Value::String(cut(text, room)),
        Value::Array(items) => {
            let items = items.into_iter();
            Value::Array(items.map_while(|item| (*room > 0).then(|| shortened(item, room))).collect())
        }
        Value::Object(fields) => {
            let fields = fields.into_iter();
            let kept = fields
                .map_while(|(name, value)| (*room > 0).then(|| (cut(name, room), shortened(value, room))));
            Value::Object(kept.collect())
        }
        other => other,
    }
}

fn mistake(mistake: Mistake) -> Value {
    let step = |step: &Step| match step {
        Step::Name(name) => json!(name),
        Step::At(at) => json!(at),
    };
    let input: Value = serde_json::from_str(&mistake.input.to_string()).unwrap_or_default();
    let mut room = ROOM;
    let input = shortened(input, &mut room);
    let mut told = json!({
        "loc": mistake.loc.iter().map(step).collect::<Vec<_>>(),
        "msg": mistake.msg,
        "type": mistake.kind,
        "url": error_url(mistake.kind),
        "input": input,
    });
    if let Some(ctx) = mistake.ctx {
        told["ctx"] = serde_json::from_str(&ctx.to_string()).unwrap_or_default();
    }
    told
}

/// How the request ended, if badly.
pub fn unmade(view: &JobView) -> Option<No> {
    match view.ending.as_ref()? {
        Ending::Made(made) if made.removed_ms.is_none() => None,
        Ending::Made(_) => Some(No::said(StatusCode::NOT_FOUND, "The result has expired")),
        Ending::Prepared(_) => Some(No::said(StatusCode::NOT_FOUND, "Request not found")),
        Ending::Failed(failure) => Some(failed(view, failure)),
        Ending::Canceled => {
            let status = StatusCode::from_u16(CLIENT_CLOSED).unwrap_or(StatusCode::BAD_REQUEST);
            Some(No::flat(status, "Request was cancelled", "client_cancelled"))
        }
    }
}

fn failed(view: &JobView, failure: &Failure) -> No {
    if let Some(wrong) = note(view).and_then(|note| note.wrong) {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return No { status, body: wrong, kind: None, retry_s: None, own_deadline: false };
    }
    let Failure { blame, code, message, hint } = failure;
    let msg = if hint.is_empty() { message.clone() } else { format!("{message}; {hint}") };
    match (blame, code.as_str()) {
        (_, "start_timeout") => {
            let no = No::flat(StatusCode::GATEWAY_TIMEOUT, "Request timed out", "request_timeout");
            No { own_deadline: true, ..no }
        }
        (Blame::Client, code) => {
            let field = field_of(view, code, message);
            let kind = kind_of(code, field);
            let loc = match field {
                Some(field) => json!(["body", field]),
                None => json!(["body"]),
            };
            let told = json!({ "loc": loc, "msg": msg, "type": kind, "url": error_url(kind), "input": null });
            No::about(StatusCode::UNPROCESSABLE_ENTITY, vec![told])
        }
        // nothing here speaks: the request's text cannot be used, whoever's fault that is
        (_, "tts_missing") => {
            let told = json!({
                "loc": ["body", "text_input"], "msg": msg, "type": "value_error", "url": error_url("value_error"), "input": null
            });
            No::about(StatusCode::UNPROCESSABLE_ENTITY, vec![told])
        }
        (_, "out_of_memory") => No::said(StatusCode::SERVICE_UNAVAILABLE, msg),
        (_, "stalled") => {
            let told = json!({
                "loc": ["body"], "msg": msg, "type": "generation_timeout", "url": error_url("generation_timeout"), "input": null
            });
            No::about(StatusCode::GATEWAY_TIMEOUT, vec![told])
        }
        (_, "poison" | "worker_died") => {
            No::flat(StatusCode::SERVICE_UNAVAILABLE, msg, "runner_disconnected")
        }
        _ => No::flat(StatusCode::INTERNAL_SERVER_ERROR, msg, "internal_error"),
    }
}

/// fal's name for what is wrong with an input.
fn kind_of(code: &str, field: Option<&str>) -> &'static str {
    match code {
        "unreadable_media" | "no_video" | "format_not_allowed" | "media_timeout" => match field {
            Some("audio_url") => "unsupported_audio_format",
            Some("image_url" | "video_url") => "image_load_error",
            _ => "value_error",
        },
        "file_missing" | "file_unreadable" | "file_empty" => "file_download_error",
        code if code.starts_with("url_") || code.starts_with("bad_url") || code.starts_with("bad_data") => {
            "file_download_error"
        }
        "file_too_large" => "file_too_large",
        "bad_picture" | "picture_damaged" | "no_picture" => "image_load_error",
        "picture_too_large" => "image_too_large",
        "picture_too_small" => "image_too_small",
        "no_face" | "face_too_small" => "face_detection_error",
        "audio_too_long" => "audio_duration_too_long",
        "audio_too_short" | "audio_empty" => "audio_duration_too_short",
        "no_audio" | "audio_broken" | "audio_channels" => "unsupported_audio_format",
        _ => "value_error",
    }
}

/// The input that a complaint is about: the one it names, or the only one it can be about.
fn field_of(view: &JobView, code: &str, message: &str) -> Option<&'static str> {
    let app = app_of(view)?;
    let has = |name: &'static str| app.input.fields.iter().any(|field| field.name == name).then_some(name);
    let seen = || has("image_url").or_else(|| has("video_url"));
    let heard = || has("audio_url").or_else(|| has("text_input"));
    if let Some(Work::Take(take)) = &view.work {
        let names = |source: &jobs::Source| match source {
            jobs::Source::Url(url) => message.contains(url.split(['?', '#']).next().unwrap_or(url)),
            jobs::Source::Stored(key) => message.contains(key.rsplit('/').next().unwrap_or(key)),
            jobs::Source::Path(_) | jobs::Source::S3(_) => false,
        };
        match (take.subject.source().is_some_and(names), take.voice.sources().into_iter().any(names)) {
            (true, false) => return seen(),
            (false, true) => return heard(),
            _ => {}
        }
    }
    match code {
        code if code.starts_with("audio") || code == "no_audio" => heard(),
        code if code.starts_with("text") || code == "no_tts" => has("text_input"),
        code if code.contains("picture") || code.contains("face") || code.starts_with("clip") => seen(),
        _ => None,
    }
}

pub fn log(line: LogLine) -> Log {
    Log {
        timestamp: iso(line.at_ms),
        message: line.message,
        level: match line.level {
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error => "ERROR",
        },
        source: "USER",
    }
}

/// How far it is, as a line of its log; `wait`: until it is likely to begin.
pub fn progress_line(view: &JobView, wait: Option<Duration>, now_ms: i64) -> Option<Log> {
    let message = match (view.state, view.position, view.progress) {
        (State::Queued, Some(position), _) => match wait {
            Some(wait) => {
                format!("waiting, {position} before it, about {:.0} s", wait.as_secs_f64().ceil())
            }
            None => format!("waiting, {position} before it"),
        },
        (State::Running, _, Some(progress)) => progress.to_string(),
        _ => return None,
    };
    Some(Log { timestamp: iso(now_ms), message, level: "INFO", source: "USER" })
}

/// The addresses of a request.
pub struct Addresses {
    pub response: String,
    pub status: String,
    pub cancel: String,
}

/// Which app a request was sent to; `None` where the record cannot be read.
pub fn app_of(view: &JobView) -> Option<&'static App> {
    view.note["app"].as_str().and_then(apps::find).map(|(app, _)| app)
}

pub fn addresses(bases: &Bases, view: &JobView) -> Addresses {
    let app = app_of(view).map_or("talkie", App::base);
    let response = bases.request(app, &view.id);
    Addresses { status: format!("{response}/status"), cancel: format!("{response}/cancel"), response }
}

pub fn note(view: &JobView) -> Option<Note> {
    Note::deserialize(&view.note).ok()
}

pub fn status(bases: &Bases, view: &JobView, logs: Option<Vec<Log>>) -> Status {
    let addresses = addresses(bases, view);
    let took = view.started_ms.zip(view.ended_ms);
    let (status, no) = match view.state {
        State::Queued => ("IN_QUEUE", None),
        State::Running => ("IN_PROGRESS", None),
        State::Done | State::Failed | State::Canceled => ("COMPLETED", unmade(view)),
    };
    Status {
        status,
        request_id: view.id.clone(),
        response_url: addresses.response,
        status_url: addresses.status,
        cancel_url: addresses.cancel,
        queue_position: view.position.or((view.state == State::Queued).then_some(0)),
        logs,
        metrics: Metrics { inference_time: took.map(|(from, to)| (to - from).max(0) as f64 / 1000.0) },
        error: no.as_ref().map(No::line),
        error_type: no.as_ref().map(No::named),
        gateway_request_id: None,
    }
}

/// What came of the request, as JSON, with its headers. `cdn`: where whoever asks finds files; without it, where whoever ordered it did.
pub fn output(view: &JobView, cdn: Option<&str>) -> Result<(Output, HeaderMap), No> {
    if let Some(no) = unmade(view) {
        return Err(no);
    }
    let (Some(Ending::Made(made)), Some(note)) = (&view.ending, note(view)) else {
        return Err(No::said(StatusCode::BAD_REQUEST, "Request is still in progress"));
    };
    let (url, file_name) = take_url(cdn.unwrap_or(&note.cdn), &view.id);
    let output = Output {
        video: File { url, content_type: "video/mp4", file_name, file_size: made.bytes },
        seed: made.take.seed as i64,
        engine: made.take.engine.clone(),
        weights: weight_names(&made.take.weights),
    };
    let mut headers = HeaderMap::new();
    let units = units(made.take.duration_s * note.rate);
    headers.insert(BILLABLE, HeaderValue::from_str(&units).unwrap_or(HeaderValue::from_static("0")));
    headers.insert(ENGINE_HEADER, take_header(&made.take));
    Ok((output, headers))
}

/// Integers plain, else eight digits.
fn units(units: f64) -> String {
    if units.fract() == 0.0 { format!("{units:.0}") } else { format!("{units:.8}") }
}

/// The result as it is told, good or bad.
pub fn result(view: &JobView, cdn: &str) -> Response {
    let mut response = match output(view, Some(cdn)) {
        Ok((output, headers)) => {
            let mut response = json(StatusCode::OK, &output);
            response.headers_mut().extend(headers);
            response
        }
        Err(no) => no.into_response(),
    };
    name(&mut response, &view.id);
    response
}

/// JavaScript's client knows a request's id only by this.
pub fn name(response: &mut Response, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_answer_makes_pythons_client_send_the_same_again() {
        for status in [400, 401, 404, 408, 409, 413, 422, 500, 503, 507] {
            let status = StatusCode::from_u16(status).unwrap();
            let no = No::from(Refused::said(status, "why"));
            assert!(!matches!(no.status.as_u16(), 408 | 409), "{status}");
            assert_eq!(no.body["detail"], "why");
        }
        let timed =
            No { own_deadline: true, ..No::flat(StatusCode::GATEWAY_TIMEOUT, "x", "request_timeout") };
        let response = timed.into_response();
        assert_eq!(response.headers()[TIMEOUT_TYPE], "user");
        assert_eq!(response.headers()[RETRYABLE], "false");
        assert_eq!(response.headers()[ERROR_TYPE], "request_timeout");
    }

    #[test]
    fn an_input_is_repeated_shortly_whatever_it_is() {
        let short = |input: Value| {
            let mut room = ROOM;
            shortened(input, &mut room)
        };
        let plain = json!({ "image_url": ["a", { "b": null }], "seed": 1.5, "end": true });
        assert_eq!(short(plain.clone()), plain);
        assert_eq!(short(json!("é".repeat(500))), json!(format!("{}…", "é".repeat(REPEATED))));
        let long = "x".repeat(1000);
        let deep = (0..100).fold(json!([]), |inner, _| json!([inner, long]));
        for wide in
            [json!(vec![0; 100_000]), json!(vec![long.clone(); 1000]), json!({ long.repeat(100): 1 }), deep]
        {
            let told = short(wide).to_string();
            assert!(told.len() < 3 * ROOM, "{} bytes", told.len());
        }
    }

    #[test]
    fn units_are_plain_where_they_can_be() {
        assert_eq!(units(5.0), "5");
        assert_eq!(units(5.8), "5.80000000");
        assert_eq!(units(0.0), "0");
    }
}
