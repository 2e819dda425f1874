//! How a route says no: validation errors and `HTTPException`s in FastAPI's shapes, and what the desk's refusals become.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::Complaint;
use jobs::{Blame, Failure, Refusal};

use super::json::{Json, Unreadable};
use super::model::{Mistake, Step};

#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// 422, with everything that is wrong.
    Invalid(Vec<Mistake>),
    /// `{"detail": …}`
    Said { status: StatusCode, detail: String, retry_s: Option<u32> },
}

impl Refused {
    pub fn said(status: StatusCode, detail: impl Into<String>) -> Self {
        Refused::Said { status, detail: detail.into(), retry_s: None }
    }

    pub fn bad(detail: impl Into<String>) -> Self {
        Self::said(StatusCode::BAD_REQUEST, detail)
    }

    pub fn missing(detail: impl Into<String>) -> Self {
        Self::said(StatusCode::NOT_FOUND, detail)
    }

    pub fn unreadable(error: Unreadable) -> Self {
        match error {
            Unreadable::Invalid { at, error } => Refused::Invalid(vec![Mistake {
                kind: "json_invalid",
                loc: vec![Step::Name("body".into()), Step::At(at)],
                msg: "JSON decode error".into(),
                input: Json::Object(Vec::new()),
                ctx: Some(Box::new(Json::Object(vec![("error".into(), Json::Text(error.into()))]))),
            }]),
            Unreadable::Hopeless => Self::bad("There was an error parsing the body"),
        }
    }

    /// A body or a part of it beyond `limit` bytes.
    pub fn too_large(what: &str, limit: u64) -> Self {
        let mib = limit as f64 / f64::from(1 << 20);
        let detail = format!("{what} is larger than {mib:.1} MiB, the limit of this server");
        Self::said(StatusCode::PAYLOAD_TOO_LARGE, detail)
    }

    /// What a door of the desk refuses: what is not there is 404, too many bytes are 413, what lasts too long is 422, a broken
    /// store and a crowd are 503, and any other trouble of this machine 500.
    pub fn complaint(complaint: &Complaint) -> Self {
        let detail = complaint.to_string();
        match complaint.code {
            "disk_full" => Refused::Said { status: StatusCode::INSUFFICIENT_STORAGE, detail, retry_s: None },
            "busy" => Self::later(detail, 5),
            code if code.starts_with("record") || code.starts_with("store") => Self::later(detail, 5),
            code if jobs::is_machine_fault(code) => Self::said(StatusCode::INTERNAL_SERVER_ERROR, detail),
            code => Self::said(of_client(code), detail),
        }
    }

    pub fn later(detail: impl Into<String>, retry_s: u32) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Refused::Said { status, detail: detail.into(), retry_s: Some(retry_s) }
    }

    /// A job that failed, in the words its dialect opens with (`Inference failed: `).
    pub fn failure(opening: &str, failure: &Failure) -> Self {
        let hint = if failure.hint.is_empty() { String::new() } else { format!("; {}", failure.hint) };
        let detail = format!("{opening}{}{hint}", failure.message);
        match (failure.blame, failure.code.as_str()) {
            (Blame::Client, code) => Self::said(of_client(code), detail),
            (Blame::Server, _) => Self::said(StatusCode::INTERNAL_SERVER_ERROR, detail),
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rejected(complaint) => Self::complaint(&complaint),
            Refusal::Mismatch(complaint) => Self::said(StatusCode::CONFLICT, complaint.to_string()),
            Refusal::Busy { complaint, retry_s } => Self::later(complaint.to_string(), retry_s),
            Refusal::Broken(complaint) => Self::later(complaint.to_string(), 5),
        }
    }
}

/// What is wrong with what was sent.
fn of_client(code: &str) -> StatusCode {
    match code {
        "file_missing" => StatusCode::NOT_FOUND,
        "file_too_large" => StatusCode::PAYLOAD_TOO_LARGE,
        "audio_too_long" | "clip_too_long" | "text_too_long" | "too_long" => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// The record or the store does not answer.
pub fn broken(complaint: Complaint) -> Refused {
    Refused::later(complaint.to_string(), 5)
}

pub fn answer(status: StatusCode, body: &Json) -> Response {
    json_text(status, body.to_string())
}

/// 200 with what a wire type says.
pub fn told_as<T: serde::Serialize>(body: &T) -> Response {
    match serde_json::to_string(body) {
        Ok(body) => json_text(StatusCode::OK, body),
        Err(error) => {
            let detail = format!("the answer cannot be written: {error}");
            Refused::said(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response()
        }
    }
}

pub fn json_text(status: StatusCode, body: String) -> Response {
    let kind = HeaderValue::from_static("application/json");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn mistake_told(mistake: Mistake) -> Json {
    let step = |step| match step {
        Step::Name(name) => Json::Text(name),
        Step::At(at) => Json::Int(at as i64),
    };
    let mut fields = vec![
        ("type".to_owned(), Json::Text(mistake.kind.into())),
        ("loc".to_owned(), Json::List(mistake.loc.into_iter().map(step).collect())),
        ("msg".to_owned(), Json::Text(mistake.msg)),
        ("input".to_owned(), mistake.input),
    ];
    fields.extend(mistake.ctx.map(|ctx| ("ctx".to_owned(), *ctx)));
    Json::Object(fields)
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Refused::Invalid(mistakes) => {
                let detail = Json::List(mistakes.into_iter().map(mistake_told).collect());
                answer(StatusCode::UNPROCESSABLE_ENTITY, &Json::Object(vec![("detail".into(), detail)]))
            }
            Refused::Said { status, detail, retry_s } => {
                let mut response = answer(status, &Json::Object(vec![("detail".into(), Json::Text(detail))]));
                if let Some(seconds) = retry_s {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                response
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_fault_it_is_is_told_by_the_status() {
        let rows = [
            ("file_missing", 404),
            ("path_not_allowed", 400),
            ("bad_picture", 400),
            ("file_too_large", 413),
            ("clip_too_long", 422),
            ("ffmpeg_missing", 500),
            ("internal", 500),
            ("file_size_limit", 500),
            ("store_unreachable", 503),
            ("disk_full", 507),
            ("busy", 503),
            ("upload_unwritable", 500),
        ];
        for (code, expected) in rows {
            let refused = Refused::complaint(&Complaint::new(code, "why", "what to do"));
            assert_eq!(refused.into_response().status(), expected, "{code}");
        }
    }
}
