//! Where a session begins: the first frame of a subject that shows a face, and that face.

use contract::{
    Complaint, EngineError, FaceReport, Fps, Frame, FrameSource, LandmarkOrigin, Landmarks, Point,
    SourceFormat, Warning,
};
use face::{Detector, Face};

use crate::engine::MIN_FACE;
use crate::settings::DEFAULT_FPS;
use crate::track::{Kind, Track};

/// Seconds at the start of a clip in which a face is waited for, and frames between two looks.
const LATE_FACE: f64 = 3.0;
const BETWEEN_LOOKS: u64 = 5;

/// The face of the first frame that shows one.
pub struct Located {
    pub face: Face,
    pub report: FaceReport,
    /// Faces besides.
    pub others: u32,
    /// Frames before it, and how long they are shown.
    pub left_out: u64,
    pub seconds: f64,
}

impl Located {
    /// What the user should know.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.others > 0 {
            let message = format!("{} faces were found, the largest is animated", self.others + 1);
            warnings.push(Warning::new("several_faces", message));
        }
        warnings.extend(self.face.warnings());
        if self.left_out > 0 {
            let message =
                format!("the first {:.2} s of the clip show no face and were left out", self.seconds);
            warnings.push(Warning::new("late_face", message));
        }
        warnings
    }
}

/// A clip may begin before its person is there: a few seconds of it may be left out.
pub fn first_face(
    source: &mut dyn FrameSource,
    landmarks: Option<Landmarks>,
    kind: Kind,
) -> Result<(Frame, Located), EngineError> {
    let format = source.format();
    let fps = rate(&format);
    let search = match kind {
        Kind::Picture => 0,
        Kind::Clip => (LATE_FACE * fps.as_f64()) as u64,
    };
    let mut left_out: u64 = 0;
    // why the last frame that was looked at shows none
    let mut missed: Option<Complaint> = None;
    while let Some(frame) = source.next()? {
        if left_out.is_multiple_of(BETWEEN_LOOKS) || left_out >= search {
            match locate(&frame, &format, landmarks) {
                Ok(found) => {
                    let seconds = fps.seconds_at(left_out);
                    return Ok((frame, Located { left_out, seconds, ..found }));
                }
                Err(EngineError::Rejected(complaint)) if complaint.code == "no_face" => {
                    missed = Some(complaint);
                }
                Err(error) => return Err(error),
            }
        }
        left_out += 1;
        if left_out > search {
            break;
        }
    }
    let complaint = missed.ok_or_else(|| EngineError::Failed("the subject has no picture".into()))?;
    Err(match kind {
        Kind::Picture => complaint.into(),
        Kind::Clip => {
            let seconds = fps.seconds_at(left_out).min(LATE_FACE);
            let message = format!("in the first {seconds:.2} s of the clip: {}", complaint.message);
            Complaint { message, ..complaint }.into()
        }
    })
}

/// Frames a second of a source; a picture has none.
fn rate(format: &SourceFormat) -> Fps {
    format.fps.unwrap_or(DEFAULT_FPS)
}

/// The same of an avatar, whose face is known.
pub fn of_track(source: &mut dyn FrameSource, track: &Track) -> Result<(Frame, Located), EngineError> {
    let format = source.format();
    let size = format.size;
    if size != track.size {
        return Err(Complaint::new(
            "avatar_damaged",
            format!("the avatar was measured at {}, its source is now {size}", track.size),
            "make the avatar anew",
        )
        .into());
    }
    let left_out = u64::from(track.left_out);
    for _ in 0..left_out {
        source.next()?;
    }
    let frame = source.next()?.ok_or_else(|| EngineError::Failed("the avatar has no picture".into()))?;
    let face = track.at(left_out).face.clone();
    let seconds = rate(&format).seconds_at(left_out);
    Ok((frame, Located { face, report: track.report, others: track.others, left_out, seconds }))
}

fn locate(frame: &Frame, format: &SourceFormat, given: Option<Landmarks>) -> Result<Located, EngineError> {
    let natural_scale = format.natural.width as f32 / format.size.width as f32;
    let (face, origin, others) = match given {
        Some(landmarks) => {
            let here = moved(landmarks, 1.0 / natural_scale);
            (face::with_landmarks(frame, &here)?, LandmarkOrigin::Given, 0)
        }
        None => {
            let found = face::find(&mut Detector::new(), frame, natural_scale, MIN_FACE)?;
            (found.face, LandmarkOrigin::Found, found.others as u32)
        }
    };
    let landmarks = moved(face.landmarks(), natural_scale);
    let report = FaceReport { landmarks, confidence: face.confidence, origin };
    Ok(Located { face, report, others, left_out: 0, seconds: 0.0 })
}

/// Landmarks of a picture that is `factor` times as large; pixel centres lie at whole numbers.
fn moved(landmarks: Landmarks, factor: f32) -> Landmarks {
    landmarks.map(|p| Point { x: (p.x + 0.5) * factor - 0.5, y: (p.y + 0.5) * factor - 0.5 })
}
