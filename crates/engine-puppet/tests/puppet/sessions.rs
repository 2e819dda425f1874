//! Sessions from act to report: lengths, seeds, settings, warnings, and how they end.

use std::io::Cursor;
use std::sync::{Arc, Mutex};

use crate::drawn::{Lips, SIZE, picture};
use contract::{
    Act, AvatarSink, AvatarSource, Engine, EngineError, Fps, Frame, FrameSink, FrameSource, LandmarkOrigin,
    Layout, Length, Pcm, Report, Settings, Size, SourceError, SourceFormat, Stage, Stopped, Subject, Value,
    VideoFormat, VoiceSource, Warning,
};
use engine_puppet::Puppet;

struct Frames {
    frames: std::vec::IntoIter<Frame>,
    natural: Size,
    fps: Option<Fps>,
}

impl FrameSource for Frames {
    fn format(&self) -> SourceFormat {
        SourceFormat { size: SIZE, natural: self.natural, layout: Layout::I420, fps: self.fps }
    }

    fn next(&mut self) -> Result<Option<Frame>, SourceError> {
        Ok(self.frames.next())
    }
}

fn still() -> Subject {
    Subject::Picture(Box::new(Frames {
        frames: vec![picture(Lips::Shut)].into_iter(),
        natural: SIZE,
        fps: None,
    }))
}

fn clip(frames: Vec<Frame>, fps: u32) -> Subject {
    let frames = frames.into_iter();
    Subject::Clip(Box::new(Frames { frames, natural: SIZE, fps: Some(Fps::whole(fps)) }))
}

/// A picture of nothing.
fn blank() -> Frame {
    Frame::new(SIZE, Layout::I420, vec![128; Layout::I420.bytes(SIZE)]).unwrap()
}

/// Syllables: a buzz with two formants, four times a second.
fn voice(seconds: f32) -> Box<dyn VoiceSource> {
    let mut phase = 0.0f32;
    let samples = (0..(seconds * 16_000.0) as usize)
        .map(|i| {
            let t = i as f32 / 16_000.0;
            phase = (phase + 130.0 / 16_000.0).fract();
            let loud = (0.5 - 0.5 * (t * 4.0 * std::f32::consts::TAU).cos()).powi(2);
            let buzz = (1..24)
                .map(|k| (phase * k as f32 * std::f32::consts::TAU).sin() / (1.0 + (k as f32 - 5.5).abs()))
                .sum::<f32>();
            0.2 * loud * buzz
        })
        .collect();
    Box::new(Cursor::new(Pcm { rate_hz: 16_000, samples }))
}

fn silence(seconds: f32) -> Box<dyn VoiceSource> {
    let samples = vec![0.0; (seconds * 16_000.0) as usize];
    Box::new(Cursor::new(Pcm { rate_hz: 16_000, samples }))
}

fn act(subject: Subject, voices: Vec<Box<dyn VoiceSource>>, length: Length) -> Act {
    Act {
        subject,
        voices,
        prompt: None,
        length,
        fps: Fps::whole(25),
        seed: 7,
        settings: Settings::default(),
        landmarks: Some(crate::drawn::landmarks()),
        turns: contract::Turns::Together,
        checkpoint: None,
    }
}

#[derive(Default)]
struct Seen {
    format: Option<VideoFormat>,
    frames: Vec<Frame>,
    warnings: Vec<Warning>,
    last: Option<(Stage, u64, u64)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Patient,
    StopsAt(usize),
    PanicsAt(usize),
}

struct Sink {
    seen: Arc<Mutex<Seen>>,
    mood: Mood,
}

impl FrameSink for Sink {
    fn begin(&mut self, format: VideoFormat) -> Result<(), Stopped> {
        self.seen.lock().unwrap().format = Some(format);
        Ok(())
    }

    fn stage(&mut self, stage: Stage, done: u64, of: u64) -> Result<(), Stopped> {
        self.seen.lock().unwrap().last = Some((stage, done, of));
        Ok(())
    }

