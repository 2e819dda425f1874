//! The routes of the AI Video Generator backend.

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use jobs::{Ending, JobView, Listing, Work};

use super::wire::{Generation, Uploaded};
use super::{from_wire, to_wire};
use crate::front_door::files::{Form, Sending, send};
use crate::front_door::form::Intake;
use crate::front_door::house::{ENGINE_HEADER, Room, take_header};
use crate::front_door::keys::Owner;
use crate::front_door::refused::{Refused, broken, told_as};
use crate::front_door::table::Segments;
use crate::front_door::{body, form};

/// The original shows this many.
const HISTORY: u32 = 10;

pub async fn health() -> Response {
    told_as(&to_wire::health())
}

pub async fn upload(State(room): State<Room>, request: Request) -> Result<Response, Refused> {
    let intake = Intake {
        desk: &room.house.desk,
        limit: room.house.limits.picture_bytes,
        name: from_wire::picture_name,
    };
    let mut form = form::read(intake, request, &from_wire::UPLOAD).await?;
    let received = form.file("character")?.accept_picture().await?;
    let name = from_wire::upload_name(&received.key);
    let name = name.ok_or_else(|| Refused::later("the store gave the upload no name", 1))?;
    Ok(told_as(&Uploaded { image_url: format!("/uploads/{name}") }))
}

pub async fn generate(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    request: Request,
) -> Result<Response, Refused> {
    let headers = request.headers().clone();
    let (_, fitting) = body::read(request, None, &from_wire::GENERATE).await?;
    let request = from_wire::request(&fitting);
    let card = room.engine()?;
    let order = from_wire::order(&room, card, owner, &headers, &request).await?;
    let submitted = room.submit(order).await?;
    let view = room.house.desk.job(&submitted.id, None).await.map_err(broken)?;
    let view = view.ok_or_else(|| Refused::later("the record lost the job", 1))?;
    let told = to_wire::generation(&view, cast(&room, &view));
    // at once and pending, even if a worker was quicker than this answer
    let told = if submitted.fresh { Generation { status: "pending", video_url: None, ..told } } else { told };
    let mut response = told_as(&told);
    response.headers_mut().insert(ENGINE_HEADER, to_wire::engine(card));
    Ok(response)
}

pub async fn generation(
    State(room): State<Room>,
    Extension(Owner(owner)): Extension<Owner>,
    id: Segments,
) -> Result<Response, Refused> {
    let view = room.house.desk.job(id.first(), Some(&owner)).await.map_err(broken)?;
    let view = view.filter(|view| view.dialect == room.dialect);
    let view = view.ok_or_else(|| Refused::missing("Generation not found"))?;
    let mut response = told_as(&to_wire::generation(&view, cast(&room, &view)));
    if let Some(Ending::Made(made)) = &view.ending {
        response.headers_mut().insert(ENGINE_HEADER, take_header(&made.take));
    }
    Ok(response)
}

pub async fn generations(
    State(room): State<Room>,
    Extension(Owner(owner)): Extension<Owner>,
) -> Result<Response, Refused> {
    let listing =
        Listing { dialect: Some(room.dialect.to_owned()), owner: Some(owner), state: None, limit: HISTORY };
    let views = room.house.desk.list(listing).await.map_err(broken)?;
    let told: Vec<_> = views.iter().map(|view| to_wire::generation(view, cast(&room, view))).collect();
    Ok(told_as(&told))
}

/// Of the engine that made it, whoever would make it today.
fn cast(room: &Room, view: &JobView) -> to_wire::Cast {
    let name = view.work.as_ref().map(Work::engine).unwrap_or_default();
    let card = room.house.desk.engines().iter().find(|card| card.name == name);
    let today = room.engine().is_ok_and(|card| card.name == name);
    to_wire::Cast {
        stand_in: today && room.stand_in(),
        reads_prompt: card.is_some_and(|card| card.reads_prompt),
    }
}

pub async fn uploaded(
    State(room): State<Room>,
    name: Segments,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let not_found = || Refused::missing("Not Found");
    let key = from_wire::upload_key(name.first()).ok_or_else(not_found)?;
    let reading = room.house.desk.open_upload(&key).await.map_err(broken)?.ok_or_else(not_found)?;
    let etag = name.first().to_owned(); // an upload never changes
    Ok(send(
        Sending { reading, content_type: "image/jpeg", etag: &etag, form: Form::Static },
        &method,
        &headers,
    )
    .await)
}

pub async fn video(
    State(room): State<Room>,
    name: Segments,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let not_found = || Refused::missing("Not Found");
    let id = to_wire::video_id(name.first()).ok_or_else(not_found)?;
    let view = room.house.desk.job(id, None).await.map_err(broken)?;
    let view = view.filter(|view| view.dialect == room.dialect).ok_or_else(not_found)?;
    let Some(Ending::Made(made)) = &view.ending else { return Err(not_found()) };
    let reading = room.house.desk.open_take(id).await.map_err(broken)?.ok_or_else(not_found)?;
    let file = Sending { reading, content_type: "video/mp4", etag: &made.sha256, form: Form::Static };
    let mut response = send(file, &method, &headers).await;
    response.headers_mut().insert(ENGINE_HEADER, take_header(&made.take));
    Ok(response)
}
