//! Requests of every dialect, damaged by chance: each is answered, none by an error of ours, and the next good one is taken.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use damage::Dice;
use dialects::{fal, house, infinitetalk, musetalk, musetalk_s3, svd};
use serde_json::{Value, json};

use crate::stage::{Stage, ask, form, get, request};

/// The texts and files of a form: (name, text) and (name, file name, bytes).
type Texts = &'static [(&'static str, &'static str)];
type Files = &'static [(&'static str, &'static str, &'static [u8])];

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nand so on, for more than thirty-two bytes";
const WAV: &[u8] = b"RIFF\x24\x00\x00\x00WAVEfmt and so on, for more than thirty-two bytes";

/// (path, body) of what is asked with JSON.
fn asked_with_json(stage: &Stage) -> Vec<(&'static str, &'static str, Value)> {
    let (voice, face) = (stage.media("voice.wav"), stage.media("face.png"));
    let data = "data:image/png;base64,iVBORw0KGgphbmQgc28gb24sIGZvciBtb3JlIHRoYW4gdGhpcnR5LXR3byBieXRlcw==";
    vec![
        (
            "infinitetalk",
            "/api/generate-video",
            json!({"image_path": face, "audio_path": voice, "prompt": "a woman speaks", "resolution": "480", "seed": 7}),
        ),
        (
            "musetalk-s3",
            "/inference",
            json!({"avatar_id": "a", "video_path": face, "audio_clips": {"one": voice}, "preparation": true, "bbox_shift": 5, "fps": 25}),
        ),
        (
            "svd",
            "/generate-video",
            json!({"characterImageUrl": "/uploads/x.jpg", "script": "she smiles", "duration": 4, "quality": "720"}),
        ),
        (
            "fal",
            "/queue/fal-ai/infinitalk",
            json!({"image_url": data, "audio_url": data, "prompt": "a woman", "num_frames": 81, "resolution": "480p", "seed": 1}),
        ),
        ("fal", "/queue/fal-ai/musetalk", json!({"source_video_url": data, "audio_url": data})),
        ("fal", "/rest/storage/upload/initiate", json!({"file_name": "a.png", "content_type": "image/png"})),
        ("fal", "/rest/tokens/", json!({"allowed_apps": ["musetalk"], "token_expiration": 60})),
    ]
}

const FORMS: &[(&str, &str, Texts, Files)] = &[
    ("svd", "/upload-character", &[], &[("character", "c.png", PNG)]),
    (
        "musetalk",
        "/avatars/preprocess",
        &[("avatar_id", "anna"), ("bbox_shift", "0")],
        &[("video_file", "c.mp4", PNG)],
    ),
    ("musetalk", "/inference/stream/anna?pace=fast", &[("fps", "25")], &[("audio_file", "v.wav", WAV)]),
    ("musetalk", "/inference/batch/anna", &[("output_name", "x")], &[("audio_file", "v.wav", WAV)]),
];

const PATHS: &[(&str, &str)] = &[
    ("svd", "/uploads/0123456789abcdef.jpg?a=b"),
    ("svd", "/videos/0123456789abcdef.mp4"),
    ("svd", "/generation/01ARZ3NDEKTSV4RRFFQ69G5FAV"),
    ("musetalk", "/avatars"),
    ("musetalk", "/avatars/anna"),
    ("musetalk", "/inference/stream/anna/0123456789abcdef"),
    ("infinitetalk", "/api/health"),
    ("house", "/jobs/01ARZ3NDEKTSV4RRFFQ69G5FAV/log?after=3&limit=5"),
    ("house", "/jobs/01ARZ3NDEKTSV4RRFFQ69G5FAV/take"),
    ("house", "/avatars/musetalk/anna"),
    ("house", "/jobs?state=failed&limit=10"),
    ("fal", "/queue/fal-ai/musetalk/requests/0123456789abcdef/status?logs=1"),
    ("fal", "/cdn/files/b/ab/x.png"),
];

