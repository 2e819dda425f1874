//! MuseTalk's routes.

use std::sync::Arc;

use axum::extract::{Extension, OriginalUri, RawQuery, Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use jobs::{AvatarView, Order};

use super::from_wire::{self, Line};
use super::tickets::{LENT_MS, Lent, Tickets};
use super::to_wire::{self, Session};
use super::wire::{Deleted, Shape};
use crate::front_door::body::read_query;
use crate::front_door::errand::{idempotency, made};
use crate::front_door::files::{Form, Sending, send};
use crate::front_door::form::{self, Intake, own_name};
use crate::front_door::house::{ENGINE_HEADER, Room, engine_header, take_header};
use crate::front_door::keys::Owner;
use crate::front_door::refused::{Refused, broken, told_as};
use crate::front_door::table::Segments;

fn intake(room: &Room) -> Intake<'_> {
    Intake { desk: &room.house.desk, limit: room.house.limits.upload_bytes, name: own_name }
}

async fn names(room: &Room, Owner(owner): &Owner) -> Result<Vec<String>, Refused> {
    let avatars = room.house.desk.avatars(Some(room.dialect), Some(owner)).await.map_err(broken)?;
    Ok(avatars.into_iter().map(|view| view.avatar.name).collect())
}

pub async fn health(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
) -> Result<Response, Refused> {
    Ok(told_as(&to_wire::health(&room, names(&room, &owner).await?)))
}

pub async fn avatars(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
) -> Result<Response, Refused> {
    Ok(told_as(&names(&room, &owner).await?))
}

pub async fn delete(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    id: Segments,
) -> Result<Response, Refused> {
    let avatar = from_wire::avatar(&room, &owner, id.first())?;
    if !room.house.desk.delete_avatar(&avatar).await.map_err(broken)? {
        return Err(to_wire::unknown(id.first()));
    }
    Ok(told_as(&Deleted { message: "Avatar deleted successfully", avatar_id: avatar.name }))
}

pub async fn preprocess(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    request: Request,
) -> Result<Response, Refused> {
    let idempotency = idempotency(request.headers())?;
    let mut form = form::read(intake(&room), request, &from_wire::PREPROCESS).await?;
    let avatar = from_wire::avatar(&room, &owner, form.fields.text("avatar_id"))?;
    let card = room.engine()?;
    let video = form.file("video_file")?.hold().await?;
    let bbox_shift = form.fields.int("bbox_shift");
    let order = from_wire::preparation(&room, card, avatar, bbox_shift, video.clone()).await;
    let order = Order { idempotency, ..order };
    let job = room.submit_with(order, vec![video]).await?.id;
    let mut response = told_as(&to_wire::preprocessed(room.ended(&job).await?.as_ref())?);
    response.headers_mut().insert(ENGINE_HEADER, engine_header(card.name, &card.weights));
    Ok(response)
}

/// The avatar, and the voice that came with the request.
async fn line(room: &Room, avatar: AvatarView, mut form: form::Form) -> Result<Line, Refused> {
    let batch_size = form.fields.int("batch_size");
    let voice = form.file("audio_file")?.accept().await?;
    let lent = Some(Arc::new(Lent::new(&room.house.desk, &voice)));
    // a server that is killed meanwhile does not know that it was lent; nobody needs it longer than a session lasts
    let at_ms = room.house.clock.now_ms().saturating_add(LENT_MS);
    room.house.desk.expire_upload(&voice.key, at_ms).await.map_err(broken)?;
    Ok(Line { avatar: avatar.avatar, voice: voice.source, lent, batch_size })
}

async fn find(room: &Room, owner: &Owner, id: &str) -> Result<Option<AvatarView>, Refused> {
    let name = from_wire::avatar(room, owner, id)?;
    room.house.desk.avatar(&name).await.map_err(broken)
}

pub async fn stream(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    Extension(tickets): Extension<Arc<Tickets>>,
    (id, RawQuery(query), OriginalUri(uri)): (Segments, RawQuery, OriginalUri),
    request: Request,
) -> Result<Response, Refused> {
    let query = read_query(query.as_deref(), &from_wire::STREAM)?;
    let form = form::read(intake(&room), request, &from_wire::INFERENCE).await?;
    let (id, shape) = from_wire::shape(id.first());
    let pace = from_wire::pace(&room, &query)?;
    let avatar = find(&room, &owner, id).await?.ok_or_else(|| to_wire::unprepared(id))?;
    let line = line(&room, avatar, form).await?;
    if query.flag("ticket") {
        let ticket = tickets.issue(line, room.house.clock.now_ms());
        tickets.let_go_in_time(room.house.clock.clone());
        return Ok(told_as(&to_wire::ticket(uri.path(), ticket)));
    }
    play(&room, line, (shape, pace)).await
}

pub async fn by_ticket(
    State(room): State<Room>,
    Extension(tickets): Extension<Arc<Tickets>>,
    segments: Segments,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = read_query(query.as_deref(), &from_wire::PLAY)?;
    let pace = from_wire::pace(&room, &query)?;
    let (ticket, shape) = from_wire::shape(segments.second());
    let line = tickets.line(ticket, room.house.clock.now_ms());
    let line = line.filter(|line| line.avatar.name == segments.first());
    let line = line.ok_or_else(|| Refused::missing("Ticket not found or expired. Post the audio again."))?;
    play(&room, line, (shape, pace)).await
}

async fn play(room: &Room, line: Line, how: (Shape, jobs::crew::Pace)) -> Result<Response, Refused> {
    let card = room.engine()?;
    let lent = line.lent.clone();
    let live = room.house.desk.open_live(from_wire::live(room, card, line, how)).await?;
    to_wire::playing(Session::new(live, lent), how.0, engine_header(card.name, &card.weights)).await
}

pub async fn batch(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    id: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Refused> {
    let idempotency = idempotency(&headers)?;
    let mut form = form::read(intake(&room), request, &from_wire::INFERENCE).await?;
    let avatar = find(&room, &owner, id.first()).await?.ok_or_else(|| to_wire::unknown(id.first()))?;
    let card = room.engine()?;
    let audio = form.file("audio_file")?.hold().await?;
    let order = from_wire::batch(&room, card, &avatar, (&form.fields, audio.clone()), idempotency).await;
    let view = room.ended(&room.submit_with(order, vec![audio]).await?.id).await?;
    let made = made(to_wire::INFERENCE, &view)?;
    let reading = room.house.desk.open_take(&view.id).await.map_err(broken)?;
    let reading =
        reading.ok_or_else(|| Refused::later("the take was removed meanwhile; send it again", 1))?;
    let name = format!("{}_{}.mp4", avatar.avatar.name, uuid::Uuid::new_v4());
    let file =
        Sending { reading, content_type: "video/mp4", etag: &made.sha256, form: Form::Attachment(&name) };
    let mut response = send(file, &Method::POST, &headers).await;
    response.headers_mut().insert(ENGINE_HEADER, take_header(&made.take));
    Ok(response)
}
