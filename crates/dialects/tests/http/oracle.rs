//! The tables that a real FastAPI filled: an app with the same models, made of the front door, gives the same answers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use base64::Engine as _;
use dialects::front_door::body;
use dialects::front_door::docs::Operation;
use dialects::front_door::files::{Form as FileForm, Sending, send};
use dialects::front_door::form::{self, Intake, own_name};
use dialects::front_door::guard::Access;
use dialects::front_door::house::Room;
use dialects::front_door::json::Json;
use dialects::front_door::model::{Field, INT, Kind, Model, Need};
use dialects::front_door::refused::{Refused, answer};
use dialects::front_door::table::{About, Cors, Segments, Table};
use serde_json::Value;

use crate::stage::{Stage, Told, ask, request};

const fn field(name: &'static str, kind: Kind, need: Need) -> Field {
    Field { name, kind, need, help: "" }
}

static THING: Model = Model {
    name: "Thing",
    fields: &[
        field("name", Kind::Text, Need::Required),
        field("count", Kind::Int { ge: Some(1), le: Some(9) }, Need::Int(5)),
        field("ratio", Kind::Float, Need::Float(5.0)),
        field("flag", Kind::Bool, Need::Bool(true)),
        field("note", Kind::Text, Need::Null),
        field("seed", INT, Need::Int(42)),
    ],
};

static AVATAR: Model = Model {
    name: "Avatar",
    fields: &[
        field("preparation", Kind::Bool, Need::Bool(true)),
        field("video_path", Kind::Text, Need::Required),
        field("bbox_shift", INT, Need::Int(0)),
        field("audio_clips", Kind::Map(&Kind::Text), Need::Required),
    ],
};

static CONFIG: Model = Model {
    name: "Config",
    fields: &[
        field("fps", INT, Need::Int(25)),
        field("output_vid_name", Kind::Text, Need::Null),
        field("avatars", Kind::Map(&Kind::Nested(&AVATAR)), Need::Required),
    ],
};

static QUERY: Model = Model {
    name: "Query",
    fields: &[field("avatar_id", Kind::Text, Need::Required), field("audio_id", Kind::Text, Need::Required)],
};

static FORM: Model = Model {
    name: "Form",
    fields: &[
        field("avatar_id", Kind::Text, Need::Required),
        field("bbox_shift", INT, Need::Int(0)),
        field("batch_size", Kind::Int { ge: Some(1), le: Some(32) }, Need::Null),
        field("video_file", Kind::File, Need::Required),
    ],
};

static FILE: Model = Model { name: "File", fields: &[field("character", Kind::File, Need::Required)] };

const ABOUT: About = About { dialect: "svd", title: "Oracle", description: "", cors: Cors::Any };

async fn of_json(request: Request) -> Result<Response, Refused> {
    let (_, thing) = body::read(request, None, &THING).await?;
    Ok(answer(axum::http::StatusCode::OK, &thing.dump()))
}

async fn of_both(request: Request) -> Result<Response, Refused> {
    let (query, config) = body::read(request, Some(&QUERY), &CONFIG).await?;
    let Json::Object(mut fields) = query.unwrap().dump() else { unreachable!() };
    fields.push(("config".into(), config.dump()));
    Ok(answer(axum::http::StatusCode::OK, &Json::Object(fields)))
}

async fn of_form(State(room): State<Room>, request: Request) -> Result<Response, Refused> {
    form_of(&room, request, &FORM, "video_file").await
}

async fn of_file(State(room): State<Room>, request: Request) -> Result<Response, Refused> {
    form_of(&room, request, &FILE, "character").await
}

