//! Sound at any rate as sound at 16 kHz: a Kaiser-windowed sinc for each place that an output sample can have between two input samples, with the
//! edges of soxr's "HQ" (pass band to 0.9136 of the lower Nyquist frequency, stop band from 1.0, 120 dB), which the official code resamples
//! with. rubato, which `media` uses for arriving voices, leaves these edges to no one. No delay: output sample k is input time k / 16000;
//! outside is silence. Memory: the filter, and as much sound as it is long. Reference: librosa 0.11.0 with soxr 1.1.0, `load(sr=16000)`.
//! Refused: rates outside 2 to 384 kHz.

use contract::{SourceError, VoiceSource};

use super::{AudioError, RATE_HZ};

/// Of the lower of the two Nyquist frequencies.
const PASS: f64 = 0.9136;
/// Of the stop band, in dB.
const ATTENUATION: f64 = 120.0;
/// Values that the filters of all places may take together; where there are more, they are computed as they are needed.
const TABLE: usize = 4 << 20;
/// Samples of a voice that are read at a time.
const PIECE: usize = 16_384;
/// Sums made side by side, so that they are vectors.
const LANES: usize = 8;

/// How many samples at 16 kHz so many at `rate_hz` become, as librosa says.
pub fn length(samples: u64, rate_hz: u32) -> u64 {
    (samples as f64 * (f64::from(RATE_HZ) / f64::from(rate_hz))).ceil() as u64
}

#[derive(Debug)]
pub struct Resampler {
    rate_hz: u32,
    /// Input samples between two output samples, in `places`.
    step: u64,
    /// Places between two input samples.
    places: u64,
    /// Input samples on either side of a place that it is made of.
    half: usize,
    /// Of one place after the other; empty where it would be too large.
    table: Vec<f32>,
    kernel: Kernel,
    /// Of one place, where there is no table.
    weights: Vec<f32>,
    /// Input from `half` before `first` on.
    waiting: Vec<f32>,
    /// Input sample that the next output sample lies on or behind.
    first: u64,
    heard: u64,
    said: u64,
}

/// The filter as a function of the distance in input samples.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    /// Of the input's Nyquist frequency.
    cutoff: f64,
    half: f64,
    beta: f64,
}

impl Kernel {
    fn at(&self, distance: f64) -> f64 {
        let place = distance / self.half;
        if place.abs() >= 1.0 {
            return 0.0;
        }
        let x = std::f64::consts::PI * self.cutoff * distance;
        let sinc = if x == 0.0 { 1.0 } else { x.sin() / x };
        self.cutoff * sinc * bessel(self.beta * (1.0 - place * place).sqrt()) / bessel(self.beta)
    }

    /// Of the input samples around a place that lies `behind` one of them; their sum is one.
    fn fill(&self, behind: f64, weights: &mut [f32]) {
        let half = weights.len() / 2;
        let exact = |i: usize| self.at(i as f64 - (half - 1) as f64 - behind);
        let sum: f64 = (0..weights.len()).map(exact).sum();
        weights.iter_mut().enumerate().for_each(|(i, weight)| *weight = (exact(i) / sum) as f32);
    }
}

/// The modified Bessel function of the first kind and order zero.
fn bessel(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-17 {
        term *= quarter / (k * k);
        sum += term;
        k += 1.0;
    }
    sum
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl Resampler {
    pub fn new(rate_hz: u32) -> Result<Self, AudioError> {
        if !(2_000..=384_000).contains(&rate_hz) {
            return Err(AudioError::Rate(rate_hz));
        }
        let common = greatest_common_divisor(rate_hz.into(), RATE_HZ.into());
        let (step, places) = (u64::from(rate_hz) / common, u64::from(RATE_HZ) / common);
        let lower = f64::from(rate_hz.min(RATE_HZ)) / f64::from(rate_hz);
        // Kaiser 1974: length and shape for a transition of that width, in cycles a sample
        let transition = (1.0 - PASS) * lower / 2.0;
        let half = ((ATTENUATION - 7.95) / (14.36 * transition) / 2.0).ceil();
        let beta = 0.1102 * (ATTENUATION - 8.7);
        let kernel = Kernel { cutoff: (1.0 + PASS) / 2.0 * lower, half, beta };
        let half = half as usize;
        let mut weights = vec![0.0; 2 * half];
        let mut table = Vec::new();
        if places as usize * 2 * half <= TABLE {
            for place in 0..places {
                kernel.fill(place as f64 / places as f64, &mut weights);
                table.extend_from_slice(&weights);
            }
        }
        let waiting = vec![0.0; half - 1];
        Ok(Self { rate_hz, step, places, half, table, kernel, weights, waiting, first: 0, heard: 0, said: 0 })
    }

    /// What of the result is known by now goes behind `out`.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.heard += samples.len() as u64;
        self.waiting.extend_from_slice(samples);
        self.say(u64::MAX, out);
    }

    /// The rest: together as many samples as `length` says.
    pub fn finish(mut self, out: &mut Vec<f32>) {
        // soxr rounds where librosa rounds up, and the sample between is silence
        let said = (self.heard as f64 * f64::from(RATE_HZ) / f64::from(self.rate_hz) + 0.5).floor() as u64;
        let whole = length(self.heard, self.rate_hz);
        self.waiting.resize(self.waiting.len() + 2 * self.half + self.step as usize, 0.0);
        self.say(said.min(whole), out);
        out.extend((self.said..whole).map(|_| 0.0));
    }

    fn say(&mut self, until: u64, out: &mut Vec<f32>) {
        let mut at = 0;
        while self.said < until {
            let place = self.said * self.step;
            let (first, place) = (place / self.places, place % self.places);
            let start = at + (first - self.first) as usize;
            let Some(around) = self.waiting.get(start..start + 2 * self.half) else { break };
            (at, self.first) = (start, first);
            let weights = if self.table.is_empty() {
                self.kernel.fill(place as f64 / self.places as f64, &mut self.weights);
                self.weights.as_slice()
            } else {
                &self.table[place as usize * 2 * self.half..][..2 * self.half]
            };
            out.push(product(around, weights));
            self.said += 1;
        }
        self.waiting.drain(..at);
    }
}

