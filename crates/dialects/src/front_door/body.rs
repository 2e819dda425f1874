//! Bodies and queries in, as FastAPI takes them: a query's mistakes before a body's, JSON only under a JSON content type.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::json::Json;
use super::model::{Fitting, Mistake, Model, Place, Sent};
use super::pace::Pace;
use super::refused::Refused;

/// A JSON request, whole: bodies that only hold words.
pub const JSON_LIMIT: u64 = 1 << 20;
/// Until all of it must be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// `application/json`, `application/anything+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.strip_prefix("application/").is_some_and(|sub| sub == "json" || sub.ends_with("+json"))
}

/// A body whole, which comes at a fair pace and in time: it has its place in memory from its first byte on.
pub async fn bytes(body: Body, limit: u64) -> Result<Bytes, Refused> {
    let late = |_| {
        let detail = format!("the body was not complete after {} s; send it again", PATIENCE.as_secs());
        Refused::said(StatusCode::REQUEST_TIMEOUT, detail)
    };
    tokio::time::timeout(PATIENCE, whole(body, limit)).await.map_err(late)?
}

async fn whole(body: Body, limit: u64) -> Result<Bytes, Refused> {
    let (mut body, mut whole) = (body.into_data_stream(), BytesMut::new());
    let pace = Pace::begin();
    while let Some(piece) = pace.next(whole.len() as u64, body.next()).await? {
        let piece = piece.map_err(|_| Refused::bad("There was an error parsing the body"))?;
        if (whole.len() + piece.len()) as u64 > limit {
            return Err(Refused::too_large("the body", limit));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// Texts of a query by name; the last of equal names counts.
pub fn query(raw: &str, model: &'static Model, mistakes: &mut Vec<Mistake>) -> Fitting {
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(raw.as_bytes()).into_owned().collect();
    let sent = |field: &super::model::Field| {
        let last = pairs.iter().rev().find(|(name, _)| name == field.name);
        last.map(|(_, value)| Sent::Text(value.clone()))
    };
    model.read_texts(sent, Place::Root("query"), mistakes)
}

/// A query alone.
pub fn read_query(raw: Option<&str>, model: &'static Model) -> Result<Fitting, Refused> {
    let mut mistakes = Vec::new();
    let fitting = query(raw.unwrap_or_default(), model, &mut mistakes);
    if mistakes.is_empty() { Ok(fitting) } else { Err(Refused::Invalid(mistakes)) }
}

/// A query and a JSON body, or every mistake of both.
pub async fn read(
    request: Request<Body>,
    query_model: Option<&'static Model>,
    model: &'static Model,
) -> Result<(Option<Fitting>, Fitting), Refused> {
    let (parts, body) = request.into_parts();
    let bytes = bytes(body, JSON_LIMIT).await?;
    // a body that is no JSON is told before anything else is looked at
    let input = if bytes.is_empty() {
        None
    } else if is_json(&parts.headers) {
        Some(Json::read(&bytes).map_err(Refused::unreadable)?)
    } else {
        Some(Json::Text(String::from_utf8_lossy(&bytes).into_owned()))
    };
    let mut mistakes = Vec::new();
    let query = query_model.map(|model| query(parts.uri.query().unwrap_or_default(), model, &mut mistakes));
    let fitting = match input {
        Some(input) => Some(model.read(&input, Place::Root("body"), &mut mistakes)),
        None => {
            mistakes.push(Place::Root("body").missing(&Json::Null));
            None
        }
    };
    match fitting {
        Some(fitting) if mistakes.is_empty() => Ok((query, fitting)),
        _ => Err(Refused::Invalid(mistakes)),
    }
}
