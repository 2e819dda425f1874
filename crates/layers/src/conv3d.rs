//! A convolution over video (b, t, h, w, c) that sees only the present and the past, so that a clip can be fed in pieces.
//! What it remembers between pieces is a value of the caller (`Past`). Its meaning is a sum over its time taps of 2D convolutions.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use kernels::Finish;

use crate::card::{Card, Convolution};
use crate::conv::{Conv2d, ConvConfig, Padding};
use crate::cpu;
use crate::weights::is_outline;

/// The last frames that went into a causal convolution: what it sees of the pieces before. Empty is all zeros.
#[derive(Clone, Debug, Default)]
pub struct Past(Option<Tensor>);

impl Past {
    pub fn empty() -> Self {
        Self(None)
    }

    /// frames: (b, t, h, w, c), as if they had just gone in.
    pub fn of(frames: Tensor) -> Self {
        Self(Some(frames))
    }

    pub fn frames(&self) -> Option<&Tensor> {
        self.0.as_ref()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv3dConfig {
    /// Taps in time.
    pub taps: usize,
    /// Step in time.
    pub time_stride: usize,
    /// Everything within a frame.
    pub frame: ConvConfig,
}

impl Conv3dConfig {
    /// (taps, kernel, kernel), stride 1, the size of a frame is kept.
    pub const fn cube(taps: usize, kernel: usize) -> Self {
        Self { taps, time_stride: 1, frame: ConvConfig::square(kernel) }
    }

    pub const fn time_stride(self, time_stride: usize) -> Self {
        Self { time_stride, ..self }
    }

    pub const fn padding(self, padding: Padding) -> Self {
        Self { frame: self.frame.padding(padding), ..self }
    }
}

#[derive(Clone, Debug)]
pub struct CausalConv3d {
    held: Held,
    taps: usize,
    time_stride: usize,
}

#[derive(Clone, Debug)]
enum Held {
    /// One for each tap, the oldest frame first; the last one holds the bias.
    Taps(Vec<Conv2d>),
    Card(Convolution),
}

impl CausalConv3d {
    /// weight: (o, c, taps, kh, kw), bias: (o,)
    pub fn load(inputs: usize, outputs: usize, cfg: Conv3dConfig, vb: VarBuilder) -> Result<Self> {
        let frame = cfg.frame;
        if cfg.taps == 0 || cfg.time_stride == 0 || frame.groups != 1 {
            bail!("a causal convolution cannot be {cfg:?}");
        }
        let weight = vb.get((outputs, inputs, cfg.taps, frame.kernel.0, frame.kernel.1), "weight")?;
        let bias = vb.get(outputs, "bias")?;
        let (taps, time_stride) = (cfg.taps, cfg.time_stride);
        if let Some(card) = Card::of(&[&weight, &bias]) {
            let held = Held::Card(card.convolution(&weight, Some(&bias), cfg)?);
            return Ok(Self { held, taps, time_stride });
        }
        let tap = |i: usize| {
            let slice = weight.narrow(2, i, 1)?.squeeze(2)?; // (o, c, kh, kw)
            let slice = if is_outline(&weight) { slice } else { slice.contiguous()? };
            let last = i + 1 == cfg.taps;
            let frame = if last { frame } else { frame.without_bias() };
            Conv2d::new(slice, last.then(|| bias.clone()), frame)
        };
        Ok(Self { held: Held::Taps((0..taps).map(tap).collect::<Result<_>>()?), taps, time_stride })
    }

    /// x: (b, t, h, w, c) -> (b, t', h', w', o), with `past` before it, which moves on by the frames of `x`.
    pub fn forward(&self, x: &Tensor, past: &mut Past) -> Result<Tensor> {
        let kept = self.taps - 1;
        if kept == 0 {
            return self.valid(x);
        }
        let (b, _, h, w, c) = x.dims5()?;
        let seen = match past.frames() {
            Some(frames) => Tensor::cat(&[frames, x], 1)?,
            None => x.clone(),
        };
        let t = seen.dim(1)?;
        let missing = (kept + x.dim(1)?).saturating_sub(t);
        let seen = if missing > 0 {
            Tensor::cat(&[&Tensor::zeros((b, missing, h, w, c), x.dtype(), x.device())?, &seen], 1)?
        } else {
            seen.narrow(1, t - kept - x.dim(1)?, kept + x.dim(1)?)?
        };
        *past = Past::of(seen.narrow(1, seen.dim(1)? - kept, kept)?.contiguous()?);
        self.valid(&seen)
    }

    /// Without anything before or after it. x: (b, t, h, w, c) -> (b, (t - taps) / time stride + 1, h', w', o)
    pub fn valid(&self, x: &Tensor) -> Result<Tensor> {
        let (b, t, h, w, c) = x.dims5()?;
        if t < self.taps {
            bail!("{t} frames are too few for a convolution of {} taps in time", self.taps);
        }
        let taps = match &self.held {
            Held::Taps(taps) => taps,
            Held::Card(convolution) => return convolution.forward(x, None, None),
        };
        let steps = (t - self.taps) / self.time_stride + 1;
        let frames = |i: usize| -> Result<Tensor> {
            let frames = if self.time_stride == 1 {
                x.narrow(1, i, steps)?
            } else {
                let picked: Vec<u32> = (0..steps).map(|s| (i + s * self.time_stride) as u32).collect();
                x.contiguous()?.index_select(&Tensor::new(picked, x.device())?, 1)?
            };
            frames.reshape((b * steps, h, w, c))
        };
        let first = &taps[0];
        let (_, h, w, o) = first.shape(&frames(0)?)?.into();
        let y = if first.writes(x) {
            cpu::make(&[b * steps, h, w, o], |y| {
                first.write(&frames(0)?, y, Finish::default())?;
                let mut rest = taps.iter().enumerate().skip(1);
                rest.try_for_each(|(i, tap)| tap.write(&frames(i)?, y, Finish::accumulate()))
            })?
        } else {
            let mut sum = first.forward(&frames(0)?)?;
            for (i, tap) in taps.iter().enumerate().skip(1) {
                sum = (sum + tap.forward(&frames(i)?)?)?;
            }
            sum
        }; // (b * t', h', w', o)
        y.reshape((b, steps, h, w, o))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use std::collections::HashMap;

    fn wave(shape: &[usize], step: f32) -> Tensor {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * step + 0.3).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn conv(taps: usize, cfg: Conv3dConfig) -> (CausalConv3d, Vec<f32>) {
        let weight = wave(&[4, 3, taps, 3, 3], 0.77);
        let tensors =
            HashMap::from([("weight".to_owned(), weight.clone()), ("bias".to_owned(), wave(&[4], 1.3))]);
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        (CausalConv3d::load(3, 4, cfg, vb).unwrap(), weight.flatten_all().unwrap().to_vec1().unwrap())
    }

    fn flat(t: &Tensor) -> Vec<f32> {
        t.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn agrees_with_the_definition() {
        let (conv, weight) = conv(3, Conv3dConfig::cube(3, 3));
        let x = wave(&[1, 5, 4, 4, 3], 0.41);
        let got = conv.forward(&x, &mut Past::empty()).unwrap();
        assert_eq!(got.dims(), [1, 5, 4, 4, 4]);
        let (x, bias, got) = (flat(&x), flat(&wave(&[4], 1.3)), flat(&got));
        for (index, got) in got.iter().enumerate() {
            let (o, w, h, t) = (index % 4, index / 4 % 4, index / 16 % 4, index / 64);
            let mut sum = f64::from(bias[o]);
            for tap in 0..3 {
                for ky in 0..3 {
                    for kx in 0..3 {
                        let at = (t + tap, h + ky, w + kx); // in the padded clip: 2 frames, 1 row and 1 column of zeros before
                        if at.0 < 2 || !(1..5).contains(&at.1) || !(1..5).contains(&at.2) {
                            continue;
                        }
                        for c in 0..3 {
                            let value = x[(((at.0 - 2) * 4 + at.1 - 1) * 4 + at.2 - 1) * 3 + c];
                            sum += f64::from(value)
                                * f64::from(weight[(((o * 3 + c) * 3 + tap) * 3 + ky) * 3 + kx]);
                        }
                    }
                }
            }
            assert!((f64::from(*got) - sum).abs() < 1e-4, "[{index}] {got} is not {sum}");
        }
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let (conv, _) = conv(3, Conv3dConfig::cube(3, 3));
        let x = wave(&[1, 9, 4, 4, 3], 0.41);
        let whole = conv.forward(&x, &mut Past::empty()).unwrap();
        for pieces in [&[1, 4, 4][..], &[1; 9], &[3, 6], &[2, 1, 1, 5]] {
            let (mut past, mut from, mut parts) = (Past::empty(), 0, Vec::new());
            for &n in pieces {
                parts.push(conv.forward(&x.narrow(1, from, n).unwrap(), &mut past).unwrap());
                from += n;
            }
            assert_eq!(flat(&Tensor::cat(&parts, 1).unwrap()), flat(&whole), "{pieces:?}");
        }
    }

    #[test]
    fn strides_in_time() {
        let (strided, _) = conv(3, Conv3dConfig::cube(3, 3).time_stride(2));
        let (plain, _) = conv(3, Conv3dConfig::cube(3, 3));
        let x = wave(&[1, 7, 4, 4, 3], 0.41);
        let (got, all) = (strided.valid(&x).unwrap(), plain.valid(&x).unwrap());
        assert_eq!(got.dims(), [1, 3, 4, 4, 4]);
        for t in 0..3 {
            let frame = |x: &Tensor, t: usize| flat(&x.narrow(1, t, 1).unwrap());
            for (got, want) in frame(&got, t).iter().zip(frame(&all, 2 * t)) {
                assert!((got - want).abs() < 1e-4, "{got} is not {want}");
            }
        }
        assert!(strided.valid(&wave(&[1, 2, 4, 4, 3], 0.41)).is_err());
    }
}
