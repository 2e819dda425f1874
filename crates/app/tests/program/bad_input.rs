//! Every bad input ends in one clear line and leaves nothing behind.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::stage::{Run, Stage, sample};
use rustix::process::{Pid, Signal, kill_process};

/// Runs `talkie generate` with this picture and sound; it must be refused with these words.
fn check(stage: &Stage, image: &Path, audio: &Path, words: &[&str]) {
    let out = stage.path("out/take.mp4");
    let run = stage.run([
        "generate".as_ref(),
        "--image".as_ref(),
        image.as_os_str(),
        "--audio".as_ref(),
        audio.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ]);
    run.assert_refused(words);
    stage.assert_nothing_left();
}

fn check_image(stage: &Stage, image: &Path, words: &[&str]) {
    check(stage, image, &sample("speech.wav"), words);
}

fn check_audio(stage: &Stage, audio: &Path, words: &[&str]) {
    check(stage, &sample("portrait.png"), audio, words);
}

#[test]
fn a_picture_without_a_face() {
    let stage = Stage::new();
    let image = stage.ffmpeg(&["-f", "lavfi", "-i", "mandelbrot=s=640x480", "-frames:v", "1"], "fractal.png");
    check_image(&stage, &image, &["no face", "--landmarks"]);
}

#[test]
fn a_face_under_40_px() {
    let stage = Stage::new();
    let portrait = sample("portrait.png");
    let image = stage.ffmpeg(&["-i", portrait.to_str().unwrap(), "-vf", "scale=60:-2"], "tiny.png");
    check_image(&stage, &image, &["40 px"]);
}

#[test]
fn a_picture_of_one_pixel() {
    let stage = Stage::new();
    let image = stage.write("dot.ppm", b"P6\n1 1\n255\n\xff\0\0");
    check_image(&stage, &image, &["1x1"]);
}

#[test]
fn a_picture_of_30000_by_30000() {
    let stage = Stage::new();
    check_image(&stage, &stage.write("vast.png", huge_png(30_000, 30_000)), &["30000x30000", "limit"]);
}

/// A well-formed head of a PNG of any size, without its pixels.
fn huge_png(width: u32, height: u32) -> Vec<u8> {
    let mut head = b"IHDR".to_vec();
    head.extend(width.to_be_bytes());
    head.extend(height.to_be_bytes());
    head.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
    png.extend(&head);
    png.extend(crc32(&head).to_be_bytes());
    png.extend(b"\0\0\0\x0cIDAT\x78\x9c\x63\0\0\0\x01\0\x01\0\0\0\0");
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 },
        )
    })
}

#[test]
fn a_truncated_picture() {
    let stage = Stage::new();
    let whole = std::fs::read(sample("portrait.png")).unwrap();
    check_image(&stage, &stage.write("cut.png", &whole[..100]), &["cut.png"]);
    check_image(&stage, &stage.write("half.png", &whole[..whole.len() / 2]), &["half.png"]);
}

#[test]
fn a_drawing_or_a_playlist_in_disguise() {
    let stage = Stage::new();
    let svg = r#"<svg xmlns="http://www.w3.org/2000/svg" width="400" height="400"><circle r="9"/></svg>"#;
    check_image(&stage, &stage.write("drawing.png", svg), &["drawing.png"]);
    let secret = stage.write("secret.wav", std::fs::read(sample("speech.wav")).unwrap());
    for target in [secret.to_str().unwrap(), "http://127.0.0.1:9/x.wav", "file:///etc/passwd"] {
        let list = format!("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n");
        check_audio(&stage, &stage.write("song.wav", list), &["song.wav"]);
    }
    let concat = format!("ffconcat version 1.0\nfile '{}'\n", secret.display());
    check_audio(&stage, &stage.write("list.wav", concat), &["list.wav"]);
}

