//! What is sent, and what a take says of itself.

use base64::Engine as _;
use contract::{Fps, Length, Size, Value};
use engine_huggingface::{Form, Setup};
use serde_json::json;

use crate::server::{Provider, video};
use crate::stage::{TOKEN, act, film, run, setup};

const MODEL: &str = "stabilityai/stable-video-diffusion-img2vid-xt";

#[test]
fn the_router_is_sent_json_and_the_take_is_honest() {
    let provider = Provider::start(|_, _| video(film()));
    let (report, told) = run(setup(Form::Router, &provider.url), act(&[("size", Value::Int(512))]));
    let report = report.unwrap();
    assert_eq!((report.frames, told.frames), (14, 14));
    let format = told.format.unwrap();
    assert_eq!((format.size, format.fps), (Size::new(128, 64), Fps::whole(7)), "the video's own");
    assert_eq!(report.weights[0].name, format!("{MODEL}@hf-inference (remote)"));
    assert!(report.weights[0].sha256.is_empty() && !report.weights[0].embedded && report.weights.len() == 1);
    assert!(
        report.settings.contains(&("form".into(), Value::Text("router".into()))),
        "{:?}",
        report.settings
    );
    assert!(
        report.settings.contains(&("target_size".into(), Value::Text("512x320".into()))),
        "{:?}",
        report.settings
    );
    assert!(told.warnings.is_empty(), "2.00 s were asked for and came: {:?}", told.warnings);

    let [seen] = &provider.seen()[..] else { panic!("one request") };
    assert_eq!(seen.line, format!("POST /hf-inference/models/{MODEL} HTTP/1.1"));
    let expected = [
        ("authorization", format!("Bearer {TOKEN}")),
        ("accept", "video/mp4".into()),
        ("content-type", "application/json".into()),
        ("x-wait-for-model", "true".into()),
        ("x-use-cache", "false".into()),
    ];
    for (name, value) in expected {
        assert_eq!(seen.header(name), Some(value.as_str()), "{name}");
    }
    let body = seen.json();
    let picture = base64::engine::general_purpose::STANDARD.decode(body["inputs"].as_str().unwrap()).unwrap();
    assert!(picture.starts_with(b"\xff\xd8") && picture.ends_with(b"\xff\xd9"), "a JPEG");
    let size = json!({ "width": 512, "height": 320 });
    assert_eq!(
        body["parameters"],
        json!({ "prompt": "wave", "num_frames": 16, "fps": 8, "seed": 7, "target_size": size })
    );
}

#[test]
fn a_clip_keeps_the_size_it_came_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.mp4");
    let words =
        "-v error -f lavfi -i testsrc2=size=2560x64:rate=7 -frames:v 14 -c:v libx264 -pix_fmt yuv420p";
    let made = std::process::Command::new("ffmpeg").args(words.split(' ')).arg(&path).status().unwrap();
    assert!(made.success());
    let wide = std::fs::read(path).unwrap();
    let provider = Provider::start(move |_, _| video(&wide));
    let (report, told) = run(setup(Form::Router, &provider.url), act(&[]));
    assert_eq!(report.unwrap().frames, 14);
    assert_eq!(told.format.unwrap().size, Size::new(2560, 64));
}

#[test]
fn the_classic_form_is_a_form_with_a_file() {
    let provider = Provider::start(|_, _| video(film()));
    let (report, _) = run(setup(Form::Classic, &format!("{}/", provider.url)), act(&[]));
    assert_eq!(report.unwrap().frames, 14);
    let [seen] = &provider.seen()[..] else { panic!("one request") };
    assert_eq!(seen.line, format!("POST /models/{MODEL} HTTP/1.1"));
    let kind = seen.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
    let text = String::from_utf8_lossy(&seen.body);
    assert_eq!(text.matches(&format!("--{boundary}")).count(), 3);
    assert!(text.contains("name=\"inputs\"; filename=\"character.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"));
    assert!(
        text.contains(
            "name=\"parameters\"\r\n\r\n{\"fps\":8,\"num_frames\":16,\"prompt\":\"wave\",\"seed\":7}\r\n"
        ),
        "{text}"
    );
}

#[test]
fn a_server_of_ones_own_gets_no_token_where_there_is_none() {
    let provider = Provider::start(|_, _| video(film()));
    let (report, _) = run(Setup { token: None, ..setup(Form::Router, &provider.url) }, act(&[]));
    report.unwrap();
    assert_eq!(provider.seen()[0].header("authorization"), None);
}

#[test]
fn a_clip_that_is_too_short_is_a_take_with_a_warning() {
    let provider = Provider::start(|_, _| video(film()));
    let mut act = act(&[]);
    act.length = Length::Frames(32);
    let (report, told) = run(setup(Form::Router, &provider.url), act);
    assert_eq!(report.unwrap().frames, 14);
    assert_eq!(provider.seen()[0].json()["parameters"]["num_frames"], 25, "no more than the model makes");
    let [warning] = &told.warnings[..] else { panic!("{:?}", told.warnings) };
    assert_eq!(warning.code, "shorter_than_asked");
    assert!(warning.message.contains("2.00 s long (14 frames at 7 fps), 4.00 s were"), "{}", warning.message);
}