    fn frame(&mut self, frame: Frame) -> Result<(), Stopped> {
        let n = {
            let mut seen = self.seen.lock().unwrap();
            assert_eq!(Some(frame.size()), seen.format.map(|f| f.size));
            seen.frames.push(frame);
            seen.frames.len()
        };
        match self.mood {
            Mood::StopsAt(end) if n == end => Err(Stopped),
            Mood::PanicsAt(end) if n == end => panic!("a sink that breaks, on purpose"),
            Mood::Patient | Mood::StopsAt(_) | Mood::PanicsAt(_) => Ok(()),
        }
    }

    fn warn(&mut self, warning: Warning) -> Result<(), Stopped> {
        self.seen.lock().unwrap().warnings.push(warning);
        Ok(())
    }

    fn checkpoint(&mut self, _state: &[u8]) -> Result<(), Stopped> {
        Ok(())
    }
}

fn run_in(mood: Mood, act: Act) -> (Result<Report, EngineError>, Seen) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let sink = Sink { seen: Arc::clone(&seen), mood };
    let outcome = Puppet::new().start(act, Box::new(sink)).and_then(|session| session.wait());
    let mut guard = seen.lock().unwrap();
    (outcome, std::mem::take(&mut *guard))
}

fn run(act: Act) -> (Report, Seen) {
    let (outcome, seen) = run_in(Mood::Patient, act);
    (outcome.unwrap(), seen)
}

fn codes(seen: &Seen) -> Vec<&'static str> {
    seen.warnings.iter().map(|w| w.code).collect()
}

#[test]
fn a_take_is_as_long_as_its_voice_and_its_mouth_moves() {
    let (report, seen) = run(act(still(), vec![voice(1.5)], Length::Voice));
    assert_eq!((report.frames, seen.frames.len()), (38, 38)); // 37.5, to the nearest
    assert_eq!(seen.last, Some((Stage::Rendering, 38, 38)));
    let face = report.face.unwrap();
    assert_eq!(face.origin, LandmarkOrigin::Given);
    let mouth = ((72.0, 120.0), (crate::drawn::MOUTH_Y - 8.0, crate::drawn::MOUTH_Y + 20.0));
    let dark: Vec<usize> =
        seen.frames.iter().map(|f| crate::drawn::count(f.data(), mouth, |v| v < 70)).collect();
    let (least, most) = (dark.iter().min().unwrap(), dark.iter().max().unwrap());
    assert!(most > &(least + 60), "{dark:?}");
}

#[test]
fn frames_follow_from_inputs_and_seed() {
    let take = |seed| run(Act { seed, ..act(still(), vec![voice(0.6)], Length::Voice) }).1.frames;
    assert!(take(1) == take(1));
    assert!(take(1) != take(2));
}

#[test]
fn a_length_in_frames_outlasts_the_voice_and_cuts_it() {
    for (n, seconds) in [(30, 0.4), (5, 2.0)] {
        let (report, seen) = run(act(still(), vec![voice(seconds)], Length::Frames(n)));
        assert_eq!((report.frames, seen.frames.len() as u64), (n, n));
    }
}

#[test]
fn without_a_voice_the_person_idles() {
    let (_, seen) = run(act(still(), vec![], Length::Frames(80)));
    assert_eq!(codes(&seen), ["no_voice"]);
    assert!(seen.frames[10] != seen.frames[40], "nothing sways");
    let blinked = seen.frames.iter().any(|f| crate::drawn::luma(f.data(), 56.0, 50.0) > 100);
    assert!(blinked, "nobody blinked in 3.2 s");
}

#[test]
fn silence_is_told_and_keeps_the_mouth_shut() {
    let mut act = act(still(), vec![silence(1.0)], Length::Voice);
    act.settings.sent.insert("sway".into(), Value::Float(0.0));
    let (_, seen) = run(act);
    assert_eq!(codes(&seen), ["silent_audio"]);
    let mouth = ((60.0, 132.0), (100.0, 200.0));
    let shut = crate::drawn::count(picture(Lips::Shut).data(), mouth, |v| v < 70);
    for frame in &seen.frames {
        assert_eq!(crate::drawn::count(frame.data(), mouth, |v| v < 70), shut);
    }
}

