//! One session: read and measure the subject, then one frame after the other, pulled by the sink.

use std::time::{Duration, Instant};

use contract::{
    AvatarSource, EngineError, Fps, Frame, FrameSink, FrameSource, Landmarks, Layout, Length, Report, Stage,
    Timing, VideoFormat, VoiceSource, Warning,
};
use speech::MouthPose;

use crate::clip::{Clip, Follower};
use crate::engine::weights;
use crate::framing::{Framer, Framing};
use crate::level::Level;
use crate::motion::Motions;
use crate::portrait::Portrait;
use crate::pose::{HeadPose, Pose};
use crate::search::{first_face, of_track};
use crate::settings::Options;
use crate::track::{Kind, PART, Track};
use crate::voice::Voice;

/// Motion of a face that was not found for sure.
const UNSURE: f32 = 0.6;
/// Seconds in which the voice takes hold of a mouth that the picture shows open.
const TAKE_HOLD: f64 = 0.4;

pub enum Subject {
    Picture(Box<dyn FrameSource>),
    Clip(Box<dyn FrameSource>),
    Avatar(Box<dyn AvatarSource>),
}

/// A checked act.
pub struct Take {
    pub subject: Subject,
    pub voice: Option<Box<dyn VoiceSource>>,
    pub length: Length,
    pub fps: Fps,
    pub seed: u64,
    pub landmarks: Option<Landmarks>,
    pub options: Options,
}

/// Time spent, by stage.
#[derive(Default)]
struct Clock {
    preparing: Duration,
    conditioning: Duration,
    rendering: Duration,
}

pub fn run(take: Take, mut out: Box<dyn FrameSink + Send>) -> Result<Report, EngineError> {
    let out = out.as_mut();
    let mut clock = Clock::default();
    let start = Instant::now();
    out.stage(Stage::Preparing, 0, 1)?;
    let (mut source, kind, track) = match take.subject {
        Subject::Picture(source) => (source, Kind::Picture, None),
        Subject::Clip(source) => (source, Kind::Clip, None),
        Subject::Avatar(mut avatar) => {
            let track = Track::parse(&avatar.part(PART)?)?;
            (avatar.frames()?, track.kind, Some(track))
        }
    };
    let (first, found) = match &track {
        Some(track) => of_track(source.as_mut(), track)?,
        None => first_face(source.as_mut(), take.landmarks, kind)?,
    };
    let framing = Framing::new(first.size(), &found.face, &take.options);
    let planes = first.planes().ok_or_else(|| EngineError::Failed("the picture is not I420".into()))?;
    let mut framer = Framer::new(framing);
    let mut portrait = Portrait::new(framer.plate(planes), framing.place(&found.face), Level::best());
    let mut clip = match kind {
        Kind::Picture => None,
        Kind::Clip => {
            let follower = match track {
                Some(track) => Follower::Track(track, found.left_out),
                None => Follower::tracker(&first, found.face.clone()),
            };
            Some(Clip::new(source, &first, follower, framer, take.fps))
        }
    };
    drop(first);
    out.begin(VideoFormat { size: framing.out, layout: Layout::I420, fps: take.fps })?;
    for warning in found.warnings() {
        out.warn(warning)?;
    }
    out.stage(Stage::Preparing, 1, 1)?;
    clock.preparing = start.elapsed();

    let mut voice = take.voice.map(|source| Voice::new(source, take.fps));
    if voice.is_none() {
        out.warn(Warning::new(
            "no_voice",
            "no voice was given: the person idles (blinks, breathes, sways) and the take has no sound",
        ))?;
    }
    let mut motions = Motions::new(take.seed, take.fps);
    let amplitude = take.options.amplitude * if found.face.gates.mouth_ok { 1.0 } else { UNSURE };
    let eyes_ok = found.face.gates.eyes_ok;
    let mut done = 0;
    loop {
        let start = Instant::now();
        let spoken = match &mut voice {
            Some(voice) => voice.next()?,
            None => MouthPose::default(),
        };
        clock.conditioning += start.elapsed();
        let end = match (take.length, &voice) {
            (Length::Frames(n), _) => Some(n),
            (Length::Voice, Some(voice)) => voice.frames(),
            (Length::Voice, None) => Some(done),
        };
        if end.is_some_and(|end| done >= end) {
            break;
        }
        let start = Instant::now();
        let (stillness, mut hold) = match &mut clip {
            Some(clip) => {
                clip.advance(&mut portrait)?;
                (clip.stillness(), clip.hold())
            }
            None => (1.0, (take.fps.seconds_at(done) / TAKE_HOLD).min(1.0) as f32),
        };
        if voice.is_none() {
            hold = 0.0;
        }
        let motion = motions.next(spoken.stress);
        let sway = take.options.sway * stillness;
        let pose = Pose {
            mouth: scaled(spoken, if clip.is_some() { amplitude * hold } else { amplitude }),
            hold,
            head: swayed(motion.head, sway),
            blink: if stillness >= 1.0 { motion.blink } else { 0.0 },
            brow: motion.brow * sway.min(1.0),
            gaze: if eyes_ok { (motion.gaze.0 * sway, motion.gaze.1 * sway) } else { (0.0, 0.0) },
        };
        let frame = Frame::new(framing.out, Layout::I420, portrait.draw(&pose))
            .map_err(|error| EngineError::Failed(error.to_string()))?;
        clock.rendering += start.elapsed();
        out.frame(frame)?;
        done += 1;
        let of = end.or_else(|| voice.as_ref()?.expected_frames());
        out.stage(Stage::Rendering, done, of.map_or(0, |of| of.max(done)))?;
    }
    let at_its_end = [clip.as_ref().and_then(Clip::warning), voice.as_ref().and_then(Voice::warning)];
    for warning in at_its_end.into_iter().flatten() {
        out.warn(warning)?;
    }
    Ok(Report {
        frames: done,
        face: Some(found.report),
        settings: take.options.report(framing.out.longest()),
        measured: Vec::new(),
        weights: weights(),
        timings: vec![
            Timing { stage: Stage::Preparing, elapsed: clock.preparing },
            Timing { stage: Stage::Conditioning, elapsed: clock.conditioning },
            Timing { stage: Stage::Rendering, elapsed: clock.rendering },
        ],
    })
}

fn scaled(pose: MouthPose, amplitude: f32) -> MouthPose {
    let on = amplitude.min(1.0); // a closure is whole or not at all; more than shut there is not
    MouthPose {
        jaw: pose.jaw * amplitude,
        wide: pose.wide * amplitude,
        round: pose.round * amplitude,
        close: pose.close * on,
        labiodental: pose.labiodental * on,
        tongue: pose.tongue,
        stress: pose.stress,
    }
}

fn swayed(head: HeadPose, sway: f32) -> HeadPose {
    HeadPose {
        yaw: head.yaw * sway,
        pitch: head.pitch * sway,
        roll: head.roll * sway,
        shift: (head.shift.0 * sway, head.shift.1 * sway),
    }
}
