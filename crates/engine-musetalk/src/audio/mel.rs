//! Whisper's log-mel spectrogram (`WhisperFeatureExtractor` of transformers 4.39.2; OpenAI's `log_mel_spectrogram` has the same arithmetic):
//! periodic Hann window of 400 samples every 160, power, 80 Slaney bands up to 8 kHz, log10, nothing more than 8 under a ceiling, (x + 4) / 4.
//! A frame is computed once, as its last sample comes. What the ceiling is (of a segment, of a file, of the last 30 s) is its user's choice.
//!
//! In f64, and by the scalar transforms of `rustfft`: the ones it picks by processor would give each processor its own last bits.

use std::f64::consts::TAU;
use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlannerScalar};

/// Samples from one frame to the next, 10 ms.
pub const HOP: usize = 160;
/// Samples a frame looks at, its own in the middle.
pub const WINDOW: usize = 400;
pub const BANDS: usize = 80;

/// Samples a frame looks back, and nearly as many ahead.
const REACH: usize = WINDOW / 2;
const BINS: usize = WINDOW / 2 + 1;
const RATE_HZ: f64 = 16_000.0;
const HIGHEST_HZ: f64 = 8_000.0;
/// Power under which everything is silence.
const FLOOR: f64 = 1e-10;
/// log10 of `FLOOR`: what a frame without sound holds.
pub const SILENT: f32 = -10.0;
/// What is farther under the ceiling is raised, in log10.
const RANGE: f32 = 8.0;

/// log10 of the powers of the bands.
pub type Frame = [f32; BANDS];

/// A triangle over the bins of the transform.
struct Band {
    first: usize,
    weights: Vec<f64>,
}

pub struct LogMel {
    fft: Arc<dyn Fft<f64>>,
    hann: Vec<f64>,
    bands: Vec<Band>,
    spectrum: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
}

impl Default for LogMel {
    fn default() -> Self {
        Self::new()
    }
}

impl LogMel {
    pub fn new() -> Self {
        let fft = FftPlannerScalar::new().plan_fft_forward(WINDOW);
        let zeros = |n: usize| vec![Complex::default(); n];
        Self {
            hann: (0..WINDOW).map(|n| 0.5 - 0.5 * (TAU * n as f64 / WINDOW as f64).cos()).collect(),
            bands: bands(),
            spectrum: zeros(WINDOW),
            scratch: zeros(fft.get_inplace_scratch_len()),
            fft,
        }
    }

    /// The frame in the middle of 400 samples.
    pub fn frame(&mut self, samples: &[f32]) -> Frame {
        if samples.iter().all(|&x| x == 0.0) {
            return [SILENT; BANDS];
        }
        for ((out, &sample), hann) in self.spectrum.iter_mut().zip(samples).zip(&self.hann) {
            *out = Complex::new(f64::from(sample) * hann, 0.0);
        }
        self.fft.process_with_scratch(&mut self.spectrum, &mut self.scratch);
        let mut power = [0.0; BINS];
        for (power, bin) in power.iter_mut().zip(&self.spectrum) {
            *power = bin.norm_sqr();
        }
        let mut frame = [0.0; BANDS];
        for (out, band) in frame.iter_mut().zip(&self.bands) {
            let sum: f64 = band.weights.iter().zip(&power[band.first..]).map(|(w, bin)| w * bin).sum();
            *out = sum.max(FLOOR).log10() as f32;
        }
        frame
    }

    /// The filter bank, a row of 80 for each of the 201 bins.
    pub fn filters(&self) -> Vec<[f64; BANDS]> {
        let mut rows = vec![[0.0; BANDS]; BINS];
        for (index, band) in self.bands.iter().enumerate() {
            for (row, &weight) in rows[band.first..].iter_mut().zip(&band.weights) {
                row[index] = weight;
            }
        }
        rows
    }
}

/// Slaney's scale: even up to 1 kHz, then 27 steps to the factor 6.4. Each triangle has an area of 1.
fn bands() -> Vec<Band> {
    const LINEAR_HZ: f64 = 200.0 / 3.0;
    let (knee_hz, step) = (1_000.0, 6.4f64.ln() / 27.0);
    let knee = knee_hz / LINEAR_HZ;
    let mel = |hz: f64| if hz < knee_hz { hz / LINEAR_HZ } else { knee + (hz / knee_hz).ln() / step };
    let hz = |mel: f64| if mel < knee { mel * LINEAR_HZ } else { knee_hz * ((mel - knee) * step).exp() };
    let top = mel(HIGHEST_HZ);
    let edge = |i: usize| hz(top * i as f64 / (BANDS + 1) as f64);
    let band = |i: usize| {
        let (from, peak, to) = (edge(i), edge(i + 1), edge(i + 2));
        let weight = |bin: usize| {
            let f = bin as f64 * RATE_HZ / WINDOW as f64;
            let height = ((f - from) / (peak - from)).min((to - f) / (to - peak)).max(0.0);
            height * 2.0 / (to - from)
        };
        let first = (0..BINS).find(|&bin| weight(bin) > 0.0).unwrap_or(0);
        Band { first, weights: (first..BINS).map(weight).take_while(|&w| w > 0.0).collect() }
    };
    (0..BANDS).map(band).collect()
}

/// Frames of sound that comes in pieces. The beginning is mirrored at its first sample, as in `torch.stft` with `center`.
#[derive(Default)]
pub struct MelStream {
    mel: LogMel,
    /// From the first sample of the next frame's window on; until the mirror can be made, from sample 0 on.
    held: Vec<f32>,
    mirrored: bool,
    samples: u64,
}

