//! Dialect 3: the MuseTalk S3 API. One request names an avatar's video and a voice, in S3 or here; the result lies in a file
//! of ours and, if a bucket is named, in S3.

mod from_wire;
mod routes;
mod to_wire;
mod wire;

use std::sync::Arc;

use axum::Router;
use serde_json::{Value, json};

use crate::front_door::docs::{Operation, object};
use crate::front_door::guard::Access;
use crate::front_door::house::House;
use crate::front_door::table::{About, Cors, Table};

pub const DIALECT: &str = "musetalk-s3";

const ABOUT: About = About {
    dialect: DIALECT,
    title: "MuseTalk S3 API",
    description: "Audio-driven lip sync with inputs and outputs in S3, answered by talkie. An inference is answered when it is \
                  done; one that takes long begins its answer with blanks, and breaks it off if it fails after that: the \
                  same request within 60 s then tells how it ended.",
    cors: Cors::Absent,
};

pub fn router(house: Arc<House>) -> Router {
    Table::new(house, ABOUT)
        .post(
            "/inference",
            Access::KeyedOwnSite,
            routes::inference,
            Operation::new("inference", "Make a person say a voice")
                .query(&from_wire::QUERY)
                .json(&from_wire::CONFIG)
                .ok(inferred())
                .says(404, "A file is missing")
                .says(409, "The job was canceled, or its idempotency key came with other work"),
        )
        .finish()
}

fn inferred() -> Value {
    let mut schema = object(&[
        ("avatar_id", "string"),
        ("audio_id", "string"),
        ("output_path", "string"),
        ("s3_output_path", "string"),
        ("message", "string"),
        ("engine", "string"),
        ("weights", "string"),
    ]);
    for nullable in ["output_path", "s3_output_path"] {
        schema["properties"][nullable] = json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] });
    }
    schema
}