async fn form_of(
    room: &Room,
    request: Request,
    model: &'static Model,
    file: &str,
) -> Result<Response, Refused> {
    let intake = Intake { desk: &room.house.desk, limit: 1 << 20, name: own_name };
    let mut form = form::read(intake, request, model).await?;
    let Json::Object(mut fields) = form.fields.dump() else { unreachable!() };
    fields.retain(|(name, _)| name != file);
    let received = form.file(file)?.accept().await?;
    let name = received.key.rsplit('/').next().unwrap().to_owned();
    fields.push(("filename".into(), Json::Text(name)));
    fields.push(("bytes".into(), Json::Int(received.bytes as i64)));
    Ok(answer(axum::http::StatusCode::OK, &Json::Object(fields)))
}

async fn item(name: Segments) -> Result<Response, Refused> {
    Err(Refused::missing(format!("Item {} not found", name.first())))
}

async fn boom() -> Result<Response, Refused> {
    panic!("boom")
}

async fn file(
    room: &Room,
    Key(key): Key,
    form: FileForm<'_>,
    (method, headers): (Method, HeaderMap),
) -> Response {
    let reading = room.house.desk.open_upload(&key).await.unwrap().unwrap();
    let file = Sending { reading, content_type: "video/mp4", etag: "tag", form };
    send(file, &method, &headers).await
}

/// Of the file that is sent.
#[derive(Clone)]
struct Key(String);

async fn take(
    State(room): State<Room>,
    Extension(key): Extension<Key>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    file(&room, key, FileForm::Attachment("ok_x.mp4"), (method, headers)).await
}

async fn umlaut(
    State(room): State<Room>,
    Extension(key): Extension<Key>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    file(&room, key, FileForm::Attachment("größe 1.mp4"), (method, headers)).await
}

async fn video(
    State(room): State<Room>,
    Extension(key): Extension<Key>,
    name: Segments,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    if name.first() != "ok_x.mp4" {
        return Err(Refused::missing("Not Found"));
    }
    Ok(file(&room, key, FileForm::Static, (method, headers)).await)
}

fn app(stage: &Stage) -> Router {
    let told = || Operation::new("", "");
    Table::new(Arc::clone(&stage.house), ABOUT)
        .post("/json", Access::Keyed, of_json, told())
        .post("/both", Access::Keyed, of_both, told())
        .post("/form", Access::Keyed, of_form, told())
        .post("/file", Access::Keyed, of_file, told())
        .get("/item/{item}", Access::Keyed, item, told())
        .get("/boom", Access::Keyed, boom, told())
        .get("/take", Access::Keyed, take, told())
        .post("/take", Access::Keyed, take, told())
        .get("/take-umlaut", Access::Keyed, umlaut, told())
        .get("/videos/{name}", Access::Keyed, video, told())
        .finish()
}

fn bytes(value: &Value) -> Vec<u8> {
    match (value["text"].as_str(), value["base64"].as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(coded)) => base64::engine::general_purpose::STANDARD.decode(coded).unwrap(),
        (None, None) => Vec::new(),
    }
}

/// Where the original fails or reads something only Python tells of, and we answer; every row says why.
fn differs(row: &Value) -> Option<&'static str> {
    let body = row["body"]["text"].as_str().unwrap_or_default();
    let rows = [
        (row["status"] == 500 && row["path"] != "/boom", "an answer instead of the original's own failure"),
        (body.starts_with("--XX\r\n\r\n"), "a part without any header is told as a broken form"),
        (body.contains("\\ud800"), "half a surrogate pair becomes U+FFFD"),
    ];
    rows.into_iter().find(|(holds, _)| *holds).map(|(_, why)| why)
}