fn product(a: &[f32], b: &[f32]) -> f32 {
    let (whole, rest) = (a.chunks_exact(LANES).zip(b.chunks_exact(LANES)), a.len() / LANES * LANES);
    let mut sums = [0f32; LANES];
    for (a, b) in whole {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + a[rest..].iter().zip(&b[rest..]).map(|(a, b)| a * b).sum::<f32>()
}

/// A voice that is resampled while it is read.
struct Resampled {
    voice: Box<dyn VoiceSource>,
    /// None once the voice has ended.
    resampler: Option<Resampler>,
    piece: Vec<f32>,
    ready: Vec<f32>,
    taken: usize,
}

/// A voice of any rate at 16 kHz; one that has the rate already is passed on as it is.
pub fn resampled(voice: Box<dyn VoiceSource>) -> Result<Box<dyn VoiceSource>, AudioError> {
    if voice.rate_hz() == RATE_HZ {
        return Ok(voice);
    }
    let resampler = Some(Resampler::new(voice.rate_hz())?);
    Ok(Box::new(Resampled { voice, resampler, piece: vec![0.0; PIECE], ready: Vec::new(), taken: 0 }))
}

impl VoiceSource for Resampled {
    fn rate_hz(&self) -> u32 {
        RATE_HZ
    }

    fn read(&mut self, out: &mut [f32]) -> Result<usize, SourceError> {
        while self.taken == self.ready.len() {
            let Some(resampler) = &mut self.resampler else { return Ok(0) };
            self.taken = 0;
            self.ready.clear();
            match self.voice.read(&mut self.piece)? {
                0 => self.resampler.take().expect("it was here").finish(&mut self.ready),
                n => resampler.push(&self.piece[..n], &mut self.ready),
            }
        }
        let n = out.len().min(self.ready.len() - self.taken);
        out[..n].copy_from_slice(&self.ready[self.taken..][..n]);
        self.taken += n;
        Ok(n)
    }

    fn expected(&self) -> Option<u64> {
        self.voice.expected().map(|samples| length(samples, self.voice.rate_hz()))
    }

    fn arrives(&self) -> bool {
        self.voice.arrives()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::Pcm;

    fn tone(rate_hz: u32, samples: usize) -> Vec<f32> {
        (0..samples).map(|i| (i as f32 * 440.0 * std::f32::consts::TAU / rate_hz as f32).sin()).collect()
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        for rate_hz in [8_000, 11_025, 24_000, 44_100, 48_000, 44_101, 192_000] {
            let samples = tone(rate_hz, rate_hz as usize / 4 + 7);
            let (mut whole, mut pieces) = (Vec::new(), Vec::new());
            let mut resampler = Resampler::new(rate_hz).unwrap();
            resampler.push(&samples, &mut whole);
            resampler.finish(&mut whole);
            let mut resampler = Resampler::new(rate_hz).unwrap();
            for piece in samples.chunks(333) {
                resampler.push(piece, &mut pieces);
                assert!(resampler.waiting.len() <= 4 * resampler.half + 333, "{rate_hz}");
            }
            resampler.finish(&mut pieces);
            assert_eq!(whole, pieces, "{rate_hz}");
            assert_eq!(whole.len() as u64, length(samples.len() as u64, rate_hz), "{rate_hz}");
            // away from the ends it is the same tone
            for (i, (have, want)) in
                whole.iter().zip(tone(16_000, whole.len())).enumerate().skip(400).take(3_000)
            {
                assert!((have - want).abs() < 2e-4, "{rate_hz}: {i} is {have}, not {want}");
            }
        }
    }

    #[test]
    fn a_voice_is_read_at_16_khz() {
        let voice = |rate_hz| {
            Box::new(std::io::Cursor::new(Pcm { rate_hz, samples: tone(rate_hz, 20_000) }))
                as Box<dyn VoiceSource>
        };
        for rate_hz in [16_000, 22_050] {
            let mut voice = resampled(voice(rate_hz)).unwrap();
            let (mut all, mut piece) = (Vec::new(), [0.0; 777]);
            while let n @ 1.. = voice.read(&mut piece).unwrap() {
                all.extend_from_slice(&piece[..n]);
            }
            assert_eq!(all.len() as u64, length(20_000, rate_hz));
            assert_eq!((voice.rate_hz(), voice.read(&mut piece).unwrap()), (16_000, 0));
        }
        let said = resampled(voice(1_000)).err().unwrap().to_string();
        assert_eq!(said, "a voice at 1000 Hz cannot be resampled; send one at 2000 to 384000 Hz");
    }
}
