//! fal's storage: files in, whole or in parts, and out again, takes among them. Whoever knows a file's address may read it: the
//! addresses cannot be guessed, and clients fetch results without their key.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt;
use jobs::{Desk, Received};
use serde_json::json;

use super::Door;
use super::arrivals::{Arrival, LIFE_MS, Part, unknown};
use super::from_wire::lifecycle;
use super::to_wire::{empty, json};
use super::way::Bases;
use crate::front_door::files::{Form, Sending, send};
use crate::front_door::keys::Owner;
use crate::front_door::pace::Pace;
use crate::front_door::refused::{Refused, broken};

/// Parts of one file: 10 MiB each from the official clients.
const PARTS: u32 = 10_000;

/// What a path below `/files/` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileName {
    /// By its key in the store.
    Upload(String),
    /// By its job.
    Take(String),
}

/// `/files/<ulid>/<name>` or `/files/<job, 32 hex>/<the same>.mp4`
pub fn named(path: &str) -> Option<FileName> {
    let (id, name) = path.strip_prefix("/files/")?.split_once('/')?;
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if name.is_empty() || name.starts_with('.') || !plain(name) {
        return None;
    }
    match id.len() {
        26 if plain(id) => Some(FileName::Upload(format!("uploads/{id}/{name}"))),
        32 if name.strip_suffix(".mp4") == Some(id) => {
            Some(FileName::Take(uuid::Uuid::try_parse(id).ok()?.to_string()))
        }
        _ => None,
    }
}

/// Of a take, and its name alone.
pub fn take_url(cdn: &str, job: &str) -> (String, String) {
    let id = job.replace('-', "");
    (format!("{cdn}/files/{id}/{id}.mp4"), format!("{id}.mp4"))
}

fn upload_url(cdn: &str, key: &str) -> String {
    format!("{cdn}/files/{}", key.trim_start_matches("uploads/"))
}

fn throw_away(desk: &Desk, parts: impl IntoIterator<Item = Part>) {
    let desk = desk.clone();
    let keys: Vec<String> = parts.into_iter().map(|part| part.upload.key).collect();
    tokio::spawn(async move {
        for key in keys {
            if let Err(complaint) = desk.discard(&key).await {
                tracing::warn!(key, %complaint, "a part that nobody needs could not be removed");
            }
        }
    });
}

/// Streams a body into the store.
async fn receive(door: &Door, key: &str, body: Body) -> Result<Received, Refused> {
    let complaint = |complaint| Refused::complaint(&complaint);
    let limit = door.room.house.limits.upload_bytes;
    let mut upload = door.room.house.desk.receive_as(key, limit).await.map_err(complaint)?;
    let (mut pieces, mut bytes) = (body.into_data_stream(), 0);
    let pace = Pace::begin();
    while let Some(piece) = pace.next(bytes, pieces.next()).await? {
        let piece = piece.map_err(|_| Refused::bad("the file broke off; send it again"))?;
        upload.write(&piece).await.map_err(complaint)?;
        bytes += piece.len() as u64;
    }
    upload.finish().await.map_err(complaint)
}

async fn keep_until(door: &Door, key: &str, life: Option<Duration>) -> Result<(), Refused> {
    let Some(life) = life else { return Ok(()) };
    let ms = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
    let at_ms = door.room.house.clock.now_ms().saturating_add(ms);
    door.room.house.desk.expire_upload(key, at_ms).await.map_err(broken)
}

fn said_name(headers: &HeaderMap) -> String {
    let name = headers.get("x-fal-file-name").and_then(|value| value.to_str().ok());
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    name.map_or_else(|| format!("file.{}", extension(kind.unwrap_or_default())), str::to_owned)
}

fn extension(kind: &str) -> &'static str {
    match kind.split(';').next().unwrap_or_default().trim() {
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/webp" => "webp",
        "audio/wav" | "audio/x-wav" => "wav",
        "audio/mpeg" => "mp3",
        "video/mp4" => "mp4",
        _ => "bin",
    }
}

/// Only what a browser shows without running anything in it.
fn content_type(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
    match end.as_deref() {
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("gif") => "image/gif",
        Some("wav") => "audio/wav",
        Some("mp3") => "audio/mpeg",
        Some("ogg") => "audio/ogg",
        Some("m4a") => "audio/mp4",
        Some("flac") => "audio/flac",
        Some("mp4") => "video/mp4",
        Some("webm") => "video/webm",
        Some("mov") => "video/quicktime",
        _ => "application/octet-stream",
    }
}

/// `POST /files/upload`: the bytes themselves.
pub async fn upload(
    door: &Door,
    bases: &Bases,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let key = door.room.house.desk.upload_key(&said_name(headers));
    let received = receive(door, &key, body).await?;
    keep_until(door, &received.key, lifecycle(headers)).await?;
    Ok(json(StatusCode::OK, &json!({ "access_url": upload_url(&bases.cdn(), &received.key) })))
}

/// What `initiate` and its kin are told.
#[derive(Debug, Default, serde::Deserialize)]
struct Announced {
    file_name: Option<String>,
    content_type: Option<String>,
}