#[test]
fn sound_that_is_empty_too_short_corrupt_or_too_long() {
    let stage = Stage::new();
    check_audio(&stage, &stage.write("empty.wav", ""), &["empty.wav", "empty"]);
    check_audio(&stage, &stage.short_speech("0.02"), &["0.02", "s"]);
    check_audio(&stage, &stage.write("noise.mp3", [0x5au8; 5000]), &["noise.mp3"]);
    let hours = three_hours(&stage);
    check_audio(&stage, &hours, &["10800", "limit", "3600", "--max-audio-seconds"]);
}

/// Three hours of 8 bit sound at 8 kHz: a head, and a hole on the disk.
fn three_hours(stage: &Stage) -> PathBuf {
    let bytes: u32 = 3 * 3600 * 8000;
    let mut head = b"RIFF".to_vec();
    head.extend((bytes + 36).to_le_bytes());
    head.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    head.extend(8000u32.to_le_bytes());
    head.extend(8000u32.to_le_bytes());
    head.extend(b"\x01\0\x08\0data");
    head.extend(bytes.to_le_bytes());
    let path = stage.write("hours.wav", head);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(u64::from(bytes) + 44).unwrap();
    path
}

#[test]
fn a_video_without_sound_as_the_voice() {
    let stage = Stage::new();
    let mute = stage.ffmpeg(&["-f", "lavfi", "-i", "testsrc=d=1", "-an"], "mute.mp4");
    check_audio(&stage, &mute, &["mute.mp4", "sound"]);
}

#[test]
fn files_that_are_not_there_or_no_files() {
    let stage = Stage::new();
    check_image(&stage, &stage.path("nobody.png"), &["nobody.png"]);
    check_audio(&stage, &stage.path("nothing.wav"), &["nothing.wav"]);
    check_image(&stage, &stage.path("out"), &["folder"]);
    check_audio(&stage, Path::new("/dev/zero"), &["/dev/zero"]);
}

#[test]
fn an_output_that_cannot_be() {
    let stage = Stage::new();
    let (image, audio) = (sample("portrait.png"), sample("speech.wav"));
    let refuse = |out: &Path, words: &[&str]| {
        let args =
            ["generate", "--image", image.to_str().unwrap(), "--audio", audio.to_str().unwrap(), "--out"];
        let run = stage.run(args.iter().map(Path::new).chain([out]));
        run.assert_refused(words);
    };
    let there = stage.write("there.mp4", "mine");
    refuse(&there, &["there.mp4", "--overwrite"]);
    assert_eq!(std::fs::read(&there).unwrap(), b"mine");
    refuse(&stage.path("no/such/folder/take.mp4"), &["folder"]);
    refuse(&stage.path("out"), &["folder"]);
    refuse(&stage.path("out/take.webm"), &[".webm", ".mp4"]);
    refuse(Path::new("/proc/take.mp4"), &["/proc"]);
    stage.assert_nothing_left();
}

#[test]
fn an_input_is_never_overwritten() {
    let stage = Stage::new();
    let image = stage.small_portrait();
    let clip = stage.ffmpeg(
        &["-loop", "1", "-i", image.to_str().unwrap(), "-t", "0.2", "-pix_fmt", "yuv420p"],
        "mine.mp4",
    );
    let before = std::fs::read(&clip).unwrap();
    let args =
        ["generate", "--video", "mine.mp4", "--seconds", "1", "--overwrite", "--out", "out/../mine.mp4"];
    stage.run(args).assert_refused(&["mine.mp4", "another name"]);
    assert_eq!(std::fs::read(&clip).unwrap(), before);
}

#[test]
fn limits_that_make_no_sense() {
    let stage = Stage::new();
    for limit in ["nan", "-5", "0", "1e12"] {
        let flag = format!("--max-audio-seconds={limit}");
        stage
            .run(["generate", "--image", "x.png", "--seconds", "1", "--out", "y.mp4", &flag])
            .assert_refused(&["audio_seconds"]);
    }
    let config = stage.write("c.toml", "[limits]\ndecoder_mib = 1\n");
    let run = stage.run(["doctor", "--config", config.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&run.stdout).contains("decoder_mib"), "{}", run.stderr);
}

