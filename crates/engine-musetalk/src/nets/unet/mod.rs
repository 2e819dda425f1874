//! MuseTalk's generator: the UNet of Stable Diffusion 1 (Rombach et al. 2022; diffusers 0.30.2, `UNet2DConditionModel`) with eight input
//! channels and audio features as its text. MuseTalk runs it once, at timestep 0, so the time embedding is a constant that is
//! computed at load and goes into the biases of the residual blocks.

mod blocks;
mod config;

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use layers::{Bias, Conv2d, ConvConfig, GroupNorm, Linear, Padding, Probe, TimestepConfig};
use layers::{timestep_embedding, upsample_nearest};

use blocks::{ResnetBlock, Transformer2d};
pub use config::UnetConfig;

/// The timestep MuseTalk was trained at.
const TIMESTEP: f32 = 0.0;

#[derive(Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock>,
    /// As many as resnets, or none.
    attentions: Vec<Transformer2d>,
    downsampler: Option<Conv2d>,
}

#[derive(Debug)]
struct MidBlock {
    first: ResnetBlock,
    attention: Transformer2d,
    second: ResnetBlock,
}

#[derive(Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    /// As many as resnets, or none.
    attentions: Vec<Transformer2d>,
    upsampler: Option<Conv2d>,
}

#[derive(Debug)]
pub struct Unet {
    temb: Tensor,
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// The embedding of `TIMESTEP`. (1, 4c)
fn time_embedding(cfg: &UnetConfig, vb: VarBuilder) -> Result<Tensor> {
    let first = cfg.block_out_channels[0];
    let linear_1 = Linear::load(first, 4 * first, Bias::Yes, vb.pp("linear_1"))?;
    let linear_2 = Linear::load(4 * first, 4 * first, Bias::Yes, vb.pp("linear_2"))?;
    if linear_1.is_outline() {
        return Tensor::zeros((1, 4 * first), vb.dtype(), vb.device());
    }
    let sinusoid = TimestepConfig {
        channels: first,
        flip_sin_to_cos: cfg.flip_sin_to_cos,
        freq_shift: cfg.freq_shift,
        max_period: 10000.0,
    };
    let t = Tensor::new(&[TIMESTEP], vb.device())?;
    let t = timestep_embedding(&t, &sinusoid)?.to_dtype(vb.dtype())?; // (1, c)
    linear_2.forward(&linear_1.forward(&t)?.silu()?)
}

impl Unet {
    pub fn load(cfg: &UnetConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        let widths = &cfg.block_out_channels;
        let (first, last, three) = (widths[0], widths[widths.len() - 1], ConvConfig::square(3));
        let temb = time_embedding(cfg, vb.pp("time_embedding"))?;
        let resnet = |channels: (usize, usize), vb: VarBuilder| ResnetBlock::load(cfg, channels, &temb, vb);

        let mut down_blocks = Vec::with_capacity(widths.len());
        // what the way up gets as its skips, in the order of the way down
        let mut skips = vec![first];
        let mut inputs = first;
        for (level, (&outputs, kind)) in widths.iter().zip(&cfg.down_block_types).enumerate() {
            let vb = vb.pp("down_blocks").pp(level);
            let (mut resnets, mut attentions) = (Vec::new(), Vec::new());
            for i in 0..cfg.layers_per_block {
                resnets.push(resnet((inputs, outputs), vb.pp("resnets").pp(i))?);
                if config::attends(kind)? {
                    attentions.push(Transformer2d::load(cfg, outputs, vb.pp("attentions").pp(i))?);
                }
                inputs = outputs;
                skips.push(outputs);
            }
            let halve = three.stride(2).padding(Padding::even(cfg.downsample_padding));
            let downsampler = match level + 1 < widths.len() {
                true => Some(Conv2d::load(outputs, outputs, halve, vb.pp("downsamplers").pp(0).pp("conv"))?),
                false => None,
            };
            if downsampler.is_some() {
                skips.push(outputs);
            }
            down_blocks.push(DownBlock { resnets, attentions, downsampler });
        }

        let mid = vb.pp("mid_block");
        let mid_block = MidBlock {
            first: resnet((last, last), mid.pp("resnets").pp(0))?,
            attention: Transformer2d::load(cfg, last, mid.pp("attentions").pp(0))?,
            second: resnet((last, last), mid.pp("resnets").pp(1))?,
        };

        let mut up_blocks = Vec::with_capacity(widths.len());
        for (level, (&outputs, kind)) in widths.iter().rev().zip(&cfg.up_block_types).enumerate() {
            let vb = vb.pp("up_blocks").pp(level);
            let (mut resnets, mut attentions) = (Vec::new(), Vec::new());
            for i in 0..=cfg.layers_per_block {
                let skip = skips.pop().expect("one was pushed for each resnet of the way up");
                resnets.push(resnet((inputs + skip, outputs), vb.pp("resnets").pp(i))?);
                if config::attends(kind)? {
                    attentions.push(Transformer2d::load(cfg, outputs, vb.pp("attentions").pp(i))?);
                }
                inputs = outputs;
            }
            let upsampler = match level + 1 < widths.len() {
                true => Some(Conv2d::load(outputs, outputs, three, vb.pp("upsamplers").pp(0).pp("conv"))?),
                false => None,
            };
            up_blocks.push(UpBlock { resnets, attentions, upsampler });
        }

        Ok(Self {
            conv_in: Conv2d::load(cfg.in_channels, first, three, vb.pp("conv_in"))?,
            down_blocks,
            mid_block,
            up_blocks,
            conv_norm_out: GroupNorm::load(cfg.norm_num_groups, first, cfg.norm_eps, vb.pp("conv_norm_out"))?,
            conv_out: Conv2d::load(first, cfg.out_channels, three, vb.pp("conv_out"))?,
            temb,
        })
    }

