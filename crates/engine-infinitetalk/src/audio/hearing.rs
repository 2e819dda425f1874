//! What wav2vec 2.0 hears in each frame of a voice. A voice of up to two minutes is heard at once, with the official numbers: that takes 16 MB for
//! each second of it on a CPU (the first convolutions' outputs; 1.9 GB at the limit), and attention grows with the square. A longer
//! voice is heard in stretches of a minute that begin every 40 s; every frame is taken where at least 9 s were heard on both sides,
//! and over a second one stretch hands over to the next. That is near the official numbers but not equal to them (each stretch is
//! normalised by itself), and is told. Memory then: two stretches, and what was heard.

use std::collections::VecDeque;

use candle_core::{DType, Device, Result, Tensor, bail};
use contract::Warning;
use layers::Probe;

use super::{FPS, RATE_HZ, frames};
use crate::nets::wav2vec2::Wav2Vec2;

/// Samples of a frame of video.
const SAMPLES_PER_FRAME: usize = RATE_HZ as usize / FPS;
/// With fewer samples the convolutions have nothing to say; silence follows.
const FEWEST: usize = 400;
/// Stretches that are kept: the one that is heard, and the next.
const KEPT: usize = 2;

/// In frames of video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest voice that is heard at once.
    pub whole: usize,
    /// Of a stretch of a longer one.
    pub stretch: usize,
    /// From the beginning of a stretch to that of the next.
    pub stride: usize,
    /// Over which they hand over.
    pub seam: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { whole: 120 * FPS, stretch: 60 * FPS, stride: 40 * FPS, seam: FPS }
    }
}

impl Limits {
    fn stretches(&self, frames: usize) -> usize {
        if frames <= self.whole { 1 } else { 1 + frames.saturating_sub(self.stretch).div_ceil(self.stride) }
    }

    /// The stretches that a frame is taken of, and how much of the second.
    fn shares(&self, frame: usize, stretches: usize) -> (usize, f32) {
        // hand-overs lie in the middle of what two stretches share
        let early = (self.stretch - self.stride - self.seam) / 2;
        let stretch = frame.saturating_sub(early) / self.stride;
        let into = frame.saturating_sub(early) % self.stride;
        match stretch {
            0 => (0, 0.0),
            _ if stretch >= stretches => (stretches - 1, 0.0),
            _ if into < self.seam => (stretch - 1, (into as f32 + 1.0) / (self.seam as f32 + 1.0)),
            _ => (stretch, 0.0),
        }
    }
}

/// One person's voice and the net that hears it.
pub struct Hearing<'a> {
    net: &'a Wav2Vec2,
    device: Device,
    samples: &'a [f32],
    frames: usize,
    limits: Limits,
    /// By their number, on the host: (frames, layers, c)
    heard: VecDeque<(usize, Tensor)>,
}

impl<'a> Hearing<'a> {
    /// samples: at 16 kHz, normalised; device: of the net
    pub fn new(net: &'a Wav2Vec2, device: &Device, samples: &'a [f32], limits: Limits) -> Self {
        let frames = frames(samples.len());
        Self { net, device: device.clone(), samples, frames, limits, heard: VecDeque::new() }
    }

    /// How many frames of video the voice is.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Where the numbers are not the official ones.
    pub fn warning(&self) -> Option<Warning> {
        let seconds = |frames: usize| frames as f64 / FPS as f64;
        let text = format!(
            "a voice of {:.1} s is heard in overlapping stretches of {} s, which is not quite what hearing it at once gives (the limit is {} s)",
            seconds(self.frames),
            seconds(self.limits.stretch),
            seconds(self.limits.whole)
        );
        (self.frames > self.limits.whole).then(|| Warning::new("long_audio", text))
    }

    /// Whatever a voice's length, of stretch `number`: (frames, layers, c)
    fn stretch(&mut self, number: usize) -> Result<Tensor> {
        if let Some((_, heard)) = self.heard.iter().find(|(n, _)| *n == number) {
            return Ok(heard.clone());
        }
        let first = number * self.limits.stride;
        let whole = self.limits.stretches(self.frames) == 1;
        let count = if whole { self.frames } else { self.limits.stretch.min(self.frames - first) };
        let from = first * SAMPLES_PER_FRAME;
        // what is less than a frame at the voice's end belongs to its last stretch
        let until =
            if first + count == self.frames { self.samples.len() } else { from + count * SAMPLES_PER_FRAME };
        let mut samples = self.samples[from..until].to_vec();
        samples.resize(samples.len().max(FEWEST), 0.0);
        let speech = Tensor::from_vec(samples, (1, ()), &self.device)?;
        let heard = self.net.forward(&speech, count, &Probe::off())?.squeeze(0)?; // (frames, layers, c)
        let heard = heard.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
        let sum = heard.sqr()?.sum_all()?.to_scalar::<f32>()?;
        if !sum.is_finite() {
            bail!(
                "what wav2vec2 heard from {:.2} s on is not a number; its weights may be damaged",
                first as f64 / FPS as f64
            );
        }
        if self.heard.len() == KEPT {
            self.heard.pop_front();
        }
        self.heard.push_back((number, heard.clone()));
        Ok(heard)
    }

