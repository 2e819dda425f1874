//! Files out, as Starlette's `FileResponse` and `StaticFiles` give them: ETag, Last-Modified, ranges (one or several),
//! If-Range, and for static files the conditions that end in 304. Bytes are streamed from the store, never held.

use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use jobs::Reading;

/// More ranges in one request are a mistake or an attack: the whole file is the answer.
const RANGES: usize = 16;

/// A file that is about to be sent.
pub struct Sending<'a> {
    pub reading: Reading,
    pub content_type: &'a str,
    /// Without quotes.
    pub etag: &'a str,
    pub form: Form<'a>,
}

pub enum Form<'a> {
    /// As a file of a folder: conditions count, and HEAD.
    Static,
    /// As a download under a name.
    Attachment(&'a str),
}

pub async fn send(file: Sending<'_>, method: &Method, request: &HeaderMap) -> Response {
    let Sending { reading, content_type, etag, form } = file;
    let modified = UNIX_EPOCH + Duration::from_millis(reading.modified_ms.max(0) as u64);
    let modified = httpdate::fmt_http_date(modified);
    let etag = format!("\"{etag}\"");
    let mut headers = HeaderMap::new();
    let mut set = |name, value: &str| put(&mut headers, name, value);
    set(header::LAST_MODIFIED, &modified);
    set(header::ETAG, &etag);
    if matches!(form, Form::Static) && unchanged(request, &etag, &modified) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    set(header::CONTENT_TYPE, content_type);
    set(header::ACCEPT_RANGES, "bytes");
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if let Form::Attachment(name) = form {
        set(header::CONTENT_DISPOSITION, &disposition(name));
    }
    let whole = reading.bytes;
    let wanted = text(request, header::RANGE).filter(|_| matches!(*method, Method::GET | Method::HEAD));
    let fresh = text(request, header::IF_RANGE).is_none_or(|tag| tag == etag || tag == modified);
    let ranges = match wanted.filter(|_| fresh).map(|range| ranges(range, whole)) {
        None | Some(Ok(None)) => Vec::new(),
        Some(Ok(Some(ranges))) => ranges,
        Some(Err(unusable)) => return unusable.answer(whole),
    };
    let head = *method == Method::HEAD;
    match ranges.as_slice() {
        [] => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole));
            let body = if head { Body::empty() } else { Body::from_stream(piece(reading, 0, whole).await) };
            (StatusCode::OK, headers, body).into_response()
        }
        [(start, end)] => {
            let (start, end) = (*start, *end);
            let range = format!("bytes {start}-{}/{whole}", end - 1);
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
            put(&mut headers, header::CONTENT_RANGE, &range);
            let body = if head {
                Body::empty()
            } else {
                Body::from_stream(piece(reading, start, end - start).await)
            };
            (StatusCode::PARTIAL_CONTENT, headers, body).into_response()
        }
        several => {
            let boundary = uuid::Uuid::new_v4().simple().to_string()[..26].to_owned();
            let opening = |start: u64, end: u64| {
                format!(
                    "--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: bytes {start}-{}/{whole}\r\n\r\n",
                    end - 1
                )
            };
            let closing = format!("--{boundary}--");
            let length: u64 = several
                .iter()
                .map(|&(start, end)| opening(start, end).len() as u64 + (end - start) + 2)
                .sum();
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length + closing.len() as u64));
            let kind = format!("multipart/byteranges; boundary={boundary}");
            put(&mut headers, header::CONTENT_TYPE, &kind);
            if head {
                return (StatusCode::PARTIAL_CONTENT, headers).into_response();
            }
            let mut parts: Vec<BoxStream<'static, std::io::Result<Bytes>>> = Vec::new();
            let words = |text: String| stream::once(async { Ok(Bytes::from(text)) }).boxed();
            for &(start, end) in several {
                parts.push(words(opening(start, end)));
                parts.push(reading.range(start, end - start).await);
                parts.push(words("\r\n".into()));
            }
            parts.push(words(closing));
            let held = stream::iter(parts).flatten().map(move |piece| {
                let _held = &reading; // retention leaves the file until the last byte is out
                piece
            });
            (StatusCode::PARTIAL_CONTENT, headers, Body::from_stream(held)).into_response()
        }
    }
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Holds the reading until the last byte is out.
async fn piece(reading: Reading, start: u64, len: u64) -> BoxStream<'static, std::io::Result<Bytes>> {
    let bytes = reading.range(start, len).await;
    bytes
        .map(move |piece| {
            let _held = &reading;
            piece
        })
        .boxed()
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn unchanged(request: &HeaderMap, etag: &str, modified: &str) -> bool {
    if let Some(tags) = text(request, header::IF_NONE_MATCH) {
        let tags = tags.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
        return tags.into_iter().any(|tag| tag == etag || tag == "*");
    }
    let since =
        text(request, header::IF_MODIFIED_SINCE).and_then(|date| httpdate::parse_http_date(date).ok());
    since.zip(httpdate::parse_http_date(modified).ok()).is_some_and(|(since, modified)| since >= modified)
}

