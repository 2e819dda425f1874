//! Pages of any site may ask, as with fal; what they may name are addresses and uploads, never files of this machine.

use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use super::to_wire;

const METHODS: &str = "GET, HEAD, POST, PUT, OPTIONS";
const EXPOSED: &str = "x-fal-request-id, x-fal-billable-units, x-fal-error-type, x-fal-retryable, x-fal-needs-retry, \
                       x-fal-request-timeout-type, x-talkie-engine, etag, content-range, retry-after";
const ANY: HeaderValue = HeaderValue::from_static("*");

/// What a page asks of its browser.
pub enum Asked {
    /// It is no page.
    Nothing,
    /// Whether it may send these headers.
    Leave { headers: Option<HeaderValue> },
    /// The answer, to be shown to it.
    Answer,
}

impl Asked {
    pub fn by(request: &Request) -> Self {
        let headers = request.headers();
        if !headers.contains_key(header::ORIGIN) {
            Asked::Nothing
        } else if *request.method() == Method::OPTIONS {
            Asked::Leave { headers: headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned() }
        } else {
            Asked::Answer
        }
    }
}

pub fn leave(asked: Option<HeaderValue>) -> Response {
    let mut response = to_wire::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.unwrap_or(ANY));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

pub fn shown(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    response
}
