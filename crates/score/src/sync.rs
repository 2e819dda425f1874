//! Does the mouth follow the voice: correlation with a reference opening over +-400 ms of lag, the same against shifted voices
//! (the chance level), closures of p, b and m, and the mouth in silence. Pure; times in seconds, references at 100 Hz.
//! Sign of a lag: positive means the picture comes late.

use crate::mouth::{mean_where, normalised};
use crate::series::{correlation, detrended, deviation, mean, peak_offset, value_at};

pub const REFERENCE_HZ: f64 = 100.0;
/// Lags searched, in steps of 10 ms.
const MOST_LAG: i32 = 40;
/// Both series lose what is slower than this Gaussian, seconds.
const TREND: f64 = 1.0;
/// A closure counts when the opening falls below this part of its range ...
const CLOSED: f32 = 0.15;
/// ... within so much of the closure's centre, seconds.
const CLOSURE_REACH: f64 = 0.020;
/// Time shifts of the control: how many, and the least, seconds.
const SHIFTS: usize = 24;
const LEAST_SHIFT: f64 = 1.6;
/// Shorter videos have too few lag-free frames to correlate, seconds.
pub const LEAST_SECONDS: f64 = 2.0;

/// What the mouth should do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reference {
    /// jaw * (1 - close) at 100 Hz.
    pub opening: Vec<f32>,
    /// Centres of the bilabial closures, seconds.
    pub closures: Vec<f64>,
    /// At 100 Hz: nobody speaks, and has not for a moment.
    pub silent: Vec<bool>,
}

/// A series of frames.
#[derive(Clone, Copy)]
pub struct Timed<'a> {
    pub values: &'a [f32],
    pub fps: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synchrony {
    pub r: f32,
    /// Seconds, positive: the picture is late.
    pub lag: f32,
}

/// Chance level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Control {
    pub mean: f32,
    pub sd: f32,
}

/// The reference's opening without its trend, ready to be correlated with many series and shifts.
pub struct Voice {
    fast: Vec<f32>,
}

impl Timed<'_> {
    pub fn seconds(&self) -> f64 {
        self.values.len() as f64 / self.fps
    }

    fn without_trend(&self) -> Vec<f32> {
        detrended(self.values, (TREND * self.fps) as f32)
    }
}

impl Voice {
    pub fn new(reference: &Reference) -> Self {
        Self { fast: detrended(&reference.opening, (TREND * REFERENCE_HZ) as f32) }
    }

    /// The best correlation over the lags; `None` where video or voice are too short.
    pub fn synchrony(&self, mouth: Timed) -> Option<Synchrony> {
        self.long_enough(mouth).then(|| self.best(&mouth.without_trend(), mouth.fps, 0.0))
    }

    /// The same of `mouths` (the best of them, as it is reported) against the voice turned round by many times.
    pub fn control(&self, mouths: &[Timed]) -> Option<Control> {
        let seconds = self.fast.len() as f64 / REFERENCE_HZ;
        if seconds < 3.0 * LEAST_SHIFT || !mouths.iter().all(|m| self.long_enough(*m)) {
            return None;
        }
        let fast: Vec<(Vec<f32>, f64)> = mouths.iter().map(|m| (m.without_trend(), m.fps)).collect();
        let room = seconds - 2.0 * LEAST_SHIFT;
        let chance: Vec<f32> = (0..SHIFTS)
            .map(|i| LEAST_SHIFT + room * i as f64 / (SHIFTS - 1) as f64)
            .map(|shift| {
                fast.iter()
                    .map(|(values, fps)| self.best(values, *fps, shift).r)
                    .fold(f32::NEG_INFINITY, f32::max)
            })
            .collect();
        Some(Control { mean: mean(&chance), sd: deviation(&chance) })
    }

    fn long_enough(&self, mouth: Timed) -> bool {
        let seconds = mouth.seconds().min(self.fast.len() as f64 / REFERENCE_HZ);
        seconds >= LEAST_SECONDS
    }

