//! The VAE's decoder: a latent frame to frames.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use layers::{CausalConv3d, Conv2d, Conv3dConfig, ConvConfig, Past, upsample_nearest};

use super::block::{Cursor, Head, Memory, Middle, ResidualBlock};
use super::{WanVaeConfig, cube, each_frame};

/// Twice the size in half the channels, and twice the frames where it has a `time_conv`.
#[derive(Clone, Debug)]
struct Upsample {
    resample: Conv2d,
    time_conv: Option<CausalConv3d>,
}

impl Upsample {
    fn load(c: usize, double_time: bool, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            resample: Conv2d::load(c, c / 2, ConvConfig::square(3), vb.pp("resample.1"))?,
            time_conv: double_time
                .then(|| CausalConv3d::load(c, 2 * c, Conv3dConfig::cube(3, 1), vb.pp("time_conv")))
                .transpose()?,
        })
    }

    /// x: (b, t, h, w, c) -> (b, t or 2 t, 2 h, 2 w, c / 2)
    fn forward(&self, x: &Tensor, memory: &mut Cursor) -> Result<Tensor> {
        let x = match &self.time_conv {
            Some(time_conv) => double_time(x, time_conv, memory.next())?,
            None => x.clone(),
        };
        each_frame(&x, |x| self.resample.forward(&upsample_nearest(x, 2)?))
    }
}

/// x: (b, t, h, w, c) -> (b, 2 t, h, w, c); the first frame of a clip stands for itself and is not remembered: those after it see zeros.
fn double_time(x: &Tensor, time_conv: &CausalConv3d, past: &mut Past) -> Result<Tensor> {
    let (b, t, h, w, c) = x.dims5()?;
    if past.frames().is_none() {
        *past = Past::of(x.zeros_like()?);
        return Ok(x.clone());
    }
    time_conv
        .forward(x, past)?
        .reshape((b, t, h, w, 2, c))? // the first half of the channels is the earlier frame
        .permute((0, 1, 4, 2, 3, 5))?
        .reshape((b, 2 * t, h, w, c))
}

#[derive(Clone, Debug)]
enum Layer {
    Residual(ResidualBlock),
    Upsample(Upsample),
}

#[derive(Clone, Debug)]
pub(super) struct Decoder {
    conv1: CausalConv3d,
    middle: Middle,
    upsamples: Vec<Layer>,
    head: Head,
}

impl Decoder {
    pub fn load(cfg: &WanVaeConfig, vb: VarBuilder) -> Result<Self> {
        let mut widths = cfg.widths();
        widths.remove(0);
        widths.reverse(); // the encoder's stages, the other way round
        let first = widths[0];
        let mut upsamples = Vec::new();
        let mut inputs = first;
        for (i, &outputs) in widths.iter().enumerate() {
            for _ in 0..cfg.num_res_blocks + 1 {
                let vb = vb.pp("upsamples").pp(upsamples.len());
                upsamples.push(Layer::Residual(ResidualBlock::load(inputs, outputs, vb)?));
                inputs = outputs;
            }
            if let Some(&double_time) = cfg.temperal_downsample.iter().rev().nth(i) {
                let vb = vb.pp("upsamples").pp(upsamples.len());
                upsamples.push(Layer::Upsample(Upsample::load(outputs, double_time, vb)?));
                inputs = outputs / 2;
            }
        }
        Ok(Self {
            conv1: cube(cfg.z_dim, first, vb.pp("conv1"))?,
            middle: Middle::load(first, vb.pp("middle"))?,
            upsamples,
            head: Head::load(inputs, 3, vb.pp("head"))?,
        })
    }

    /// x: (b, 1, h, w, z) -> (b, 1 or 4, 8 h, 8 w, 3)
    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let mut memory = memory.rewind();
        let x = self.conv1.forward(x, memory.next())?;
        let mut x = self.middle.forward(&x, &mut memory)?;
        for layer in &self.upsamples {
            x = match layer {
                Layer::Residual(block) => block.forward(&x, &mut memory)?,
                Layer::Upsample(upsample) => upsample.forward(&x, &mut memory)?,
            };
        }
        self.head.forward(&x, &mut memory)
    }
}
