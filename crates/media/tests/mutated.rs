//! Damaged files of every kind, from a seeded generator: each is refused with a complaint or gives whole frames and finite
//! samples within the time limit; nothing panics, hangs or leaves a process. A few dozen in the everyday run; `make fuzz` goes on for minutes.

mod fixtures;

use std::path::Path;
use std::time::{Duration, Instant};

use contract::{FrameSource, Layout, Stop, VoiceSource};
use fixtures::{data, limits, made, scratch, tools, written};
use media::{ClipSpec, Limits, MediaError, PictureSpec, VoiceSpec};

const LONGEST: u32 = 320;
/// Of one file; the children have limits of their own far below.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a source to its end, or as far as a clip needs to show its colours.
fn drain(mut source: Box<dyn FrameSource>) -> Result<(), contract::SourceError> {
    for _ in 0..30 {
        let Some(frame) = source.next()? else { break };
        assert_eq!(frame.data().len(), frame.layout().bytes(frame.size()));
    }
    Ok(())
}

fn listen(mut source: Box<dyn VoiceSource>) -> Result<(), contract::SourceError> {
    let mut samples = [0f32; 4096];
    loop {
        let n = source.read(&mut samples)?;
        assert!(samples[..n].iter().all(|sample| sample.is_finite()));
        if n == 0 {
            return Ok(());
        }
    }
}

fn open(path: &Path, limits: &Limits) {
    let (tools, stop) = (tools(), Stop::new());
    let told = |what: &str, error: &MediaError| match error {
        MediaError::Rejected(complaint) => assert!(!complaint.message.is_empty(), "{what}"),
        MediaError::Stopped => panic!("{what}: nobody stopped it"),
    };
    let picture = PictureSpec { layout: Layout::I420, longest: LONGEST };
    match media::picture(&tools, path, picture, limits, &stop) {
        Ok(picture) => drop(drain(picture.source)),
        Err(error) => told("picture", &error),
    }
    let clip = ClipSpec { layout: Layout::I420, longest: LONGEST, fps: None };
    match media::clip(&tools, path, clip, limits, &stop) {
        Ok(clip) => drop(drain(clip.source)),
        Err(error) => told("clip", &error),
    }
    let voice = VoiceSpec { rate_hz: 16_000, start: None, duration: None };
    match media::voice(&tools, path, voice, limits, &stop) {
        Ok(voice) => drop(listen(voice.source)),
        Err(error) => told("voice", &error),
    }
}

#[test]
fn mutated_files_are_refused_or_read_and_break_nothing() {
    let scratch = scratch();
    let picture = "-f lavfi -i testsrc=s=64x48:d=0.2";
    let film = "-f lavfi -i testsrc=s=64x48:r=25:d=0.4 -f lavfi -i sine=d=0.4 -t 0.4";
    let mut kinds: Vec<Vec<u8>> = [
        ("a.png", format!("{picture} -frames:v 1")),
        ("a.jpg", format!("{picture} -frames:v 1")),
        ("a.webp", format!("{picture} -frames:v 1")),
        ("a.gif", picture.to_owned()),
        ("a.mp4", film.to_owned()),
        ("a.mkv", film.to_owned()),
        ("a.wav", "-f lavfi -i sine=d=0.4".to_owned()),
        ("a.mp3", "-f lavfi -i sine=d=0.4".to_owned()),
    ]
    .iter()
    .map(|(name, words)| std::fs::read(made(&scratch, name, words)).unwrap())
    .collect();
    kinds.push(std::fs::read(data("animated.webp")).unwrap());
    let limits = Limits { idle_timeout: Duration::from_secs(10), ..limits() };
    for (round, mut dice) in damage::rounds(27).enumerate() {
        let whole = &kinds[round % kinds.len()];
        let path = written(&scratch, "damaged.bin", &damage::bytes(whole, &mut dice));
        let begun = Instant::now();
        open(&path, &limits);
        assert!(begun.elapsed() < PATIENCE, "file {round} took {:?}", begun.elapsed());
    }
}
