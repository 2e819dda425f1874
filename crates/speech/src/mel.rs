//! Mel spectrum: 25 ms periodic Hann window, 512-point transform, 40 triangular bands from 60 to 7600 Hz, power.
//! Reference: `tools/visnet/features.py` (torch.stft, centred, zero padding); the tests compare.

use std::f64::consts::TAU;

use crate::fft::{BINS, Fft, SIZE};

pub const RATE_HZ: u32 = 16_000;
/// Samples from one frame to the next, 10 ms.
pub const HOP: usize = 160;
/// Samples a frame looks at, 25 ms, its centre in the middle.
pub const WINDOW: usize = 400;
pub const BANDS: usize = 40;

const LOWEST_HZ: f64 = 60.0;
const HIGHEST_HZ: f64 = 7600.0;
const FLOOR: f32 = 1e-6;

/// Powers of the 40 bands.
pub type Powers = [f32; BANDS];

struct Band {
    first: usize,
    weights: Vec<f64>,
}

pub struct Mel {
    hann: Vec<f64>,
    bands: Vec<Band>,
    fft: Fft,
}

impl Mel {
    pub fn new() -> Self {
        let hann = (0..WINDOW).map(|n| 0.5 - 0.5 * (TAU * n as f64 / WINDOW as f64).cos()).collect();
        Self { hann, bands: bands(), fft: Fft::new() }
    }

    pub fn powers(&mut self, samples: &[f32; WINDOW]) -> Powers {
        let mut windowed = [0.0; WINDOW];
        for ((out, &sample), hann) in windowed.iter_mut().zip(samples).zip(&self.hann) {
            *out = f64::from(sample) * hann;
        }
        let mut spectrum = [0.0; BINS];
        self.fft.power(&windowed, &mut spectrum);
        let mut powers = [0.0; BANDS];
        for (power, band) in powers.iter_mut().zip(&self.bands) {
            let bins = &spectrum[band.first..];
            *power = band.weights.iter().zip(bins).map(|(w, bin)| w * bin).sum::<f64>() as f32;
        }
        powers
    }
}

/// ln(power · gain² + 1e-6)
pub fn log(powers: &Powers, gain: f32) -> [f32; BANDS] {
    // f64 and back: the last bit of an f32 logarithm differs between C libraries
    powers.map(|power| f64::from(power * gain * gain + FLOOR).ln() as f32)
}

/// Mean of the bands' levels, dB.
pub fn mean_db(powers: &Powers) -> f32 {
    let sum: f64 = powers.iter().map(|&power| f64::from(power + FLOOR).log10()).sum();
    (10.0 * sum / BANDS as f64) as f32
}

fn bands() -> Vec<Band> {
    let mel = |hz: f64| 1127.0 * (1.0 + hz / 700.0).ln();
    let hz = |mel: f64| 700.0 * ((mel / 1127.0).exp() - 1.0);
    let (low, high) = (mel(LOWEST_HZ), mel(HIGHEST_HZ));
    let edge = |i: usize| hz(low + (high - low) * i as f64 / (BANDS + 1) as f64);
    (0..BANDS)
        .map(|i| {
            let (from, peak, to) = (edge(i), edge(i + 1), edge(i + 2));
            let weight = |bin: usize| {
                let f = bin as f64 * f64::from(RATE_HZ) / SIZE as f64;
                ((f - from) / (peak - from)).min((to - f) / (to - peak)).max(0.0)
            };
            let first = (0..BINS).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
            let weights = (first..BINS).map(weight).take_while(|&w| w > 0.0).collect();
            Band { first, weights }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::norm::{Lesson, Norm};

    /// One second that `tools/visnet/export.py` makes too: a falling chirp, silence, a buzz.
    fn probe() -> Vec<f32> {
        let sound = |i: usize| {
            let t = i as f64 / f64::from(RATE_HZ);
            match i {
                0..6000 => 0.3 * (TAU * (3000.0 * t - 1200.0 * t * t)).sin(),
                6000..9000 => 0.0,
                _ => 0.2 * (TAU * 123.0 * t).sin().signum(),
            }
        };
        (0..RATE_HZ as usize).map(|i| sound(i) as f32).collect()
    }

    /// `tests/data/mel.f32`: ln mel (101, 40), then the same normalised, as PyTorch and SciPy computed them.
    #[test]
    fn the_front_end_equals_the_training() {
        let data: Vec<f32> = include_bytes!("../tests/data/mel.f32")
            .as_chunks()
            .0
            .iter()
            .map(|&bytes| f32::from_le_bytes(bytes))
            .collect();
        let (logs, normal) = data.split_at(data.len() / 2);
        let sound = probe();
        let (mut mel, mut norm) = (Mel::new(), Norm::new());
        for (frame, (log_row, normal_row)) in
            logs.chunks_exact(BANDS).zip(normal.chunks_exact(BANDS)).enumerate()
        {
            let window = std::array::from_fn(|n| {
                (frame * HOP + n).checked_sub(WINDOW / 2).and_then(|i| sound.get(i)).copied().unwrap_or(0.0)
            });
            let x = log(&mel.powers(&window), 1.0);
            let y = norm.apply(&x, Lesson::Learn);
            for band in 0..BANDS {
                let (a, b) = (x[band], log_row[band]);
                // the reference computes its spectrum in f32: near the floor its own error shows
                assert!((a - b).abs() < 3e-3, "frame {frame} band {band}: {a} {b}");
                assert!((y[band] - normal_row[band]).abs() < 1e-3, "frame {frame} band {band}, normalised");
            }
        }
        assert_eq!(logs.len(), 101 * BANDS);
    }
}
