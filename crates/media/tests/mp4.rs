//! The take as a file and as a stream, checked by ffprobe and by its bytes.

mod fixtures;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use contract::{Stop, VideoFormat};
use fixtures::{ffmpeg, format, frame, limits, made, refused, scratch, shown, tools, written};
use media::{Limits, MediaError, Mp4Options, Mp4Sink, Soundtrack, ToolPaths, Tools, Track};

fn track(path: &Path) -> Soundtrack {
    Track { path: path.to_owned(), start: None, duration: None }.into()
}

fn render(out: &Path, format: VideoFormat, frames: u64, sound: Option<Soundtrack>) -> Result<(), MediaError> {
    let options = Mp4Options { sound, comment: Some("made by a test".into()), ..Mp4Options::new(format) };
    let mut sink = Mp4Sink::file(&tools(), out, options, &limits(), &Stop::new())?;
    for index in 0..frames {
        sink.frame(&frame(format, index))?;
    }
    sink.finish()
}

#[test]
fn a_take_has_the_promised_streams_tags_and_lengths() {
    let scratch = scratch();
    // frame rate, frames, sound's seconds and shape
    let rows = [
        ("25", 50, "2", "48000", "1"),
        ("30000/1001", 61, "2", "44100", "2"),
        ("24000/1001", 47, "2.02", "44100", "2"),
        ("60", 30, "0.5", "8000", "1"),
        ("25", 50, "1.2", "22050", "1"), // the sound ends first: silence follows
        ("25/2", 10, "3", "96000", "6"), // the picture ends first: the sound is cut
        ("25", 3, "0.12", "16000", "1"),
    ];
    for (row, (fps, frames, seconds, rate, channels)) in rows.into_iter().enumerate() {
        let sound = format!("-f lavfi -i sine=d={seconds}:r={rate} -ac {channels}");
        let sound = made(&scratch, &format!("sound{row}.wav"), &sound);
        let out = scratch.file(&format!("take{row}.mp4"));
        let format = format(128, 96, fps);
        render(&out, format, frames, Some(track(&sound))).unwrap();

        let video = "stream=codec_name,profile,width,height,pix_fmt,color_range,color_space,color_transfer,color_primaries";
        assert_eq!(shown(&out, video, "v"), "h264,High,128,96,yuv420p,tv,bt709,bt709,bt709", "row {row}");
        let video: u64 = shown(&out, "packet=flags", "v").lines().count() as u64;
        assert_eq!(video, frames, "row {row}");
        let length = |stream: &str| shown(&out, "stream=duration", stream).parse::<f64>().unwrap();
        let expected = format.fps.seconds_at(frames);
        assert!((length("v") - expected).abs() < 1e-4, "row {row}: {} {expected}", length("v"));
        assert!((length("a") - expected).abs() < 1e-3, "row {row}: sound {} {expected}", length("a"));
        assert_eq!(shown(&out, "stream=r_frame_rate", "v").parse(), Ok(format.fps), "row {row}");
        let (rate, channels) = match rate {
            "96000" => ("48000", "2"),
            _ => (rate, channels),
        };
        assert_eq!(
            shown(&out, "stream=codec_name,sample_rate,channels", "a"),
            format!("aac,{rate},{channels}")
        );
        assert_eq!(shown(&out, "format_tags=comment", "v"), "made by a test");
    }
}

#[test]
fn the_index_comes_first_and_the_tags_stand_in_container_and_bitstream() {
    let scratch = scratch();
    let out = scratch.file("take.mp4");
    render(&out, format(64, 64, "25"), 10, None).unwrap();
    let bytes = std::fs::read(&out).unwrap();
    let at = |name: &[u8]| bytes.windows(name.len()).position(|w| w == name);
    assert!(at(b"moov") < at(b"mdat"), "faststart");
    // colr: nclx, primaries 1, transfer 1, matrix 1, limited range
    assert!(at(b"colrnclx\0\x01\0\x01\0\x01\0").is_some(), "container tags");
    let annexb = scratch.file("take.h264");
    ffmpeg(&["-i", out.to_str().unwrap(), "-c", "copy", annexb.to_str().unwrap()]);
    let tags = "stream=color_range,color_space,color_transfer,color_primaries";
    assert_eq!(shown(&annexb, tags, "v"), "tv,bt709,bt709,bt709", "bitstream tags");
    assert_eq!(shown(&out, "stream=codec_type", "a"), "", "no sound was asked for");
}

#[test]
fn large_frames_and_slow_sound_do_not_wait_for_each_other() {
    let scratch = scratch();
    let sound = made(&scratch, "sound.wav", "-f lavfi -i sine=d=0.5:r=8000");
    // one frame fills more than a pipe, two last less than one packet of the sound
    render(&scratch.file("take.mp4"), format(1280, 720, "60"), 30, Some(track(&sound))).unwrap();
}

#[test]
fn the_original_sound_is_what_is_heard() {
    let scratch = scratch();
    let sound = made(&scratch, "tone.mp3", "-f lavfi -i sine=f=440:d=2:r=44100");
    let out = scratch.file("take.mp4");
    render(&out, format(64, 64, "25"), 50, Some(track(&sound))).unwrap();
    let spec = media::VoiceSpec { rate_hz: 16_000, start: None, duration: None };
    let heard = media::audio(&tools(), &out, spec, &limits(), &Stop::new()).unwrap();
    // crossings of zero count the tone
    let middle = &heard.samples[8000..24_000];
    let crossings = middle.windows(2).filter(|w| (w[0] < 0.0) != (w[1] < 0.0)).count();
    assert!((870..=890).contains(&crossings), "{crossings} crossings in a second of 440 Hz");
}

