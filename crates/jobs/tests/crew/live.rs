//! Live sessions: packets on a socket of their own.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use jobs::Ending;
use jobs::crew::{Crew, LiveForm, Pace};

use crate::stage::{SOON, Stage};

const FAST: LiveForm = LiveForm::Jpeg { pace: Pace::AsFastAsPossible, quality: 80 };
const REAL_TIME: LiveForm = LiveForm::Jpeg { pace: Pace::RealTime, quality: 80 };

#[test]
fn every_frame_comes_as_a_jpeg_and_the_end_is_clean() {
    let mut stage = Stage::new();
    let mut reader = stage.live("one", stage.take("frames=30"), FAST);
    let mut pictures = 0;
    while let Some(packet) = reader.packet().unwrap() {
        assert!(packet.starts_with(&[0xff, 0xd8]) && packet.ends_with(&[0xff, 0xd9]));
        pictures += 1;
    }
    assert_eq!(pictures, 30);
    let made = stage.made("one");
    assert_eq!((made.take.frames, made.key.as_str()), (30, ""));
    assert!(made.bytes > 0);
}

#[test]
fn in_real_time_frames_come_at_their_rate() {
    let mut stage = Stage::new();
    let mut reader = stage.live("one", stage.take("frames=26"), REAL_TIME);
    reader.packet().unwrap().expect("a first frame");
    let (first, mut pictures) = (Instant::now(), 1);
    while reader.packet().unwrap().is_some() {
        pictures += 1;
    }
    let seconds = first.elapsed().as_secs_f64();
    assert_eq!(pictures, 26);
    assert!((0.9..SOON.as_secs_f64()).contains(&seconds), "25 frames after the first took {seconds:.2} s");
    stage.made("one");
}

#[test]
fn a_slow_reader_loses_frames_and_costs_no_memory() {
    let mut stage = Stage::new();
    // 12.5 MB/s of noise into a reader that takes nothing for two seconds
    let mut reader = stage.live("one", stage.take("frames=75 side=512 noise"), REAL_TIME);
    reader.packet().unwrap().expect("a first frame");
    let status = std::fs::read_to_string(format!("/proc/{}/status", stage.pid())).unwrap();
    let begun = Instant::now();
    loop {
        // the job goes on without us: its progress is what tells the time
        stage.told("one");
        if begun.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    let later = std::fs::read_to_string(format!("/proc/{}/status", stage.pid())).unwrap();
    let kib = |status: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<i64>().unwrap()
    };
    assert!(kib(&later) - kib(&status) < 16 << 10, "{} -> {} KiB", kib(&status), kib(&later));
    let mut pictures = 1;
    while let Some(packet) = reader.packet().unwrap() {
        assert!(packet.starts_with(&[0xff, 0xd8]) && packet.ends_with(&[0xff, 0xd9]), "a packet was cut");
        pictures += 1;
    }
    assert!((3..50).contains(&pictures), "{pictures} of 75 frames came");
    assert_eq!(stage.made("one").take.frames, 75);
}

#[test]
fn an_engine_that_pauses_has_its_last_frame_repeated() {
    let stage = Stage::new();
    let mut reader = stage.live("one", stage.take("frames=3 pause@2"), REAL_TIME);
    let (mut last, mut pictures, mut longest) = (Instant::now(), 0, Duration::ZERO);
    while reader.packet().unwrap().is_some() {
        if pictures > 0 {
            longest = longest.max(last.elapsed());
        }
        (last, pictures) = (Instant::now(), pictures + 1);
    }
    assert!(pictures > 4 && longest < Duration::from_secs(6), "{pictures} pictures, a gap of {longest:?}");
}

#[test]
fn who_hangs_up_or_is_canceled_stops_everything() {
    let mut stage = Stage::new();
    for form in [FAST, REAL_TIME, LiveForm::Mp4] {
        let mut reader = stage.live("left", stage.take("frames=100000 delay=10"), form);
        reader.packet().unwrap().expect("something comes");
        let gone = Instant::now();
        drop(reader);
        assert_eq!(stage.ending("left"), Ending::Canceled, "{form:?}");
        assert!(gone.elapsed() < SOON, "{form:?}: {:?}", gone.elapsed());

        let mut reader = stage.live("canceled", stage.take("frames=100000 delay=10"), form);
        reader.packet().unwrap().expect("something comes");
        stage.workers.cancel(stage.worker, &"canceled".to_owned(), 1);
        assert_eq!(stage.ending("canceled"), Ending::Canceled, "{form:?}");
        let end = std::iter::from_fn(|| Some(reader.packet())).find(|packet| !matches!(packet, Ok(Some(_))));
        let broken = end.expect("it ends");
        assert_eq!(broken.unwrap_err().kind(), ErrorKind::UnexpectedEof, "{form:?}: not a clean end");
    }
    let mut reader = stage.live("failed", stage.take("frames=9 fail@3"), FAST);
    for _ in 0..3 {
        reader.packet().unwrap().expect("a frame");
    }
    assert_eq!(reader.packet().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert!(matches!(stage.ending("failed"), Ending::Failed(f) if f.code == "engine_failed"));
}

#[test]
fn an_mp4_streams_with_a_clean_end() {
    let mut stage = Stage::new();
    let mut reader = stage.live("one", stage.take("frames=60"), LiveForm::Mp4);
    let mut film = Vec::new();
    while let Some(packet) = reader.packet().unwrap() {
        film.extend(packet);
    }
    assert_eq!(stage.made("one").bytes, film.len() as u64);
    let path = stage.path("film.mp4");
    std::fs::write(&path, film).unwrap();
    let count = ["-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"];
    let told = std::process::Command::new("ffprobe").args(count).arg(&path).output().unwrap();
    assert_eq!(String::from_utf8(told.stdout).unwrap().trim(), "60");
}

#[test]
fn eight_live_sessions_run_at_once() {
    let mut stage = Stage::new();
    let names: Vec<String> = (0..8).map(|n| format!("s{n}")).collect();
    let take = stage.take("frames=25 side=512");
    let readers: Vec<_> = names.iter().map(|name| stage.live(name, take.clone(), REAL_TIME)).collect();
    let counts: Vec<_> = readers
        .into_iter()
        .map(|mut reader| std::thread::spawn(move || std::iter::from_fn(|| reader.packet().unwrap()).count()))
        .collect();
    for count in counts {
        assert_eq!(count.join().unwrap(), 25);
    }
    names.iter().for_each(|name| drop(stage.made(name)));
}

#[test]
fn a_dead_worker_breaks_its_streams_off() {
    let mut stage = Stage::new();
    let mut reader = stage.live("one", stage.take("frames=100000 delay=5"), FAST);
    reader.packet().unwrap().expect("a first frame");
    stage.workers.kill(stage.worker, "for the test");
    let mut rest = Vec::new();
    reader.socket.read_to_end(&mut rest).unwrap();
    assert!(!rest.ends_with(&[0, 0, 0, 0]), "it looks like a clean end");
    stage.gone();
    assert!(reader.begun.elapsed() < Duration::from_secs(30));
}
