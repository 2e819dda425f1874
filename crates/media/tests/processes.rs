//! No child outlives its owner, however the work ends. One test at a time: each looks at all children of this program.

mod fixtures;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use contract::Stop;
use fixtures::{format, frame, limits, made, refused, scratch, stray_children, tools};
use media::{Limits, MediaError, Mp4Options, Mp4Sink, Soundtrack, ToolPaths, Tools, Track, VoiceSpec};

static ALONE: Mutex<()> = Mutex::new(());

fn track(path: &Path) -> Soundtrack {
    Track { path: path.to_owned(), start: None, duration: None }.into()
}

#[test]
fn stopping_kills_encoder_and_decoder() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = scratch();
    let sound = made(&scratch, "tone.wav", "-f lavfi -i sine=d=60:r=48000");
    let format = format(256, 256, "25");
    let stop = Stop::new();
    let options = Mp4Options { sound: Some(track(&sound)), ..Mp4Options::new(format) };
    let mut sink = Mp4Sink::file(&tools(), &scratch.file("take.mp4"), options, &limits(), &stop).unwrap();
    sink.frame(&frame(format, 0)).unwrap();
    stop.stop();
    let outcome = (0..10_000).try_for_each(|index| sink.frame(&frame(format, index)));
    assert_eq!(outcome, Err(MediaError::Stopped));
    drop(sink);
    assert_eq!(stray_children(), Vec::<String>::new());
}

#[test]
fn a_dropped_sink_leaves_no_process() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = scratch();
    let sound = made(&scratch, "tone.wav", "-f lavfi -i sine=d=60:r=48000");
    let format = format(256, 256, "25");
    let options = Mp4Options { sound: Some(track(&sound)), ..Mp4Options::new(format) };
    let mut sink =
        Mp4Sink::file(&tools(), &scratch.file("take.mp4"), options, &limits(), &Stop::new()).unwrap();
    for index in 0..30 {
        sink.frame(&frame(format, index)).unwrap();
    }
    drop(sink);
    assert_eq!(stray_children(), Vec::<String>::new());
}

#[test]
fn a_silent_child_is_killed_after_the_idle_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = scratch();
    let sound = made(&scratch, "tone.wav", "-f lavfi -i sine=d=1");
    let fake = scratch.file("ffmpeg");
    let script = "#!/bin/bash\n[ \"$1\" = -version ] && echo ffmpeg version 5.1 && exit\nexec -a ffmpeg /bin/sleep 600\n";
    std::fs::write(&fake, script).unwrap();
    std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
    let paths = ToolPaths { ffmpeg: Some(fake), ffprobe: Some(tools().ffprobe().to_owned()) };
    let impatient = Limits { idle_timeout: Duration::from_secs(3), ..limits() };
    let spec = VoiceSpec::from(16_000);
    let outcome = media::voice(&Tools::find(&paths).unwrap(), &sound, spec, &impatient, &Stop::new());
    let (code, line) = refused(outcome.map(drop));
    assert!(code == "media_timeout" && line.contains("ffmpeg told nothing for 3 s"), "{line}");
    assert_eq!(stray_children(), Vec::<String>::new());
}

#[test]
fn readers_that_are_dropped_or_stopped_leave_no_process() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scratch = scratch();
    let film = made(&scratch, "film.mp4", "-f lavfi -i testsrc=s=640x480:d=4 -c:v libx264 -preset ultrafast");
    let sound = made(&scratch, "tone.wav", "-f lavfi -i sine=d=600");
    let (tools, stop) = (tools(), Stop::new());
    let spec = media::FramesSpec { layout: contract::Layout::I420, longest: 640 };
    let mut frames = media::frames(&tools, &film, spec, &limits(), &stop).unwrap();
    let voice = media::voice(&tools, &sound, VoiceSpec::from(48_000), &limits(), &stop).unwrap();
    frames.next().unwrap().unwrap();
    drop(voice);
    stop.stop();
    let ended = (0..200).find_map(|_| frames.next().err());
    assert!(matches!(ended, Some(contract::SourceError::Stopped)));
    drop(frames);
    assert_eq!(stray_children(), Vec::<String>::new());
}
