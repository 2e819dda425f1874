//! What the encoder makes of a stretch of sound, and windows cut of it. Rows are 20 ms each and hold all hidden states, as the UNet's tokens
//! lie: (row, state). Everything stays on the encoder's device; a window inside one stretch is a view.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use super::mel::{self, BANDS, Frame};
use super::windows::Span;
use crate::nets::whisper::{LastState, WhisperEncoder};

/// The encoder, and the form of its last state.
#[derive(Clone)]
pub struct Encoder {
    pub whisper: Arc<WhisperEncoder>,
    pub last: LastState,
}

impl Encoder {
    /// values: the scaled log-mel of 2 · `rows` frames -> the stretch that begins with row `first`
    pub fn stretch(&self, values: Vec<f32>, first: u64) -> Result<Stretch> {
        let frames = values.len() / BANDS;
        let mel = Tensor::from_vec(values, (1, frames, BANDS), self.whisper.device())?;
        let states = self.whisper.forward(&mel.to_dtype(self.whisper.dtype())?, self.last)?;
        let features = Tensor::stack(&states, 2)?; // (1, rows, states, c)
        Ok(Stretch::new(first, features.flatten(0, 2)?, self.states())) // (rows * states, c)
    }

    /// The same of raw frames, silence after them up to `rows`, with their ceiling.
    pub fn padded(&self, frames: &[Frame], ceiling: f32, (first, rows): (u64, usize)) -> Result<Stretch> {
        let mut values = mel::scaled(frames, ceiling);
        let silence = mel::scaled(&[[mel::SILENT; BANDS]], ceiling)[0];
        values.resize(2 * rows * BANDS, silence);
        self.stretch(values, first)
    }

    /// Tokens of a row.
    fn states(&self) -> usize {
        self.whisper.width().0
    }
}

/// Features of consecutive rows, from `first` on.
#[derive(Clone, Debug)]
pub struct Stretch {
    pub first: u64,
    pub rows: usize,
    /// (rows * states, c)
    tokens: Tensor,
}

impl Stretch {
    /// tokens: (rows * states, c)
    pub fn new(first: u64, tokens: Tensor, states: usize) -> Self {
        Self { first, rows: tokens.dims()[0] / states, tokens }
    }

    /// The row after the last.
    pub fn end(&self) -> u64 {
        self.first + self.rows as u64
    }
}

/// What lies before the first row and after the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    Zeros,
    /// The outermost row again.
    Repeated,
}

/// Where the rows of a voice end, as far as that is known.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub rows: Option<u64>,
    pub beyond: Beyond,
}

impl Bounds {
    pub fn zeros(rows: Option<u64>) -> Self {
        Self { rows, beyond: Beyond::Zeros }
    }

    /// The row that stands at `at`; none where there are zeros.
    fn row(self, at: i64) -> Option<u64> {
        let past = self.rows.is_some_and(|rows| at >= rows as i64);
        match self.beyond {
            Beyond::Zeros => (at >= 0 && !past).then_some(at as u64),
            Beyond::Repeated => {
                Some(if past { self.rows.unwrap_or(0).saturating_sub(1) } else { at.max(0) as u64 })
            }
        }
    }
}

/// Cuts windows of an encoder's stretches.
pub struct Cutter {
    states: usize,
    /// (rows * states, c); as many as the longest window has.
    zeros: Tensor,
}

impl Cutter {
    /// For windows of up to `rows` rows.
    pub fn new(encoder: &Encoder, rows: usize) -> Result<Self> {
        let (states, c) = encoder.whisper.width();
        let zeros = Tensor::zeros((rows * states, c), encoder.whisper.dtype(), encoder.whisper.device())?;
        Ok(Self::with_zeros(states, zeros))
    }

    /// zeros: (rows * states, c), what stands for rows beyond the ends
    pub fn with_zeros(states: usize, zeros: Tensor) -> Self {
        Self { states, zeros }
    }

    /// (rows * states, c); none where a row lies in no stretch.
    pub fn window(&self, stretches: &[Stretch], span: Span, bounds: Bounds) -> Result<Option<Tensor>> {
        let mut pieces: Vec<Tensor> = Vec::with_capacity(2);
        let mut at = span.first;
        while at < span.end() {
            let Some(row) = bounds.row(at) else {
                let run = (at..span.end()).take_while(|&at| bounds.row(at).is_none()).count();
                pieces.push(self.zeros.narrow(0, 0, run * self.states)?);
                at += run as i64;
                continue;
            };
            let Some(stretch) = stretches.iter().find(|s| (s.first..s.end()).contains(&row)) else {
                return Ok(None);
            };
            let follows = |i: u64| bounds.row(at + i as i64) == Some(row + i) && row + i < stretch.end();
            let run = (0..(span.end() - at) as u64).take_while(|&i| follows(i)).count();
            let from = (row - stretch.first) as usize * self.states;
            pieces.push(stretch.tokens.narrow(0, from, run * self.states)?);
            at += run as i64;
        }
        match pieces.as_slice() {
            [] => bail!("a window of no rows"),
            [whole] => Ok(Some(whole.clone())),
            pieces => Ok(Some(Tensor::cat(pieces, 0)?)),
        }
    }
}

