//! Dialect 4: the AI Video Generator backend. An uploaded picture becomes a silent video in the background; its page polls.

mod from_wire;
mod routes;
mod to_wire;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use serde_json::{Value, json};

use crate::front_door::docs::{Operation, object};
use crate::front_door::guard::Access;
use crate::front_door::house::House;
use crate::front_door::table::{About, Cors, Table};

pub const DIALECT: &str = "svd";

const ABOUT: About = About {
    dialect: DIALECT,
    title: "AI Video Generator API",
    description: "Videos of a character from one picture, answered by talkie. The script is kept; the engines wan-i2v and \
                  huggingface are steered by it, svd and puppet are not.",
    cors: Cors::Any,
};

pub fn router(house: Arc<House>) -> Router {
    Table::new(house, ABOUT)
        .get(
            "/health",
            Access::Public,
            routes::health,
            Operation::new("health", "Health").ok(object(&[("status", "string"), ("service", "string")])),
        )
        .post(
            "/upload-character",
            Access::Keyed,
            routes::upload,
            Operation::new("upload_character", "Upload the picture of a character")
                .form(&from_wire::UPLOAD)
                .ok(object(&[("imageUrl", "string")])),
        )
        .post(
            "/generate-video",
            Access::Keyed,
            routes::generate,
            Operation::new("generate_video", "Begin a video")
                .json(&from_wire::GENERATE)
                .ok(generation())
                .says(409, "The idempotency key came with other work"),
        )
        .get(
            "/generation/{id}",
            Access::Keyed,
            routes::generation,
            Operation::new("generation", "How far a video is")
                .path("id", "As /generate-video answered it")
                .ok(generation())
                .says(404, "There is no such generation"),
        )
        .get(
            "/generations",
            Access::Keyed,
            routes::generations,
            Operation::new("generations", "The ten newest videos, newest first")
                .ok(json!({ "type": "array", "items": generation() })),
        )
        .get(
            "/uploads/{name}",
            Access::Public,
            routes::uploaded,
            Operation::new("uploaded", "An uploaded picture").path("name", "").file("image/*"),
        )
        .get(
            "/videos/{name}",
            Access::Public,
            routes::video,
            Operation::new("video", "A video").path("name", "").file("video/mp4"),
        )
        .alias((Method::GET, "/api/health"), Access::Public, routes::health)
        .alias((Method::POST, "/api/upload-character"), Access::Keyed, routes::upload)
        .alias((Method::POST, "/api/generate-video"), Access::Keyed, routes::generate)
        .alias((Method::GET, "/api/generation/{id}"), Access::Keyed, routes::generation)
        .alias((Method::GET, "/api/generations"), Access::Keyed, routes::generations)
        .finish()
}

fn generation() -> Value {
    let mut schema = object(&[
        ("id", "string"),
        ("characterImageUrl", "string"),
        ("script", "string"),
        ("duration", "integer"),
        ("quality", "string"),
        ("videoUrl", "string"),
        ("status", "string"),
        ("createdAt", "string"),
        ("engine", "string"),
    ]);
    schema["properties"]["videoUrl"] = json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] });
    schema["properties"]["status"]["enum"] = json!(["pending", "processing", "completed", "failed"]);
    for optional in ["warning", "error"] {
        schema["properties"][optional] = json!({ "type": "string" });
    }
    schema
}
