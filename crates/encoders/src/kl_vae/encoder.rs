//! Pictures to the mean and log variance of their latents.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use layers::{Conv2d, ConvConfig, GroupNorm, Padding};

use super::{KlVaeConfig, MidBlock, NORM_EPS, ResnetBlock};

#[derive(Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock>,
    /// All levels but the last.
    downsampler: Option<Conv2d>,
}

#[derive(Debug)]
pub struct KlEncoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
    quant_conv: Conv2d,
}

/// A normal distribution over latents; both are (b, h, w, c).
pub struct Posterior {
    pub mean: Tensor,
    /// Clamped to [-30, 20], as diffusers does before it takes the exponential.
    pub logvar: Tensor,
}

impl KlEncoder {
    /// vb: where the file's `encoder.` and `quant_conv.` are
    pub fn load(cfg: &KlVaeConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        let (widths, groups, encoder) = (&cfg.block_out_channels, cfg.norm_num_groups, vb.pp("encoder"));
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let mut down_blocks = Vec::with_capacity(widths.len());
        let mut inputs = first;
        for (level, &outputs) in widths.iter().enumerate() {
            let vb = encoder.pp("down_blocks").pp(level);
            let mut resnets = Vec::with_capacity(cfg.layers_per_block);
            for i in 0..cfg.layers_per_block {
                resnets.push(ResnetBlock::load((inputs, outputs), groups, vb.pp("resnets").pp(i))?);
                inputs = outputs;
            }
            let halve = ConvConfig::square(3).stride(2).padding(Padding::behind(1));
            let downsampler = match level + 1 < widths.len() {
                true => Some(Conv2d::load(outputs, outputs, halve, vb.pp("downsamplers").pp(0).pp("conv"))?),
                false => None,
            };
            down_blocks.push(DownBlock { resnets, downsampler });
        }
        let (three, latent) = (ConvConfig::square(3), 2 * cfg.latent_channels);
        Ok(Self {
            conv_in: Conv2d::load(cfg.in_channels, first, three, encoder.pp("conv_in"))?,
            down_blocks,
            mid_block: MidBlock::load(last, groups, encoder.pp("mid_block"))?,
            conv_norm_out: GroupNorm::load(groups, last, NORM_EPS, encoder.pp("conv_norm_out"))?,
            conv_out: Conv2d::load(last, latent, three, encoder.pp("conv_out"))?,
            quant_conv: Conv2d::load(latent, latent, ConvConfig::square(1), vb.pp("quant_conv"))?,
        })
    }

    /// x: (b, h, w, 3) on [-1, 1] -> two times (b, h/8, w/8, 4)
    pub fn forward(&self, x: &Tensor) -> Result<Posterior> {
        let mut x = self.conv_in.forward(x)?; // (b, h, w, c)
        for block in &self.down_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(&x)?;
            }
            if let Some(conv) = &block.downsampler {
                x = conv.forward(&x)?; // (b, h/2, w/2, c)
            }
        }
        let x = self.mid_block.forward(&x)?;
        let x = self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?)?; // (b, h/8, w/8, 2 * 4)
        let halves = self.quant_conv.forward(&x)?.chunk(2, 3)?;
        Ok(Posterior { mean: halves[0].contiguous()?, logvar: halves[1].contiguous()?.clamp(-30f32, 20f32)? })
    }
}