impl Announced {
    fn read(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(bytes)
            .map_err(|error| Refused::bad(format!("the body is no announcement of a file: {error}")))
    }

    fn name(self) -> String {
        let kind = self.content_type.unwrap_or_default();
        self.file_name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("file.{}", extension(&kind)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// One `PUT` to `upload_url`.
    Whole,
    /// JavaScript's parts, which go to `upload_url/<n>`.
    Parts,
    /// Python's, which go to `access_url/multipart/<id>/<n>`.
    PartsOfAccess,
}

/// Promises an address to a file that is to come.
pub fn initiate(
    door: &Door,
    owner: &Owner,
    bases: &Bases,
    headers: &HeaderMap,
    (manner, body): (Manner, &[u8]),
) -> Result<Response, Refused> {
    let name = match manner {
        Manner::PartsOfAccess => said_name(headers),
        Manner::Whole | Manner::Parts => Announced::read(body)?.name(),
    };
    let desk = &door.room.house.desk;
    let key = desk.upload_key(&name);
    let now_ms = door.room.house.clock.now_ms();
    let (id, forgotten) = door.fal().arrivals.expect(owner, (key.clone(), lifecycle(headers)), now_ms);
    throw_away(desk, forgotten);
    let file_url = upload_url(&bases.cdn(), &key);
    Ok(json(
        StatusCode::OK,
        &match manner {
            Manner::Whole => json!({ "upload_url": format!("{file_url}/put/{id}"), "file_url": file_url }),
            Manner::Parts => {
                json!({ "upload_url": format!("{file_url}/multipart/{id}"), "file_url": file_url })
            }
            Manner::PartsOfAccess => json!({ "access_url": file_url, "uploadId": id }),
        },
    ))
}

/// What stands behind a file's path: `put/<id>`, `multipart/<id>/<n>`, `multipart/<id>/complete`.
pub fn split(path: &str) -> Option<(FileName, Vec<&str>)> {
    let mut parts = path.trim_matches('/').split('/');
    let (files, id, name) = (parts.next()?, parts.next()?, parts.next()?);
    Some((named(&format!("/{files}/{id}/{name}"))?, parts.collect()))
}

/// `PUT …/put/<id>`
pub async fn put(door: &Door, (file, id): (&FileName, &str), body: Body) -> Result<Response, Refused> {
    let known = door.fal().arrivals.find(id).filter(|(key, _)| *file == FileName::Upload(key.clone()));
    let (key, life) = known.ok_or_else(unknown)?;
    let received = receive(door, &key, body).await?;
    // one that broke off may be sent again; one that came both ways has parts that nobody needs
    if let Ok(arrival) = door.fal().arrivals.complete(id, |_| Ok(())) {
        throw_away(&door.room.house.desk, arrival.parts.into_values());
    }
    keep_until(door, &received.key, life).await?;
    // JavaScript's client reads an empty body as JSON if it is called that
    Ok(empty(StatusCode::OK))
}

/// `PUT …/multipart/<id>/<n>`: answered with JSON for one client and an ETag for the other.
pub async fn part(door: &Door, (id, number): (&str, &str), body: Body) -> Result<Response, Refused> {
    let number = number.parse().ok().filter(|number| (1..=PARTS).contains(number));
    let number: u32 = number.ok_or_else(|| Refused::bad(format!("a part's number can be 1 to {PARTS}")))?;
    door.fal().arrivals.find(id).ok_or_else(unknown)?;
    let desk = &door.room.house.desk;
    let upload = receive(door, &desk.upload_key("part"), body).await?;
    // a server that is restarted meanwhile does not know what it belonged to
    keep_until(door, &upload.key, Some(Duration::from_millis(LIFE_MS as u64))).await?;
    let etag = format!("\"{}\"", &upload.sha256[..32]);
    let limit = door.room.house.limits.upload_bytes;
    let part = Part { upload, etag: etag.clone() };
    let (needless, outcome) = door.fal().arrivals.add(id, (number, part), limit);
    throw_away(desk, needless);
    outcome?;
    let mut response = json(StatusCode::OK, &json!({ "partNumber": number, "etag": etag }));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// `{"parts": [{"partNumber": 1, "etag": "…"}]}`; without a list, all that came.
#[derive(Debug, Default, serde::Deserialize)]
struct Completed {
    parts: Option<Vec<Listed>>,
}

#[derive(Debug, serde::Deserialize)]
struct Listed {
    #[serde(rename = "partNumber")]
    number: u32,
    etag: Option<String>,
}

/// `POST …/multipart/<id>/complete`: the parts in the order of their numbers, however they came.
pub async fn complete(door: &Door, bases: &Bases, (id, body): (&str, &[u8])) -> Result<Response, Refused> {
    let listed: Completed = match body {
        [] => Completed::default(),
        body => serde_json::from_slice(body)
            .map_err(|error| Refused::bad(format!("the body is no list of parts: {error}")))?,
    };
    let arrival = door.fal().arrivals.complete(id, |arrival| check(arrival, &listed))?;
    let listed: Option<BTreeSet<u32>> =
        listed.parts.map(|parts| parts.into_iter().map(|part| part.number).collect());
    let wanted = |number: &u32| listed.as_ref().is_none_or(|listed| listed.contains(number));
    let parts =
        arrival.parts.iter().filter(|(number, _)| wanted(number)).map(|(_, part)| part.clone()).collect();
    let joined = join(door, &arrival.key, parts).await;
    throw_away(&door.room.house.desk, arrival.parts.into_values());
    let received = joined?;
    keep_until(door, &received.key, arrival.life).await?;
    let url = upload_url(&bases.cdn(), &received.key);
    Ok(json(StatusCode::OK, &json!({ "access_url": url, "file_url": url })))
}

fn check(arrival: &Arrival, listed: &Completed) -> Result<(), Refused> {
    let Some(parts) = &listed.parts else { return Ok(()) };
    for Listed { number, etag } in parts {
        let Some(part) = arrival.parts.get(number) else {
            return Err(Refused::bad(format!("part {number} did not come; send it and complete again")));
        };
        let bare = |etag: &str| etag.trim_matches('"').to_owned();
        if etag.as_deref().is_some_and(|etag| bare(etag) != bare(&part.etag)) {
            return Err(Refused::bad(format!(
                "part {number} came as something else; send it and complete again"
            )));
        }
    }
    Ok(())
}

async fn join(door: &Door, key: &str, parts: Vec<Part>) -> Result<Received, Refused> {
    let desk = &door.room.house.desk;
    let complaint = |complaint| Refused::complaint(&complaint);
    let mut upload = desk.receive_as(key, door.room.house.limits.upload_bytes).await.map_err(complaint)?;
    for part in parts {
        let reading = desk.open_upload(&part.upload.key).await.map_err(broken)?.ok_or_else(unknown)?;
        let mut pieces = reading.range(0, reading.bytes).await;
        while let Some(piece) = pieces.next().await {
            let piece =
                piece.map_err(|error| Refused::later(format!("a part cannot be read: {error}"), 5))?;
            upload.write(&piece).await.map_err(complaint)?;
        }
    }
    upload.finish().await.map_err(complaint)
}

/// `GET` and `HEAD` of a file.
pub async fn get(
    door: &Door,
    file: &FileName,
    (method, headers): (&Method, &HeaderMap),
) -> Result<Response, Refused> {
    let desk = &door.room.house.desk;
    let missing = || Refused::missing("File not found");
    let (reading, name, etag) = match file {
        FileName::Upload(key) => {
            let reading = desk.open_upload(key).await.map_err(broken)?.ok_or_else(missing)?;
            (reading, key.clone(), key.replace(['/', '.'], "-"))
        }
        FileName::Take(job) => {
            let reading = desk.open_take(job).await.map_err(broken)?.ok_or_else(missing)?;
            (reading, "take.mp4".to_owned(), job.clone())
        }
    };
    let sending = Sending { reading, content_type: content_type(&name), etag: &etag, form: Form::Static };
    Ok(send(sending, method, headers).await)
}

/// For how long a token to upload is good.
const TOKEN_LIFE_MS: i64 = 3600 * 1000;

/// `POST /storage/auth/token`
pub fn upload_token(door: &Door, owner: &Owner, bases: &Bases) -> Response {
    let now_ms = door.room.house.clock.now_ms();
    let token = door.fal().tokens.issue(owner, super::tokens::Opens::Uploads, (now_ms, TOKEN_LIFE_MS));
    let until = crate::front_door::dates::iso(now_ms + TOKEN_LIFE_MS);
    json(
        StatusCode::OK,
        &super::wire::UploadToken {
            token,
            token_type: "Bearer",
            base_url: bases.cdn().into_owned(),
            // Python 3.10 does not read a Z
            expires_at: until.replace('Z', "+00:00"),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_files_or_nothing() {
        let ulid = "01arz3ndektsv4rrffq69g5fav";
        let hex = "0189f7e09c3b4f0c8a5e2d6b7c8d9e0f";
        let job = "0189f7e0-9c3b-4f0c-8a5e-2d6b7c8d9e0f";
        let upload = FileName::Upload(format!("uploads/{ulid}/a.wav"));
        let rows = [
            (format!("/files/{ulid}/a.wav"), Some(upload.clone())),
            (format!("/files/{hex}/{hex}.mp4"), Some(FileName::Take(job.to_owned()))),
            (format!("/files/{hex}/other.mp4"), None),
            (format!("/files/{ulid}/../x"), None),
            (format!("/files/{ulid}/.x"), None),
            ("/files/koala/gmpc0QevDF9bBsL1EAYVF_1c63.png".to_owned(), None),
            ("/files/upload".to_owned(), None),
        ];
        for (path, expected) in rows {
            assert_eq!(named(&path), expected, "{path}");
        }
        assert_eq!(
            take_url("http://h/cdn", job),
            (format!("http://h/cdn/files/{hex}/{hex}.mp4"), format!("{hex}.mp4"))
        );
        let path = format!("/files/{ulid}/a.wav/multipart/x/3");
        assert_eq!(split(&path), Some((upload, vec!["multipart", "x", "3"])));
    }
}