    /// What is heard in every frame, 37 kB each: (frames, layers, c). `stop` is asked before each stretch; then it ends where it is.
    pub fn features(&mut self, stop: &dyn Fn() -> bool) -> Result<Tensor> {
        let stretches = self.limits.stretches(self.frames);
        if stretches == 1 {
            return self.stretch(0);
        }
        // copied out of their stretches, which a view would keep in memory
        let (mut values, mut shape) = (Vec::new(), (0, 0, 0));
        for frame in 0..self.frames {
            if frame % self.limits.stride == 0 && stop() {
                break;
            }
            let row = self.row(frame)?;
            let (_, layers, c) = row.dims3()?;
            values.reserve_exact((self.frames - frame) * layers * c);
            values.extend(row.flatten_all()?.to_vec1::<f32>()?);
            shape = (frame + 1, layers, c);
        }
        Tensor::from_vec(values, shape, &Device::Cpu)
    }

    /// What is heard in a frame: (1, layers, c)
    fn row(&mut self, frame: usize) -> Result<Tensor> {
        let (stretch, later) = self.limits.shares(frame, self.limits.stretches(self.frames));
        let mut of =
            |stretch: usize| self.stretch(stretch)?.narrow(0, frame - stretch * self.limits.stride, 1);
        if later == 0.0 {
            return of(stretch);
        }
        let later = f64::from(later);
        (of(stretch)? * (1.0 - later))? + (of(stretch + 1)? * later)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nets::wav2vec2::Wav2Vec2Config;

    const LIMITS: Limits = Limits { whole: 30, stretch: 24, stride: 14, seam: 2 };

    fn net() -> Wav2Vec2 {
        let cfg = Wav2Vec2Config {
            hidden_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            intermediate_size: 32,
            conv_dim: vec![16; 7],
            num_conv_pos_embeddings: 4,
            num_conv_pos_embedding_groups: 2,
            ..Wav2Vec2Config::base()
        };
        Wav2Vec2::load(&cfg, golden::Seeded::new("tiny").builder(DType::F32, &Device::Cpu)).unwrap()
    }

    fn voice(frames: usize) -> Vec<f32> {
        let loud = |i: usize| 0.3 + 0.2 * (i as f32 / 9_000.0).sin();
        (0..frames * SAMPLES_PER_FRAME + 77).map(|i| loud(i) * ((i * i % 997) as f32 / 498.0 - 1.0)).collect()
    }

    fn values(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn all(hearing: &mut Hearing) -> Tensor {
        hearing.features(&|| false).unwrap()
    }

    #[test]
    fn every_frame_is_taken_from_the_middle_of_a_stretch() {
        let limits = Limits::default();
        let frames = 100_000;
        let stretches = limits.stretches(frames);
        assert!((stretches - 1) * limits.stride + limits.stretch >= frames);
        for frame in 0..frames {
            let (stretch, later) = limits.shares(frame, stretches);
            for (stretch, _) in
                [(stretch, 1.0 - later), (stretch + 1, later)].into_iter().filter(|s| s.1 > 0.0)
            {
                let (begin, end) = (stretch * limits.stride, stretch * limits.stride + limits.stretch);
                let near = 9 * FPS;
                assert!(stretch == 0 || frame >= begin + near, "{frame} in {stretch}");
                assert!(stretch + 1 == stretches || frame + near < end, "{frame} in {stretch}");
            }
        }
        assert_eq!([1, 3_000, 3_001].map(|frames| limits.stretches(frames)), [1, 1, 3]);
    }

    #[test]
    fn a_short_voice_is_heard_at_once() {
        let (net, samples) = (net(), voice(30));
        let whole = net
            .forward(
                &Tensor::new(samples.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap(),
                30,
                &Probe::off(),
            )
            .unwrap()
            .squeeze(0)
            .unwrap();
        let mut hearing = Hearing::new(&net, &Device::Cpu, &samples, LIMITS);
        assert_eq!((hearing.frames(), hearing.warning()), (30, None));
        assert_eq!(values(&all(&mut hearing)), values(&whole));
    }

    #[test]
    fn a_long_voice_is_heard_in_stretches() {
        let (net, samples) = (net(), voice(90));
        let mut hearing = Hearing::new(&net, &Device::Cpu, &samples, LIMITS);
        assert!(
            hearing.warning().unwrap().message.contains("3.6 s is heard in overlapping stretches of 0.96 s")
        );
        let made = all(&mut hearing);
        assert_eq!(made.dims(), [90, 2, 32]);
        assert!(hearing.heard.len() <= KEPT);
        // again, from behind: what was dropped is heard anew
        let mut again = Hearing::new(&net, &Device::Cpu, &samples, LIMITS);
        for frame in (0..90).rev() {
            let have = again.row(frame).unwrap();
            assert_eq!(values(&have), values(&made.narrow(0, frame, 1).unwrap()), "{frame}");
        }
        // a stretch of its own is what the net says of it
        let part = &samples[28 * SAMPLES_PER_FRAME..52 * SAMPLES_PER_FRAME];
        let alone = Hearing::new(&net, &Device::Cpu, part, LIMITS).stretch(0).unwrap();
        assert_eq!(values(&hearing.stretch(2).unwrap()), values(&alone));
    }

    #[test]
    fn hardly_any_sound_is_sound_too() {
        let net = net();
        for samples in [1, 399, 700] {
            let samples = vec![0.1; samples];
            let mut hearing = Hearing::new(&net, &Device::Cpu, &samples, LIMITS);
            assert_eq!(all(&mut hearing).dims(), [1, 2, 32]);
        }
    }

    #[test]
    fn damage_is_told() {
        let net = net();
        let broken = vec![f32::NAN; 4_000];
        let said = Hearing::new(&net, &Device::Cpu, &broken, LIMITS).features(&|| false).unwrap_err();
        assert!(said.to_string().contains("is not a number"), "{said}");
    }
}