const HEADERS: &[(&str, &str)] = &[
    ("range", "bytes=0-10,20-,-5"),
    ("if-none-match", "\"abc\", W/\"d\""),
    ("if-range", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ("authorization", "Key id:secret"),
    ("content-length", "12"),
    ("origin", "https://example.com"),
    ("accept", "text/event-stream;q=0.5, */*"),
    ("accept-encoding", "gzip, br;q=0"),
    ("x-fal-request-timeout", "3.5"),
    ("x-fal-queue-priority", "low"),
    ("x-fal-store-io", "0"),
    ("x-fal-object-lifecycle-preference", r#"{"expiration_duration_seconds": 3600}"#),
    ("content-type", "multipart/form-data; boundary=\"XX\""),
];

fn routers(stage: &Stage) -> Vec<(&'static str, Router)> {
    let house = || stage.house.clone();
    vec![
        ("infinitetalk", infinitetalk::router(house())),
        ("musetalk", musetalk::router(house())),
        ("musetalk-s3", musetalk_s3::router(house())),
        ("svd", svd::router(house())),
        ("house", house::router(house())),
        ("fal", fal::router(house(), false)),
    ]
}

fn of<'a>(routers: &'a [(&str, Router)], name: &str) -> &'a Router {
    &routers.iter().find(|(other, _)| *other == name).unwrap().1
}

/// A request with its path and some header damaged as well, now and then; None where no client could send it.
fn sent(mut asked: Request<Body>, dice: &mut Dice) -> Option<Request<Body>> {
    if dice.below(4) == 0 {
        let damaged = damage::bytes(asked.uri().to_string().as_bytes(), dice);
        *asked.uri_mut() = String::from_utf8(damaged)
            .ok()?
            .parse()
            .ok()
            .filter(|uri: &axum::http::Uri| uri.path().starts_with('/'))?;
    }
    if dice.below(3) == 0 {
        let (name, value) = HEADERS[dice.below(HEADERS.len())];
        let value = if dice.below(2) == 0 {
            value.as_bytes().to_vec()
        } else {
            damage::bytes(value.as_bytes(), dice)
        };
        asked.headers_mut().insert(name, axum::http::HeaderValue::from_bytes(&value).ok()?);
    }
    Some(asked)
}

async fn is_answered(router: &Router, asked: Request<Body>) {
    let shown = format!("{} {} {:?}", asked.method(), asked.uri(), asked.headers());
    let told = ask(router, asked).await;
    // 503: the line is full
    let ours = told.status.is_server_error() && told.status.as_u16() != 503;
    assert!(!ours, "{shown}: {} {}", told.status, String::from_utf8_lossy(&told.body));
}

#[tokio::test]
async fn mutated_requests_are_answered() {
    let stage = Stage::new().await;
    let (routers, with_json) = (routers(&stage), asked_with_json(&stage));
    for (round, mut dice) in damage::rounds(600).enumerate() {
        let dice = &mut dice;
        let (name, asked) = match round % 3 {
            0 => {
                let (name, path, body) = &with_json[dice.below(with_json.len())];
                let body = damage::json(body, dice).to_string().into_bytes();
                let body = if dice.below(3) == 0 { damage::bytes(&body, dice) } else { body };
                let asked = request(Method::POST, path).header("content-type", "application/json");
                (*name, asked.body(Body::from(body)).unwrap())
            }
            1 => {
                let (name, path, texts, files) = &FORMS[dice.below(FORMS.len())];
                let (head, body) = form(path, texts, files).into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                (*name, Request::from_parts(head, Body::from(damage::bytes(&body, dice))))
            }
            _ => {
                let (name, path) = PATHS[dice.below(PATHS.len())];
                let method = [Method::GET, Method::HEAD, Method::DELETE, Method::PUT, Method::OPTIONS]
                    [dice.below(5)]
                .clone();
                (name, request(method, path).body(Body::empty()).unwrap())
            }
        };
        let Some(asked) = sent(asked, dice) else { continue };
        is_answered(of(&routers, name), asked).await;
    }
    assert_eq!(get(of(&routers, "svd"), "/health").await.status, 200);
}
