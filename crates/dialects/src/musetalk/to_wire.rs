//! From the desk's answers to MuseTalk's words, and from packets to the stream's exact framing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::stream;
use jobs::{Failure, JobView, Live};

use super::tickets::{LIFE_MS, Lent};
use super::wire::{Health, Info, Models, Preprocessed, Shape, Ticket};
use crate::front_door::errand::prepared;
use crate::front_door::house::{ENGINE_HEADER, Room};
use crate::front_door::refused::Refused;

pub const INFERENCE: &str = "Inference failed: ";
const PREPROCESSING: &str = "Preprocessing failed: ";

/// Until then a failure can still be told by a status; the documents' own client gives up after 5 s.
const FIRST_PACKET: Duration = Duration::from_secs(4);
/// A picture is repeated when the next one takes longer.
const REPEAT: Duration = Duration::from_secs(4);

pub fn health(room: &Room, avatars: Vec<String>) -> Health {
    let models = Models { loaded: room.ready(), device: room.house.device.clone() };
    Health { status: "running", models, loaded_avatars: avatars }
}

pub fn preprocessed(view: &JobView) -> Result<Preprocessed, Refused> {
    prepared(PREPROCESSING, view)?;
    let info: Option<Info> = serde_json::from_value(view.note.clone()).ok();
    let info = info.ok_or_else(|| {
        Refused::said(StatusCode::INTERNAL_SERVER_ERROR, format!("{PREPROCESSING}its note is lost"))
    })?;
    Ok(Preprocessed { message: "Avatar processed successfully", avatar_id: info.avatar_id.clone(), info })
}

pub fn unknown(id: &str) -> Refused {
    Refused::missing(format!("Avatar {id} not found"))
}

pub fn unprepared(id: &str) -> Refused {
    Refused::missing(format!("Avatar {id} not found. Preprocess it first."))
}

/// `path`: that of the request, which may carry a prefix.
pub fn ticket(path: &str, ticket: String) -> Ticket {
    let base = path.strip_suffix(".mp4").unwrap_or(path);
    let stream_url = format!("{base}/{ticket}");
    let video_url = format!("{stream_url}.mp4");
    Ticket { ticket, stream_url, video_url, expires_in: LIFE_MS / 1000 }
}

/// A live session, and the voice that goes when it has ended: in this order.
pub struct Session {
    live: Live,
    _voice: Option<Arc<Lent>>,
}

impl Session {
    pub fn new(live: Live, voice: Option<Arc<Lent>>) -> Self {
        Self { live, _voice: voice }
    }
}

/// Waits for the first packet, so that a voice that cannot be used is told as such, then streams.
pub async fn playing(mut session: Session, shape: Shape, engine: HeaderValue) -> Result<Response, Refused> {
    tracing::Span::current().record("job", &session.live.id);
    let first = match tokio::time::timeout(FIRST_PACKET, session.live.next()).await {
        Err(_) => None,
        Ok(Some(Ok(packet))) => Some(packet),
        Ok(Some(Err(failure))) => return Err(Refused::failure(INFERENCE, &failure)),
        Ok(None) => {
            let detail = format!("{INFERENCE}no frame was made");
            return Err(Refused::said(StatusCode::INTERNAL_SERVER_ERROR, detail));
        }
    };
    let (kind, body) = match shape {
        Shape::Pictures => ("multipart/x-mixed-replace; boundary=frame", pictures(session, first)),
        Shape::Film => ("video/mp4", film(session, first)),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(ENGINE_HEADER, engine);
    Ok(response)
}

/// One part, to be sent as one chunk: clients count chunks with a picture's first bytes.
pub fn part(jpeg: &[u8]) -> Bytes {
    const HEAD: &[u8] = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n";
    let mut part = BytesMut::with_capacity(HEAD.len() + jpeg.len() + 2);
    part.put_slice(HEAD);
    part.put_slice(jpeg);
    part.put_slice(b"\r\n");
    part.freeze()
}

/// A failure ends the body, as in the original: a page keeps the last picture.
fn pictures(session: Session, first: Option<Bytes>) -> Body {
    let start = (session, first, None::<Bytes>);
    Body::from_stream(stream::unfold(start, |(mut session, first, last)| async move {
        let next = match (first, &last) {
            (Some(first), _) => Some(Ok(first)),
            (None, None) => session.live.next().await,
            (None, Some(last)) => match tokio::time::timeout(REPEAT, session.live.next()).await {
                Ok(next) => next,
                Err(_) => {
                    return Some((Ok::<_, io::Error>(last.clone()), (session, None, Some(last.clone()))));
                }
            },
        };
        let jpeg = next?.map_err(|failure| tell(&session.live, &failure)).ok()?;
        let part = part(&jpeg);
        Some((Ok(part.clone()), (session, None, Some(part))))
    }))
}

/// A failure breaks the connection off: half a film must not look whole.
fn film(session: Session, first: Option<Bytes>) -> Body {
    Body::from_stream(stream::unfold((session, first), |(mut session, first)| async move {
        let next = match first {
            Some(first) => Ok(first),
            None => session.live.next().await?,
        };
        let piece = next.map_err(|failure| {
            tell(&session.live, &failure);
            io::Error::other(failure.message)
        });
        Some((piece, (session, None)))
    }))
}

fn tell(live: &Live, failure: &Failure) {
    tracing::warn!(job = live.id, code = failure.code, message = failure.message, "the stream broke off");
}