#[test]
fn a_part_of_the_sound_can_be_taken() {
    let scratch = scratch();
    let graph = "sine=f=400:d=1[a];sine=f=1000:d=1[b];[a][b]concat=n=2:v=0:a=1";
    let sound = scratch.file("two.wav");
    ffmpeg(&["-f", "lavfi", "-i", graph, sound.to_str().unwrap()]);
    let out = scratch.file("take.mp4");
    let part = Track { path: sound, start: Some(1.0), duration: Some(0.8) }.into();
    render(&out, format(64, 64, "25"), 20, Some(part)).unwrap();
    let spec = media::VoiceSpec { rate_hz: 16_000, start: None, duration: None };
    let heard = media::audio(&tools(), &out, spec, &limits(), &Stop::new()).unwrap();
    let middle = &heard.samples[4000..8000];
    let crossings = middle.windows(2).filter(|w| (w[0] < 0.0) != (w[1] < 0.0)).count();
    assert!((490..=510).contains(&crossings), "{crossings} crossings in 0.25 s of 1 kHz");
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stream_is_fragmented_and_plays() {
    let scratch = scratch();
    let sound = made(&scratch, "tone.wav", "-f lavfi -i sine=d=5:r=48000");
    let format = format(128, 96, "25");
    let collected = Shared::default();
    let options = Mp4Options { sound: Some(track(&sound)), ..Mp4Options::new(format) };
    let out = Box::new(collected.clone());
    let mut sink = Mp4Sink::stream(&tools(), out, options, &limits(), &Stop::new()).unwrap();
    for index in 0..125 {
        sink.frame(&frame(format, index)).unwrap();
    }
    sink.finish().unwrap();
    let bytes = collected.0.lock().unwrap().clone();
    let fragments = bytes.windows(4).filter(|w| w == b"moof").count();
    assert!(fragments >= 2, "{fragments} fragments");
    let path = written(&scratch, "stream.mp4", &bytes);
    assert_eq!(shown(&path, "packet=flags", "v").lines().count(), 125);
    let length = shown(&path, "format=duration", "v").parse::<f64>().unwrap();
    assert!((length - 5.0).abs() < 0.05, "{length}");
}

struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_hangs_up_ends_the_stream() {
    let format = format(128, 96, "25");
    let options = Mp4Options::new(format);
    let mut sink = Mp4Sink::stream(&tools(), Box::new(Closed), options, &limits(), &Stop::new()).unwrap();
    let outcome = (0..10_000).try_for_each(|index| sink.frame(&frame(format, index)));
    assert_eq!(refused(outcome.and_then(|()| sink.finish())).0, "output_closed");
}

#[test]
fn a_full_disk_is_told() {
    let format = format(256, 256, "25");
    let options = Mp4Options { crf: 1, ..Mp4Options::new(format) };
    let out = Path::new("/dev/full");
    let mut sink = Mp4Sink::file(&tools(), out, options, &limits(), &Stop::new()).unwrap();
    let outcome = (0..200).try_for_each(|index| sink.frame(&frame(format, index)));
    let (code, line) = refused(outcome.and_then(|()| sink.finish()));
    assert_eq!(code, "disk_full", "{line}");
}

#[test]
fn a_file_size_limit_is_told() {
    let scratch = scratch();
    let installed = tools();
    let script = format!("#!/bin/sh\nulimit -f 8\nexec {} \"$@\"\n", installed.ffmpeg().display());
    let paths = ToolPaths {
        ffmpeg: Some(executable(&scratch, "ffmpeg", &script)),
        ffprobe: Some(installed.ffprobe().into()),
    };
    let tools = Tools::find(&paths).unwrap();
    let format = format(256, 256, "25");
    let options = Mp4Options { crf: 1, ..Mp4Options::new(format) };
    let mut sink =
        Mp4Sink::file(&tools, &scratch.file("take.mp4"), options, &limits(), &Stop::new()).unwrap();
    let outcome = (0..200).try_for_each(|index| sink.frame(&frame(format, index)));
    let (code, line) = refused(outcome.and_then(|()| sink.finish()));
    assert!(code == "file_size_limit" || code == "disk_full", "{line}");
}

fn executable(scratch: &media::Scratch, name: &str, script: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = written(scratch, name, script.as_bytes());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_missing_folder_is_told_and_nothing_is_left() {
    let format = format(64, 64, "25");
    let out = Path::new("/nowhere/at/all.mp4");
    let outcome = render(out, format, 100, None);
    assert_eq!(refused(outcome).0, "encode_failed");
}

#[test]
fn a_broken_sound_breaks_the_take() {
    let scratch = scratch();
    let noise: Vec<u8> = (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sound = written(&scratch, "noise.mp3", &noise);
    let outcome = render(&scratch.file("take.mp4"), format(64, 64, "25"), 50, Some(track(&sound)));
    assert_eq!(refused(outcome).0, "unreadable_media");
    let mute = made(&scratch, "mute.mp4", "-f lavfi -i color=d=1 -an");
    let outcome = render(&scratch.file("take2.mp4"), format(64, 64, "25"), 50, Some(track(&mute)));
    assert_eq!(refused(outcome).0, "no_audio");
}

#[test]
fn a_take_needs_a_frame_and_a_sane_crf() {
    let scratch = scratch();
    assert_eq!(refused(render(&scratch.file("t.mp4"), format(64, 64, "25"), 0, None)).0, "no_frames");
    let options = Mp4Options { crf: 52, ..Mp4Options::new(format(64, 64, "25")) };
    let outcome = Mp4Sink::file(&tools(), &scratch.file("t.mp4"), options, &Limits::default(), &Stop::new());
    assert_eq!(refused(outcome.map(drop)).0, "bad_crf");
}