async fn run(table: &str, check: impl Fn(&Value, &Told) -> Result<(), String>) {
    let stage = Stage::new().await;
    let content: Vec<u8> = (0..4).flat_map(|_| 0..=255u8).collect();
    let mut upload = stage.house.desk.receive("ok_x.mp4", 1 << 20).await.unwrap();
    upload.write(&content).await.unwrap();
    let received = upload.finish().await.unwrap();
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    std::fs::File::open(&received.path).unwrap().set_modified(at).unwrap();
    let app = app(&stage).layer(Extension(Key(received.key)));
    let rows: Vec<Value> = serde_json::from_str(table).unwrap();
    let mut wrong = Vec::new();
    for row in &rows {
        let (method, path) = (row["method"].as_str().unwrap(), row["path"].as_str().unwrap());
        let mut asked = request(method.parse().unwrap(), path);
        for (name, value) in row["headers"].as_object().unwrap() {
            asked = asked.header(name, value.as_str().unwrap().replace("ETAG", "\"tag\""));
        }
        let told = ask(&app, asked.body(Body::from(bytes(&row["body"]))).unwrap()).await;
        match differs(row) {
            Some(_) => assert!(told.status.as_u16() != 500, "{row}"),
            None => {
                if let Err(why) = check(row, &told) {
                    wrong.push(format!("{method} {path} {} {}: {why}", row["headers"], row["body"]));
                }
            }
        }
    }
    assert!(rows.len() > 30, "the table is there");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

fn same(row: &Value, told: &Told) -> Result<(), String> {
    let status = row["status"].as_u64().unwrap();
    if u64::from(told.status.as_u16()) != status {
        return Err(format!("{} instead of {status}: {}", told.status, String::from_utf8_lossy(&told.body)));
    }
    let expected = bytes(&row["answer"]);
    let mut given = told.body.clone();
    if let Some((_, boundary)) = told.header("content-type").split_once("boundary=") {
        // drawn by lot
        given = String::from_utf8(given).unwrap().replace(boundary, "BOUNDARY").into_bytes();
    }
    if given != expected {
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        return Err(format!("\n  {}\n  instead of\n  {}", shown(&given), shown(&expected)));
    }
    Ok(())
}

fn same_headers(row: &Value, told: &Told) -> Result<(), String> {
    same(row, told)?;
    for (name, value) in row["told"].as_object().unwrap() {
        let expected = value.as_str().unwrap();
        let given = told.header(name).to_owned();
        let given = match given.split_once("boundary=") {
            Some((kind, _)) => format!("{kind}boundary=BOUNDARY"),
            None => given,
        };
        // a server sets the length of a short answer on its way out
        if given != expected && !(name == "content-length" && given.is_empty()) {
            return Err(format!("{name} is `{given}` instead of `{expected}`"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn bodies_and_queries_are_read_as_fastapi_reads_them() {
    run(include_str!("../data/json.json"), same).await;
}

/// Our echo leaves out the declared type; a name is made safe for the store.
#[tokio::test]
async fn forms_are_read_as_fastapi_reads_them() {
    let check = |row: &Value, told: &Told| {
        if row["status"] != 200 {
            return same(row, told);
        }
        let mut expected: Value = serde_json::from_slice(&bytes(&row["answer"])).unwrap();
        if let Some(fields) = expected.as_object_mut() {
            fields.remove("content_type");
        }
        if told.status == 200 && told.json() == expected {
            Ok(())
        } else {
            Err(format!("{} instead of {expected}", String::from_utf8_lossy(&told.body)))
        }
    };
    run(include_str!("../data/form.json"), check).await;
}

#[tokio::test]
async fn routes_answer_as_starlettes_do() {
    let check = |row: &Value, told: &Told| {
        // `HEAD` bodies are the server's to drop
        if row["method"] == "HEAD" {
            let allow = row["told"]["allow"].as_str().unwrap_or_default();
            let fits = u64::from(told.status.as_u16()) == row["status"].as_u64().unwrap();
            return if fits && told.header("allow") == allow { Ok(()) } else { Err(format!("{told:?}")) };
        }
        same_headers(row, told)
    };
    run(include_str!("../data/routes.json"), check).await;
}

#[tokio::test]
async fn files_and_ranges_are_sent_as_starlette_sends_them() {
    let check = |row: &Value, told: &Told| {
        if row["method"] == "HEAD" && row["status"] == 405 {
            return if told.status == 405 { Ok(()) } else { Err(format!("{told:?}")) };
        }
        same_headers(row, told)
    };
    run(include_str!("../data/files.json"), check).await;
}
