//! Running normalisation: takes away what a band has been on average so far, so that microphones and rooms look alike.
//! Reference: `tools/visnet/features.py::normalise`.

use crate::mel::BANDS;

/// What a band is before anything was heard, and how many frames that guess is worth.
const PRIOR: f64 = -4.0;
const PRIOR_FRAMES: u32 = 50;
/// From here on the mean forgets exponentially: 3 s.
const MEMORY_FRAMES: u32 = 300;
const SCALE: f64 = 4.0;

/// Whether a frame tells something about the voice and its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    Learn,
    /// A long pause: it must not push the speaker out of the memory.
    Ignore,
}

pub struct Norm {
    mean: [f64; BANDS],
    count: u32,
}

impl Norm {
    pub fn new() -> Self {
        Self { mean: [PRIOR; BANDS], count: PRIOR_FRAMES }
    }

    pub fn apply(&mut self, x: &[f32; BANDS], lesson: Lesson) -> [f32; BANDS] {
        if lesson == Lesson::Learn {
            self.count = (self.count + 1).min(MEMORY_FRAMES);
            let weight = 1.0 / f64::from(self.count);
            for (mean, &x) in self.mean.iter_mut().zip(x) {
                *mean += weight * (f64::from(x) - *mean);
            }
        }
        let mut out = [0.0; BANDS];
        for ((out, &x), mean) in out.iter_mut().zip(x).zip(&self.mean) {
            *out = ((f64::from(x) - mean) / SCALE) as f32;
        }
        out
    }
}
