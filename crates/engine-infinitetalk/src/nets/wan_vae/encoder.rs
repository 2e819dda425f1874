//! The VAE's encoder: frames to the mean and the log variance of a latent frame.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use layers::{CausalConv3d, Conv2d, Conv3dConfig, ConvConfig, Padding, Past};

use super::block::{Cursor, Head, Memory, Middle, ResidualBlock};
use super::{WanVaeConfig, cube, each_frame};

/// Half the size, and half the frames where it has a `time_conv`.
#[derive(Clone, Debug)]
struct Downsample {
    resample: Conv2d,
    time_conv: Option<CausalConv3d>,
}

impl Downsample {
    fn load(c: usize, halve_time: bool, vb: VarBuilder) -> Result<Self> {
        let conv = ConvConfig::square(3).stride(2).padding(Padding::behind(1));
        let time = Conv3dConfig::cube(3, 1).time_stride(2);
        Ok(Self {
            resample: Conv2d::load(c, c, conv, vb.pp("resample.1"))?,
            time_conv: halve_time.then(|| CausalConv3d::load(c, c, time, vb.pp("time_conv"))).transpose()?,
        })
    }

    /// x: (b, t, h, w, c) -> (b, t or t / 2, h / 2, w / 2, c)
    fn forward(&self, x: &Tensor, memory: &mut Cursor) -> Result<Tensor> {
        let x = each_frame(x, |x| self.resample.forward(x))?; // (b, t, h / 2, w / 2, c)
        let Some(time_conv) = &self.time_conv else { return Ok(x) };
        let past = memory.next();
        let y = match past.frames() {
            None => x.clone(), // the first frame of a clip stands for itself
            Some(last) => time_conv.valid(&Tensor::cat(&[last, &x], 1)?)?, // (b, t / 2, h / 2, w / 2, c)
        };
        *past = Past::of(x.narrow(1, x.dim(1)? - 1, 1)?.contiguous()?);
        Ok(y)
    }
}

#[derive(Clone, Debug)]
enum Layer {
    Residual(ResidualBlock),
    Downsample(Downsample),
}

#[derive(Clone, Debug)]
pub(super) struct Encoder {
    conv1: CausalConv3d,
    downsamples: Vec<Layer>,
    middle: Middle,
    head: Head,
}

impl Encoder {
    pub fn load(cfg: &WanVaeConfig, vb: VarBuilder) -> Result<Self> {
        let widths = cfg.widths();
        let mut downsamples = Vec::new();
        for (i, pair) in widths.windows(2).enumerate() {
            let (mut inputs, outputs) = (pair[0], pair[1]);
            for _ in 0..cfg.num_res_blocks {
                let vb = vb.pp("downsamples").pp(downsamples.len());
                downsamples.push(Layer::Residual(ResidualBlock::load(inputs, outputs, vb)?));
                inputs = outputs;
            }
            if let Some(&halve_time) = cfg.temperal_downsample.get(i) {
                let vb = vb.pp("downsamples").pp(downsamples.len());
                downsamples.push(Layer::Downsample(Downsample::load(outputs, halve_time, vb)?));
            }
        }
        let last = widths[widths.len() - 1];
        Ok(Self {
            conv1: cube(3, widths[0], vb.pp("conv1"))?,
            downsamples,
            middle: Middle::load(last, vb.pp("middle"))?,
            head: Head::load(last, 2 * cfg.z_dim, vb.pp("head"))?,
        })
    }

    /// x: (b, 1 or 4, h, w, 3) -> (b, 1, h / 8, w / 8, 2 z)
    pub fn forward(&self, x: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let mut memory = memory.rewind();
        let mut x = self.conv1.forward(x, memory.next())?;
        for layer in &self.downsamples {
            x = match layer {
                Layer::Residual(block) => block.forward(&x, &mut memory)?,
                Layer::Downsample(downsample) => downsample.forward(&x, &mut memory)?,
            };
        }
        let x = self.middle.forward(&x, &mut memory)?;
        self.head.forward(&x, &mut memory)
    }
}