    fn best(&self, mouth: &[f32], fps: f64, shift: f64) -> Synchrony {
        let margin = f64::from(MOST_LAG) / REFERENCE_HZ;
        let end = (mouth.len() as f64 / fps).min(self.fast.len() as f64 / REFERENCE_HZ) - margin;
        let frames = (margin * fps).ceil() as usize..((end * fps) as usize).min(mouth.len());
        let mouth = &mouth[frames.clone()];
        let at_lag = |lag: i32| {
            let voice: Vec<f32> = frames
                .clone()
                .map(|i| {
                    let at = (i as f64 / fps + shift) * REFERENCE_HZ - f64::from(lag);
                    value_at(&self.fast, at.rem_euclid(self.fast.len() as f64))
                })
                .collect();
            correlation(&voice, mouth)
        };
        let r: Vec<f32> = (-MOST_LAG..=MOST_LAG).map(at_lag).collect();
        let best = (0..r.len()).max_by(|&a, &b| r[a].total_cmp(&r[b])).expect("there are lags");
        let inner = best > 0 && best + 1 < r.len();
        let part = if inner { peak_offset([r[best - 1], r[best], r[best + 1]]) } else { 0.0 };
        Synchrony { r: r[best], lag: (best as f32 + part - MOST_LAG as f32) / REFERENCE_HZ as f32 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Closures {
    /// How many lie within the video.
    pub count: usize,
    /// Share of them in which the mouth shuts.
    pub hit: f32,
    /// The same at shifted times.
    pub control: f32,
}

/// `None` without a closure.
pub fn closures(reference: &Reference, mouth: Timed) -> Option<Closures> {
    let opening = normalised(mouth.values);
    let seconds = mouth.seconds();
    let shut = |at: f64| {
        (-2..=2).any(|k| value_at(&opening, (at + CLOSURE_REACH * f64::from(k) / 2.0) * mouth.fps) < CLOSED)
    };
    let share = |times: &[f64]| times.iter().filter(|t| shut(**t)).count() as f32 / times.len().max(1) as f32;
    let inside = |t: f64| t > 0.04 && t < seconds - 0.04;
    let events: Vec<f64> = reference.closures.iter().copied().filter(|t| inside(*t)).collect();
    if events.is_empty() {
        return None;
    }
    // from .25 s on in steps that no rhythm of speech shares
    let shifts = (0..32).map(|i| 0.25 + 0.37 * f64::from(i)).take_while(|s| *s < seconds - 0.25);
    let chance: Vec<f32> = shifts
        .map(|shift| events.iter().map(|t| (t + shift) % seconds).filter(|t| inside(*t)).collect::<Vec<_>>())
        .map(|moved| share(&moved))
        .collect();
    Some(Closures { count: events.len(), hit: share(&events), control: mean(&chance) })
}

/// Mean opening, of its own range, in the frames in which nobody speaks.
pub fn silence(reference: &Reference, mouth: Timed) -> Option<f32> {
    let opening = normalised(mouth.values);
    let silent = |i: usize| {
        let at = (i as f64 / mouth.fps * REFERENCE_HZ).round() as usize;
        reference.silent.get(at).copied().unwrap_or(false)
    };
    mean_where(&opening, silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Openings like speech: bumps at irregular times, 60 s at 100 Hz, shut for 60 ms at each closure.
    fn reference() -> Reference {
        let mut state = 7u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24)
        };
        let mut opening = vec![0f32; 6000];
        let mut closures = Vec::new();
        let mut at = 0.5;
        while at < 58.0 {
            let (length, height) = (0.12 + 0.15 * random(), 0.4 + 0.6 * random());
            let from = (at * 100.0) as usize;
            let to = ((at + length) * 100.0) as usize;
            opening[from..to].fill(height as f32);
            at += length;
            if random() < 0.4 {
                closures.push(at + 0.03);
                at += 0.06;
            } else if random() < 0.15 {
                at += 0.6;
            } else {
                opening[to..to + 8].fill(0.25);
                at += 0.08;
            }
        }
        let silent = opening.windows(41).map(|w| w.iter().all(|v| *v == 0.0)).collect();
        Reference { opening, closures, silent }
    }

    fn played(reference: &Reference, fps: f64, delay: f64) -> Vec<f32> {
        let count = (reference.opening.len() as f64 / REFERENCE_HZ * fps) as usize;
        (0..count).map(|i| value_at(&reference.opening, (i as f64 / fps - delay) * REFERENCE_HZ)).collect()
    }

    #[test]
    fn a_follower_is_found_with_its_delay() {
        let reference = reference();
        let voice = Voice::new(&reference);
        for (fps, delay) in [(25.0, 0.0), (25.0, 0.08), (30_000.0 / 1001.0, -0.12), (50.0, 0.05)] {
            let values = played(&reference, fps, delay);
            let found = voice.synchrony(Timed { values: &values, fps }).unwrap();
            assert!(
                found.r > 0.95 && (f64::from(found.lag) - delay).abs() < 0.006,
                "{fps} {delay}: {found:?}"
            );
        }
    }

    #[test]
    fn strangers_stay_at_chance_and_closures_tell() {
        let reference = reference();
        let voice = Voice::new(&reference);
        let own = played(&reference, 25.0, 0.0);
        let own = Timed { values: &own, fps: 25.0 };
        let chance = voice.control(&[own]).unwrap();
        assert!(chance.mean < 0.35 && chance.sd < 0.15, "{chance:?}");
        let shut = closures(&reference, own).unwrap();
        assert!(shut.hit > 0.9 && shut.control < 0.45 && shut.count > 50, "{shut:?}");
        // a stranger: the same speech, backwards
        let other: Vec<f32> = own.values.iter().rev().copied().collect();
        let other = Timed { values: &other, fps: 25.0 };
        assert!(voice.synchrony(other).unwrap().r < 0.35);
        let shut = closures(&reference, other).unwrap();
        assert!((shut.hit - shut.control).abs() < 0.2, "{shut:?}");
        assert!(voice.synchrony(Timed { values: &own.values[..40], fps: 25.0 }).is_none());
    }

    #[test]
    fn a_mouth_held_open_in_silence_is_seen() {
        let reference = reference();
        let mut values = played(&reference, 25.0, 0.0);
        let quiet = silence(&reference, Timed { values: &values, fps: 25.0 }).unwrap();
        for (i, value) in values.iter_mut().enumerate() {
            if reference.silent.get(i * 4).copied().unwrap_or(false) {
                *value = 0.5;
            }
        }
        let open = silence(&reference, Timed { values: &values, fps: 25.0 }).unwrap();
        assert!(quiet < 0.1 && open > 0.3, "{quiet} {open}");
    }
}
