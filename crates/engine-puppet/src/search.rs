//! Where a session begins: the first frame of a subject that shows a face, and that face.

use contract::{
    Complaint, EngineError, FaceReport, Fps, Frame, FrameSource, LandmarkOrigin, Landmarks, Point,
    SourceFormat, Warning,
};
use face::{Detector, Face};

use crate::engine::MIN_FACE;
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
    /// Frames before it.
    pub left_out: u64,
}

impl Located {
    /// What the user should know. `fps` is the rate of the frames that were left out.
    pub fn warnings(&self, fps: Fps) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if self.others > 0 {
            let message = format!("{} faces were found, the largest is animated", self.others + 1);
            warnings.push(Warning::new("several_faces", message));
        }
        warnings.extend(self.face.warnings());
        if self.left_out > 0 {
            let seconds = fps.seconds_at(self.left_out);
            let message = format!("the first {seconds:.2} s of the clip show no face and were left out");
            warnings.push(Warning::new("late_face", message));
        }
        warnings
    }
}

/// A clip may begin before its person is there: a few seconds of it may be left out.
pub fn first_face(
    source: &mut dyn FrameSource,
    (landmarks, fps): (Option<Landmarks>, Fps),
    kind: Kind,
) -> Result<(Frame, Located), EngineError> {
    let search = match kind {
        Kind::Picture => 0,
        Kind::Clip => (LATE_FACE * fps.as_f64()) as u64,
    };
    let format = source.format();
    let mut left_out: u64 = 0;
    loop {
        let frame = source.next()?.ok_or_else(|| EngineError::Failed("the subject has no picture".into()))?;
        let looked_at = left_out.is_multiple_of(BETWEEN_LOOKS) || left_out >= search;
        let found = if looked_at { locate(&frame, &format, landmarks).map(Some) } else { Ok(None) };
        match found {
            Ok(Some(found)) => return Ok((frame, Located { left_out, ..found })),
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

/// The same of an avatar, whose face is known.
pub fn of_track(source: &mut dyn FrameSource, track: &Track) -> Result<(Frame, Located), EngineError> {
    let size = source.format().size;
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
    Ok((frame, Located { face, report: track.report, others: track.others, left_out }))
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
    Ok(Located { face, report, others, left_out: 0 })
}

/// Landmarks of a picture that is `factor` times as large; pixel centres lie at whole numbers.
fn moved(landmarks: Landmarks, factor: f32) -> Landmarks {
    landmarks.map(|p| Point { x: (p.x + 0.5) * factor - 0.5, y: (p.y + 0.5) * factor - 0.5 })
}
