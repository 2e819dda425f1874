//! One session: read and measure the subject, then one frame after the other, pulled by the sink.

use std::time::{Duration, Instant};

use contract::{
    Complaint, EngineError, FaceReport, Fps, Frame, FrameSink, FrameSource, LandmarkOrigin, Landmarks,
    Layout, Length, Point, Report, SourceFormat, Stage, Timing, VideoFormat, VoiceSource, Warning,
};
use face::{Detector, Face};
use speech::MouthPose;

use crate::clip::Clip;
use crate::engine::MIN_FACE;
use crate::framing::{Framer, Framing};
use crate::level::Level;
use crate::motion::Motions;
use crate::portrait::Portrait;
use crate::pose::{HeadPose, Pose};
use crate::settings::Options;
use crate::voice::Voice;

/// Motion of a face that was not found for sure.
const UNSURE: f32 = 0.6;
/// Seconds in which the voice takes hold of a mouth that the picture shows open.
const TAKE_HOLD: f64 = 0.4;

/// Seconds at the start of a clip in which a face is waited for, and frames between two looks.
const LATE_FACE: f64 = 3.0;
const BETWEEN_LOOKS: u64 = 5;

pub enum Subject {
    Picture(Box<dyn FrameSource>),
    Clip(Box<dyn FrameSource>),
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
    let is_clip = matches!(take.subject, Subject::Clip(_));
    let (Subject::Picture(mut source) | Subject::Clip(mut source)) = take.subject;
    let search = if is_clip { (LATE_FACE * take.fps.as_f64()) as u64 } else { 0 };
    let (first, found) = first_face(source.as_mut(), (take.landmarks, take.fps), search)?;
    let framing = Framing::new(first.size(), &found.face, &take.options);
    let planes = first.planes().ok_or_else(|| EngineError::Failed("the picture is not I420".into()))?;
    let mut framer = Framer::new(framing);
    let mut portrait = Portrait::new(framer.plate(planes), framing.place(&found.face), Level::best());
    let mut clip = is_clip.then(|| Clip::new(source, &first, found.face.clone(), framer, take.fps));
    drop(first);
    out.begin(VideoFormat { size: framing.out, layout: Layout::I420, fps: take.fps })?;
    for warning in found.warnings {
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
    if let Some(warning) = voice.as_ref().and_then(Voice::warning) {
        out.warn(warning)?;
    }
    Ok(Report {
        frames: done,
        face: Some(found.report),
        settings: take.options.report(framing.out.longest()),
        timings: vec![
            Timing { stage: Stage::Preparing, elapsed: clock.preparing },
            Timing { stage: Stage::Conditioning, elapsed: clock.conditioning },
            Timing { stage: Stage::Rendering, elapsed: clock.rendering },
        ],
    })
}

/// The first frame that shows a face; a clip may begin before its person is there, and `search` frames of it may be left out.
fn first_face(
    source: &mut dyn FrameSource,
    (landmarks, fps): (Option<Landmarks>, Fps),
    search: u64,
) -> Result<(Frame, Located), EngineError> {
    let format = source.format();
    let mut left_out: u64 = 0;
    loop {
        let frame = source.next()?.ok_or_else(|| EngineError::Failed("the subject has no picture".into()))?;
        let looked_at = left_out.is_multiple_of(BETWEEN_LOOKS) || left_out >= search;
        let found = if looked_at { locate(&frame, &format, landmarks).map(Some) } else { Ok(None) };
        match found {
            Ok(Some(mut found)) => {
                if left_out > 0 {
                    let seconds = fps.seconds_at(left_out);
                    let message =
                        format!("the first {seconds:.2} s of the clip show no face and were left out");
                    found.warnings.push(Warning::new("late_face", message));
                }
                return Ok((frame, found));
            }
            Err(EngineError::Rejected(complaint))
                if complaint.code == "no_face" && left_out >= search && search > 0 =>
            {
                let message = format!("in the first {LATE_FACE} s of the clip: {}", complaint.message);
                return Err(Complaint { message, ..complaint }.into());
            }
            Err(EngineError::Rejected(complaint)) if complaint.code == "no_face" && left_out < search => {
                left_out += 1
            }
            Err(error) => return Err(error),
            Ok(None) => left_out += 1,
        }
    }
}

/// The face of the first frame.
struct Located {
    face: Face,
    report: FaceReport,
    warnings: Vec<Warning>,
}

fn locate(frame: &Frame, format: &SourceFormat, given: Option<Landmarks>) -> Result<Located, EngineError> {
    let natural_scale = format.natural.width as f32 / format.size.width as f32;
    let mut warnings = Vec::new();
    let (face, origin) = match given {
        Some(landmarks) => {
            let here = moved(landmarks, 1.0 / natural_scale);
            (face::with_landmarks(frame, &here)?, LandmarkOrigin::Given)
        }
        None => {
            let found = face::find(&mut Detector::new(), frame, natural_scale, MIN_FACE)?;
            if found.others > 0 {
                warnings.push(Warning::new(
                    "several_faces",
                    format!("{} faces were found, the largest is animated", found.others + 1),
                ));
            }
            (found.face, LandmarkOrigin::Found)
        }
    };
    warnings.extend(face.warnings());
    let landmarks = moved(face.landmarks(), natural_scale);
    let report = FaceReport { landmarks, confidence: face.confidence, origin };
    Ok(Located { face, report, warnings })
}

/// Landmarks of a picture that is `factor` times as large; pixel centres lie at whole numbers.
fn moved(landmarks: Landmarks, factor: f32) -> Landmarks {
    landmarks.map(|p| Point { x: (p.x + 0.5) * factor - 0.5, y: (p.y + 0.5) * factor - 0.5 })
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