    /// latents: (b, h, w, 8), the masked face's and the reference's; audio: (b, l, 384) -> latents of the talking face, (b, h, w, 4)
    pub fn forward(&self, latents: &Tensor, audio: &Tensor, probe: &Probe) -> Result<Tensor> {
        probe.note("temb", &self.temb);
        let mut x = self.conv_in.forward(latents)?; // (b, h, w, c)
        probe.note("conv_in", &x);
        let mut skips = vec![x.clone()];
        for (level, block) in self.down_blocks.iter().enumerate() {
            for (i, resnet) in block.resnets.iter().enumerate() {
                x = resnet.forward(&x)?;
                if (level, i) == (0, 0) {
                    probe.note("d0_res0", &x);
                }
                if let Some(attention) = block.attentions.get(i) {
                    x = attention.forward(&x, audio)?;
                }
                if (level, i) == (0, 0) {
                    probe.note("d0_attn0", &x);
                }
                skips.push(x.clone());
            }
            if let Some(conv) = &block.downsampler {
                x = conv.forward(&x)?; // (b, h/2, w/2, c)
                skips.push(x.clone());
            }
            probe.note(&format!("down{level}"), &x);
        }

        x = self.mid_block.first.forward(&x)?;
        x = self.mid_block.attention.forward(&x, audio)?;
        x = self.mid_block.second.forward(&x)?;
        probe.note("mid", &x);

        for (level, block) in self.up_blocks.iter().enumerate() {
            for (i, resnet) in block.resnets.iter().enumerate() {
                let skip = skips.pop().expect("one was pushed for each resnet of the way up");
                x = resnet.forward(&Tensor::cat(&[x, skip], 3)?)?;
                if let Some(attention) = block.attentions.get(i) {
                    x = attention.forward(&x, audio)?;
                }
            }
            if let Some(conv) = &block.upsampler {
                x = conv.forward(&upsample_nearest(&x, 2)?)?; // (b, 2h, 2w, c)
            }
            probe.note(&format!("up{level}"), &x);
        }
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?) // (b, h, w, 4)
    }
}
