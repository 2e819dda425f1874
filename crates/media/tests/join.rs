//! Segments, also very short ones, joined to a take, and several voices in one sound track, checked by ffprobe and by what is heard.

mod fixtures;

use std::path::{Path, PathBuf};

use contract::{Stop, Turns, VideoFormat};
use fixtures::{format, frame, limits, made, scratch, shown, tools};
use media::{Joining, Mp4Options, Mp4Sink, Part, Segment, Soundtrack, Track};

fn segment(out: &Path, format: VideoFormat, frames: std::ops::Range<u64>) {
    let options = Mp4Options { part: Part::Segment, ..Mp4Options::new(format) };
    let mut sink = Mp4Sink::file(&tools(), out, options, &limits(), &Stop::new()).unwrap();
    for index in frames {
        sink.frame(&frame(format, index)).unwrap();
    }
    sink.finish().unwrap();
}

fn track(path: PathBuf) -> Track {
    Track { path, start: None, duration: None }
}

#[test]
fn joined_segments_are_one_take() {
    let scratch = scratch();
    for (row, fps) in ["25", "30000/1001"].into_iter().enumerate() {
        let format = format(64, 48, fps);
        let sound = made(&scratch, &format!("sound{row}.wav"), "-f lavfi -i sine=d=8:r=44100");
        let segments: Vec<Segment> = [0..81, 81..82, 82..153, 153..155, 155..160]
            .into_iter()
            .map(|frames| {
                // a name as a user's folder may have it
                let path = scratch.file(&format!("it's {row} at {}.mp4", frames.start));
                segment(&path, format, frames.clone());
                Segment { path, frames: frames.end - frames.start }
            })
            .collect();
        let out = scratch.file(&format!("take{row}.mp4"));
        let joining = Joining {
            segments: &segments,
            fps: format.fps,
            sound: Some(track(sound).into()),
            comment: Some("made by a test".into()),
        };
        let list = scratch.file("list.txt");
        media::join(&tools(), joining, (&out, &list), &limits(), &Stop::new()).unwrap();

        assert_eq!(shown(&out, "stream=r_frame_rate", "v").parse(), Ok(format.fps));
        let length = |stream: &str| shown(&out, "stream=duration", stream).parse::<f64>().unwrap();
        let expected = format.fps.seconds_at(160);
        // containers count in steps of their own: a tenth of a frame
        assert!((length("v") - expected).abs() < 4e-3, "{} {expected}", length("v"));
        assert!((length("a") - expected).abs() < 4e-3, "{} {expected}", length("a"));
        let times = shown(&out, "packet=pts_time", "v");
        let mut times: Vec<f64> = times.lines().map(|t| t.trim_end_matches(',').parse().unwrap()).collect();
        times.sort_by(f64::total_cmp);
        assert_eq!(times.len(), 160);
        for (index, time) in times.iter().enumerate() {
            // in steps of the stream's time base, however many segments are before
            assert!((time - format.fps.seconds_at(index as u64)).abs() < 1e-4, "frame {index} at {time}");
        }
        assert_eq!(shown(&out, "format_tags=comment", "v"), "made by a test");

        // the same pictures as in one piece, not encoded twice
        let whole: Vec<String> = segments.iter().map(|segment| pictures(&segment.path)).collect();
        assert_eq!(pictures(&out), whole.concat());
    }
}

#[test]
fn a_sound_that_takes_long_is_no_sound_that_stands_still() {
    let scratch = scratch();
    let format = format(64, 48, "5");
    let sound = made(&scratch, "long.wav", "-f lavfi -i sine=d=900:r=44100");
    let path = scratch.file("one.mp4");
    segment(&path, format, 0..4500);
    let segments = [Segment { path, frames: 4500 }];
    let sound = Some(track(sound).into());
    let joining = Joining { segments: &segments, fps: format.fps, sound, comment: None };
    let (out, list) = (scratch.file("take.mp4"), scratch.file("list.txt"));
    // less than all of it takes, more than any second of it
    let limits = media::Limits { idle_timeout: std::time::Duration::from_secs(2), ..limits() };
    media::join(&tools(), joining, (&out, &list), &limits, &Stop::new()).unwrap();
    let length: f64 = shown(&out, "stream=duration", "a").parse().unwrap();
    assert!((length - 900.0).abs() < 0.1, "{length}");
}

/// A sum of each decoded picture.
fn pictures(path: &Path) -> String {
    let out = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-"])
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let sums = text.lines().filter(|line| !line.starts_with('#'));
    sums.map(|line| format!("{}\n", line.rsplit(',').next().unwrap().trim())).collect()
}

#[test]
fn a_segment_that_is_not_there_is_an_error_and_not_a_shorter_take() {
    let scratch = scratch();
    let format = format(64, 48, "25");
    let first = scratch.file("one.mp4");
    segment(&first, format, 0..5);
    let segments = [first, scratch.file("two.mp4")].map(|path| Segment { path, frames: 5 });
    let joining = Joining { segments: &segments, fps: format.fps, sound: None, comment: None };
    let (out, list) = (scratch.file("take.mp4"), scratch.file("list.txt"));
    let error = media::join(&tools(), joining, (&out, &list), &limits(), &Stop::new()).unwrap_err();
    assert!(error.to_string().contains("encode"), "{error}");
}

#[test]
fn several_voices_are_heard_together_or_in_turn() {
    let scratch = scratch();
    let low = made(&scratch, "low.wav", "-f lavfi -i sine=f=400:d=1:r=44100");
    let high = made(&scratch, "high.mp3", "-f lavfi -i sine=f=3000:d=1.5:r=22050");
    // the power of each tone in a second
    let heard = |turns: Turns, second: usize| {
        let out = scratch.file(&format!("{turns:?}.mp4"));
        let tracks = [&low, &high].into_iter().map(|path| track(path.clone())).collect();
        let options =
            Mp4Options { sound: Some(Soundtrack { tracks, turns }), ..Mp4Options::new(format(64, 48, "25")) };
        let mut sink = Mp4Sink::file(&tools(), &out, options, &limits(), &Stop::new()).unwrap();
        for index in 0..75 {
            sink.frame(&frame(format(64, 48, "25"), index)).unwrap();
        }
        sink.finish().unwrap();
        let spec = media::VoiceSpec { rate_hz: 16_000, start: None, duration: None };
        let heard = media::audio(&tools(), &out, spec, &limits(), &Stop::new()).unwrap();
        let part = &heard.samples[second * 16_000 + 2000..second * 16_000 + 6000];
        [400.0, 3000.0].map(|hz: f64| {
            let turn = |at: usize| std::f64::consts::TAU * hz * at as f64 / 16_000.0;
            let sums = part.iter().enumerate().fold((0.0, 0.0), |(a, b), (at, v)| {
                (a + f64::from(*v) * turn(at).cos(), b + f64::from(*v) * turn(at).sin())
            });
            (sums.0.hypot(sums.1) / part.len() as f64) > 0.02
        })
    };
    assert_eq!(heard(Turns::Together, 0), [true, true]);
    assert_eq!(heard(Turns::Together, 1), [false, true]);
    assert_eq!(heard(Turns::Together, 2), [false, false]);
    assert_eq!(heard(Turns::InTurn, 0), [true, false]);
    assert_eq!(heard(Turns::InTurn, 1), [false, true]);
    assert_eq!(heard(Turns::InTurn, 2), [false, true]);
}