#[test]
fn landmarks_are_in_the_users_pixels() {
    let frames = vec![picture(Lips::Shut)].into_iter();
    let natural = Size::new(SIZE.width * 2, SIZE.height * 2);
    let subject = Subject::Picture(Box::new(Frames { frames, natural, fps: None }));
    let given = crate::drawn::landmarks().map(|p| contract::Point { x: p.x * 2.0 + 0.5, y: p.y * 2.0 + 0.5 });
    let (report, _) = run(Act { landmarks: Some(given), ..act(subject, vec![], Length::Frames(1)) });
    let used = report.face.unwrap().landmarks;
    for (a, b) in [
        (used.left_eye, given.left_eye),
        (used.right_eye, given.right_eye),
        (used.mouth_left, given.mouth_left),
    ] {
        assert!((a.x - b.x).abs() < 4.0 && (a.y - b.y).abs() < 4.0, "{a:?} {b:?}");
    }
}

#[test]
fn a_clip_keeps_its_length_and_lost_faces_pass_unchanged() {
    let mut frames = vec![picture(Lips::Shut); 6];
    let blank = blank();
    frames.extend(vec![blank.clone(); 4]);
    let (_, seen) = run(act(clip(frames, 25), vec![voice(0.4)], Length::Voice));
    assert_eq!(seen.frames.len(), 10);
    assert!(seen.frames[6..].iter().all(|f| *f == blank), "frames without a face were changed");
    assert_eq!(codes(&seen), ["face_lost"]);
    assert!(seen.warnings[0].message.contains("in 4 of 10 frames"), "{:?}", seen.warnings);
}

#[test]
fn what_is_left_out_is_told_in_the_clips_own_seconds() {
    let mut frames = vec![blank(); 10];
    frames.extend(vec![picture(Lips::Shut); 2]);
    // a take of 25 frames a second
    let act = act(clip(frames, 10), vec![], Length::Frames(2));
    let (_, seen) = run(Act { landmarks: None, ..act });
    let told = seen.warnings.iter().find(|warning| warning.code == "late_face");
    assert!(told.is_some_and(|told| told.message.contains("first 1.00 s")), "{:?}", seen.warnings);
}

#[test]
fn a_still_clip_comes_to_life_and_its_last_frame_lives_on() {
    let (_, seen) = run(act(clip(vec![picture(Lips::Shut); 3], 25), vec![], Length::Frames(75)));
    assert_eq!(seen.frames.len(), 75);
    assert!(seen.frames[1] == picture(Lips::Shut), "the clip's own frames stay");
    assert!(seen.frames[74] != picture(Lips::Shut), "nothing moves");
}

#[test]
fn settings_shape_the_picture() {
    let mut act = act(still(), vec![], Length::Frames(1));
    act.settings.sent.insert("size".into(), Value::Int(260));
    let (report, seen) = run(act);
    assert_eq!(seen.format.unwrap().size, Size::new(240, 260));
    assert!(report.settings.contains(&("size".into(), Value::Int(260))));
}

struct NoAvatar;

impl AvatarSource for NoAvatar {
    fn frames(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
        unreachable!("an avatar without a track has no use for frames")
    }

    fn part(&mut self, _name: &str) -> Result<Vec<u8>, SourceError> {
        Ok(Vec::new())
    }
}

impl AvatarSink for NoAvatar {
    fn part(&mut self, _name: &str, _bytes: &[u8]) -> Result<(), Stopped> {
        Ok(())
    }
}

#[test]
fn what_puppet_cannot_do_is_said_at_the_start() {
    let mut wrong = act(still(), vec![], Length::Frames(1));
    wrong.settings.sent.insert("steps".into(), Value::Int(20));
    let rows = [
        (wrong, "unknown_setting"),
        (act(still(), vec![voice(0.1), voice(0.1)], Length::Voice), "too_many_voices"),
        (act(still(), vec![], Length::Voice), "no_voice"),
        (act(still(), vec![], Length::Frames(0)), "no_frames"),
        (Act { fps: Fps::whole(61), ..act(still(), vec![], Length::Frames(1)) }, "bad_fps"),
        (act(Subject::Avatar(Box::new(NoAvatar)), vec![], Length::Frames(1)), "unsupported"),
    ];
    for (act, code) in rows {
        let (outcome, seen) = run_in(Mood::Patient, act);
        match outcome {
            Err(EngineError::Rejected(complaint)) => assert_eq!(complaint.code, code),
            other => panic!("{code}: {other:?}"),
        }
        assert!(seen.format.is_none(), "{code}: something was put out");
    }
}

