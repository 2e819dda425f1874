//! The MuseTalk S3 API's one route.

use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use contract::EngineCard;
use jobs::{AvatarName, AvatarView, Order, Prepared};

use super::wire::InferenceRequest;
use super::{from_wire, to_wire};
use crate::front_door::body;
use crate::front_door::errand::{idempotency, prepared};
use crate::front_door::hold::{Answer, by, held};
use crate::front_door::house::{Room, engine_header};
use crate::front_door::keys::Owner;
use crate::front_door::refused::{Refused, broken};

/// Answers when the video is there; the work goes on when its client hangs up.
pub async fn inference(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    request: Request,
) -> Result<Response, Refused> {
    let idempotency = idempotency(request.headers())?;
    let (query, config) = body::read(request, Some(&from_wire::QUERY), &from_wire::CONFIG).await?;
    let query = query.ok_or_else(|| Refused::bad("the query is missing"))?;
    let request = from_wire::request(&query, &config)?;
    let avatar = from_wire::avatar(&room, &owner, &request)?;
    let card = room.engine()?.clone();
    let engine = engine_header(card.name, &card.weights);
    let keep_alive = room.house.keep_alive;
    let work = tokio::spawn(make(room, card, (avatar, request), idempotency));
    let ended = async move {
        let broke = |_| Refused::said(StatusCode::INTERNAL_SERVER_ERROR, "Inference failed: it broke off");
        work.await.map_err(broke)?
    };
    held(ended, keep_alive, by(engine)).await
}

async fn make(
    room: Room,
    card: EngineCard,
    (avatar, request): (AvatarName, InferenceRequest),
    idempotency: Option<String>,
) -> Result<Answer, Refused> {
    let deliver = from_wire::delivery(&room, &avatar.owner, &request)?;
    let voice = from_wire::source(&room, &request.audio_path)?;
    let avatar = person(&room, &card, (avatar, &request), idempotency.as_deref()).await?;
    let upload = deliver.s3.clone();
    let order = from_wire::take(&room, &card, &avatar, (voice, deliver), &request).await?;
    let order = Order { idempotency, ..order };
    let job = room.submit(order).await?.id;
    to_wire::answer(&request, upload.as_deref(), room.ended(&job).await?.as_ref())
}

/// The avatar, made anew if the request says so: then it is what this request has made, whatever the name stands for since.
/// The same request finds what it made a moment ago, or under its idempotency key, while the name still stands for it.
async fn person(
    room: &Room,
    card: &EngineCard,
    (name, request): (AvatarName, &InferenceRequest),
    idempotency: Option<&str>,
) -> Result<AvatarView, Refused> {
    let desk = &room.house.desk;
    if !request.preparation {
        let found = desk.avatar(&name).await.map_err(broken)?;
        return from_wire::prepared_before(found, request);
    }
    let video = from_wire::source(room, &request.video_path)?;
    let order = from_wire::preparation(room, card, name.clone(), video, request).await;
    let anew = Order { attach_s: 0, ..order.clone() };
    // a key means one thing: the take has it as it is
    let idempotency = idempotency.map(|key| format!("{key} (avatar)"));
    let submitted = room.submit(Order { idempotency, ..order }).await?;
    let made = finished(room, &name, &submitted.id).await?;
    let named = desk.avatar(&name).await.map_err(broken)?.is_some_and(|avatar| avatar.key == made.key);
    if submitted.fresh || named {
        return Ok(made);
    }
    finished(room, &name, &room.submit(anew).await?.id).await
}

async fn finished(room: &Room, name: &AvatarName, job: &str) -> Result<AvatarView, Refused> {
    let view = room.ended(job).await?;
    to_wire::s3_failure(&view, None)?;
    let Prepared { key, engine, source_sha256 } = prepared(to_wire::opening(&view, None), &view)?;
    let created_ms = view.ended_ms.unwrap_or(view.created_ms);
    Ok(AvatarView { avatar: name.clone(), key, engine, source_sha256, created_ms, note: view.note.clone() })
}
