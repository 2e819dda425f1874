//! Finding the programs, and speaking with them.

mod fixtures;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use contract::{Complaint, Stop};
use fixtures::{limits, refused, scratch, tools};
use media::{Encoder, Scratch, ToolPaths, Tools, Tts, TtsBackend, TtsConfig, TtsEndpoint};

fn program(scratch: &Scratch, name: &str, script: &str) -> PathBuf {
    let path = scratch.file(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn found(ffmpeg: PathBuf) -> Result<Tools, Complaint> {
    Tools::find(&ToolPaths { ffmpeg: Some(ffmpeg), ffprobe: Some(tools().ffprobe().to_owned()) })
}

#[test]
fn the_installed_tools_are_found_and_work() {
    let tools = tools();
    assert!(tools.version().major >= 4);
    let gpu = std::path::Path::new("/dev/nvidiactl").exists();
    assert!(gpu || tools.encoder() == Ok(Encoder::X264));
}

#[test]
fn missing_old_and_broken_tools_are_told_with_a_remedy() {
    let scratch = scratch();
    let complaint = found(scratch.file("nothing")).unwrap_err();
    assert_eq!(complaint.code, "ffmpeg_missing");
    assert!(complaint.hint.contains("apt-get install ffmpeg"), "{complaint}");

    let old = program(&scratch, "old", "echo ffmpeg version 3.4.8-0ubuntu0.2 Copyright");
    let complaint = found(old).unwrap_err();
    assert_eq!(complaint.code, "ffmpeg_too_old");
    assert!(complaint.message.contains("3.4.8") && complaint.message.contains("4.4"), "{complaint}");

    for (name, script) in [("mute", "exit 0"), ("sick", "echo no such library >&2; exit 127")] {
        assert_eq!(found(program(&scratch, name, script)).unwrap_err().code, "ffmpeg_broken", "{name}");
    }
    let flat = scratch.file("flat");
    std::fs::write(&flat, "not executable").unwrap();
    assert_eq!(found(flat).unwrap_err().code, "ffmpeg_missing");
}

#[test]
fn an_ffmpeg_without_h264_is_told() {
    let scratch = scratch();
    let bare =
        program(&scratch, "bare", "[ \"$1\" = -version ] && echo ffmpeg version 5.1 && exit 0; exit 1");
    assert_eq!(found(bare).unwrap().encoder().unwrap_err().code, "encoder_missing");
}

fn tts(backend: TtsBackend, voice: Option<&str>, endpoint: Option<TtsEndpoint>) -> Tts {
    Tts::new(TtsConfig { backend, voice: voice.map(str::to_owned), endpoint })
}

#[test]
fn text_is_spoken_by_whoever_is_there() {
    let tools = tools();
    let backends = [(TtsBackend::Flite, tools.has_flite()), (TtsBackend::Espeak, tools.espeak().is_some())];
    // whatever a shell, a filter string or an option parser might stumble over
    let text = "Hello; it's 100% \"safe\", [isn't] it: $(reboot) `x` \\ --voice=x\nand äöü.";
    for (backend, _) in backends.into_iter().filter(|(_, there)| *there) {
        let spoken = tts(backend, None, None).speak(&tools, text, &Stop::new()).unwrap();
        assert_eq!(spoken.backend(), backend);
        let pcm = media::audio(&tools, spoken.path(), 16_000, &limits(), &Stop::new()).unwrap();
        assert!((2.0..30.0).contains(&pcm.seconds()), "{backend:?}: {} s", pcm.seconds());
        assert!(pcm.samples.iter().any(|s| s.abs() > 0.05), "{backend:?} is silent");
        let path = spoken.path().to_owned();
        drop(spoken);
        assert!(!path.exists() && !path.parent().unwrap().exists());
        for voice in ["zzq", "-h", "../../etc/passwd", "a:b", ""] {
            let outcome = tts(backend, Some(voice), None).speak(&tools, "hello", &Stop::new());
            let (code, line) = refused(outcome.map(drop));
            assert_eq!(code, "unknown_voice", "{backend:?} {voice} {line}");
        }
    }
}

#[test]
fn without_words_or_synthesisers_nothing_is_spoken() {
    let scratch = scratch();
    let outcome = tts(TtsBackend::Auto, None, None).speak(&tools(), " ... ", &Stop::new());
    assert_eq!(refused(outcome.map(drop)).0, "text_empty");
    let outcome = tts(TtsBackend::Http, None, None).speak(&tools(), "hello", &Stop::new());
    assert_eq!(refused(outcome.map(drop)).0, "no_tts");
    let bare = found(program(&scratch, "bare", "echo ffmpeg version 5.1")).unwrap();
    let outcome = tts(TtsBackend::Flite, None, None).speak(&bare, "hello", &Stop::new());
    assert_eq!(refused(outcome.map(drop)).0, "no_tts");
}

/// Answers one request with `answer` and gives back what was asked.
fn serve(answer: Vec<u8>) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        let mut chunk = [0; 4096];
        while !asked.ends_with(b"}") {
            let n = socket.read(&mut chunk).unwrap();
            asked.extend_from_slice(&chunk[..n]);
        }
        socket.write_all(&answer).unwrap();
        String::from_utf8(asked).unwrap()
    });
    (url, thread)
}

fn endpoint(url: String) -> Option<TtsEndpoint> {
    Some(TtsEndpoint { url, model: "tts-1".into(), api_key: Some("secret".into()) })
}

#[test]
fn an_endpoint_speaks_or_is_told() {
    let (url, asked) = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nSOUND".to_vec());
    let spoken =
        tts(TtsBackend::Auto, Some("nova"), endpoint(url)).speak(&tools(), "hello", &Stop::new()).unwrap();
    assert_eq!(std::fs::read(spoken.path()).unwrap(), b"SOUND");
    assert_eq!(spoken.backend(), TtsBackend::Http);
    let asked = asked.join().unwrap();
    assert!(asked.starts_with("POST /v1/audio/speech ") && asked.contains("Bearer secret"), "{asked}");
    let (_, body) = asked.split_once("\r\n\r\n").unwrap();
    let body: String = body.split_whitespace().collect();
    assert_eq!(body, r#"{"model":"tts-1","input":"hello","voice":"nova","response_format":"wav"}"#);

    let rows: [(&[u8], &str); 2] = [
        (b"HTTP/1.1 401 No\r\nContent-Length: 7\r\n\r\nbad key", "401 bad key"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", "302"),
    ];
    for (answer, expected) in rows {
        let (url, asked) = serve(answer.to_vec());
        let outcome = tts(TtsBackend::Http, None, endpoint(url)).speak(&tools(), "hello", &Stop::new());
        let (code, line) = refused(outcome.map(drop));
        assert_eq!(code, "tts_failed");
        assert!(line.contains(expected) && !line.contains("secret"), "{line}");
        asked.join().unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = Stop::new();
    stop.stop();
    let outcome = tts(TtsBackend::Http, None, endpoint(url)).speak(&tools(), "hello", &stop);
    assert_eq!(outcome.map(drop).unwrap_err(), media::MediaError::Stopped);
}
