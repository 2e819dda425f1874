//! Every kind of sound a user may send, and the sounds that are refused.

mod fixtures;

use std::path::Path;

use contract::{SourceError, Stop};
use fixtures::{ffmpeg, limits, made, refused, scratch, tools, written};
use media::{Limits, MediaError, Voice, VoiceSpec, wav};

const RATE: u32 = 16_000;

fn open(path: &Path, start: Option<f64>, duration: Option<f64>) -> Result<Voice, MediaError> {
    let spec = VoiceSpec { rate_hz: RATE, start, duration };
    media::voice(&tools(), path, spec, &limits(), &Stop::new())
}

fn heard(path: &Path, start: Option<f64>, duration: Option<f64>) -> Vec<f32> {
    let spec = VoiceSpec { rate_hz: RATE, start, duration };
    media::audio(&tools(), path, spec, &limits(), &Stop::new()).unwrap().samples
}

/// Crossings of zero in the middle half second.
fn tone(samples: &[f32]) -> f64 {
    let middle = &samples[samples.len() / 2 - 4000..samples.len() / 2 + 4000];
    middle.windows(2).filter(|w| (w[0] < 0.0) != (w[1] < 0.0)).count() as f64
}

#[test]
fn common_formats_become_the_same_mono() {
    let scratch = scratch();
    let rows = [
        ("a.wav", "-ac 2"),
        ("b.wav", "-c:a pcm_s24le"),
        ("c.wav", "-c:a pcm_u8 -ar 8000"),
        ("d.mp3", ""),
        ("e.m4a", "-c:a aac"),
        ("f.ogg", "-c:a libvorbis"),
        ("g.opus", "-c:a libopus"),
        ("h.flac", "-ar 96000"),
        ("i.aiff", ""),
        ("j.mka", "-c:a ac3 -ac 6"),
        ("k.aac", "-c:a aac"),
    ];
    for (name, options) in rows {
        let options = if options.is_empty() { String::new() } else { format!(" {options}") };
        let path = made(&scratch, name, &format!("-f lavfi -i sine=f=440:d=2:r=44100{options}"));
        let samples = heard(&path, None, None);
        let seconds = samples.len() as f64 / f64::from(RATE);
        assert!((seconds - 2.0).abs() < 0.08, "{name} lasts {seconds} s");
        assert!((tone(&samples) - 440.0).abs() <= 4.0, "{name}: {}", tone(&samples));
        let voice = open(&path, None, None).unwrap();
        assert!((voice.seconds_estimate.unwrap() - 2.0).abs() < 0.2, "{name} {:?}", voice.seconds_estimate);
        assert_eq!(voice.warnings.len(), usize::from(name == "j.mka"));
    }
}

#[test]
fn a_video_lends_its_sound_and_a_song_with_a_cover_is_a_song() {
    let scratch = scratch();
    let film = scratch.file("film.mp4");
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc=d=2:s=64x48",
        "-f",
        "lavfi",
        "-i",
        "sine=f=440:d=2",
        film.to_str().unwrap(),
    ]);
    assert!((tone(&heard(&film, None, None)) - 440.0).abs() <= 4.0);
    let cover = made(&scratch, "cover.png", "-f lavfi -i testsrc=s=64x48 -frames:v 1");
    let song = scratch.file("song.mp3");
    let inputs = ["-f", "lavfi", "-i", "sine=f=440:d=2", "-i", cover.to_str().unwrap()];
    ffmpeg(
        &[&inputs[..], &["-map", "0", "-map", "1", "-disposition:v", "attached_pic", song.to_str().unwrap()]]
            .concat(),
    );
    assert!((tone(&heard(&song, None, None)) - 440.0).abs() <= 4.0);
}

#[test]
fn start_and_duration_take_a_part() {
    let scratch = scratch();
    let path = scratch.file("two.wav");
    ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "sine=f=400:d=2[a];sine=f=1000:d=2[b];[a][b]concat=n=2:v=0:a=1",
        path.to_str().unwrap(),
    ]);
    let part = heard(&path, Some(2.5), Some(1.0));
    assert_eq!(part.len(), 16_000);
    assert!((tone(&part) - 1000.0).abs() <= 4.0);
    assert_eq!(heard(&path, Some(3.5), None).len(), 8000);
    assert_eq!(open(&path, Some(3.0), Some(9.0)).unwrap().seconds_estimate, Some(1.0));
    let rows = [
        (Some(4.0), None, "start_beyond_end"),
        (Some(-1.0), None, "bad_start"),
        (Some(f64::NAN), None, "bad_start"),
        (None, Some(0.0), "bad_duration"),
        (Some(3.95), None, "audio_too_short"),
    ];
    for (start, duration, expected) in rows {
        assert_eq!(refused(open(&path, start, duration).map(drop)).0, expected, "{start:?} {duration:?}");
    }
}