/// A `Range` that cannot be had.
enum Unusable {
    Malformed(&'static str),
    Beyond,
}

impl Unusable {
    fn answer(self, whole: u64) -> Response {
        match self {
            Unusable::Malformed(text) => (StatusCode::BAD_REQUEST, text).into_response(),
            Unusable::Beyond => {
                let mut refused = (StatusCode::RANGE_NOT_SATISFIABLE, "").into_response();
                put(refused.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{whole}"));
                refused
            }
        }
    }
}

/// Half-open ranges in order, merged; `None`: too many, send the whole.
fn ranges(header: &str, whole: u64) -> Result<Option<Vec<(u64, u64)>>, Unusable> {
    let malformed = |text| Err(Unusable::Malformed(text));
    let Some((unit, list)) = header.split_once('=') else {
        return malformed("Malformed range header.");
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return malformed("Only support bytes range");
    }
    if list.split(',').count() > RANGES {
        return Ok(None);
    }
    let mut ranges: Vec<(u64, u64)> = list.split(',').filter_map(|part| range(part.trim(), whole)).collect();
    if ranges.is_empty() {
        return malformed("Range header: range must be requested");
    }
    if ranges.iter().any(|(start, _)| *start >= whole) {
        return Err(Unusable::Beyond);
    }
    if ranges.iter().any(|(start, end)| start >= end) {
        return malformed("Range header: start must be less than end");
    }
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some((_, last)) if start <= *last => *last = end.max(*last),
            _ => merged.push((start, end)),
        }
    }
    Ok(Some(merged))
}

/// `None` for what is no range and is passed over.
fn range(part: &str, whole: u64) -> Option<(u64, u64)> {
    let (start, end) = part.split_once('-')?;
    match (start.trim(), end.trim()) {
        ("", "") => None,
        ("", "-0") => Some((whole, whole)),
        ("", suffix) => match suffix.parse::<i64>().ok()? {
            // `--5`: five bytes beyond the end
            negative if negative < 0 => Some((whole + negative.unsigned_abs(), whole)),
            last => Some((whole.saturating_sub(last.unsigned_abs()), whole)),
        },
        (start, "") => Some((start.parse().ok()?, whole)),
        (start, end) => {
            let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
            Some((start, if end < whole { end + 1 } else { whole }))
        }
    }
}

/// `attachment; filename="…"`, or the encoded form where the name needs it.
pub fn disposition(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_.-~/".contains(&b);
    if name.bytes().all(plain) {
        return format!("attachment; filename=\"{name}\"");
    }
    let encode = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    let encoded: String = name.bytes().map(encode).collect();
    format!("attachment; filename*=utf-8''{encoded}")
}
