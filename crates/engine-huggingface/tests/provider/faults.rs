//! Everything that can go wrong at a provider, and what is said about it.

use std::time::{Duration, Instant};

use contract::Stage;
use engine_huggingface::Form;

use crate::server::{Answer, Provider, json, video};
use crate::stage::{TOKEN, act, complaint, film, run, setup, within};

#[test]
fn a_model_that_is_being_loaded_is_waited_for() {
    let loading = r#"{"error":"Model stabilityai/x is currently loading","estimated_time":0.2}"#;
    // more often than a failing request would be tried
    let provider = Provider::start(move |n, _| if n < 4 { json(503, loading) } else { video(film()) });
    let begun = Instant::now();
    let (report, told) = run(setup(Form::Router, &provider.url), act(&[]));
    report.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(4), "never more often than once a second");
    assert_eq!(provider.seen().len(), 5);
    let [warning] = &told.warnings[..] else { panic!("{:?}", told.warnings) };
    assert_eq!(
        (warning.code, warning.message.as_str()),
        ("provider_loading", "127.0.0.1 loads the model, about 1 s")
    );
    assert!(told.stages.contains(&Stage::Loading) && told.stages.contains(&Stage::Denoising));
    let bodies: Vec<_> = provider.seen().iter().map(|seen| seen.body.clone()).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]), "the same request each time");
}

#[test]
fn what_may_pass_is_tried_again() {
    let busy =
        Answer::Whole(429, vec![("retry-after", "0".into())], b"{\"error\":\"Rate limit reached\"}".to_vec());
    let faults = [
        (busy, "429: `Rate limit reached`"),
        (json(500, "{\"error\":\"CUDA out of memory\"}"), "500: `CUDA out of memory`"),
        (
            Answer::Whole(
                502,
                vec![("content-type", "text/html".into())],
                b"<html><title>Bad Gateway</title>".to_vec(),
            ),
            "502: `Bad Gateway`",
        ),
        (json(503, "{\"error\":\"Service Unavailable\"}"), "503: `Service Unavailable`"),
        (Answer::Nothing, "broke the connection"),
        (Answer::Cut(film().to_vec(), 1000), "broke off after"),
    ];
    for (fault, told) in faults {
        let again = fault.clone();
        let provider = Provider::start(move |n, _| if n < 2 { again.clone() } else { video(film()) });
        let (report, seen) = run(setup(Form::Classic, &provider.url), act(&[]));
        assert_eq!(report.unwrap().frames, 14, "{told}");
        assert_eq!(provider.seen().len(), 3, "{told}");
        let retries: Vec<_> =
            seen.warnings.iter().filter(|warning| warning.code == "provider_retry").collect();
        assert_eq!(retries.len(), 2, "{:?}", seen.warnings);
        assert!(
            retries[0].message.contains(told) && retries[0].message.contains("try 2 of 3"),
            "{:?}",
            retries[0]
        );

        let provider = Provider::start(move |_, _| fault.clone());
        let (report, _) = run(setup(Form::Classic, &provider.url), act(&[]));
        let complaint = complaint(report);
        assert!(
            complaint.message.contains(told) && complaint.message.contains("(tried 3 times)"),
            "{complaint}"
        );
        assert_eq!(provider.seen().len(), 3, "{told}");
    }
}

