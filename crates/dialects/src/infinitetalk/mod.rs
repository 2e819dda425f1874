//! Dialect 1: the InfiniteTalk API server. A portrait and a voice, named by local paths, become a video in its output
//! folder; the answer waits for it.

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

pub const DIALECT: &str = "infinitetalk";

const ABOUT: About = About {
    dialect: DIALECT,
    title: "InfiniteTalk API Server",
    description: "Audio-driven talking head video generation, answered by talkie. A generation is answered when it is done; \
                  one that takes long begins its answer with blanks, and breaks it off if it fails after that: the same \
                  request within 60 s then tells how it ended.",
    cors: Cors::Absent,
};

pub fn router(house: Arc<House>) -> Router {
    Table::new(house, ABOUT)
        .get("/", Access::Public, routes::index, Operation::new("index", "What this is").ok(index()))
        .get("/api/health", Access::Public, routes::health, Operation::new("health", "Health").ok(health()))
        .post(
            "/api/generate-video",
            Access::KeyedOwnSite,
            routes::generate,
            Operation::new("generate_video", "Make a talking video of a portrait and a voice")
                .json(&from_wire::GENERATE)
                .ok(generated())
                .says(404, "A file is missing")
                .says(409, "The job was canceled, or its idempotency key came with other work"),
        )
        .finish()
}

fn index() -> Value {
    object(&[("name", "string"), ("version", "string"), ("description", "string"), ("endpoints", "object")])
}

fn health() -> Value {
    object(&[
        ("status", "string"),
        ("model_loaded", "boolean"),
        ("gpu_available", "boolean"),
        ("version", "string"),
    ])
}

fn generated() -> Value {
    let mut schema = object(&[
        ("video_path", "string"),
        ("duration_seconds", "number"),
        ("resolution", "string"),
        ("frame_count", "integer"),
        ("metadata", "object"),
    ]);
    schema["properties"]["metadata"]["additionalProperties"] = json!({ "type": "string" });
    schema
}
