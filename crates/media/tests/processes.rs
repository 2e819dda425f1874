//! No child outlives its owner, however the work ends. One test at a time: each looks at all children of this program.

mod fixtures;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use contract::Stop;
use fixtures::{format, frame, limits, made, scratch, stray_children, tools};
use media::{MediaError, Mp4Options, Mp4Sink, Soundtrack};

static ALONE: Mutex<()> = Mutex::new(());

fn track(path: &Path) -> Soundtrack {
    Soundtrack { path: path.to_owned(), start: None, duration: None }
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
