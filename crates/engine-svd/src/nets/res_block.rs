//! `SpatioTemporalResBlock` (diffusers 0.42.1): a residual block within frames, one over frames, and a learned mixture of the two. The second one adds
//! to the first, so mixing them is scaling what it adds: the share is multiplied into its last convolution at load. What a time
//! embedding adds goes into the norm that follows.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use layers::{Bias, Conv2d, ConvConfig, FrameConv, GroupNorm, Linear, weights::is_outline};

/// Which of the two a mixer's factor counts (`AlphaBlender`): with `learned_with_images` the first, in the VAE's decoder, which switches their
/// roles, the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    Spatial,
    Temporal,
}

/// What the mixer at `vb` leaves of the spatial branch; the temporal one has the rest.
pub fn spatial_share(counts: Counts, vb: &VarBuilder) -> Result<f64> {
    let factor = vb.get(1, "time_mixer.mix_factor")?.to_dtype(DType::F32)?.to_vec1::<f32>()?[0];
    let counted = 1.0 / (1.0 + f64::from(-factor).exp());
    Ok(match counts {
        Counts::Spatial => counted,
        Counts::Temporal => 1.0 - counted,
    })
}

/// The numbers of a block.
#[derive(Clone, Copy, Debug)]
pub struct ResBlockSize {
    pub channels: (usize, usize),
    pub groups: usize,
    /// of the norms within frames, of those over frames
    pub eps: (f64, f64),
    /// Width of the time embedding, where there is one.
    pub time: Option<usize>,
    pub counts: Counts,
}

/// What a time adds to a block.
#[derive(Clone, Debug)]
pub struct ResTime {
    spatial: Tensor,  // (b, o)
    temporal: Tensor, // (b, o)
}

/// `ResnetBlock2D`
#[derive(Debug)]
struct SpatialResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    /// Where the number of channels changes.
    conv_shortcut: Option<Conv2d>,
    time_emb_proj: Option<Linear>,
}

impl SpatialResBlock {
    fn load(size: &ResBlockSize, vb: VarBuilder) -> Result<Self> {
        let (three, (inputs, outputs)) = (ConvConfig::square(3), size.channels);
        let conv_shortcut = match inputs == outputs {
            true => None,
            false => Some(Conv2d::load(inputs, outputs, ConvConfig::square(1), vb.pp("conv_shortcut"))?),
        };
        Ok(Self {
            norm1: GroupNorm::load(size.groups, inputs, size.eps.0, vb.pp("norm1"))?,
            conv1: Conv2d::load(inputs, outputs, three, vb.pp("conv1"))?,
            norm2: GroupNorm::load(size.groups, outputs, size.eps.0, vb.pp("norm2"))?,
            conv2: Conv2d::load(outputs, outputs, three, vb.pp("conv2"))?,
            conv_shortcut,
            time_emb_proj: time_projection(size, &vb)?,
        })
    }

    /// x: (b * f, h, w, i), time: (b, o) -> (b * f, h, w, o)
    fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> Result<Tensor> {
        let y = self.conv1.forward(&self.norm1.forward_silu(x)?)?; // (b * f, h, w, o)
        let y = norm_of_sum(&self.norm2, &y, time)?;
        match &self.conv_shortcut {
            Some(conv) => self.conv2.forward_plus(&y, &conv.forward(x)?),
            None => self.conv2.forward_plus(&y, x),
        }
    }
}

/// `TemporalResnetBlock`: its norms and convolutions run over frames.
#[derive(Debug)]
struct TemporalResBlock {
    norm1: GroupNorm,
    conv1: FrameConv,
    norm2: GroupNorm,
    /// Times what the mixture leaves of it.
    conv2: FrameConv,
    time_emb_proj: Option<Linear>,
}

impl TemporalResBlock {
    fn load(size: &ResBlockSize, share: f64, vb: VarBuilder) -> Result<Self> {
        let channels = size.channels.1;
        let norm = |name: &str| GroupNorm::load(size.groups, channels, size.eps.1, vb.pp(name));
        let conv2 = vb.pp("conv2");
        let (weight, bias) =
            (conv2.get((channels, channels, 3, 1, 1), "weight")?, conv2.get(channels, "bias")?);
        let conv2 = match is_outline(&weight) {
            true => FrameConv::new(&weight, &bias)?,
            false => FrameConv::new(&(weight * share)?, &(bias * share)?)?,
        };
        Ok(Self {
            norm1: norm("norm1")?,
            conv1: FrameConv::load(channels, channels, vb.pp("conv1"))?,
            norm2: norm("norm2")?,
            conv2,
            time_emb_proj: time_projection(size, &vb)?,
        })
    }

    /// x: (b, f, h, w, c), time: (b, c) -> the same as x
    fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> Result<Tensor> {
        let y = self.conv1.forward(&self.norm1.forward_silu(x)?)?;
        self.conv2.forward_plus(&norm_of_sum(&self.norm2, &y, time)?, x)
    }
}