impl MelStream {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends every frame that is now complete: frame i needs the samples up to 160 i + 200.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<Frame>) {
        self.samples += samples.len() as u64;
        self.held.extend_from_slice(samples);
        if !self.mirrored {
            if self.held.len() <= REACH {
                return;
            }
            let mirror: Vec<f32> = self.held[1..=REACH].iter().rev().copied().collect();
            self.held.splice(0..0, mirror);
            self.mirrored = true;
        }
        self.advance(out);
    }

    /// Silence after what was pushed, up to `samples` in all.
    pub fn pad_to(&mut self, samples: u64, out: &mut Vec<Frame>) {
        while self.samples < samples {
            let piece = [0.0; WINDOW];
            let n = (samples - self.samples).min(WINDOW as u64) as usize;
            self.push(&piece[..n], out);
        }
    }

    /// The sound ends here and is mirrored at its last sample: appends what is left of its `samples / 160` frames. Sound of 200 samples or
    /// less has nothing to mirror and no frame that could matter; it gives none.
    pub fn mirror_end(mut self, out: &mut Vec<Frame>) {
        if !self.mirrored {
            return;
        }
        let (n, samples) = (self.held.len(), self.samples);
        let mirror: Vec<f32> = self.held[n - 1 - REACH..n - 1].iter().rev().copied().collect();
        let before = out.len();
        let complete = self.frames_behind();
        self.held.extend(mirror);
        self.advance(out);
        let wanted = (samples / HOP as u64 - complete) as usize;
        out.truncate(before + wanted); // the frame at the very end is the reference's to drop
    }

    /// Frames given so far.
    fn frames_behind(&self) -> u64 {
        (self.samples + REACH as u64 - self.held.len() as u64) / HOP as u64
    }

    fn advance(&mut self, out: &mut Vec<Frame>) {
        let mut at = 0;
        while at + WINDOW <= self.held.len() {
            out.push(self.mel.frame(&self.held[at..at + WINDOW]));
            at += HOP;
        }
        self.held.drain(..at);
    }
}

/// Whisper's frames of a segment that is encoded alone: silence up to `frames · 160` samples, mirrored at both ends.
pub fn segment(sound: &[f32], frames: usize) -> Vec<Frame> {
    let mut out = Vec::with_capacity(frames + 1);
    let mut stream = MelStream::new();
    stream.push(sound, &mut out);
    stream.pad_to((frames * HOP) as u64, &mut out);
    stream.mirror_end(&mut out);
    out
}

/// The largest value, `SILENT` for none.
pub fn ceiling(frames: &[Frame]) -> f32 {
    frames.iter().flatten().fold(SILENT, |max, &v| max.max(v))
}

/// What the encoder takes: raised to no more than 8 under the ceiling, then (x + 4) / 4.
pub fn scaled(frames: &[Frame], ceiling: f32) -> Vec<f32> {
    frames.iter().flatten().map(|&v| (v.max(ceiling - RANGE) + 4.0) / 4.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(samples: usize) -> Vec<f32> {
        (0..samples).map(|i| ((i * i) % 97) as f32 / 97.0 - 0.4).collect()
    }

    #[test]
    fn equals_the_definition() {
        let sound = sound(2_000);
        let frames = segment(&sound, 20);
        let filters = LogMel::new().filters();
        for index in [0, 1, 5, 11, 12, 13, 19] {
            // mirrored at both ends of the 3200 samples, silent after the 2000
            let at = |n: usize| {
                let place = (index * HOP + n) as i64 - REACH as i64;
                let place = if place < 0 {
                    -place
                } else if place >= 3_200 {
                    2 * 3_199 - place
                } else {
                    place
                };
                sound.get(place as usize).copied().map_or(0.0, f64::from)
            };
            for band in [0, 3, 40, 79] {
                let mut sum = 0.0;
                for (k, row) in filters.iter().enumerate().filter(|(_, row)| row[band] > 0.0) {
                    let (mut re, mut im) = (0.0, 0.0);
                    for n in 0..WINDOW {
                        let hann = 0.5 - 0.5 * (TAU * n as f64 / WINDOW as f64).cos();
                        let turn = TAU * ((n * k) % WINDOW) as f64 / WINDOW as f64;
                        re += at(n) * hann * turn.cos();
                        im -= at(n) * hann * turn.sin();
                    }
                    sum += row[band] * (re * re + im * im);
                }
                let want = sum.max(1e-10).log10() as f32;
                assert!(
                    (frames[index][band] - want).abs() < 1e-5,
                    "{index} {band}: {} {want}",
                    frames[index][band]
                );
            }
        }
        assert_eq!((frames.len(), frames[19]), (20, [SILENT; BANDS]));
    }

    #[test]
    fn pieces_do_not_matter() {
        for samples in [0, 100, 200, 201, 399, 400, 401, 4_800, 5_000] {
            let sound = sound(samples);
            let cut = |piece: usize| {
                let (mut stream, mut out) = (MelStream::new(), Vec::new());
                for piece in sound.chunks(piece) {
                    stream.push(piece, &mut out);
                }
                stream.mirror_end(&mut out);
                out
            };
            let want = cut(usize::MAX);
            assert_eq!(want.len(), if samples > 200 { samples / HOP } else { 0 }, "{samples}");
            for piece in [1, 159, 161, 401] {
                assert!(cut(piece) == want, "{samples} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn nothing_is_more_than_8_under_the_ceiling() {
        let mut frame = [SILENT; BANDS];
        frame[3] = 1.0;
        let top = ceiling(&[frame]);
        let values = scaled(&[frame], top);
        assert_eq!((top, values[3], values[4]), (1.0, 1.25, -0.75));
    }
}
