//! InfiniteTalk's routes.

use axum::extract::{Extension, Request, State};
use axum::response::Response;

use super::{from_wire, to_wire};
use crate::front_door::body;
use crate::front_door::hold::{by, held};
use crate::front_door::house::{OnHangup, Room, engine_header};
use crate::front_door::keys::Owner;
use crate::front_door::refused::{Refused, told_as};

pub async fn index() -> Response {
    told_as(&to_wire::index())
}

pub async fn health(State(room): State<Room>) -> Response {
    told_as(&to_wire::health(&room))
}

/// Answers when the video is there, however long that takes. The work outlives its client, if it is told to.
pub async fn generate(
    State(room): State<Room>,
    Extension(owner): Extension<Owner>,
    request: Request,
) -> Result<Response, Refused> {
    let headers = request.headers().clone();
    let (_, fitting) = body::read(request, None, &from_wire::GENERATE).await?;
    let request = from_wire::request(&room, &fitting)?;
    let card = room.engine()?;
    let engine = engine_header(card.name, &card.weights);
    let order = from_wire::order(&room, card, owner, &headers, &request).await?;
    let job = room.submit(order).await?.id;
    let seat = match room.house.infinitetalk.on_hangup {
        OnHangup::Cancel => Some(room.house.common.audience.sit(&room.house.desk, &job)),
        OnHangup::Finish => None,
    };
    let keep_alive = room.house.keep_alive;
    let work = async move {
        let ended = room.ended(&job).await;
        // whatever came of it, the client was there until now: only one who leaves before hangs up
        if let Some(seat) = seat {
            seat.ended();
        }
        to_wire::answer(ended?.as_ref())
    };
    held(work, keep_alive, by(engine)).await
}
