//! How loud a voice is: integrated loudness as ITU-R BS.1770-4 has it, measured while the voice comes. Reference: pyloudnorm 0.2.0,
//! `Meter(16000).integrated_loudness`, whose blocks begin and end where its f64 products say. Deviation: a voice of less than a block (0.4 s),
//! which it refuses, is one block.

use std::collections::VecDeque;
use std::f64::consts::{FRAC_1_SQRT_2, TAU};

use super::RATE_HZ;

/// Of a gating block, in seconds.
const BLOCK: f64 = 0.4;
/// From one block to the next, in blocks.
const STEP: f64 = 0.25;
/// Blocks that are not louder do not count, in LUFS.
const ABSOLUTE_GATE: f64 = -70.0;
/// Nor do those that are so much less loud than the rest, in LU.
const RELATIVE_GATE: f64 = -10.0;
/// Of a mean square of one.
const OFFSET: f64 = -0.691;

/// A filter of second order.
#[derive(Clone, Debug)]
pub struct Biquad {
    pub b: [f64; 3],
    /// The first is one.
    pub a: [f64; 3],
    state: [f64; 2],
}

impl Biquad {
    fn new(b: [f64; 3], a: [f64; 3]) -> Self {
        Self { b: b.map(|v| v / a[0]), a: a.map(|v| v / a[0]), state: [0.0; 2] }
    }

    /// The head: 4 dB more above 1500 Hz. Formulas: R. Bristow-Johnson, Audio EQ Cookbook.
    pub fn high_shelf() -> Self {
        let (gain, quality, cut_hz) = (4.0, FRAC_1_SQRT_2, 1500.0);
        let a = 10f64.powf(gain / 40.0);
        let (sin, cos) = (TAU * cut_hz / f64::from(RATE_HZ)).sin_cos();
        let wide = 2.0 * a.sqrt() * (sin / (2.0 * quality));
        let (more, less) = (a + 1.0, a - 1.0);
        Self::new(
            [a * (more + less * cos + wide), -2.0 * a * (less + more * cos), a * (more + less * cos - wide)],
            [more - less * cos + wide, 2.0 * (less - more * cos), more - less * cos - wide],
        )
    }

    /// The ear: less and less below 38 Hz.
    pub fn high_pass() -> Self {
        let (quality, cut_hz) = (0.5, 38.0);
        let (sin, cos) = (TAU * cut_hz / f64::from(RATE_HZ)).sin_cos();
        let alpha = sin / (2.0 * quality);
        let half = (1.0 + cos) / 2.0;
        Self::new([half, -(1.0 + cos), half], [1.0 + alpha, -2.0 * cos, 1.0 - alpha])
    }

    fn next(&mut self, x: f64) -> f64 {
        let y = self.b[0] * x + self.state[0];
        self.state = [self.b[1] * x - self.a[1] * y + self.state[1], self.b[2] * x - self.a[2] * y];
        y
    }
}

/// Takes a voice at 16 kHz, piece by piece. Memory: one number for each tenth of a second.
#[derive(Debug)]
pub struct Meter {
    filters: [Biquad; 2],
    samples: u64,
    /// Sums of squares of the blocks that have ended.
    ended: Vec<f64>,
    /// Of those that have begun and not ended.
    open: VecDeque<f64>,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            filters: [Biquad::high_shelf(), Biquad::high_pass()],
            samples: 0,
            ended: Vec::new(),
            open: VecDeque::new(),
        }
    }
}

/// Where a block begins.
fn begin(block: usize) -> u64 {
    (BLOCK * (block as f64 * STEP) * f64::from(RATE_HZ)) as u64
}

/// Where it ends.
fn end(block: usize) -> u64 {
    (BLOCK * (block as f64 * STEP + 1.0) * f64::from(RATE_HZ)) as u64
}

impl Meter {
    pub fn push(&mut self, samples: &[f32]) {
        for &sample in samples {
            let [head, ear] = &mut self.filters;
            let y = ear.next(head.next(f64::from(sample)));
            if self.samples >= begin(self.ended.len() + self.open.len()) {
                self.open.push_back(0.0);
            }
            self.open.iter_mut().for_each(|sum| *sum += y * y);
            self.samples += 1;
            if self.samples >= end(self.ended.len()) {
                self.ended.extend(self.open.pop_front());
            }
        }
    }

    /// In LUFS; none where nothing is loud enough to count.
    pub fn lufs(&self) -> Option<f64> {
        let seconds = self.samples as f64 / f64::from(RATE_HZ);
        let blocks = (((seconds - BLOCK) / (BLOCK * STEP)).round_ties_even() + 1.0).max(1.0) as usize;
        let whole = (BLOCK * f64::from(RATE_HZ)).min(self.samples as f64);
        let squares: Vec<f64> =
            self.ended.iter().chain(&self.open).take(blocks).map(|sum| sum / whole).collect();
        let loudness = |square: f64| OFFSET + 10.0 * square.log10();
        let mean = |gate: f64| {
            let loud: Vec<f64> = squares.iter().copied().filter(|&s| loudness(s) > gate).collect();
            (!loud.is_empty()).then(|| loud.iter().sum::<f64>() / loud.len() as f64)
        };
        let relative = loudness(mean(ABSOLUTE_GATE)?) + RELATIVE_GATE;
        mean(relative.max(ABSOLUTE_GATE)).map(loudness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lufs(samples: impl Iterator<Item = f32>) -> Option<f64> {
        let mut meter = Meter::default();
        samples.for_each(|sample| meter.push(&[sample]));
        meter.lufs()
    }

    fn tone(seconds: f64, level: f32) -> impl Iterator<Item = f32> {
        let samples = (seconds * 16_000.0) as usize;
        (0..samples).map(move |i| level * (i as f32 * 997.0 * std::f32::consts::TAU / 16_000.0).sin())
    }

    #[test]
    fn a_tone_of_full_scale_is_3_below() {
        // BS.1770-4: a sine of 997 Hz at 0 dB full scale in one channel is -3.01 LKFS, with the filters of 48 kHz
        let loud = lufs(tone(3.0, 1.0)).unwrap();
        assert!((loud + 3.01).abs() < 0.3, "{loud}");
        let quiet = lufs(tone(3.0, 0.1)).unwrap();
        assert!((loud - quiet - 20.0).abs() < 1e-3, "{loud} {quiet}");
        // pauses do not count
        let paused = lufs(tone(3.0, 1.0).chain(tone(20.0, 1e-6))).unwrap();
        assert!((loud - paused).abs() < 0.3, "{loud} {paused}");
    }

    #[test]
    fn short_and_silent_voices() {
        assert_eq!(lufs(std::iter::empty()), None);
        assert_eq!(lufs(std::iter::repeat_n(0.0, 50_000)), None);
        let (short, long) = (lufs(tone(0.1, 0.5)).unwrap(), lufs(tone(1.0, 0.5)).unwrap());
        assert!((short - long).abs() < 0.5, "{short} {long}");
    }
}
