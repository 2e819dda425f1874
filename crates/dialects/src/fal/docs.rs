//! What fal publishes about a model: its OpenAPI document, and its entry in the list of models, with the price that it would
//! have there.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::apps::{APPS, App};
use super::to_wire::{No, json};
use super::way::Target;

/// `GET /api/openapi/queue/openapi.json`, `GET /v1/models`, `GET /v1/models/pricing`
pub fn answer(target: &Target) -> Result<Response, No> {
    let asked = target.value("endpoint_id");
    match target.path.trim_end_matches('/') {
        "/api/openapi/queue/openapi.json" => {
            let app = APPS.iter().find(|app| asked.as_deref() == Some(app.id));
            let known: Vec<_> = APPS.iter().map(|app| app.id).collect();
            let unknown = || {
                let detail = format!("endpoint_id can be {}", known.join(", "));
                No::said(StatusCode::NOT_FOUND, detail)
            };
            Ok(json(StatusCode::OK, &document(app.ok_or_else(unknown)?)))
        }
        "/v1/models" => {
            let expanded = target.value("expand").is_some_and(|expand| expand.contains("openapi"));
            let wanted =
                |app: &&App| asked.as_deref().is_none_or(|ids| ids.split(',').any(|id| id == app.id));
            let models: Vec<_> = APPS.iter().filter(wanted).map(|app| model(app, expanded)).collect();
            Ok(json(StatusCode::OK, &json!({ "models": models, "next_cursor": null, "has_more": false })))
        }
        "/v1/models/pricing" => {
            let wanted =
                |app: &&App| asked.as_deref().is_none_or(|ids| ids.split(',').any(|id| id == app.id));
            let prices: Vec<_> = APPS.iter().filter(wanted).map(price).collect();
            Ok(json(StatusCode::OK, &json!({ "prices": prices, "next_cursor": null, "has_more": false })))
        }
        other => Err(No::said(StatusCode::NOT_FOUND, format!("Path {other} not found"))),
    }
}

fn price(app: &App) -> Value {
    json!({ "endpoint_id": app.id, "unit_price": app.price, "unit": "seconds", "currency": "USD" })
}

fn model(app: &App, expanded: bool) -> Value {
    let mut model = json!({
        "endpoint_id": app.id,
        "metadata": {
            "display_name": app.title,
            "category": "video-to-video",
            "description": app.summary,
            "status": "active",
            "pricing": { "unit_price": app.price, "unit": "seconds", "currency": "USD" }
        }
    });
    if expanded {
        model["openapi"] = document(app);
    }
    model
}

/// As fal's tools look for it: schemas whose names end in `Input` and `Output`.
fn document(app: &App) -> Value {
    let (input, output) = (app.input.name, app.input.name.replace("Input", "Output"));
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let content = |schema: Value| json!({ "application/json": { "schema": schema } });
    let answers = |name: &str, what: &str| json!({ "200": { "description": what, "content": content(reference(name)) } });
    let id = json!({ "name": "request_id", "in": "path", "required": true, "schema": { "type": "string", "description": "Request ID" } });
    let base = app.base();
    let mut paths = Map::new();
    paths.insert(
        format!("/{}", app.id),
        json!({ "post": {
            "requestBody": { "required": true, "content": content(reference(input)) },
            "responses": answers("QueueStatus", "The request status.")
        } }),
    );
    paths.insert(
        format!("/{base}/requests/{{request_id}}/status"),
        json!({ "get": {
            "parameters": [id, { "name": "logs", "in": "query", "required": false, "schema": { "type": "number", "description": "Whether to include logs (`1`) in the response or not (`0`)." } }],
            "responses": answers("QueueStatus", "The request status.")
        } }),
    );
    paths.insert(
        format!("/{base}/requests/{{request_id}}/cancel"),
        json!({ "put": { "parameters": [id], "responses": { "202": {
            "description": "The request was cancelled.",
            "content": content(json!({ "type": "object", "properties": { "status": {
                "type": "string", "enum": ["OK", "CANCELLATION_REQUESTED", "ALREADY_COMPLETED", "NOT_FOUND"]
            } } }))
        } } } }),
    );
    paths.insert(
        format!("/{base}/requests/{{request_id}}"),
        json!({ "get": { "parameters": [id], "responses": answers(&output, "Result of the request.") } }),
    );
    let mut schemas = Map::new();
    let fields: Vec<_> = app.input.fields.iter().map(|field| field.name).collect();
    schemas.insert(input.to_owned(), ordered(app.input.schema(), &fields));
    schemas.insert(
        output.clone(),
        ordered(json!({
            "title": output, "type": "object", "required": ["video", "seed"],
            "properties": {
                "video": { "allOf": [reference("File")], "title": "Video", "description": "The generated video file." },
                "seed": { "title": "Seed", "type": "integer", "description": "The seed used for generation." },
                "engine": { "title": "Engine", "type": "string", "description": "The engine that made the video." },
                "weights": { "title": "Weights", "type": "string", "description": "The weights that it used." }
            }
        }), &["video", "seed", "engine", "weights"]),
    );
    schemas.insert("File".to_owned(), ordered(file(), &["url", "content_type", "file_name", "file_size"]));
    schemas.insert("QueueStatus".to_owned(), queue_status());
    json!({
        "openapi": "3.0.4",
        "info": {
            "title": format!("Queue OpenAPI for {}", app.id),
            "version": "1.0.0",
            "description": format!("The OpenAPI schema for the {} queue.", app.id),
            "x-fal-metadata": {
                "endpointId": app.id,
                "category": "video-to-video",
                "playgroundUrl": format!("https://fal.ai/models/{}", app.id),
                "documentationUrl": format!("https://fal.ai/models/{}/api", app.id)
            }
        },
        "components": {
            "securitySchemes": { "apiKeyAuth": {
                "type": "apiKey", "in": "header", "name": "Authorization", "description": "Fal Key"
            } },
            "schemas": schemas
        },
        "paths": paths,
        "servers": [{ "url": "https://queue.fal.run" }],
        "security": [{ "apiKeyAuth": [] }]
    })
}

/// In which order a form shows the fields.
fn ordered(mut schema: Value, names: &[&str]) -> Value {
    schema["x-fal-order-properties"] = json!(names);
    schema
}

fn file() -> Value {
    let nullable =
        |kind: &str, title: &str| json!({ "anyOf": [{ "type": kind }, { "type": "null" }], "title": title });
    json!({
        "title": "File", "type": "object", "required": ["url"],
        "properties": {
            "url": { "title": "Url", "type": "string", "description": "The URL where the file can be downloaded from." },
            "content_type": nullable("string", "Content Type"),
            "file_name": nullable("string", "File Name"),
            "file_size": nullable("integer", "File Size")
        }
    })
}

fn queue_status() -> Value {
    let url = |what: &str| json!({ "type": "string", "description": what });
    json!({
        "type": "object", "required": ["status", "request_id"],
        "properties": {
            "status": { "type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"] },
            "request_id": url("The request id."),
            "response_url": url("The response url."),
            "status_url": url("The status url."),
            "cancel_url": url("The cancel url."),
            "logs": { "type": "object", "description": "The logs.", "additionalProperties": true },
            "metrics": { "type": "object", "description": "The metrics.", "additionalProperties": true },
            "queue_position": { "type": "integer", "description": "The queue position." }
        }
    })
}
