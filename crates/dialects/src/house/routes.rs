//! The routes of our own API.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, RawQuery, Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use jobs::{AvatarName, Ending, JobView, Order};

use super::wire::{Avatars, Canceled, Deleted, Jobs, Log};
use super::{from_wire, to_wire};
use crate::front_door::body::read_query;
use crate::front_door::errand::{idempotency, prepared};
use crate::front_door::files::{Form, Sending, send};
use crate::front_door::form::{self, Intake, own_name};
use crate::front_door::house::{ENGINE_HEADER, Room, take_header};
use crate::front_door::keys::Owner;
use crate::front_door::refused::{Refused, broken, told_as};
use crate::front_door::table::Segments;
use crate::musetalk;

const PING: Duration = Duration::from_secs(15);

async fn find(room: &Room, Owner(owner): &Owner, id: &str) -> Result<Arc<JobView>, Refused> {
    let view = room.house.desk.job(id, Some(owner)).await.map_err(broken)?;
    view.ok_or_else(|| Refused::missing(format!("there is no job {id}")))
}

pub async fn jobs(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = read_query(query.as_deref(), &from_wire::LISTING)?;
    let listing = from_wire::listing(&query, owner)?;
    let views = room.house.desk.list(listing).await.map_err(broken)?;
    let desk = &room.house.desk;
    Ok(told_as(&Jobs { jobs: views.iter().map(|view| to_wire::job(desk, view)).collect() }))
}

pub async fn job(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    id: Segments,
) -> Result<Response, Refused> {
    let view = find(&room, &owner, id.first()).await?;
    Ok(told_as(&to_wire::job(&room.house.desk, &view)))
}

pub async fn log(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    id: Segments,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = read_query(query.as_deref(), &from_wire::SINCE)?;
    let view = find(&room, &owner, id.first()).await?;
    let since = query.int("since").unwrap_or_default().unsigned_abs();
    let lines = room.house.desk.log(&view.id, since).await.map_err(broken)?;
    Ok(told_as(&Log { lines: lines.into_iter().map(to_wire::line).collect() }))
}

pub async fn cancel(
    State(room): State<Room>,
    Extension(Owner(owner)): Extension<Owner>,
    id: Segments,
) -> Result<Response, Refused> {
    let id = id.first();
    let canceling = room.house.desk.cancel(id, Some(&owner)).await.map_err(broken)?;
    let outcome = to_wire::canceling(&canceling);
    let outcome = outcome.ok_or_else(|| Refused::missing(format!("there is no job {id}")))?;
    Ok(told_as(&Canceled { id: id.to_owned(), outcome }))
}

pub async fn take(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    id: Segments,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let view = find(&room, &owner, id.first()).await?;
    let gone = || Refused::missing(format!("job {} has no file", view.id));
    let Some(Ending::Made(made)) = &view.ending else { return Err(gone()) };
    let reading = room.house.desk.open_take(&view.id).await.map_err(broken)?.ok_or_else(gone)?;
    let file = Sending { reading, content_type: "video/mp4", etag: &made.sha256, form: Form::Static };
    let mut response = send(file, &method, &headers).await;
    response.headers_mut().insert(ENGINE_HEADER, take_header(&made.take));
    Ok(response)
}

/// Server-sent events: `log` lines (their number is the event's id, so that a client that comes back misses none), and
/// `job` whenever something about it may have changed. Ends with the job.
pub async fn events(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    id: Segments,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let view = find(&room, &owner, id.first()).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let known = last.and_then(|id| id.parse().ok()).unwrap_or(0);
    let told = Sse::new(tell(room, view.id.clone(), known)).keep_alive(KeepAlive::new().interval(PING));
    Ok(told.into_response())
}

struct Telling {
    room: Room,
    id: String,
    changes: tokio::sync::watch::Receiver<u64>,
    known: u64,
    ready: VecDeque<Event>,
    told: Option<super::wire::Job>,
    ended: bool,
}

fn tell(room: Room, id: String, known: u64) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut changes = room.house.desk.watch(&id);
    changes.mark_changed();
    let start = Telling { room, id, changes, known, ready: VecDeque::new(), told: None, ended: false };
    stream::unfold(start, |mut telling| async move {
        loop {
            if let Some(event) = telling.ready.pop_front() {
                return Some((Ok(event), telling));
            }
            // a record that no longer answers ends the stream; the client comes back with its last id
            if telling.ended || telling.changes.changed().await.is_err() || !telling.look().await {
                return None;
            }
        }
    })
}

impl Telling {
    async fn look(&mut self) -> bool {
        let desk = &self.room.house.desk;
        let Ok(Some(view)) = desk.job(&self.id, None).await else { return false };
        let Ok(lines) = desk.log(&self.id, self.known).await else { return false };
        for line in lines {
            self.known = line.n;
            let event = Event::default().event("log").id(line.n.to_string());
            self.ready.extend(event.json_data(to_wire::line(line)).ok());
        }
        self.ended = view.state.is_terminal();
        let job = to_wire::job(desk, &view);
        if self.told.as_ref() != Some(&job) {
            self.ready.extend(Event::default().event("job").json_data(&job).ok());
            self.told = Some(job);
        }
        true
    }
}

pub async fn avatars(
    State(room): State<Room>,
    Extension(Owner(owner)): Extension<Owner>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = read_query(query.as_deref(), &from_wire::AVATARS)?;
    let views = room.house.desk.avatars(query.optional("dialect"), Some(&owner)).await.map_err(broken)?;
    Ok(told_as(&Avatars { avatars: views.into_iter().map(to_wire::avatar).collect() }))
}

pub async fn add_avatar(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    request: Request,
) -> Result<Response, Refused> {
    let room = Room { dialect: musetalk::DIALECT, ..room };
    let idempotency = idempotency(request.headers())?;
    let intake = Intake { desk: &room.house.desk, limit: room.house.limits.upload_bytes, name: own_name };
    let mut form = form::read(intake, request, &from_wire::ADD).await?;
    let name = from_wire::avatar(owner, &form.fields)?;
    let card = room.engine()?;
    let source = form.file("source")?.hold().await?;
    let order = musetalk::preparation(&room, card, name.clone(), None, source.clone()).await;
    let order = Order { idempotency, ..order };
    let view = room.ended(&room.submit_with(order, vec![source]).await?.id).await?;
    prepared("", &view)?;
    let view = room.house.desk.avatar(&name).await.map_err(broken)?;
    let view = view.ok_or_else(|| Refused::later("the avatar was deleted meanwhile", 1))?;
    Ok(told_as(&to_wire::avatar(view)))
}

pub async fn delete_avatar(
    State(room): State<Room>,
    Extension(Owner(owner)): Extension<Owner>,
    segments: Segments,
) -> Result<Response, Refused> {
    let (dialect, name) = (segments.first().to_owned(), segments.second().to_owned());
    let avatar = AvatarName { dialect: dialect.clone(), owner, name: name.clone() };
    if !room.house.desk.delete_avatar(&avatar).await.map_err(broken)? {
        return Err(Refused::missing(format!("there is no avatar {name} of {dialect}")));
    }
    Ok(told_as(&Deleted { dialect, name, deleted: true }))
}
