//! The documents of a dialect: `/openapi.json` (3.1), `/docs` (Swagger UI, its files part of this program) and `/redoc`.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};

use super::guard::Access;
use super::house::Room;
use super::keys::Keys;
use super::model::Model;
use super::refused::{Refused, json_text};
use super::table::About;

/// One operation under way to its document.
#[derive(Clone, Debug)]
pub struct Operation {
    told: Value,
    invalid: bool,
}

impl Operation {
    pub fn new(id: &str, summary: &str) -> Self {
        let told = json!({ "operationId": id, "summary": summary, "parameters": [], "responses": {} });
        Self { told, invalid: false }
    }

    pub fn path(mut self, name: &str, help: &str) -> Self {
        self.parameter(json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string" }, "description": help
        }));
        self
    }

    pub fn query(mut self, model: &Model) -> Self {
        for field in model.fields {
            let required = matches!(field.need, super::model::Need::Required);
            self.parameter(json!({
                "name": field.name, "in": "query", "required": required, "schema": field.schema()
            }));
        }
        self.invalid = true;
        self
    }

    fn parameter(&mut self, parameter: Value) {
        if let Some(parameters) = self.told["parameters"].as_array_mut() {
            parameters.push(parameter);
        }
    }

    pub fn json(self, model: &Model) -> Self {
        self.body("application/json", model).says(400, "The body is no JSON, or names what cannot be used")
    }

    pub fn form(self, model: &Model) -> Self {
        self.body("multipart/form-data", model).says(400, "The form is broken, or holds what cannot be used")
    }

    fn body(mut self, kind: &str, model: &Model) -> Self {
        self.told["requestBody"] = json!({
            "required": true, "content": { kind: { "schema": model.schema() } }
        });
        self.invalid = true;
        self.says(413, "Larger than this server takes").says(408, "The body stalled on its way")
    }

    pub fn ok(self, schema: Value) -> Self {
        self.answers(200, "Successful Response", json!({ "application/json": { "schema": schema } }))
    }

    /// A body that is no JSON.
    pub fn gives(self, status: u16, kind: &str, help: &str) -> Self {
        if kind == "text/event-stream" {
            // OpenAPI 3.1 has no words for a stream of events
            return self.answers(status, help, json!({ kind: {} }));
        }
        self.answers(status, help, json!({ kind: { "schema": { "type": "string" } } }))
    }

    /// `{"detail": …}`
    pub fn says(self, status: u16, help: &str) -> Self {
        let schema = json!({ "$ref": "#/components/schemas/Detail" });
        self.answers(status, help, json!({ "application/json": { "schema": schema } }))
    }

    /// A status without a body.
    pub fn bare(mut self, status: u16, help: &str) -> Self {
        self.told["responses"][status.to_string()] = json!({ "description": help });
        self
    }

    fn answers(mut self, status: u16, help: &str, content: Value) -> Self {
        let response = &mut self.told["responses"][status.to_string()];
        match response.get_mut("content").and_then(Value::as_object_mut) {
            Some(known) => known.extend(content.as_object().cloned().unwrap_or_default()),
            None => *response = json!({ "description": help, "content": content }),
        }
        self
    }

    /// Files: ranges and conditions.
    pub fn file(self, kind: &str) -> Self {
        self.gives(200, kind, "The file")
            .gives(206, kind, "The ranges asked for; several come as multipart/byteranges")
            .bare(304, "Unchanged")
            .gives(400, "text/plain; charset=utf-8", "A range that is none")
            .says(404, "There is no such file")
            .bare(416, "A range beyond the end")
    }

    /// With what every operation may answer.
    pub fn finish(self, access: Access, keys: &Keys) -> Value {
        let invalid = self.invalid;
        let mut operation = self
            .says(403, "The request is meant for another host, or comes from a page that may not ask")
            .gives(500, "text/plain; charset=utf-8", "A bug")
            .says(500, "The work failed, and not by the request's fault");
        if access != Access::Public {
            operation = operation
                .says(401, "No API key, or one that is not known")
                .says(429, "Too many requests of this key; Retry-After says when to come back")
                .says(503, "Busy, closing, or without its engine; Retry-After says when to come back")
                .says(507, "The disk is full");
            if keys.required() {
                operation.told["security"] = json!([{ "bearer": [] }, { "key": [] }]);
            }
        }
        if invalid {
            let schema = json!({ "anyOf": [
                { "$ref": "#/components/schemas/HTTPValidationError" },
                { "$ref": "#/components/schemas/Detail" }
            ] });
            operation = operation.answers(
                422,
                "Validation Error, or what was sent lasts longer than this server takes",
                json!({ "application/json": { "schema": schema } }),
            );
        }
        operation.told
    }
}

/// JSON Schema of an object whose fields (name, type) are always there.
pub fn object(fields: &[(&str, &str)]) -> Value {
    let properties: Map<_, _> =
        fields.iter().map(|(name, kind)| ((*name).to_owned(), json!({ "type": kind }))).collect();
    let required: Vec<_> = fields.iter().map(|(name, _)| name).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

pub fn document(about: About, paths: Map<String, Value>) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": { "title": about.title, "description": about.description, "version": env!("CARGO_PKG_VERSION") },
        // beside the document itself, also under a prefix
        "servers": [{ "url": "." }],
        "paths": paths,
        "components": {
            "schemas": {
                "Detail": {
                    "title": "Detail", "type": "object", "required": ["detail"],
                    "properties": { "detail": { "type": "string", "title": "Detail" } }
                },
                "HTTPValidationError": {
                    "title": "HTTPValidationError", "type": "object",
                    "properties": { "detail": {
                        "title": "Detail", "type": "array",
                        "items": { "$ref": "#/components/schemas/ValidationError" }
                    } }
                },
                "ValidationError": {
                    "title": "ValidationError", "type": "object", "required": ["loc", "msg", "type"],
                    "properties": {
                        "loc": { "title": "Location", "type": "array",
                                 "items": { "anyOf": [{ "type": "string" }, { "type": "integer" }] } },
                        "msg": { "title": "Message", "type": "string" },
                        "type": { "title": "Error Type", "type": "string" },
                        "input": { "title": "Input" },
                        "ctx": { "title": "Context", "type": "object" }
                    }
                }
            },
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" }
            }
        }
    })
}

/// Addresses in the page are relative, so that it works under a prefix.
fn page(title: &str) -> String {
    format!(
        r##"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title} - Swagger UI</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{ url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true }});</script>
</body>
</html>
"##
    )
}

pub fn routes(document: Value) -> Router<Room> {
    let title = document["info"]["title"].as_str().unwrap_or_default();
    let page: Arc<str> = page(title).into();
    let document: Arc<str> = document.to_string().into();
    Router::new()
        .route("/openapi.json", get(move || async move { json_text(StatusCode::OK, document.to_string()) }))
        .route("/docs", get(move || async move { Html(page.to_string()) }))
        .route("/docs/{file}", get(asset))
        .route("/redoc", get(|| async { Redirect::temporary("docs") }))
}

async fn asset(Path(name): Path<String>) -> Response {
    let config = Arc::new(utoipa_swagger_ui::Config::from("openapi.json"));
    match utoipa_swagger_ui::serve(&name, config) {
        Ok(Some(file)) => {
            ([(header::CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response()
        }
        Ok(None) | Err(_) => Refused::missing("Not Found").into_response(),
    }
}
