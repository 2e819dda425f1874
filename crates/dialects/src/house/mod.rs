//! Our own API, below `/v1`: jobs and avatars of every dialect, for `talkie jobs` and `talkie avatars`. And the port that has
//! everything, each dialect under its prefix.

mod from_wire;
mod routes;
mod to_wire;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, Request};
use axum::response::Html;
use axum::routing::get;
use serde_json::{Value, json};

use crate::front_door::docs::{Operation, object};
use crate::front_door::guard::Access;
use crate::front_door::house::House;
use crate::front_door::table::{About, Cors, Table, unknown};
use crate::{fal, infinitetalk, musetalk, musetalk_s3, svd};

pub const DIALECT: &str = "talkie";

const ABOUT: About = About {
    dialect: DIALECT,
    title: "Talkie",
    description: "Jobs and avatars of every dialect.",
    cors: Cors::Absent,
};

/// What is served without a prefix: `/jobs`, `/avatars`, and their documents.
pub fn router(house: Arc<House>) -> Router {
    let named = |operation: Operation| {
        operation.path("id", "Of the job").says(404, "There is no such job, or it is another key's")
    };
    Table::new(house, ABOUT)
        .get(
            "/jobs",
            Access::Keyed,
            routes::jobs,
            Operation::new("jobs", "Jobs, newest first")
                .query(&from_wire::LISTING)
                .says(400, "There is no such state")
                .ok(list("jobs", job())),
        )
        .get("/jobs/{id}", Access::Keyed, routes::job, named(Operation::new("job", "A job")).ok(job()))
        .get(
            "/jobs/{id}/log",
            Access::Keyed,
            routes::log,
            named(Operation::new("log", "What it told"))
                .query(&from_wire::SINCE)
                .ok(list("lines", json!({ "type": "object" }))),
        )
        .get(
            "/jobs/{id}/events",
            Access::Keyed,
            routes::events,
            named(Operation::new("events", "What it tells, while it lives")).gives(
                200,
                "text/event-stream",
                "Events `log` and `job`; Last-Event-ID resumes",
            ),
        )
        .post(
            "/jobs/{id}/cancel",
            Access::Keyed,
            routes::cancel,
            named(Operation::new("cancel", "Cancel it"))
                .ok(object(&[("id", "string"), ("outcome", "string")])),
        )
        .get(
            "/jobs/{id}/take",
            Access::Keyed,
            routes::take,
            named(Operation::new("take", "Its video")).file("video/mp4"),
        )
        .get(
            "/avatars",
            Access::Keyed,
            routes::avatars,
            Operation::new("avatars", "Avatars, by name")
                .query(&from_wire::AVATARS)
                .ok(list("avatars", avatar())),
        )
        .post(
            "/avatars",
            Access::Keyed,
            routes::add_avatar,
            Operation::new("add_avatar", "Make an avatar of a picture or a clip")
                .form(&from_wire::ADD)
                .ok(avatar())
                .says(409, "The job was canceled, or its idempotency key came with other work"),
        )
        .delete(
            "/avatars/{dialect}/{name}",
            Access::Keyed,
            routes::delete_avatar,
            Operation::new("delete_avatar", "Forget an avatar")
                .path("dialect", "")
                .path("name", "")
                .ok(object(&[("dialect", "string"), ("name", "string"), ("deleted", "boolean")]))
                .says(404, "There is no such avatar"),
        )
        .finish()
}

/// Every dialect under its prefix, our own API under `/v1`, and a page that lists their documents.
pub fn all(house: &Arc<House>) -> Router {
    let https = house.https;
    Router::new()
        .route("/", get(|| async { Html(INDEX) }))
        .nest("/infinitetalk", infinitetalk::router(Arc::clone(house)))
        .nest("/musetalk", musetalk::router(Arc::clone(house)))
        .nest("/musetalk-s3", musetalk_s3::router(Arc::clone(house)))
        .nest("/svd", svd::router(Arc::clone(house)))
        .nest("/v1", router(Arc::clone(house)))
        .nest("/fal", fal::router(Arc::clone(house), https))
        .merge(fal::proxy(Arc::clone(house), https))
        // the one dialect with something at its root
        .fallback(move |uri: OriginalUri, request: Request| async move {
            unknown(&["/infinitetalk"], https, &uri.0, &request)
        })
}

const INDEX: &str = r#"<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Talkie</title></head>
<body>
<h1>Talkie</h1>
<ul>
<li><a href="/infinitetalk/docs">InfiniteTalk API server</a></li>
<li><a href="/musetalk/docs">MuseTalk server</a></li>
<li><a href="/musetalk-s3/docs">MuseTalk S3 API</a></li>
<li><a href="/svd/docs">AI Video Generator backend</a></li>
<li><a href="/fal/api/openapi/queue/openapi.json?endpoint_id=fal-ai/infinitalk">fal-ai/infinitalk</a> (<a href="/fal/v1/models">all apps</a>)</li>
<li><a href="/v1/docs">Jobs and avatars</a></li>
</ul>
</body>
</html>
"#;

fn list(name: &str, item: Value) -> Value {
    let mut schema = object(&[(name, "array")]);
    schema["properties"][name]["items"] = item;
    schema
}

fn job() -> Value {
    let mut schema = object(&[
        ("id", "string"),
        ("dialect", "string"),
        ("owner", "string"),
        ("kind", "string"),
        ("state", "string"),
        ("created_at", "string"),
        ("attempt", "integer"),
    ]);
    schema["properties"]["kind"]["enum"] = json!(["take", "prepare", "live"]);
    schema["properties"]["state"]["enum"] = json!(["queued", "running", "done", "failed", "canceled"]);
    for (name, kind) in [
        ("engine", "string"),
        ("position", "integer"),
        ("wait_ms", "integer"),
        ("progress", "object"),
        ("started_at", "string"),
        ("ended_at", "string"),
        ("take", "object"),
        ("error", "object"),
    ] {
        schema["properties"][name] = json!({ "anyOf": [{ "type": kind }, { "type": "null" }] });
    }
    schema
}

fn avatar() -> Value {
    object(&[
        ("dialect", "string"),
        ("owner", "string"),
        ("name", "string"),
        ("engine", "string"),
        ("source_sha256", "string"),
        ("created_at", "string"),
    ])
}
