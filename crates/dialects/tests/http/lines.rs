//! Dialects 2 and 3: avatars, streams, files.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use dialects::front_door::MuseTalkS3;
use dialects::{musetalk, musetalk_s3};
use http_body_util::BodyExt;
use jobs::crew::{Form, LiveForm, Pace};
use serde_json::{Value, json as value};
use tower::ServiceExt;

use crate::stage::{FILM, LONG, Script, Stage, ask, client, form, get, json, request, server};

const VOICE: &[(&str, &str, &[u8])] = &[("audio_file", "v.wav", b"RIFF and so on")];

async fn avatar(stage: &mut Stage, app: &axum::Router, id: &str) {
    let asked = form("/avatars/preprocess", &[("avatar_id", id)], &[("video_file", "v.mp4", b"video")]);
    let told = ask(app, asked).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.text());
    stage.assignment().await;
}

#[tokio::test]
async fn avatars_are_made_listed_replaced_and_deleted() {
    let mut stage = Stage::new().await;
    let app = musetalk::router(stage.house.clone());
    let health = |avatars: &str| {
        format!(
            r#"{{"status":"running","models":{{"loaded":true,"device":"cpu"}},"loaded_avatars":{avatars}}}"#
        )
    };
    assert_eq!(get(&app, "/health").await.text(), health("[]"));
    let asked = form(
        "/avatars/preprocess",
        &[("avatar_id", "ann"), ("bbox_shift", "5")],
        &[("video_file", "../v 1.mp4", b"video")],
    );
    let told = ask(&app, asked).await;
    assert_eq!(told.header("x-talkie-engine"), "puppet; weights=visnet-1");
    let told = told.json();
    assert_eq!(
        (&told["message"], &told["avatar_id"]),
        (&value!("Avatar processed successfully"), &value!("ann"))
    );
    let info = &told["info"];
    let kept = (&info["avatar_id"], &info["bbox_shift"], &info["version"]);
    assert_eq!(kept, (&value!("ann"), &value!(5), &value!("v15")));
    assert!(std::path::Path::new(info["video_path"].as_str().unwrap()).exists(), "{info}");
    stage.assignment().await;
    avatar(&mut stage, &app, "ann").await;
    avatar(&mut stage, &app, "bob-2_x").await;
    assert_eq!(get(&app, "/avatars").await.text(), r#"["ann","bob-2_x"]"#);
    assert_eq!(get(&app, "/health").await.text(), health(r#"["ann","bob-2_x"]"#));
    let delete = |id: &str| {
        request(Method::DELETE, &format!("/avatars/{id}")).body(axum::body::Body::empty()).unwrap()
    };
    assert_eq!(ask(&app, delete("ann")).await.status, StatusCode::OK);
    let told = ask(&app, delete("ann")).await;
    assert_eq!((told.status.as_u16(), told.text()), (404, r#"{"detail":"Avatar ann not found"}"#));
    assert_eq!(get(&app, "/avatars").await.text(), r#"["bob-2_x"]"#);
}

#[tokio::test]
async fn a_stream_has_the_exact_framing_and_one_chunk_a_frame() {
    let mut stage = Stage::new().await;
    let app = musetalk::router(stage.house.clone());
    avatar(&mut stage, &app, "ann").await;
    let answer = app.clone().oneshot(form("/inference/stream/ann", &[], VOICE)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "multipart/x-mixed-replace; boundary=frame");
    assert_eq!(answer.headers()["x-talkie-engine"], "puppet; weights=visnet-1");
    let mut body = answer.into_body();
    let mut chunks = Vec::new();
    while let Some(frame) = body.frame().await {
        chunks.push(frame.unwrap().into_data().unwrap());
    }
    let part = |jpeg: &str| format!("--frame\r\nContent-Type: image/jpeg\r\n\r\n{jpeg}\r\n");
    assert_eq!(chunks, ["one", "two", "three"].map(part));
}

#[tokio::test]
async fn a_voice_is_played_by_ticket_and_with_sound() {
    let mut stage = Stage::new().await;
    let app = musetalk::router(stage.house.clone());
    avatar(&mut stage, &app, "ann").await;
    let told = ask(&app, form("/inference/stream/ann.mp4?pace=fast", &[], VOICE)).await;
    assert_eq!((told.header("content-type"), told.body.as_slice()), ("video/mp4", &b"onetwothree"[..]));
    stage.assignment().await;
    let told = ask(&app, form("/inference/stream/ann?ticket=1", &[], VOICE)).await.json();
    let (stream, video) = (told["stream_url"].as_str().unwrap(), told["video_url"].as_str().unwrap());
    assert_eq!(get(&app, video).await.body, b"onetwothree");
    for _ in 0..2 {
        let played = get(&app, &format!("{stream}?pace=fast")).await;
        assert_eq!(played.text().matches("--frame\r\n").count(), 3);
    }
    for strange in ["/inference/stream/bob/", "/inference/stream/ann/nonsense"] {
        let path = format!(
            "{strange}{}",
            if strange.ends_with('/') { told["ticket"].as_str().unwrap() } else { "" }
        );
        assert_eq!(get(&app, &path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

/// A voice that was played, and a file whose order was refused or attached to another.
#[tokio::test]
async fn files_that_nobody_needs_go_at_once() {
    let mut stage = Stage::new().await;
    let app = musetalk::router(stage.house.clone());
    avatar(&mut stage, &app, "ann").await;
    ask(&app, form("/inference/batch/ann", &[], VOICE)).await;
    let kept = stage.stored("uploads").len();
    assert_eq!(kept, 2, "the avatar's and the batch's");
    for path in ["/inference/batch/ann", "/inference/stream/ann", "/inference/stream/ann.mp4"] {
        assert_eq!(ask(&app, form(path, &[], VOICE)).await.status, StatusCode::OK, "{path}");
        gone(&stage, kept).await;
    }
    let told = ask(&app, form("/inference/stream/ann?ticket=1", &[], VOICE)).await.json();
    for _ in 0..2 {
        assert_eq!(get(&app, told["stream_url"].as_str().unwrap()).await.status, StatusCode::OK);
        assert_eq!(stage.stored("uploads").len(), kept + 1, "a ticket is good for more than once");
    }
    // on whichever port, until its time is over
    drop(app);
    let kept = kept + 1;
    let app = musetalk::router(stage.house.clone());
    assert_eq!(get(&app, told["stream_url"].as_str().unwrap()).await.status, StatusCode::OK);
    stage.house.desk.drain(Duration::ZERO).await;
    for path in ["/inference/batch/ann", "/inference/stream/ann"] {
        let told = ask(&app, form(path, &[("batch_size", "7")], VOICE)).await;
        assert_eq!(told.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        gone(&stage, kept).await;
    }
}

async fn gone(stage: &Stage, kept: usize) {
    let until = tokio::time::Instant::now() + LONG;
    while stage.stored("uploads").len() > kept {
        assert!(tokio::time::Instant::now() < until, "{:?}", stage.stored("uploads"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_client_that_goes_cancels_its_stream() {
    let mut stage = Stage::new().await;
    let app = musetalk::router(stage.house.clone());
    avatar(&mut stage, &app, "ann").await;
    stage.script(Script::Wait);
    let asked = tokio::spawn(async move {
        let answer = app.oneshot(form("/inference/stream/ann?pace=realtime", &[], VOICE)).await.unwrap();
        answer.into_body().frame().await;
    });
    let mut assignment = stage.assignment().await;
    let Form::Live { live, stream } = std::mem::replace(&mut assignment.form, Form::File) else {
        panic!("live")
    };
    assert_eq!(live, LiveForm::Jpeg { pace: Pace::RealTime, quality: 85 });
    let mut stream = std::os::unix::net::UnixStream::from(stream);
    std::io::Write::write_all(&mut stream, b"\x03\x00\x00\x00one").unwrap();
    asked.await.unwrap(); // one frame, then it lets go
    assert_eq!(stage.canceled.recv().await.unwrap(), assignment.job);
}

#[tokio::test]
async fn a_batch_is_a_download_and_the_same_request_is_the_same_job() {
    let mut stage = Stage::new().await;
    let app = musetalk::router(stage.house.clone());
    avatar(&mut stage, &app, "ann").await;
    let ask_for = |batch: &str| {
        let mut asked = form("/inference/batch/ann", &[("batch_size", batch)], VOICE);
        asked.headers_mut().insert("range", "bytes=0-3".parse().unwrap());
        ask(&app, asked)
    };
    let told = ask_for("8").await;
    assert_eq!((told.status, told.body.as_slice()), (StatusCode::OK, FILM), "ranges do not count on POST");
    let disposition = told.header("content-disposition");
    let name =
        disposition.strip_prefix("attachment; filename=\"ann_").unwrap().strip_suffix(".mp4\"").unwrap();
    assert_eq!((name.len(), told.header("content-type")), (36, "video/mp4"));
    stage.assignment().await;
    ask_for("8").await;
    assert!(stage.assigned.try_recv().is_err(), "within a minute it is the same job");
    ask_for("9").await;
    stage.assignment().await;
}

#[tokio::test]
async fn musetalk_refuses_in_its_own_words() {
    let mut stage = Stage::new().await;
    let app = musetalk::router(stage.house.clone());
    avatar(&mut stage, &app, "ann").await;
    let long = format!("/inference/batch/{}", "a".repeat(65));
    let rows = [
        ("/inference/stream/bob", 404, "Avatar bob not found. Preprocess it first."),
        ("/inference/stream/bob.mp4", 404, "Avatar bob not found. Preprocess it first."),
        ("/inference/batch/bob", 404, "Avatar bob not found"),
        ("/inference/batch/b%20b", 400, "Invalid avatar_id"),
        ("/inference/stream/..", 400, "Invalid avatar_id"),
        (long.as_str(), 400, "Invalid avatar_id"),
        ("/inference/stream/ann?pace=slow", 400, "Unknown pace"),
        ("/inference/stream/ann?ticket=maybe", 422, "bool_parsing"),
        ("/inference/stream/a/b/c", 404, "Not Found"),
    ];
    for (path, status, words) in rows {
        let told = ask(&app, form(path, &[], VOICE)).await;
        assert_eq!(told.status.as_u16(), status, "{path} {}", told.text());
        assert!(told.text().contains(words), "{path} {}", told.text());
    }
    for (failure, status) in [(client("no_face", "there is no face"), 400), (server("bug", "it broke"), 500)]
    {
        stage.script(Script::Fail(failure.clone()));
        let asked = form("/avatars/preprocess", &[("avatar_id", "x")], &[("video_file", "v", b"1")]);
        let told = ask(&app, asked).await;
        let words = format!("Preprocessing failed: {}", failure.message);
        assert_eq!((told.status.as_u16(), told.json()), (status, value!({ "detail": words })));
        for path in ["/inference/batch/ann", "/inference/stream/ann"] {
            let batch = if status == 400 { "3" } else { "4" }; // another request, or it would find the failed one
            let told = ask(&app, form(path, &[("batch_size", batch)], VOICE)).await;
            assert_eq!(told.status.as_u16(), status, "{path} {}", told.text());
            assert!(told.text().contains("Inference failed: "), "{path} {}", told.text());
        }
    }
}

fn config(stage: &Stage, avatar: Value) -> Value {
    let mut whole =
        value!({ "video_path": stage.media("face.png"), "audio_clips": { "c": stage.media("voice.wav") } });
    whole.as_object_mut().unwrap().extend(avatar.as_object().unwrap().clone());
    value!({ "avatars": { "a": whole } })
}

#[tokio::test]
async fn an_s3_inference_without_a_bucket_stays_here() {
    let mut stage = Stage::new().await;
    let app = musetalk_s3::router(stage.house.clone());
    let path = "/inference?avatar_id=a&audio_id=c";
    let told = ask(&app, json(path, &config(&stage, value!({})).to_string())).await;
    assert_eq!(told.status, StatusCode::OK, "{}", told.text());
    let output = stage.folder.path().join("data/output/musetalk-s3/results/face_voice.mp4");
    let expected = value!({
        "avatar_id": "a", "audio_id": "c", "output_path": output, "s3_output_path": null,
        "message": "Inference completed successfully", "engine": "puppet", "weights": "visnet-1"
    });
    assert_eq!(told.json(), expected);
    assert_eq!(std::fs::read(output).unwrap(), FILM);
    let kinds: Vec<_> = [stage.assignment().await, stage.assignment().await]
        .into_iter()
        .map(|assignment| matches!(assignment.work, jobs::Work::Prepare(_)))
        .collect();
    assert_eq!(kinds, [true, false], "the avatar first");
    let again = ask(&app, json(path, &config(&stage, value!({})).to_string())).await;
    assert_eq!(again.json(), expected);
    assert!(stage.assigned.try_recv().is_err(), "the same request within a minute is the same work");
    // of another source under the same name
    for source in ["other.png", "face.png"] {
        std::fs::write(stage.media("other.png"), b"\x89PNG and more").unwrap();
        let asked = config(&stage, value!({ "video_path": stage.media(source) }));
        let told = ask(&app, json(path, &asked.to_string())).await;
        assert_eq!(told.status, StatusCode::OK, "{}", told.text());
        let jobs::Work::Prepare(prepare) = stage.assignment().await.work else { panic!("the avatar first") };
        assert!(format!("{:?}", prepare.source).contains(source), "{source} {prepare:?}");
        if source == "other.png" {
            stage.assignment().await;
        }
    }
    // prepared before: only the take is made
    let mut again = config(&stage, value!({ "preparation": false }));
    again["output_vid_name"] = value!("other");
    let told = ask(&app, json(path, &again.to_string())).await;
    assert!(told.json()["output_path"].as_str().unwrap().ends_with("/other.mp4"), "{}", told.text());
    assert!(matches!(stage.assignment().await.work, jobs::Work::Take(_)));
}

#[tokio::test]
async fn results_go_to_the_bucket_that_is_named_and_allowed() {
    let own = |house: &mut dialects::front_door::House| {
        let results = house.musetalk_s3.results.clone();
        house.musetalk_s3 = MuseTalkS3 { bucket: Some("ours".into()), prefix: "out/".into(), results };
    };
    let stage = Stage::with(own).await;
    let app = musetalk_s3::router(stage.house.clone());
    let path = "/inference?avatar_id=a&audio_id=c";
    let mut asked = config(&stage, value!({ "video_path": "S3://ours/in/me.mp4" }));
    let told = ask(&app, json(path, &asked.to_string())).await;
    assert_eq!(told.json()["s3_output_path"], "s3://ours/out/me_voice.mp4", "{}", told.text());
    asked["s3_prefix"] = value!("there/");
    let told = ask(&app, json(path, &asked.to_string())).await;
    assert_eq!(told.json()["s3_output_path"], "s3://ours/there/me_voice.mp4");
    asked["s3_bucket"] = value!("sushant-bucket-mumbai");
    let told = ask(&app, json(path, &asked.to_string())).await;
    assert_eq!(told.status, StatusCode::BAD_REQUEST);
    assert!(told.text().contains("Failed to upload file to S3: "), "{}", told.text());
}

#[tokio::test]
async fn musetalk_s3_refuses_in_its_own_words() {
    let stage = Stage::new().await;
    let app = musetalk_s3::router(stage.house.clone());
    let path = "/inference?avatar_id=a&audio_id=c";
    let rows = [
        ("/inference?avatar_id=b&audio_id=c", value!({}), 400, "Avatar b not found in configuration"),
        ("/inference?avatar_id=a&audio_id=d", value!({}), 400, "Audio d not found in avatar a configuration"),
        (path, value!({ "preparation": false }), 400, "a does not exist, you should set preparation to True"),
        (path, value!({ "video_path": "s3://strangers/x.mp4" }), 400, "Failed to download file from S3: "),
        (path, value!({ "video_path": "/etc/passwd" }), 400, "/etc/passwd"),
        (path, value!({ "audio_clips": { "c": stage.media("none.wav") } }), 404, "none.wav"),
        (path, value!({ "video_path": 5 }), 422, "string_type"),
        ("/inference", value!({}), 422, "Field required"),
    ];
    for (path, avatar, status, words) in rows {
        let told = ask(&app, json(path, &config(&stage, avatar.clone()).to_string())).await;
        assert_eq!(told.status.as_u16(), status, "{path} {avatar} {}", told.text());
        assert!(told.text().contains(words), "{path} {avatar} {}", told.text());
    }
    for (name, value) in [("output_vid_name", value!("../x")), ("version", value!("v2")), ("fps", value!(0))]
    {
        let mut asked = config(&stage, value!({}));
        asked[name] = value;
        assert_eq!(ask(&app, json(path, &asked.to_string())).await.status, StatusCode::BAD_REQUEST, "{name}");
    }
    stage.script(Script::Fail(server("s3_broken", "s3://ours/x does not answer")));
    let told = ask(&app, json(path, &config(&stage, value!({})).to_string())).await;
    assert_eq!(told.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(told.text().contains("Failed to download file from S3: "), "{}", told.text());
}

#[tokio::test]
async fn an_avatar_of_another_video_or_shift_is_not_reused() {
    let stage = Stage::new().await;
    let app = musetalk_s3::router(stage.house.clone());
    let path = "/inference?avatar_id=a&audio_id=c";
    let mut asked = config(&stage, value!({ "bbox_shift": 3 }));
    asked["version"] = value!("v1");
    assert_eq!(ask(&app, json(path, &asked.to_string())).await.status, StatusCode::OK);
    for (avatar, words) in [
        (value!({ "preparation": false, "bbox_shift": 4 }), "bbox_shift is changed from 3 to 4"),
        (
            value!({ "preparation": false, "bbox_shift": 3, "video_path": "s3://ours/b.mp4" }),
            "another video_path",
        ),
    ] {
        let mut asked = config(&stage, avatar);
        asked["version"] = value!("v1");
        let told = ask(&app, json(path, &asked.to_string())).await;
        assert_eq!(told.status, StatusCode::BAD_REQUEST);
        assert!(told.text().contains(words), "{}", told.text());
    }
}