/// Where one stretch hands over to the next that covers the same sound: over `rows` rows from `from` on, window by window, so that
/// no window is torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seam {
    pub from: u64,
    pub rows: u64,
}

impl Seam {
    /// How much of a window around `centre` is of the later stretch, 0..=1.
    pub fn later(self, centre: u64) -> f64 {
        ((centre as f64 + 0.5 - self.from as f64) / self.rows as f64).clamp(0.0, 1.0)
    }
}

/// a · (1 - later) + b · later
pub fn mixed(a: &Tensor, b: &Tensor, later: f64) -> Result<Tensor> {
    (a * (1.0 - later))? + (b * later)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    /// Rows of two states and one channel: state s of row r holds 10 r + s.
    fn stretch(first: u64, rows: usize) -> Stretch {
        let values: Vec<f32> = (0..rows as u64)
            .flat_map(|r| [10 * (first + r), 10 * (first + r) + 1])
            .map(|v| v as f32)
            .collect();
        Stretch::new(first, Tensor::from_vec(values, (2 * rows, 1), &Device::Cpu).unwrap(), 2)
    }

    #[test]
    fn windows_cross_stretches_and_ends() {
        let zeros = Tensor::zeros((20, 1), DType::F32, &Device::Cpu).unwrap();
        let cutter = Cutter::with_zeros(2, zeros);
        let stretches = [stretch(0, 6), stretch(6, 6)];
        let repeated = |rows| Bounds { rows: Some(rows), beyond: Beyond::Repeated };
        for (first, rows, bounds, want) in [
            (1, 3, Bounds::zeros(None), Some(vec![1, 2, 3])),
            (4, 4, Bounds::zeros(None), Some(vec![4, 5, 6, 7])),
            (-2, 4, Bounds::zeros(None), Some(vec![-1, -1, 0, 1])),
            (8, 4, Bounds::zeros(Some(10)), Some(vec![8, 9, -1, -1])),
            (10, 4, Bounds::zeros(None), None),
            (-2, 4, repeated(12), Some(vec![0, 0, 0, 1])),
            (8, 4, repeated(10), Some(vec![8, 9, 9, 9])),
            (30, 2, repeated(10), Some(vec![9, 9])),
            (-1, 3, repeated(1), Some(vec![0, 0, 0])),
        ] {
            let got = cutter.window(&stretches, Span { first, rows }, bounds).unwrap();
            let got = got.map(|x| x.flatten_all().unwrap().to_vec1::<f32>().unwrap());
            let tokens = |r: i32| if r < 0 { [0.0, 0.0] } else { [10.0 * r as f32, 10.0 * r as f32 + 1.0] };
            assert_eq!(got, want.map(|w| w.into_iter().flat_map(tokens).collect()), "{first} {bounds:?}");
        }
    }

    #[test]
    fn a_seam_goes_from_one_to_the_other() {
        let seam = Seam { from: 100, rows: 4 };
        let shares: Vec<f64> = (98..106).map(|row| seam.later(row)).collect();
        assert_eq!(shares, [0.0, 0.0, 0.125, 0.375, 0.625, 0.875, 1.0, 1.0]);
        let x = |v: f32| Tensor::new(&[[v]], &Device::Cpu).unwrap();
        let y = mixed(&x(2.0), &x(6.0), 0.25).unwrap();
        assert_eq!(y.to_vec2::<f32>().unwrap(), [[3.0]]);
    }
}

/// An encoder that costs next to nothing, for tests of what is around it.
#[cfg(test)]
pub mod probe {
    use super::*;
    use crate::nets::whisper::WhisperConfig;
    use candle_core::{DType, Device};
    use golden::Seeded;

    pub fn encoder() -> Encoder {
        let cfg = WhisperConfig {
            d_model: 4,
            encoder_layers: 1,
            encoder_attention_heads: 1,
            encoder_ffn_dim: 4,
            ..WhisperConfig::tiny()
        };
        let vb = Seeded::new("probe").builder(DType::F32, &Device::Cpu);
        Encoder { whisper: Arc::new(WhisperEncoder::load(&cfg, vb).unwrap()), last: LastState::Normed }
    }
}
