//! `talkie generate` as a user meets it: real files in, a real MP4 out, looked at with ffprobe.

use std::path::Path;
use std::process::Command;

use crate::stage::{Stage, probe, sample};

fn generate(stage: &Stage, image: &Path, more: &[&str]) -> crate::stage::Run {
    let mut args = vec!["generate", "--image", image.to_str().unwrap(), "--out", "out/take.mp4"];
    args.extend(more);
    let run = stage.run(args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    run
}

fn take(stage: &Stage) -> std::path::PathBuf {
    stage.path("out/take.mp4")
}

fn warnings(report: &serde_json::Value) -> Vec<&str> {
    report["warnings"].as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

/// Hashes of the decoded pictures.
fn pictures(path: &Path) -> String {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-an", "-f", "framemd5", "-"])
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn the_take_is_an_mp4_that_every_player_knows() {
    let stage = Stage::new();
    let (image, voice) = (stage.small_portrait(), stage.short_speech("2"));
    let run = generate(&stage, &image, &["--audio", voice.to_str().unwrap(), "--json", "--seed", "7"]);
    assert_eq!(run.stderr, "", "--json is quiet");
    let report = run.json();
    let rows = [
        ("v:0", "stream=codec_name", "h264"),
        ("v:0", "stream=pix_fmt", "yuv420p"),
        ("v:0", "stream=color_space", "bt709"),
        ("v:0", "stream=color_transfer", "bt709"),
        ("v:0", "stream=color_primaries", "bt709"),
        ("v:0", "stream=color_range", "tv"),
        ("v:0", "stream=r_frame_rate", "25/1"),
        ("v:0", "stream=nb_read_frames", "50"),
        ("a:0", "stream=codec_name", "aac"),
        ("a:0", "stream=sample_rate", "16000"),
    ];
    for (stream, entry, expected) in rows {
        assert_eq!(probe(&take(&stage), stream, entry), expected, "{entry}");
    }
    let bytes = std::fs::read(take(&stage)).unwrap();
    let at = |name: &[u8]| bytes.windows(4).position(|window| window == name).unwrap();
    assert!(at(b"moov") < at(b"mdat"), "faststart");
    for (key, expected) in [
        ("frames", 50.into()),
        ("fps", 25.0.into()),
        ("seed", 7.into()),
        ("engine", "puppet".into()),
        ("duration", 2.0.into()),
    ] {
        let expected: serde_json::Value = expected;
        assert_eq!(report[key], expected, "{key}");
    }
    assert_eq!(report["path"], "out/take.mp4");
    assert_eq!(report["size"]["height"], 320);
    assert!(report["landmarks"]["confidence"].as_f64().unwrap() > 0.6, "{report}");
    assert!(report["landmarks"]["left_eye"][0].as_f64() < report["landmarks"]["right_eye"][0].as_f64());
    assert!(report["timings"]["rendering"].as_f64().unwrap() > 0.0, "{report}");
    assert_eq!(report["weights"][0]["sha256"].as_str().unwrap().len(), 64);
    assert!(warnings(&report).is_empty(), "{report}");
}

#[test]
fn the_video_is_as_long_as_the_sound_to_the_frame() {
    let stage = Stage::new();
    let image = stage.small_portrait();
    for (fps, seconds, frames) in
        [("25", "1.5", 38), ("30", "1.21", 36), ("29.97", "2", 60), ("12.5", "1", 13)]
    {
        let voice = stage.short_speech(seconds);
        let voice = voice.to_str().unwrap();
        let report =
            generate(&stage, &image, &["--audio", voice, "--fps", fps, "--json", "--overwrite"]).json();
        assert_eq!(report["frames"], frames, "{fps} fps, {seconds} s");
        assert_eq!(probe(&take(&stage), "v:0", "stream=nb_read_frames"), frames.to_string());
        let sound: f64 = probe(&take(&stage), "a:0", "stream=duration").parse().unwrap();
        let rate: f64 = report["fps"].as_f64().unwrap();
        assert!((sound - frames as f64 / rate).abs() <= 1.0 / rate, "{fps}: sound {sound}");
    }
}

#[test]
fn a_part_of_the_sound_can_be_chosen() {
    let stage = Stage::new();
    let (image, voice) = (stage.small_portrait(), sample("speech.wav"));
    let args = ["--audio", voice.to_str().unwrap(), "--start", "1.0", "--duration", "0.8", "--json"];
    assert_eq!(generate(&stage, &image, &args).json()["frames"], 20);
}

#[test]
fn equal_seeds_give_equal_pictures() {
    let stage = Stage::new();
    let (image, voice) = (stage.small_portrait(), stage.short_speech("1"));
    let frames = |seed: &str| {
        generate(
            &stage,
            &image,
            &["--audio", voice.to_str().unwrap(), "--seed", seed, "--overwrite", "--quiet"],
        );
        pictures(&take(&stage))
    };
    let first = frames("1");
    assert_eq!(first.lines().filter(|line| !line.starts_with('#')).count(), 25);
    assert_eq!(first, frames("1"));
    assert_ne!(first, frames("2"));
}

#[test]
fn every_kind_of_picture_goes_in() {
    let stage = Stage::new();
    let png = stage.small_portrait();
    let from = |args: &[&str], name: &str| {
        let mut all = vec!["-i", png.to_str().unwrap()];
        all.extend(args);
        stage.ffmpeg(&all, name)
    };
    let rows = [
        (from(&["-q:v", "2"], "plain.jpg"), vec![]),
        (from(&["-pix_fmt", "rgb48be"], "deep.png"), vec![]),
        (from(&["-vf", "format=rgba,colorchannelmixer=aa=0.9"], "alpha.png"), vec!["picture_alpha"]),
        (from(&[], "web.webp"), vec![]),
        (from(&["-pix_fmt", "gray"], "gray.png"), vec![]),
        (from(&["-loop", "0", "-t", "0.3"], "moving.gif"), vec![]),
        (from(&[], "old.bmp"), vec![]),
        (from(&[], "print.tiff"), vec![]),
    ];
    for (image, expected) in rows {
        let report = generate(&stage, &image, &["--seconds", "0.2", "--json", "--overwrite"]).json();
        let found: Vec<_> =
            warnings(&report).into_iter().filter(|code| code.starts_with("picture")).collect();
        assert_eq!(found, expected, "{}", image.display());
        assert!(report["landmarks"]["confidence"].as_f64().unwrap() > 0.5, "{}", image.display());
    }
}

#[test]
fn every_kind_of_sound_goes_in() {
    let stage = Stage::new();
    let (image, voice) = (stage.small_portrait(), stage.short_speech("1"));
    let from = |args: &[&str], name: &str| {
        let mut all = vec!["-i", voice.to_str().unwrap()];
        all.extend(args);
        stage.ffmpeg(&all, name)
    };
    let sounds = [
        from(&["-ar", "44100", "-ac", "2"], "stereo.wav"),
        from(&["-b:a", "64k"], "voice.mp3"),
        from(&[], "voice.m4a"),
        from(&["-c:a", "libopus"], "voice.ogg"),
        from(&[], "voice.flac"),
        stage.ffmpeg(
            &["-i", voice.to_str().unwrap(), "-f", "lavfi", "-i", "testsrc=s=64x64", "-shortest"],
            "film.mkv",
        ),
    ];
    for sound in sounds {
        let report =
            generate(&stage, &image, &["--audio", sound.to_str().unwrap(), "--json", "--overwrite"]).json();
        let frames = report["frames"].as_u64().unwrap();
        assert!((24..=28).contains(&frames), "{}: {frames} frames", sound.display());
        assert_eq!(probe(&take(&stage), "a:0", "stream=codec_name"), "aac");
    }
}

#[test]
fn a_text_is_spoken() {
    let stage = Stage::new();
    let image = stage.small_portrait();
    let report = generate(&stage, &image, &["--text", "Hello. My name is Bob.", "--json"]).json();
    assert!((15..120).contains(&report["frames"].as_u64().unwrap()), "{report}");
    assert!(report["timings"]["speaking"].as_f64().is_some(), "{report}");
    assert_eq!(probe(&take(&stage), "a:0", "stream=codec_name"), "aac");
    let file = stage.write("text.txt", "$(touch pwned) `touch pwned` ; touch pwned");
    generate(&stage, &image, &["--text-file", file.to_str().unwrap(), "--overwrite"]);
    assert!(!stage.path("pwned").exists() && !stage.path("out/pwned").exists());
}

#[test]
fn without_a_voice_it_idles_without_a_sound_track() {
    let stage = Stage::new();
    let report =
        generate(&stage, &stage.small_portrait(), &["--seconds", "3", "--json", "--seed", "3"]).json();
    assert_eq!(report["frames"], 75);
    assert_eq!(warnings(&report), ["no_voice"]);
    assert_eq!(probe(&take(&stage), "", "stream=codec_type"), "video");
    let pictures = pictures(&take(&stage));
    let mut hashes: Vec<_> = pictures.lines().filter_map(|line| line.rsplit(',').next()).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert!(hashes.len() > 40, "it moves");
}

#[test]
fn silence_keeps_the_mouth_shut_and_says_so() {
    let stage = Stage::new();
    let silence = stage.ffmpeg(&["-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "1"], "silence.wav");
    let report =
        generate(&stage, &stage.small_portrait(), &["--audio", silence.to_str().unwrap(), "--json"]).json();
    assert_eq!(report["frames"], 25);
    assert_eq!(warnings(&report), ["silent_audio"]);
}

#[test]
fn a_clip_speaks_for_longer_than_it_lasts() {
    let stage = Stage::new();
    let portrait = stage.small_portrait();
    let clip = stage.ffmpeg(
        &[
            "-loop",
            "1",
            "-i",
            portrait.to_str().unwrap(),
            "-t",
            "1",
            "-r",
            "30",
            "-pix_fmt",
            "yuv420p",
            "-vf",
            "scale=400:500,crop=360:450:20+20*sin(n/5):20",
        ],
        "clip.mp4",
    );
    let voice = stage.short_speech("2");
    let args = [
        "generate",
        "--video",
        clip.to_str().unwrap(),
        "--audio",
        voice.to_str().unwrap(),
        "--out",
        "out/take.mp4",
        "--json",
    ];
    let run = stage.run(args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let report = run.json();
    assert_eq!((&report["frames"], &report["fps"]), (&60.into(), &30.0.into()));
    assert_eq!((&report["size"]["width"], &report["size"]["height"]), (&360.into(), &450.into()));
    assert_eq!(probe(&take(&stage), "v:0", "stream=nb_read_frames"), "60");
}

#[test]
fn a_clip_may_begin_in_the_dark() {
    let stage = Stage::new();
    let portrait = stage.small_portrait();
    let fade = "fade=in:st=0.5:d=0.2,format=yuv420p";
    let clip = stage.ffmpeg(
        &["-loop", "1", "-i", portrait.to_str().unwrap(), "-t", "2", "-r", "25", "-vf", fade],
        "dark.mp4",
    );
    let args = [
        "generate",
        "--video",
        clip.to_str().unwrap(),
        "--seconds",
        "0.4",
        "--out",
        "out/take.mp4",
        "--json",
    ];
    let run = stage.run(args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let report = run.json();
    assert_eq!(report["frames"], 10);
    assert!(warnings(&report).contains(&"late_face"), "{report}");
}

#[test]
fn a_person_who_leaves_is_told_of() {
    let stage = Stage::new();
    let portrait = stage.small_portrait();
    let fade = "fade=out:st=0.5:d=0.2,format=yuv420p";
    let clip = stage.ffmpeg(
        &["-loop", "1", "-i", portrait.to_str().unwrap(), "-t", "1.2", "-r", "25", "-vf", fade],
        "leaves.mp4",
    );
    let clip = clip.to_str().unwrap();
    let run = stage.run(["generate", "--video", clip, "--seconds", "1.2", "--out", "take.mp4", "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let report = run.json();
    assert!(warnings(&report).contains(&"face_lost"), "{report}");
}

#[test]
fn few_frames_a_second_and_much_sound_go_together() {
    let stage = Stage::new();
    let image = stage.small_portrait();
    let voice = stage.ffmpeg(
        &["-stream_loop", "2", "-i", sample("speech.wav").to_str().unwrap(), "-ar", "48000", "-ac", "2"],
        "studio.wav",
    );
    for (fps, frames) in [("1", 29), ("3", 87)] {
        let args =
            ["--audio", voice.to_str().unwrap(), "--fps", fps, "--size", "128", "--json", "--overwrite"];
        assert_eq!(generate(&stage, &image, &args).json()["frames"], frames, "{fps}");
    }
}

#[test]
fn a_reader_of_the_report_may_leave() {
    let stage = Stage::new();
    let shell = |script: &str| {
        let mut command = Command::new("bash");
        let program = env!("CARGO_BIN_EXE_talkie");
        command.args(["-c", &format!("set -o pipefail; '{program}' {script}")]).current_dir(stage.path(""));
        crate::stage::Run::of(command.output().unwrap())
    };
    let gone = shell("engines | true");
    assert!(!gone.stderr.contains("panicked"), "{}", gone.stderr);
    let full = shell("engines > /dev/full");
    assert_eq!((full.code, full.stderr.lines().count()), (1, 1), "{}", full.stderr);
}

#[test]
fn a_stream_can_be_played_while_it_is_made() {
    let stage = Stage::new();
    let (image, voice) = (stage.small_portrait(), stage.short_speech("1"));
    let args =
        ["generate", "--image", image.to_str().unwrap(), "--audio", voice.to_str().unwrap(), "--out", "-"];
    let run = stage.run(args);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let file = stage.write("stream.mp4", &run.stdout);
    assert!(run.stdout.windows(4).any(|window| window == b"moof"), "fragmented");
    assert_eq!(probe(&file, "v:0", "stream=nb_read_frames"), "25");
    assert_eq!(probe(&file, "a:0", "stream=codec_name"), "aac");
    assert_eq!(stage.takes(), Vec::<String>::new());
}

#[test]
fn size_and_crop_do_what_they_say() {
    let stage = Stage::new();
    let portrait = sample("portrait.png");
    let rows = [
        (vec!["--size", "400"], None, 400),
        (vec!["--crop", "face"], Some((512, 512)), 512),
        (vec!["--crop", "face", "--size", "256"], Some((256, 256)), 256),
    ];
    for (args, exact, longest) in rows {
        let mut all = vec!["--seconds", "0.1", "--json", "--overwrite"];
        all.extend(args);
        let report = generate(&stage, &portrait, &all).json();
        let (width, height) =
            (report["size"]["width"].as_u64().unwrap(), report["size"]["height"].as_u64().unwrap());
        assert_eq!(width.max(height), longest);
        if let Some(exact) = exact {
            assert_eq!((width, height), exact);
        }
    }
}

#[test]
fn landmarks_go_round() {
    let stage = Stage::new();
    let image = stage.small_portrait();
    let found = generate(&stage, &image, &["--seconds", "0.1", "--json"]).json();
    let file = stage.write("landmarks.json", found.to_string());
    let args = ["--seconds", "0.1", "--json", "--overwrite", "--landmarks", file.to_str().unwrap()];
    let given = generate(&stage, &image, &args).json();
    assert_eq!(given["landmarks"]["origin"], "given");
    assert_eq!(given["landmarks"]["left_eye"], found["landmarks"]["left_eye"]);
}

#[test]
fn quiet_is_quiet_and_a_log_has_one_line() {
    let stage = Stage::new();
    let (image, voice) = (stage.small_portrait(), stage.short_speech("0.5"));
    let voice = voice.to_str().unwrap();
    let quiet = generate(&stage, &image, &["--audio", voice, "--quiet"]);
    assert_eq!((quiet.stdout.len(), quiet.stderr.as_str()), (0, ""));
    let log = generate(&stage, &image, &["--audio", voice, "--overwrite"]);
    assert_eq!(log.stderr.lines().count(), 1, "{}", log.stderr);
    assert!(log.stderr.contains("puppet"), "{}", log.stderr);
}