fn time_projection(size: &ResBlockSize, vb: &VarBuilder) -> Result<Option<Linear>> {
    let load = |width| Linear::load(width, size.channels.1, Bias::Yes, vb.pp("time_emb_proj"));
    size.time.map(load).transpose()
}

fn norm_of_sum(norm: &GroupNorm, x: &Tensor, added: Option<&Tensor>) -> Result<Tensor> {
    added.map_or_else(|| norm.forward_silu(x), |added| norm.forward_silu_of_sum(x, added))
}

#[derive(Debug)]
pub struct SpatioTemporalResBlock {
    spatial: SpatialResBlock,
    temporal: TemporalResBlock,
}

impl SpatioTemporalResBlock {
    pub fn load(size: &ResBlockSize, vb: VarBuilder) -> Result<Self> {
        let share = 1.0 - spatial_share(size.counts, &vb)?;
        Ok(Self {
            spatial: SpatialResBlock::load(size, vb.pp("spatial_res_block"))?,
            temporal: TemporalResBlock::load(size, share, vb.pp("temporal_res_block"))?,
        })
    }

    /// emb: (b, e), activated. None for a block without a time.
    pub fn time(&self, emb: &Tensor) -> Result<Option<ResTime>> {
        let (Some(spatial), Some(temporal)) = (&self.spatial.time_emb_proj, &self.temporal.time_emb_proj)
        else {
            return Ok(None);
        };
        Ok(Some(ResTime { spatial: spatial.forward(emb)?, temporal: temporal.forward(emb)? }))
    }

    /// x: (b, f, h, w, i) -> (b, f, h, w, o)
    pub fn forward(&self, x: &Tensor, time: Option<&ResTime>) -> Result<Tensor> {
        let spatial = match time {
            Some(time) => each_frame(x, |x| self.spatial.forward(x, Some(&time.spatial))),
            None => frame_by_frame(x, |x| self.spatial.forward(x, None)),
        }?;
        self.temporal.forward(&spatial, time.map(|time| &time.temporal))
    }

    /// Norms with the epsilon they should have: within frames, over frames.
    #[cfg(test)]
    pub fn norms(&self) -> [[&GroupNorm; 2]; 2] {
        let (spatial, temporal) = (&self.spatial, &self.temporal);
        [[&spatial.norm1, &spatial.norm2], [&temporal.norm1, &temporal.norm2]]
    }
}

/// x: (b, f, h, w, c) as a batch of pictures through `frame`, and back.
pub fn each_frame(x: &Tensor, frame: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let (b, f, h, w, c) = x.dims5()?;
    let y = frame(&x.reshape((b * f, h, w, c))?)?; // (b * f, h', w', o)
    let (_, h, w, o) = y.dims4()?;
    y.reshape((b, f, h, w, o))
}

/// Values of a frame from which on frames go one after the other: one alone keeps the kernels busy, and what lies between its layers would
/// otherwise be there for all of them at once.
const ALONE: usize = 1 << 20;

/// The same where `frame` knows nothing of other frames: large ones one at a time.
pub fn frame_by_frame(x: &Tensor, frame: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let (b, f, h, w, c) = x.dims5()?;
    let frames = b * f;
    if frames == 1 || h * w * c < ALONE {
        return each_frame(x, frame);
    }
    let x = x.reshape((frames, h, w, c))?;
    let first = frame(&x.narrow(0, 0, 1)?)?;
    let (_, h, w, o) = first.dims4()?;
    let y = Tensor::zeros((frames, h, w, o), first.dtype(), first.device())?;
    y.slice_set(&first, 0, 0)?;
    for at in 1..frames {
        y.slice_set(&frame(&x.narrow(0, at, 1)?)?, 0, at)?;
    }
    y.reshape((b, f, h, w, o))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn large_frames_give_alone_what_they_give_together() {
        let vb = golden::Seeded::new("frames").builder(DType::F32, &Device::Cpu);
        let size = ResBlockSize {
            channels: (8, 4),
            groups: 2,
            eps: (1e-6, 1e-5),
            time: None,
            counts: Counts::Temporal,
        };
        let block = SpatialResBlock::load(&size, vb).unwrap();
        let seeded = golden::Seeded::new("latents");
        let x = seeded.tensor("x", &[1, 3, 400, 384, 8], DType::F32, &Device::Cpu).unwrap();
        const { assert!(400 * 384 * 8 >= ALONE) };
        let alone = frame_by_frame(&x, |x| block.forward(x, None)).unwrap();
        let together = each_frame(&x, |x| block.forward(x, None)).unwrap();
        assert_eq!(alone.dims(), [1, 3, 400, 384, 4]);
        let apart = (alone - together).unwrap().abs().unwrap().max_all().unwrap();
        assert!(apart.to_scalar::<f32>().unwrap() < 1e-5);
    }
}
