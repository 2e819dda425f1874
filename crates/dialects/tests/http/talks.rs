//! Dialect 1: answers that are held open.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use dialects::front_door::{Common, KeepAlive, OnHangup};
use dialects::infinitetalk;
use jobs::{Delivery, VoiceSpec, Work};
use serde_json::{Value, json as value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::stage::{FILM, LONG, NOW_MS, Script, Stage, ask, client, get, json, server};

fn body(stage: &Stage, more: Value) -> String {
    let mut body = value!({ "audio_path": stage.media("voice.wav"), "image_path": stage.media("face.png") });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

#[tokio::test]
async fn a_video_is_answered_as_the_original_does() {
    let mut stage = Stage::new().await;
    let app = infinitetalk::router(stage.house.clone());
    let asked = body(&stage, value!({ "prompt": "A professional speaker presenting content", "seed": "7" }));
    let told = ask(&app, json("/api/generate-video", &asked)).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.text());
    let path = stage.folder.path().join(
        "data/output/infinitetalk/infinitetalk_infinitetalk-480_A_professional_speaker_present_20251102_143022.mp4",
    );
    let expected = value!({
        "video_path": path, "duration_seconds": 8.0, "resolution": "448x180", "frame_count": 200,
        "metadata": {
            "seed": "7", "diffusion_steps": "40", "text_guide_scale": "5.0", "audio_guide_scale": "4.0",
            "resolution_bucket": "infinitetalk-480", "actual_resolution": "448x180", "motion_frame": "9",
            "color_correction": "true", "timestamp": "20251102_143022", "engine": "puppet", "weights": "visnet-1"
        }
    });
    assert_eq!(told.json(), expected);
    assert_eq!(told.header("x-talkie-engine"), "puppet; weights=visnet-1");
    assert_eq!(std::fs::read(path).unwrap(), FILM);
    let assignment = stage.assignment().await;
    let Work::Take(take) = &assignment.work else { panic!("a take") };
    assert_eq!((take.seed, take.prompt.is_some(), take.fps), (7, true, Some(contract::Fps::whole(25))));
    assert!(matches!(&take.voice, VoiceSpec::File { start: None, duration: None, .. }));
    assert_ne!(assignment.deliver, Delivery::default());

    let again = ask(&app, json("/api/generate-video", &asked)).await;
    assert_eq!(again.json(), expected, "the same request within a minute is the same video");
    let other = ask(&app, json("/api/generate-video", &body(&stage, value!({ "seed": 8 })))).await;
    assert_ne!(other.json()["video_path"], expected["video_path"]);
}

/// The dialect's own port and the one that has everything, in one second; then the server after this one.
#[tokio::test]
async fn no_video_lies_where_anothers_is() {
    let stage = Stage::new().await;
    let apps = [infinitetalk::router(stage.house.clone()), infinitetalk::router(stage.house.clone())];
    let mut paths = std::collections::BTreeSet::new();
    for seed in 0..4 {
        let asked = json("/api/generate-video", &body(&stage, value!({ "seed": seed })));
        let told = ask(&apps[seed % 2], asked).await.json();
        assert_eq!(told["metadata"]["timestamp"], "20251102_143022", "the second that it is");
        paths.insert(told["video_path"].as_str().unwrap().to_owned());
    }
    assert_eq!(paths.len(), 4, "{paths:?}");
    assert!(!Common::new(NOW_MS).first_in(NOW_MS / 1000), "another server may have had it");
}

#[tokio::test]
async fn health_and_index_are_the_originals() {
    let stage = Stage::new().await;
    let app = infinitetalk::router(stage.house.clone());
    let health = r#"{"status":"healthy","model_loaded":true,"gpu_available":false,"version":"1.0.0"}"#;
    assert_eq!(get(&app, "/api/health").await.text(), health);
    let index = concat!(
        r#"{"name":"InfiniteTalk API Server","version":"1.0.0","#,
        r#""description":"Audio-driven talking head video generation","#,
        r#""endpoints":{"health":"/api/health","generate":"/api/generate-video"}}"#
    );
    assert_eq!(get(&app, "/").await.text(), index);
}

#[tokio::test]
async fn refusals_have_the_originals_words_and_honest_statuses() {
    let stage = Stage::new().await;
    let app = infinitetalk::router(stage.house.clone());
    let wrong = "Unsupported resolution: 4k. Use 'infinitetalk-480' or 'infinitetalk-720'";
    let rows = [
        (value!({ "resolution": "4k" }), 400, wrong),
        (value!({ "audio_path": stage.media("none.wav") }), 404, "none.wav"),
        (value!({ "image_path": "/etc/passwd" }), 400, "/etc/passwd"),
        (value!({ "image_path": "/etc/none" }), 400, "/etc/none"),
        (value!({ "audio_path": "s3://ours/voice.wav" }), 400, ""),
        (value!({ "audio_path": null }), 422, "Input should be a valid string"),
        (value!({ "text_guide_scale": "NaN" }), 422, "finite"),
    ];
    for (more, status, words) in rows {
        let told = ask(&app, json("/api/generate-video", &body(&stage, more.clone()))).await;
        assert_eq!(told.status.as_u16(), status, "{more} {}", told.text());
        assert!(told.text().contains(words), "{more} {}", told.text());
    }
    let failures = [
        (client("no_face", "there is no face"), 400),
        (client("audio_too_long", "the audio is 700 s long"), 422),
        (client("file_too_large", "the address gives too much"), 413),
        (server("engine_failed", "it broke"), 500),
    ];
    for (failure, status) in failures {
        stage.script(Script::Fail(failure.clone()));
        let asked = body(&stage, value!({ "prompt": failure.code }));
        let told = ask(&app, json("/api/generate-video", &asked)).await;
        let expected = value!({ "detail": format!("Video generation failed: {}", failure.message) });
        assert_eq!((told.status.as_u16(), told.json()), (status, expected));
    }
}

async fn serve(app: Router) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// A client on a real socket that has sent its request.
async fn send(address: std::net::SocketAddr, body: &str) -> BufReader<TcpStream> {
    let mut client = TcpStream::connect(address).await.unwrap();
    let asked = format!(
        "POST /api/generate-video HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.write_all(asked.as_bytes()).await.unwrap();
    BufReader::new(client)
}

async fn head(client: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(client.read_line(&mut head).await.unwrap() > 0, "{head}");
    }
    head
}

fn hasty(house: &mut dialects::front_door::House) {
    house.keep_alive = KeepAlive { first: Duration::from_millis(20), every: Duration::from_millis(5) };
}

#[tokio::test]
async fn a_long_wait_is_filled_with_blanks_before_the_body() {
    let mut stage = Stage::with(hasty).await;
    stage.script(Script::Wait);
    let address = serve(infinitetalk::router(stage.house.clone())).await;
    let mut client = send(address, &body(&stage, value!({}))).await;
    let assignment = stage.assignment().await;
    let head = head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("transfer-encoding: chunked"), "{head}");
    assert!(head.contains("x-talkie-engine: puppet; weights=visnet-1"), "{head}");
    let mut chunk = [0; 6];
    for _ in 0..3 {
        client.read_exact(&mut chunk).await.unwrap();
        assert_eq!(&chunk, b"1\r\n \r\n");
    }
    stage.finish(&assignment).await;
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
    assert!(rest.contains(r#""frame_count":200"#), "{rest}");
}

#[tokio::test]
async fn a_failure_after_the_first_blank_breaks_off_and_is_told_to_who_asks_again() {
    let mut stage = Stage::with(hasty).await;
    stage.script(Script::Wait);
    let app = infinitetalk::router(stage.house.clone());
    let address = serve(app.clone()).await;
    let asked = body(&stage, value!({}));
    let mut client = send(address, &asked).await;
    let assignment = stage.assignment().await;
    head(&mut client).await;
    let mut chunk = [0; 6];
    client.read_exact(&mut chunk).await.unwrap();
    stage.ended(&assignment, jobs::Ending::Failed(server("engine_failed", "it broke")));
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await; // the end may be a reset
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    let told = ask(&app, json("/api/generate-video", &asked)).await;
    assert_eq!(
        (told.status.as_u16(), told.text()),
        (500, r#"{"detail":"Video generation failed: it broke"}"#)
    );
}

#[tokio::test]
async fn hanging_up_loses_nothing_and_the_same_request_attaches() {
    let mut stage = Stage::new().await;
    stage.script(Script::Wait);
    let app = infinitetalk::router(stage.house.clone());
    let address = serve(app.clone()).await;
    let asked = body(&stage, value!({}));
    let client = send(address, &asked).await;
    let assignment = stage.assignment().await;
    drop(client);
    let again = tokio::spawn({
        let asked = asked.clone();
        async move { ask(&app, json("/api/generate-video", &asked)).await }
    });
    stage.finish(&assignment).await;
    let told = tokio::time::timeout(LONG, again).await.unwrap().unwrap();
    assert_eq!(told.json()["frame_count"], 200);
    assert!(stage.canceled.try_recv().is_err());
    assert!(stage.assigned.try_recv().is_err(), "one job");
}

#[tokio::test]
async fn the_last_to_hang_up_cancels_if_it_is_to_be_so() {
    let mut stage = Stage::with(|house| house.infinitetalk.on_hangup = OnHangup::Cancel).await;
    stage.script(Script::Wait);
    let address = serve(infinitetalk::router(stage.house.clone())).await;
    let asked = body(&stage, value!({}));
    let first = send(address, &asked).await;
    let assignment = stage.assignment().await;
    let second = send(address, &asked).await;
    drop(second);
    drop(first);
    let canceled = tokio::time::timeout(LONG, stage.canceled.recv()).await.unwrap().unwrap();
    assert_eq!(canceled, assignment.job);
}

#[tokio::test]
async fn a_job_that_was_canceled_is_told_as_such() {
    let mut stage = Stage::new().await;
    stage.script(Script::Wait);
    let app = infinitetalk::router(stage.house.clone());
    let asked = body(&stage, value!({}));
    let waiting = tokio::spawn(async move { ask(&app, json("/api/generate-video", &asked)).await });
    let assignment = stage.assignment().await;
    stage.house.desk.cancel(&assignment.job, None).await.unwrap();
    stage.ended(&assignment, jobs::Ending::Canceled);
    let told = waiting.await.unwrap();
    assert_eq!(told.status, StatusCode::CONFLICT);
    assert!(told.text().contains("was canceled"), "{}", told.text());
}