#[test]
fn numbers_have_an_end() {
    let stage = Stage::new();
    let rows: [(&[&str], &str); 4] = [
        (&["bench", "--seconds", "1e9"], "3600"),
        (&["models", "pull", "svd", "--silence", "1e20"], "86400"),
        #[cfg(feature = "neural")]
        (&["plan", "infinitetalk", "--steps", "0"], "1..=10000"),
        #[cfg(not(feature = "neural"))]
        (&["models", "pull", "svd", "--connections", "0"], "1..=32"),
        (&["generate", "--image", "x.png", "--seconds", "1e400", "--out", "y.mp4"], "seconds"),
    ];
    for (args, limit) in rows {
        let run = stage.run(args);
        assert_eq!(run.code, 2, "{args:?}: {}", run.stderr);
        assert!(run.stderr.contains(limit), "{args:?}: {}", run.stderr);
    }
    let truth = r#"{"format": "talkie-phonemes-1", "duration": 3e7, "phonemes": []}"#;
    let truth = stage.write("truth.json", truth);
    let video = sample("portrait.png");
    stage
        .run(["score", video.to_str().unwrap(), "--truth", truth.to_str().unwrap()])
        .assert_refused(&["30000000", "86400"]);
}

#[cfg(feature = "neural")]
#[test]
fn a_card_that_is_configured_and_cannot_be_used_is_no_little_thing() {
    let stage = Stage::new();
    let run = stage.run(["doctor", "--conf", "compute.device=\"cuda\"", "--json"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    let told = run.json();
    let gpu = told["checks"].as_array().unwrap().iter().find(|check| check["name"] == "gpu").unwrap();
    assert!(gpu["detail"].as_str().unwrap().contains("talkie-worker-cuda"), "{gpu}");
    // the figures would be another device's
    stage.run(["bench", "--conf", "compute.device=\"cuda\""]).assert_refused(&["talkie-worker-cuda"]);
}

#[test]
fn a_failure_is_json_where_json_was_asked_for() {
    let stage = Stage::new();
    for args in [
        &["generate", "--image", "no.png", "--seconds", "1", "--out", "out/t.mp4", "--json"][..],
        &["score", "no.mp4", "--json"],
    ] {
        let run = stage.run(args);
        assert_eq!((run.code, run.json()["error"]["code"].as_str()), (1, Some("file_missing")), "{args:?}");
    }
}

#[test]
fn a_stalled_reader_does_not_hold_a_signal_up() {
    let stage = Stage::new();
    let portrait = sample("portrait.png");
    let mut child =
        stage.spawn(["generate", "--image", portrait.to_str().unwrap(), "--seconds", "600", "--out", "-"]);
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap(); // it flows; from now on nobody reads
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    drop(stdout);
    stage.assert_nothing_left();
}

#[test]
fn a_disk_that_fills_up() {
    let stage = Stage::new();
    let small = stage.path("out");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=48k", "tmpfs"])
        .arg(&small)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        // without the right to mount, a file size limit is the nearest thing to a full disk
        let run = limited_run(&stage);
        run.assert_refused(&["take.mp4"]);
        stage.assert_nothing_left();
        return;
    }
    let run = stage.run([
        "generate".as_ref(),
        "--image".as_ref(),
        sample("portrait.png").as_os_str(),
        "--audio".as_ref(),
        sample("speech.wav").as_os_str(),
        "--out".as_ref(),
        small.join("take.mp4").as_os_str(),
    ]);
    let left = stage.takes();
    std::process::Command::new("umount").arg(&small).status().unwrap();
    run.assert_refused(&["space"]);
    assert_eq!(left, Vec::<String>::new());
    stage.assert_nothing_left();
}

fn limited_run(stage: &Stage) -> Run {
    let script = format!(
        "ulimit -f 40; exec '{}' generate --image '{}' --audio '{}' --out '{}'",
        env!("CARGO_BIN_EXE_talkie"),
        sample("portrait.png").display(),
        sample("speech.wav").display(),
        stage.path("out/take.mp4").display()
    );
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script]).env("TMPDIR", stage.path("tmp"));
    Run::of(command.output().unwrap())
}