#[test]
fn too_long_and_too_short_are_refused_by_the_numbers() {
    let scratch = scratch();
    let hours = written(&scratch, "hours.wav", &wav::header(8000, 3 * 3600 * 16_000));
    let file = std::fs::OpenOptions::new().write(true).open(&hours).unwrap();
    file.set_len(44 + 3 * 3600 * 16_000).unwrap(); // sparse: no disk is used
    let (code, line) = refused(open(&hours, None, None).map(drop));
    assert_eq!(code, "audio_too_long");
    assert!(line.contains("10800.0 s") && line.contains("3600.0 s") && line.contains("--duration"), "{line}");
    assert!(open(&hours, Some(60.0), Some(1.0)).is_ok(), "a part of it is fine");

    let blink = made(&scratch, "blink.wav", "-f lavfi -i sine=d=0.02");
    let (code, line) = refused(open(&blink, None, None).map(drop));
    assert_eq!(code, "audio_too_short");
    assert!(line.contains("0.020 s") && line.contains("0.100 s"), "{line}");

    // nothing in the file tells how long it is
    let raw = made(&scratch, "long.aac", "-f lavfi -i sine=d=8 -c:a aac");
    let tight = Limits { audio_seconds: 2.0, ..limits() };
    let spec = VoiceSpec { rate_hz: RATE, start: None, duration: None };
    let outcome = media::audio(&tools(), &raw, spec, &tight, &Stop::new());
    assert_eq!(refused(outcome.map(drop)).0, "audio_too_long");
}

#[test]
fn what_is_no_sound_is_refused_in_one_line() {
    let scratch = scratch();
    let noise: Vec<u8> = (0..20_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let hls = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n";
    let local = hls.replace("{}", "/etc/passwd");
    let remote = hls.replace("{}", "http://127.0.0.1:9/a.ts");
    let rows: [(&str, &[u8], &[&str]); 9] = [
        ("empty.wav", b"", &["audio_empty"]),
        ("header.wav", &wav::header(16_000, 0), &["audio_empty", "unreadable_media"]),
        ("noise.mp3", &noise, &["unreadable_media"]),
        ("noise.wav", &noise, &["unreadable_media"]),
        ("local.wav", local.as_bytes(), &["format_not_allowed"]),
        ("remote.wav", remote.as_bytes(), &["format_not_allowed"]),
        ("concat.wav", b"ffconcat version 1.0\nfile /etc/passwd\n", &["format_not_allowed"]),
        (
            "sdp.wav",
            b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
            &["format_not_allowed"],
        ),
        ("text.mp3", b"just some words", &["unreadable_media"]),
    ];
    for (name, bytes, expected) in rows {
        let path = written(&scratch, name, bytes);
        let (code, line) = refused(open(&path, None, None).map(drop));
        assert!(expected.contains(&code), "{name}: {code} {line}");
        assert!(!line.contains("passwd") && !line.contains("127.0.0.1"), "{line}");
    }
    let mute = made(&scratch, "mute.mp4", "-f lavfi -i testsrc=d=1:s=64x48");
    assert_eq!(refused(open(&mute, None, None).map(drop)).0, "no_audio");
    assert_eq!(refused(open(scratch.path(), None, None).map(drop)).0, "not_a_file");
    assert_eq!(refused(open(&scratch.file("none"), None, None).map(drop)).0, "file_missing");
}

#[test]
fn a_cut_off_file_is_never_silently_shorter() {
    let scratch = scratch();
    let mut claim = wav::header(16_000, 10 * 32_000);
    claim.extend(vec![1; 3 * 32_000]);
    let film = std::fs::read(made(&scratch, "f.mov", "-f lavfi -i sine=d=20 -c:a aac -movflags +faststart"))
        .unwrap();
    let flac = std::fs::read(made(&scratch, "f.flac", "-f lavfi -i sine=d=20")).unwrap();
    let rows = [
        ("cut.wav", claim),
        ("cut.mov", film[..film.len() / 2].to_vec()),
        ("cut.flac", flac[..flac.len() / 2].to_vec()),
    ];
    for (name, bytes) in rows {
        let path = written(&scratch, name, &bytes);
        let outcome = media::audio(&tools(), &path, RATE, &limits(), &Stop::new());
        match (name, outcome) {
            // ffmpeg measures a WAV by its file, so what is there is all there is
            ("cut.wav", Ok(pcm)) => assert!((pcm.seconds() - 3.0).abs() < 0.1),
            (_, outcome) => {
                let (code, line) = refused(outcome.map(|pcm| panic!("{name}: {} s", pcm.seconds())));
                assert_eq!(code, "audio_broken", "{line}");
                assert!(line.contains("--duration"), "{line}");
            }
        }
    }
}

#[test]
fn stopping_breaks_off_a_reader() {
    let scratch = scratch();
    let path = made(&scratch, "tone.wav", "-f lavfi -i sine=d=600:r=48000");
    let stop = Stop::new();
    let spec = VoiceSpec { rate_hz: 48_000, start: None, duration: None };
    let mut voice = media::voice(&tools(), &path, spec, &limits(), &stop).unwrap();
    let mut chunk = vec![0.0; 4096];
    assert!(voice.source.read(&mut chunk).unwrap() > 0);
    stop.stop();
    let outcome = (0..100_000).find_map(|_| voice.source.read(&mut chunk).err());
    assert!(matches!(outcome, Some(SourceError::Stopped)));
}