#[test]
fn what_will_not_pass_is_told_once() {
    let kind =
        |kind: &str, body: &[u8]| Answer::Whole(200, vec![("content-type", kind.into())], body.to_vec());
    let half = &film()[..film().len() / 2];
    let sound = ffmpeg("-f lavfi -i sine=duration=1 -c:a aac", "sound.mp4");
    let picture = ffmpeg("-f lavfi -i testsrc2=size=64x64 -frames:v 1", "picture.png");
    let echo = format!("{{\"error\":\"no \\u001b[2J access with {TOKEN}\"}}");
    let rows: Vec<(Answer, &str, &str)> = vec![
        (json(401, &echo), "token_refused", "HF_TOKEN"),
        (
            json(403, r#"{"error":"Access to model is restricted and you are not in the authorized list"}"#),
            "gated",
            "accept its licence on http",
        ),
        (json(404, "{\"error\":\"Not Found\"}"), "model_not_served", "inference_provider"),
        (json(422, "{\"error\":[\"num_frames too large\"]}"), "provider_refused", "num_frames too large"),
        (
            kind("text/html; charset=utf-8", b"<!DOCTYPE html><title>Hugging Face</title>"),
            "answer_is_html",
            "`Hugging Face`",
        ),
        (kind("video/mp4", b"<html><title>Sign in</title>"), "answer_is_html", "`Sign in`"),
        (json(200, "{\"error\":\"nope\"}"), "answer_is_json", "`nope`"),
        (kind("application/octet-stream", b"{\"error\":\"nope\"}"), "answer_is_json", "`nope`"),
        (kind("image/png", &picture), "answer_not_video", "image/png"),
        (kind("application/octet-stream", &picture), "answer_not_video", "a picture (png)"),
        (kind("video/mp4", &sound), "answer_not_video", "only sound"),
        (kind("video/mp4", b""), "answer_is_empty", "empty body"),
        (Answer::Chunked("video/mp4", Vec::new()), "answer_is_empty", "empty body"),
        (kind("video/mp4", half), "answer_cut_off", "should have 14 frames"),
        (kind("video/mp4", &film()[..200]), "answer_unreadable", "200 bytes that are no whole video"),
        (
            kind("video/mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
            "answer_unreadable",
            "no whole video",
        ),
        (
            kind("video/mp4", &vec![7; (1 << 20) + 1]),
            "answer_too_large",
            "1048577 bytes or more, the limit is 1048576",
        ),
        (Answer::Chunked("video/mp4", vec![7; 2 << 20]), "answer_too_large", "the limit is 1048576"),
    ];
    for (answer, code, told) in rows {
        let provider = Provider::start(move |_, _| answer.clone());
        let (report, seen) = run(setup(Form::Router, &provider.url), act(&[]));
        let complaint = complaint(report);
        assert_eq!(complaint.code, code, "{complaint}");
        let shown = complaint.to_string();
        assert!(shown.contains(told) && !complaint.hint.is_empty() && !shown.contains('\u{1b}'), "{shown}");
        assert_eq!(provider.seen().len(), 1, "{code} will not pass");
        assert!(seen.warnings.is_empty(), "{:?}", seen.warnings);
    }
}

#[test]
fn a_redirect_leads_to_the_same_host_only() {
    let trap = Provider::start(|_, _| video(film()));
    let elsewhere = trap.url.clone();
    let to = |status: u16, to: String| Answer::Whole(status, vec![("location", to)], Vec::new());
    let provider = Provider::start(move |_, _| to(307, format!("{elsewhere}/x")));
    let complaint_of = |provider: &Provider| complaint(run(setup(Form::Router, &provider.url), act(&[])).0);
    let told = complaint_of(&provider);
    assert!(told.code == "provider_redirects" && told.message.contains("another host"), "{told}");
    assert!(trap.seen().is_empty(), "neither the token nor the picture went there");

    let provider = Provider::start(move |n, _| if n == 0 { to(308, "/moved".into()) } else { video(film()) });
    run(setup(Form::Router, &provider.url), act(&[])).0.unwrap();
    let seen = provider.seen();
    assert_eq!(seen[1].line, "POST /moved HTTP/1.1");
    assert_eq!(seen[0].body, seen[1].body);

    for answer in [
        to(302, "/moved".into()),
        to(307, String::new()),
        to(307, "/again".into()),
        Answer::Whole(308, Vec::new(), Vec::new()),
    ] {
        let provider = Provider::start(move |_, _| answer.clone());
        assert_eq!(complaint_of(&provider).code, "provider_redirects");
        assert!(provider.seen().len() <= 4);
    }
}

#[test]
fn a_deadline_is_kept_and_not_waited_for_in_vain() {
    let short = |url: &str| within(1, setup(Form::Router, url));
    let provider = Provider::start(|_, _| Answer::Hang);
    let begun = Instant::now();
    let told = complaint(run(short(&provider.url), act(&[])).0);
    assert!(told.code == "provider_timeout" && told.message.contains("within 1 s"), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    provider.wait_left();

    let busy = || Answer::Whole(429, vec![("retry-after", "7200".into())], Vec::new());
    let loading = || json(503, "{\"error\":\"loading\",\"estimated_time\":100}");
    for (answer, code, told) in [(busy(), "rate_limited", "7200 s"), (loading(), "provider_loading", "100 s")]
    {
        let provider = Provider::start(move |_, _| answer.clone());
        let begun = Instant::now();
        let setup = within(30, setup(Form::Router, &provider.url));
        let complaint = complaint(run(setup, act(&[])).0);
        assert!(complaint.code == code && complaint.message.contains(told), "{complaint}");
        assert!(begun.elapsed() < Duration::from_secs(5), "it says so at once: {:?}", begun.elapsed());
    }
}

fn ffmpeg(words: &str, name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let words = ["-v", "error"].into_iter().chain(words.split(' '));
    assert!(std::process::Command::new("ffmpeg").args(words).arg(&path).status().unwrap().success());
    std::fs::read(path).unwrap()
}
