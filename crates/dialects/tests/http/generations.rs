//! Dialect 4, from upload to video, and talkie's own view of the same jobs.

use axum::http::StatusCode;
use dialects::{house, svd};
use jobs::VoiceSpec;
use serde_json::json as value;

use crate::stage::{FILM, Script, Stage, ask, form, get, json, server};

const PNG: &[u8] = include_bytes!("../data/squares.png");
const KEYS: [&str; 8] =
    ["id", "characterImageUrl", "script", "duration", "quality", "videoUrl", "status", "createdAt"];

#[tokio::test]
async fn a_picture_becomes_a_video() {
    let mut stage = Stage::new().await;
    let app = svd::router(stage.house.clone());
    let uploaded = ask(&app, form("/upload-character", &[], &[("character", "../../me.JPG", PNG)])).await;
    let url = uploaded.json()["imageUrl"].as_str().unwrap().to_owned();
    assert!(url.starts_with("/uploads/character_") && url.ends_with(".jpg"), "{url}: made anew");
    let picture = get(&app, &url).await;
    assert_eq!((&picture.body[..3], picture.header("content-type")), (&b"\xff\xd8\xff"[..], "image/jpeg"));

    stage.script(Script::Wait);
    let body = value!({ "characterImageUrl": url, "script": "wave", "duration": "3" }).to_string();
    let told = ask(&app, json("/generate-video", &body)).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.text());
    assert_eq!(told.header("x-talkie-engine"), "puppet; weights=visnet-1");
    let generation = told.json();
    let places: Vec<_> = KEYS.iter().map(|key| told.text().find(&format!("\"{key}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{}", told.text());
    let told =
        (&generation["status"], &generation["videoUrl"], &generation["duration"], &generation["quality"]);
    assert_eq!(told, (&value!("pending"), &value!(null), &value!(3), &value!("768")));
    assert_eq!(generation["createdAt"], "2025-11-02T14:30:22.000Z");
    assert!(generation["warning"].as_str().unwrap().contains("script"));

    let assignment = stage.assignment().await;
    let jobs::Work::Take(take) = &assignment.work else { panic!("a take") };
    assert_eq!(take.voice, VoiceSpec::Idle { seconds: 3.0 });
    assert_eq!(take.settings.sent["size"], contract::Value::Int(768));
    let id = generation["id"].as_str().unwrap();
    let path = format!("/generation/{id}");
    assert_eq!(get(&app, &path).await.json()["status"], "processing");
    stage.finish(&assignment).await;
    stage.house.desk.wait(id).await.unwrap();
    let done = get(&app, &path).await;
    assert_eq!(done.json()["status"], "completed");
    assert_eq!(done.json()["videoUrl"], format!("/videos/video_{id}.mp4"));
    let video = get(&app, done.json()["videoUrl"].as_str().unwrap()).await;
    assert_eq!((video.body.as_slice(), video.header("content-type")), (FILM, "video/mp4"));
    assert_eq!(video.header("x-talkie-engine"), "puppet; weights=visnet-1");

    let talkie = house::router(stage.house.clone());
    let job = get(&talkie, &format!("/jobs/{id}")).await.json();
    assert_eq!(
        (&job["state"], &job["kind"], &job["dialect"]),
        (&value!("done"), &value!("take"), &value!("svd"))
    );
    assert_eq!(get(&talkie, &format!("/jobs/{id}/take")).await.body, FILM);
    let events = get(&talkie, &format!("/jobs/{id}/events")).await;
    assert!(
        events.text().contains("event: job\ndata: {") && events.text().contains("\"state\":\"done\""),
        "{}",
        events.text()
    );
}

#[tokio::test]
async fn what_fails_fails_later_and_says_why() {
    let mut stage = Stage::new().await;
    let app = svd::router(stage.house.clone());
    let lost = "/uploads/character_01890a5d-ac96-774b-bcce-b302099a8057.png";
    for url in [lost, "/uploads/../../etc/passwd", "nonsense"] {
        let body = value!({ "characterImageUrl": url, "script": "" }).to_string();
        let told = ask(&app, json("/generate-video", &body)).await;
        assert_eq!((told.status, &told.json()["status"]), (StatusCode::OK, &value!("pending")), "{url}");
        stage.assignment().await;
        let id = told.json()["id"].as_str().unwrap().to_owned();
        stage.house.desk.wait(&id).await.unwrap();
        let told = get(&app, &format!("/generation/{id}")).await.json();
        assert_eq!((&told["status"], &told["videoUrl"]), (&value!("failed"), &value!(null)));
        assert_eq!(told["error"], "there is no such picture");
        assert_eq!(get(&app, &format!("/videos/video_{id}.mp4")).await.status, StatusCode::NOT_FOUND);
    }
    stage.script(Script::Fail(server("engine_failed", "it broke")));
    let body = value!({ "characterImageUrl": "/uploads/x", "script": "" }).to_string();
    let id = ask(&app, json("/generate-video", &body)).await.json()["id"].as_str().unwrap().to_owned();
    stage.house.desk.wait(&id).await.unwrap();
    assert_eq!(get(&app, &format!("/generation/{id}")).await.json()["error"], "it broke");
}

#[tokio::test]
async fn refusals_have_their_statuses() {
    let stage = Stage::new().await;
    let app = svd::router(stage.house.clone());
    let body = |duration: i64, quality: &str, script: &str| value!({ "characterImageUrl": "/uploads/x", "script": script, "duration": duration, "quality": quality });
    let long = "s".repeat(501);
    let rows = [
        (body(61, "768", ""), 422, r#"Input should be less than or equal to 60","input":61,"ctx":{"le":60}"#),
        (body(0, "768", ""), 422, "greater than or equal to 1"),
        (body(5, "high", ""), 400, "Unsupported quality: high. Use '512', '768' or '1024'"),
        (body(5, "768", &long), 422, "String should have at most 500 characters"),
        (value!({ "characterImageUrl": "/uploads/x", "script": "", "quality": 768 }), 422, "valid string"),
        (value!({ "characterImageUrl": "ftp", "duration": 1 }), 422, "Field required"),
        (value!({ "characterImageUrl": "http://10.0.0.1:99/x.png", "script": "" }), 400, ""),
    ];
    for (body, status, words) in rows {
        let told = ask(&app, json("/generate-video", &body.to_string())).await;
        assert_eq!(told.status.as_u16(), status, "{body} {}", told.text());
        assert!(told.text().contains(words), "{body} {}", told.text());
    }
    for path in ["/generation/x", "/generation/01890a5d-ac96-774b-bcce-b302099a8057"] {
        let told = get(&app, path).await;
        assert_eq!((told.status.as_u16(), told.text()), (404, r#"{"detail":"Generation not found"}"#));
    }
    for path in ["/videos/x", "/videos/video_x.mp4", "/uploads/x", "/uploads/..%2f..%2ftalkie.db", "/videos/"]
    {
        let told = get(&app, path).await;
        assert_eq!((told.status.as_u16(), told.text()), (404, r#"{"detail":"Not Found"}"#), "{path}");
    }
}

#[tokio::test]
async fn history_is_short_and_newest_first_and_a_full_queue_says_when_to_come_back() {
    let mut stage = Stage::new().await;
    let app = svd::router(stage.house.clone());
    let body = r#"{"characterImageUrl":"/uploads/x","script":""}"#;
    let mut ids = Vec::new();
    for _ in 0..12 {
        ids.push(ask(&app, json("/api/generate-video", body)).await.json()["id"].clone());
        stage.assignment().await;
    }
    ids.reverse();
    let told = get(&app, "/generations").await.json();
    let told: Vec<_> = told.as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(told, ids[..10]);
    stage.script(Script::Wait);
    let mut busy = None;
    for _ in 0..20 {
        let told = ask(&app, json("/generate-video", body)).await;
        if told.status != StatusCode::OK {
            busy = Some(told);
            break;
        }
    }
    let busy = busy.expect("two run, four wait");
    assert_eq!(busy.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(busy.header("retry-after").parse::<u32>().is_ok(), "{busy:?}");
}

#[tokio::test]
async fn jobs_are_listed_logged_and_canceled() {
    let mut stage = Stage::new().await;
    let (app, talkie) = (svd::router(stage.house.clone()), house::router(stage.house.clone()));
    stage.script(Script::Wait);
    let body = r#"{"characterImageUrl":"/uploads/x","script":""}"#;
    let id = ask(&app, json("/generate-video", body)).await.json()["id"].as_str().unwrap().to_owned();
    let assignment = stage.assignment().await;
    let told = ask(&talkie, json(&format!("/jobs/{id}/cancel"), "")).await;
    assert_eq!(told.json(), value!({ "id": id, "outcome": "requested" }));
    assert_eq!(stage.canceled.recv().await.unwrap(), id);
    stage.ended(&assignment, jobs::Ending::Canceled);
    stage.house.desk.wait(&id).await.unwrap();
    assert_eq!(ask(&talkie, json(&format!("/jobs/{id}/cancel"), "")).await.json()["outcome"], "ended");
    for (query, count) in
        [("", 1), ("?dialect=svd", 1), ("?dialect=musetalk", 0), ("?state=canceled", 1), ("?state=done", 0)]
    {
        let told = get(&talkie, &format!("/jobs{query}")).await.json();
        assert_eq!(told["jobs"].as_array().unwrap().len(), count, "{query}");
    }
    assert!(!get(&talkie, &format!("/jobs/{id}/log")).await.json()["lines"].as_array().unwrap().is_empty());
    for (path, status) in [
        ("/jobs?state=x", 400),
        ("/jobs?limit=0", 422),
        ("/jobs/x", 404),
        ("/jobs/x/log", 404),
        ("/jobs/x/take", 404),
        ("/jobs/x/events", 404),
    ] {
        assert_eq!(get(&talkie, path).await.status.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_heeded_and_an_address_that_goes_on_are_refused() {
    let stage = Stage::new().await;
    let app = svd::router(stage.house.clone());
    let wish = |url: &str| value!({ "characterImageUrl": url, "script": "" }).to_string();
    let long = "k".repeat(256);
    let rows: [(&[u8], u16, &str); 4] = [
        (b"", 200, ""),
        (&long.as_bytes()[1..], 200, ""),
        (long.as_bytes(), 400, "the limit is 255"),
        (b"caf\xe9", 400, "ASCII"),
    ];
    for (key, status, word) in rows {
        let mut asked = json("/generate-video", &wish("/uploads/x"));
        asked.headers_mut().insert("idempotency-key", axum::http::HeaderValue::from_bytes(key).unwrap());
        let told = ask(&app, asked).await;
        assert_eq!(told.status.as_u16(), status, "{key:?} {}", told.text());
        assert!(told.text().contains(word), "{key:?} {}", told.text());
    }
    let picture = format!("data:image/png;base64,{}", "A".repeat(4000));
    let rows = [
        (format!("https://host.example/{}", "x".repeat(2048 - 21)), 200),
        (format!("https://host.example/{}", "x".repeat(2048)), 422),
        ("x".repeat(2049), 422),
        (picture, 200),
    ];
    for (url, status) in rows {
        let told = ask(&app, json("/generate-video", &wish(&url))).await;
        assert_eq!(told.status.as_u16(), status, "{} characters: {}", url.len(), told.text());
        if status == 200 {
            let kept = match url.strip_prefix("data:") {
                Some(_) => {
                    "data: with sha256 82a303c926fc03307d819e80d804db42b80f6b12996df12ee6abcd88ba7631aa"
                }
                None => &url,
            };
            assert_eq!(told.json()["characterImageUrl"], kept);
        }
    }
}