#[test]
fn pictures_without_a_face_are_refused() {
    let blank = blank();
    let subject = Subject::Picture(Box::new(Frames {
        frames: vec![blank.clone()].into_iter(),
        natural: SIZE,
        fps: None,
    }));
    let (outcome, _) =
        run_in(Mood::Patient, Act { landmarks: None, ..act(subject, vec![], Length::Frames(1)) });
    assert!(matches!(outcome, Err(EngineError::Rejected(c)) if c.code == "no_face"));
    for fps in [None, Some(Fps::whole(25))] {
        let mut source = Frames { frames: vec![blank.clone(); 200].into_iter(), natural: SIZE, fps };
        let refused = Puppet::new().prepare(&mut source, &Settings::default(), &mut NoAvatar);
        assert!(matches!(refused, Err(EngineError::Rejected(c)) if c.code == "no_face"), "{fps:?}");
        assert!(source.frames.len() > 100, "it looked for too long");
    }
    let mut short = Frames { frames: vec![blank; 12].into_iter(), natural: SIZE, fps: Some(Fps::whole(25)) };
    match Puppet::new().prepare(&mut short, &Settings::default(), &mut NoAvatar) {
        Err(EngineError::Rejected(complaint)) => {
            assert_eq!(complaint.code, "no_face");
            assert!(complaint.message.starts_with("in the first 0.48 s of the clip"), "{complaint}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stop_ends_the_session_at_once() {
    let (outcome, seen) = run_in(Mood::StopsAt(3), act(still(), vec![], Length::Frames(100_000)));
    assert!(matches!(outcome, Err(EngineError::Stopped)));
    assert_eq!(seen.frames.len(), 3);
}

#[test]
fn a_panic_fails_the_session_and_nothing_else() {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let sink = Sink { seen: Arc::clone(&seen), mood: Mood::PanicsAt(2) };
    let engine = Puppet::new();
    let session = engine.start(act(still(), vec![], Length::Frames(10)), Box::new(sink)).unwrap();
    assert!(matches!(session.wait(), Err(EngineError::Failed(text)) if text.contains("panic")));
    let (report, _) = run(act(still(), vec![], Length::Frames(2)));
    assert_eq!(report.frames, 2);
}

/// An avatar: its frames and what was written of it.
struct Prepared(Vec<u8>);

impl AvatarSource for Prepared {
    fn frames(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
        let frames = vec![picture(Lips::Shut), picture(Lips::Open(4.0)), picture(Lips::Shut)].into_iter();
        Ok(Box::new(Frames { frames, natural: SIZE, fps: Some(Fps::whole(25)) }))
    }

    fn part(&mut self, _name: &str) -> Result<Vec<u8>, SourceError> {
        Ok(self.0.clone())
    }
}

impl AvatarSink for Prepared {
    fn part(&mut self, _name: &str, bytes: &[u8]) -> Result<(), Stopped> {
        self.0 = bytes.to_vec();
        Ok(())
    }
}

#[test]
fn mutated_avatars_are_refused_or_played() {
    let mut avatar = Prepared(Vec::new());
    let mut frames = avatar.frames().unwrap();
    Puppet::new().prepare(&mut *frames, &Settings::default(), &mut avatar).unwrap();
    let whole = avatar.0;
    let play = |track: Vec<u8>| {
        let subject = Subject::Avatar(Box::new(Prepared(track)));
        run_in(Mood::Patient, Act { landmarks: None, ..act(subject, vec![voice(0.2)], Length::Frames(4)) })
    };
    assert_eq!(play(whole.clone()).0.unwrap().frames, 4);
    let (mut played, mut refused) = (0, 0);
    for mut dice in damage::rounds(60) {
        let (outcome, seen) = play(damage::bytes(&whole, &mut dice));
        match outcome {
            Ok(report) => {
                assert_eq!((report.frames, seen.frames.len()), (4, 4));
                played += 1;
            }
            Err(EngineError::Rejected(complaint)) => {
                assert!(!complaint.message.is_empty());
                refused += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(played > 0 && refused > 0, "{played} played, {refused} refused");
}
