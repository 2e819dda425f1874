//! A clip as a subject: every frame is tracked and warped. The clip's own motion is kept; only where a clip stands still
//! (a picture made into a video, or its last frame when the voice goes on) sway and blinks come in.

use contract::{EngineError, Fps, Frame, FrameSource, Warning};
use face::{Face, MouthLine, Tracker};

use crate::framing::Framer;
use crate::portrait::Portrait;
use crate::track::Track;

/// Mean step of luma between frames below which nothing moves, grey levels.
const CALM_STEP: f32 = 0.5;
/// Seconds without motion before sway and blinks come in, and how long they take to come.
const CALM_AFTER: f32 = 0.8;
const CALM_RAMP: f32 = 1.6;
/// Seconds in which speech takes hold of a mouth that was found again.
const HOLD_RAMP: f32 = 0.16;
/// Half width of the mean that a clip's mouth line is smoothed with (three times), canonical px.
const EASE: i32 = 5;

pub struct Clip {
    source: Box<dyn FrameSource>,
    framer: Framer,
    follower: Follower,
    /// Clip frames a frame of the take.
    rate: f64,
    /// Frames taken from the source, frames drawn.
    taken: u64,
    drawn: u64,
    /// Of those taken, the ones without a face.
    lost: u64,
    ended: bool,
    /// Luma of the last frame, thinned out.
    thumb: Vec<u8>,
    calm: f32,
    hold: f32,
    /// Seconds a frame of the take.
    tick: f32,
}

impl Clip {
    /// `first` was taken from `source` already.
    pub fn new(
        source: Box<dyn FrameSource>,
        first: &Frame,
        follower: Follower,
        framer: Framer,
        fps: Fps,
    ) -> Self {
        let own = source.format().fps.unwrap_or(fps).as_f64();
        Self {
            source,
            framer,
            follower,
            rate: own / fps.as_f64(),
            taken: 1,
            drawn: 0,
            lost: 0,
            ended: false,
            thumb: thumb(first),
            calm: 0.0,
            hold: 1.0,
            tick: (1.0 / fps.as_f64()) as f32,
        }
    }

    /// Shows the portrait the picture of the next frame of the take.
    pub fn advance(&mut self, portrait: &mut Portrait) -> Result<(), EngineError> {
        let due = (self.drawn as f64 * self.rate + 1e-6) as u64;
        self.drawn += 1;
        let mut stood = true;
        while self.taken <= due && !self.ended {
            let Some(frame) = self.source.next()? else {
                self.ended = true;
                break;
            };
            self.taken += 1;
            let (face, seen) = self.follower.follow(&frame);
            self.lost += u64::from(!seen);
            let thumb = thumb(&frame);
            stood = stood && step(&thumb, &self.thumb) < CALM_STEP;
            self.thumb = thumb;
            self.hold = if seen { (self.hold + self.tick / HOLD_RAMP).min(1.0) } else { 0.0 };
            let planes = frame.planes().ok_or_else(|| EngineError::Failed("a frame is not I420".into()))?;
            let mut face = self.framer.framing.place(&face);
            face.mouth = eased(face.mouth);
            portrait.show(self.framer.frame(planes), face);
        }
        self.calm = if stood {
            self.calm + self.tick
        } else {
            (self.calm - 4.0 * self.tick).clamp(0.0, CALM_AFTER + CALM_RAMP)
        };
        Ok(())
    }

    /// How much of a still's own motion the clip needs, 0..1.
    pub fn stillness(&self) -> f32 {
        ((self.calm - CALM_AFTER) / CALM_RAMP).clamp(0.0, 1.0)
    }

    /// How far speech moves the mouth, 0..1; 0 where the face is lost and the frame passes unchanged.
    pub fn hold(&self) -> f32 {
        self.hold
    }

    /// What the user should know of the frames so far.
    pub fn warning(&self) -> Option<Warning> {
        (self.lost > 0).then(|| {
            let (lost, taken) = (self.lost, self.taken);
            let message = format!(
                "no face was found in {lost} of {taken} frames of the clip: nothing is moved in them"
            );
            Warning::new("face_lost", message)
        })
    }
}

/// Where the face is in the next frame.
pub enum Follower {
    /// To be found.
    Tracker(Box<Tracker>),
    /// Known: an avatar's track, at a step of the source.
    Track(Track, u64),
}

impl Follower {
    /// Begins with the face of the first frame.
    pub fn tracker(first: &Frame, face: Face) -> Self {
        Self::Tracker(Box::new(Tracker::new(first, face)))
    }

    /// The face, and whether it was seen.
    pub fn follow(&mut self, frame: &Frame) -> (Face, bool) {
        match self {
            Self::Tracker(tracker) => {
                let tracked = tracker.follow(frame);
                (tracked.face, tracked.quality > 0.0)
            }
            Self::Track(track, step) => {
                *step += 1;
                let place = track.at(*step);
                (place.face.clone(), place.seen)
            }
        }
    }
}

/// Compression breaks a small mouth's edges into steps; lips have none.
fn eased(line: MouthLine) -> MouthLine {
    let ease = |ys: &[f32]| {
        let mut now = ys.to_vec();
        for _ in 0..3 {
            let last = now.len() as i32 - 1;
            now = (0..=last)
                .map(|i| {
                    // narrower toward the ends, so that the corners stay where they are
                    let reach = EASE.min(i).min(last - i);
                    (-reach..=reach).map(|d| now[(i + d) as usize]).sum::<f32>() / (2 * reach + 1) as f32
                })
                .collect();
        }
        now
    };
    MouthLine { upper: ease(&line.upper), lower: ease(&line.lower), ..line }
}

/// Every 8th pixel of every 8th row.
fn thumb(frame: &Frame) -> Vec<u8> {
    let width = frame.size().width as usize;
    let luma = &frame.data()[..frame.size().pixels() as usize];
    luma.chunks_exact(width).step_by(8).flat_map(|row| row.iter().copied().step_by(8)).collect()
}

fn step(a: &[u8], b: &[u8]) -> f32 {
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f32 / a.len().max(1) as f32
}
