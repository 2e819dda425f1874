//! fal's queue behind the router, with the hub that knows its name of a model.

use std::time::{Duration, Instant};

use base64::Engine as _;
use contract::{EngineError, Stage};
use engine_huggingface::{Form, Setup};

use crate::server::{Answer, Provider, Seen, json, video};
use crate::stage::{TOKEN, act, complaint, film, run, run_until, setup, within};

const MODEL: &str = "Lightricks/LTX-Video";
const MAPPING: &str = r#"{"id":"x","inferenceProviderMapping":{"fal-ai":{"status":"live","providerId":"fal-ai/ltx-video/image-to-video","task":"image-to-video"}}}"#;
/// Of another host: only its path counts.
const SUBMITTED: &str = r#"{"request_id":"r1","status":"IN_QUEUE","response_url":"https://queue.fal.run/fal-ai/ltx-video/requests/r1","queue_position":0}"#;

const CANCEL: &str = "/fal-ai/fal-ai/ltx-video/requests/r1/cancel?_subdomain=queue";

fn usual(seen: &Seen, polls: usize) -> Answer {
    match seen.line.split(' ').collect::<Vec<_>>()[..2] {
        ["GET", "/api/models/Lightricks/LTX-Video?expand=inferenceProviderMapping"] => json(200, MAPPING),
        ["POST", "/fal-ai/fal-ai/ltx-video/image-to-video?_subdomain=queue"] => json(200, SUBMITTED),
        ["GET", "/fal-ai/fal-ai/ltx-video/requests/r1/status?_subdomain=queue"] => match polls {
            0 => json(202, r#"{"status":"IN_QUEUE","queue_position":1}"#),
            1 => json(202, r#"{"status":"IN_PROGRESS"}"#),
            _ => json(200, r#"{"status":"COMPLETED"}"#),
        },
        ["GET", "/fal-ai/fal-ai/ltx-video/requests/r1?_subdomain=queue"] => {
            let host = seen.header("host").unwrap();
            json(
                200,
                &format!(
                    r#"{{"video":{{"url":"http://{host}/files/film.mp4","content_type":"video/mp4"}},"seed":1}}"#
                ),
            )
        }
        ["GET", "/files/film.mp4"] => video(film()),
        ["PUT", CANCEL] => json(202, r#"{"status":"CANCELLATION_REQUESTED"}"#),
        ref other => panic!("{other:?}"),
    }
}

fn polls(n: usize) -> usize {
    n.saturating_sub(2)
}

fn fal(url: &str) -> Setup {
    Setup { model: Some(MODEL.into()), ..setup(Form::Fal, url) }
}

#[test]
fn a_request_goes_through_the_queue() {
    let provider = Provider::start(|n, seen| usual(seen, polls(n)));
    let (report, told) = run(fal(&provider.url), act(&[]));
    let report = report.unwrap();
    assert_eq!((report.frames, told.frames), (14, 14));
    assert_eq!(report.weights[0].name, "Lightricks/LTX-Video@fal-ai (remote)");
    let seen = provider.seen();
    assert_eq!(seen.len(), 7, "mapping, submit, three states, result, video");
    let (_, asked) = seen.split_last().unwrap();
    for one in asked {
        assert_eq!(one.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()), "{}", one.line);
    }
    let body = seen[1].json();
    assert!(body["image_url"].as_str().unwrap().starts_with("data:image/jpeg;base64,/9j/"), "{body}");
    assert_eq!(
        (&body["num_frames"], &body["prompt"], &body["seed"]),
        (&16.into(), &"wave".into(), &7.into())
    );
    assert!(told.stages.contains(&Stage::Fetching));
}

#[test]
fn a_state_that_cannot_be_asked_for_is_asked_for_again_and_the_request_is_not_sent_twice() {
    let provider = Provider::start(|n, seen| if n == 2 { Answer::Nothing } else { usual(seen, 2) });
    run(fal(&provider.url), act(&[])).0.unwrap();
    let posts = provider.seen().iter().filter(|seen| seen.line.starts_with("POST")).count();
    assert_eq!(posts, 1);
}

#[test]
fn what_goes_wrong_in_the_queue_is_told() {
    let path = |seen: &Seen| seen.line.split([' ', '?']).nth(1).unwrap().to_owned();
    type Fault = fn(&str) -> Option<Answer>;
    let rows: [(Fault, &str, &str); 8] = [
        (
            |path| {
                path.starts_with("/api").then(|| json(200, r#"{"inferenceProviderMapping":{"together":{}}}"#))
            },
            "model_not_served",
            "but by together",
        ),
        (
            |path| path.starts_with("/api").then(|| json(404, r#"{"error":"Repository not found"}"#)),
            "model_not_served",
            "Repository not found",
        ),
        (
            |path| path.ends_with("image-to-video").then(|| json(403, r#"{"error":"no permission"}"#)),
            "gated",
            "no permission",
        ),
        (
            |path| path.ends_with("image-to-video").then(|| json(200, r#"{"detail":"busy"}"#)),
            "bad_answer",
            "`busy`",
        ),
        (
            |path| path.ends_with("/status").then(|| json(200, r#"{"status":"FAILED"}"#)),
            "provider_failed",
            "`FAILED`",
        ),
        (
            |path| {
                path.ends_with("/r1").then(|| {
                    json(422, r#"{"detail":[{"loc":["body","image_url"],"msg":"Failed to load the image"}]}"#)
                })
            },
            "provider_refused",
            "Failed to load the image",
        ),
        (|path| path.ends_with("/r1").then(|| json(200, r#"{"images":[]}"#)), "bad_answer", "video"),
        (
            |path| {
                path.ends_with(".mp4")
                    .then(|| Answer::Whole(200, vec![], b"<html><title>Expired</title>".to_vec()))
            },
            "answer_is_html",
            "`Expired`",
        ),
    ];
    for (fault, code, told) in rows {
        let provider = Provider::start(move |_, seen| fault(&path(seen)).unwrap_or_else(|| usual(seen, 2)));
        let complaint = complaint(run(fal(&provider.url), act(&[])).0);
        assert!(complaint.code == code && complaint.message.contains(told), "{complaint:?}");
    }
}

#[test]
fn a_video_inside_an_answer_is_taken_up_to_a_bound_that_is_told() {
    let inside = |film: &[u8]| {
        let film = base64::engine::general_purpose::STANDARD.encode(film);
        json(200, &format!(r#"{{"video":{{"url":"data:video/mp4;base64,{film}"}}}}"#))
    };
    let answer = inside(&vec![7; 49 << 20]);
    let provider = Provider::start(move |_, seen| match seen.line.contains("/r1?") {
        true => answer.clone(),
        false => usual(seen, 2),
    });
    let complaint = complaint(run(fal(&provider.url), act(&[])).0);
    assert_eq!(complaint.code, "answer_too_large");
    assert!(complaint.message.contains("67108864: a video inside it may have 48 MiB"), "{complaint}");
    assert!(!complaint.hint.contains("answer_mib"), "no setting raises it: {complaint}");
}

#[test]
fn a_video_whose_host_is_busy_is_asked_for_again() {
    let busy = |status: u16| Answer::Whole(status, vec![], Vec::new());
    // what the host says, so often, and how often it is asked
    for (status, times, asked, outcome) in
        [(503, 2, 3, Ok(14)), (503, 9, 3, Err("url_busy")), (404, 9, 1, Err("url_status"))]
    {
        let provider = Provider::start(move |n, seen| {
            // mapping, submit, state and result come first
            if seen.line.contains(".mp4") && n < 4 + times { busy(status) } else { usual(seen, 2) }
        });
        let (report, told) = run(fal(&provider.url), act(&[]));
        match outcome {
            Ok(frames) => assert_eq!(report.unwrap().frames, frames),
            Err(code) => assert_eq!(complaint(report).code, code),
        }
        let of = |what: &str| provider.seen().iter().filter(|seen| seen.line.contains(what)).count();
        assert_eq!((of(".mp4"), of("POST")), (asked, 1), "the request is not sent twice");
        let retries = told.warnings.iter().filter(|warning| warning.code == "provider_retry").count();
        assert_eq!(retries, asked - 1, "{:?}", told.warnings);
    }
}

#[test]
fn a_model_that_may_fail_is_used_with_a_warning() {
    let staging = MAPPING.replace("live", "staging");
    let provider =
        Provider::start(
            move |_, seen| if seen.line.contains("/api/") { json(200, &staging) } else { usual(seen, 2) },
        );
    let (report, told) = run(fal(&provider.url), act(&[]));
    report.unwrap();
    assert!(
        told.warnings
            .iter()
            .any(|warning| warning.code == "provider_status" && warning.message.contains("`staging`"))
    );
}

/// That fal was told, and how, in the last thing that was said to it.
fn taken_back(provider: &Provider) {
    let seen = provider.seen();
    let last = seen.last().unwrap();
    assert!(last.line.starts_with(&format!("PUT {CANCEL} ")), "{}", last.line);
    assert_eq!(last.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(last.header("content-length"), Some("0"));
    assert_eq!(seen.iter().filter(|seen| seen.line.starts_with("PUT")).count(), 1);
}

#[test]
fn a_request_that_waits_in_the_queue_can_be_left_and_is_taken_back() {
    let provider = Provider::start(|_, seen| usual(seen, 0));
    let begun = Instant::now();
    let (outcome, _) = run_until(fal(&provider.url), act(&[]), |told| told.stages.len() > 8);
    assert!(matches!(outcome, Err(EngineError::Stopped)), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    taken_back(&provider);
    let provider = Provider::start(|_, seen| usual(seen, 0));
    let setup = within(1, fal(&provider.url));
    assert_eq!(complaint(run(setup, act(&[])).0).code, "provider_timeout");
    taken_back(&provider);
}

#[test]
fn a_request_that_is_done_is_not_taken_back_and_a_farewell_that_fails_changes_nothing() {
    let provider = Provider::start(|_, seen| match seen.line.contains("/r1?") {
        true => json(422, r#"{"detail":"no"}"#),
        false => usual(seen, 2),
    });
    assert_eq!(complaint(run(fal(&provider.url), act(&[])).0).code, "provider_refused");
    assert!(provider.seen().iter().all(|seen| !seen.line.starts_with("PUT")));
    let provider = Provider::start(|_, seen| match seen.line.starts_with("PUT") {
        true => Answer::Nothing,
        false => usual(seen, 0),
    });
    let (outcome, _) = run_until(fal(&provider.url), act(&[]), |told| told.stages.len() > 8);
    assert!(matches!(outcome, Err(EngineError::Stopped)), "{outcome:?}");
    taken_back(&provider);
}
