//! Dialect 2: the MuseTalk server. Avatars are made once from an uploaded clip; then each uploaded voice becomes a stream of
//! pictures, a film with sound, or a file.

mod from_wire;
mod routes;
mod tickets;
mod to_wire;
mod wire;

use std::sync::Arc;

use axum::{Extension, Router};
use serde_json::{Value, json};

use crate::front_door::docs::{Operation, object};
use crate::front_door::guard::Access;
use crate::front_door::house::House;
use crate::front_door::table::{About, Cors, Table};

pub use from_wire::preparation;
pub use tickets::Tickets;

pub const DIALECT: &str = "musetalk";

const ABOUT: About = About {
    dialect: DIALECT,
    title: "MuseTalk Server",
    description: "Audio-driven lip sync of prepared avatars, answered by talkie. Beside the original's routes: the stream with \
                  sound (an avatar's id with `.mp4`), and tickets that let an `<img>` or a `<video>` play a voice by GET.",
    cors: Cors::Absent,
};

const MJPEG: &str = "multipart/x-mixed-replace";

pub fn router(house: Arc<House>) -> Router {
    // one drawer for all ports: a ticket is good on each of them
    let tickets = Arc::clone(&house.tickets);
    Table::new(house, ABOUT)
        .get(
            "/health",
            Access::Public,
            routes::health,
            Operation::new("health", "System status").ok(health()).says(503, "The record does not answer"),
        )
        .get(
            "/avatars",
            Access::Keyed,
            routes::avatars,
            Operation::new("avatars", "Ids of the avatars")
                .ok(json!({ "type": "array", "items": { "type": "string" } })),
        )
        .post(
            "/avatars/preprocess",
            Access::Keyed,
            routes::preprocess,
            Operation::new("preprocess_avatar", "Make an avatar of a clip")
                .form(&from_wire::PREPROCESS)
                .ok(preprocessed())
                .says(409, "The job was canceled, or its idempotency key came with other work"),
        )
        .delete(
            "/avatars/{avatar_id}",
            Access::Keyed,
            routes::delete,
            Operation::new("delete_avatar", "Forget an avatar")
                .path("avatar_id", "")
                .ok(object(&[("message", "string"), ("avatar_id", "string")]))
                .says(400, "No id of an avatar")
                .says(404, "There is no such avatar"),
        )
        .post(
            "/inference/stream/{avatar_id}",
            Access::Keyed,
            routes::stream,
            Operation::new("stream_inference", "Speak, as a stream")
                .path("avatar_id", "With `.mp4` behind it: as a fragmented MP4 with sound")
                .query(&from_wire::STREAM)
                .form(&from_wire::INFERENCE)
                .gives(200, MJPEG, "The stream; with ticket=1 its addresses")
                .gives(200, "video/mp4", "")
                .ok(object(&[
                    ("ticket", "string"),
                    ("stream_url", "string"),
                    ("video_url", "string"),
                    ("expires_in", "integer"),
                ]))
                .says(404, "There is no such avatar"),
        )
        .get(
            "/inference/stream/{avatar_id}/{ticket}",
            Access::Public,
            routes::by_ticket,
            Operation::new(
                "play_ticket",
                "Play a voice that was posted with ticket=1; for <img> and <video>",
            )
            .path("avatar_id", "")
            .path("ticket", "With `.mp4` behind it: as a fragmented MP4 with sound")
            .query(&from_wire::PLAY)
            .gives(200, MJPEG, "The stream")
            .gives(200, "video/mp4", "")
            .says(400, "The voice cannot be used")
            .says(404, "There is no such ticket any more")
            .says(503, "Busy, closing, or without its engine"),
        )
        .post(
            "/inference/batch/{avatar_id}",
            Access::Keyed,
            routes::batch,
            Operation::new("batch_inference", "Speak, as a file")
                .path("avatar_id", "")
                .form(&from_wire::INFERENCE)
                .gives(200, "video/mp4", "The video")
                .says(404, "There is no such avatar")
                .says(409, "The job was canceled, or its idempotency key came with other work"),
        )
        .finish()
        .layer(Extension(tickets))
}

fn health() -> Value {
    let mut schema = object(&[("status", "string"), ("models", "object"), ("loaded_avatars", "array")]);
    schema["properties"]["models"] = object(&[("loaded", "boolean"), ("device", "string")]);
    schema["properties"]["loaded_avatars"]["items"] = json!({ "type": "string" });
    schema
}

fn preprocessed() -> Value {
    let mut schema = object(&[("message", "string"), ("avatar_id", "string"), ("info", "object")]);
    schema["properties"]["info"] = object(&[
        ("avatar_id", "string"),
        ("video_path", "string"),
        ("bbox_shift", "integer"),
        ("version", "string"),
        ("engine", "string"),
    ]);
    schema
}