#[test]
fn ffmpeg_missing_or_too_old() {
    let stage = Stage::new();
    let generate = |ffmpeg: &Path| {
        stage.run([
            "generate".as_ref(),
            "--ffmpeg".as_ref(),
            ffmpeg.as_os_str(),
            "--image".as_ref(),
            sample("portrait.png").as_os_str(),
            "--seconds".as_ref(),
            "1".as_ref(),
            "--out".as_ref(),
            stage.path("out/take.mp4").as_os_str(),
        ])
    };
    generate(&stage.path("no-ffmpeg")).assert_refused(&["no-ffmpeg"]);
    let old = stage.write("old-ffmpeg", "#!/bin/sh\necho 'ffmpeg version 2.8.17-0ubuntu0.1 Copyright'\n");
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)).unwrap();
    generate(&old).assert_refused(&["2.8"]);
    stage.assert_nothing_left();

    let bare = stage
        .command(["generate", "--image", "x.png", "--seconds", "1", "--out", "out/take.mp4"])
        .env("PATH", "/nowhere")
        .output();
    Run::of(bare.unwrap()).assert_refused(&["ffmpeg", "apt"]);
    let doctor = Run::of(stage.command(["doctor"]).env("PATH", "/nowhere").output().unwrap());
    assert_eq!(doctor.code, 1);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("broken   ffmpeg"));
}

#[test]
fn an_unknown_engine_or_setting() {
    let stage = Stage::new();
    let base = |more: [&str; 2]| {
        let portrait = sample("portrait.png");
        let mut args = vec![
            "generate",
            "--image",
            portrait.to_str().unwrap(),
            "--seconds",
            "1",
            "--out",
            "out/take.mp4",
        ];
        args.extend(more);
        stage.run(args)
    };
    base(["--engine", "wav2lip"]).assert_refused(&["wav2lip", "puppet"]);
    base(["--set", "sparkle=1"]).assert_refused(&["sparkle"]);
    base(["--size", "5"]).assert_refused(&["5", "size"]);
    stage
        .run([
            "generate",
            "--image",
            sample("portrait.png").to_str().unwrap(),
            "--seconds",
            "1e9",
            "--out",
            "out/take.mp4",
        ])
        .assert_refused(&["1000000000", "3600", "--max-audio-seconds"]);
    base(["--fps", "500"]).assert_refused(&["500", "60"]);
    base(["--landmarks", "{\"left_eye\":[1,1]}"]).assert_refused(&["right_eye"]);
    base(["--landmarks", "nowhere.json"]).assert_refused(&["nowhere.json"]);
    stage.assert_nothing_left();
}

fn grows(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| about.len() > 0)
}

#[test]
fn a_signal_in_the_middle() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let stage = Stage::new();
        let long =
            stage.ffmpeg(&["-stream_loop", "9", "-i", sample("speech.wav").to_str().unwrap()], "long.wav");
        let mut child = stage.spawn([
            "generate".as_ref(),
            "--image".as_ref(),
            sample("portrait.png").as_os_str(),
            "--audio".as_ref(),
            long.as_os_str(),
            "--out".as_ref(),
            stage.path("out/take.mp4").as_os_str(),
        ]);
        // the draft grows: frames are being encoded
        while !stage.takes().iter().any(|name| grows(&stage.path("out").join(name))) {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it began");
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        stage.assert_nothing_left();
    }
}
