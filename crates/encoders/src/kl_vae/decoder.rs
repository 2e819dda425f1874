//! Latents to pictures.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use layers::{Conv2d, ConvConfig, GroupNorm, upsample_nearest};

use super::{KlVaeConfig, MidBlock, NORM_EPS, ResnetBlock};

#[derive(Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    /// All levels but the last.
    upsampler: Option<Conv2d>,
}

#[derive(Debug)]
pub struct KlDecoder {
    post_quant_conv: Conv2d,
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl KlDecoder {
    /// vb: where the file's `decoder.` and `post_quant_conv.` are
    pub fn load(cfg: &KlVaeConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        if cfg.up_block_types.len() != cfg.block_out_channels.len() {
            bail!(
                "a VAE of {} widths (block_out_channels) decodes with as many blocks, not {} (up_block_types)",
                cfg.block_out_channels.len(),
                cfg.up_block_types.len()
            );
        }
        let (widths, groups, decoder) = (&cfg.block_out_channels, cfg.norm_num_groups, vb.pp("decoder"));
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let three = ConvConfig::square(3);
        let mut up_blocks = Vec::with_capacity(widths.len());
        let mut inputs = last;
        for (level, &outputs) in widths.iter().rev().enumerate() {
            let vb = decoder.pp("up_blocks").pp(level);
            let mut resnets = Vec::with_capacity(cfg.layers_per_block + 1);
            for i in 0..=cfg.layers_per_block {
                resnets.push(ResnetBlock::load((inputs, outputs), groups, vb.pp("resnets").pp(i))?);
                inputs = outputs;
            }
            let upsampler = match level + 1 < widths.len() {
                true => Some(Conv2d::load(outputs, outputs, three, vb.pp("upsamplers").pp(0).pp("conv"))?),
                false => None,
            };
            up_blocks.push(UpBlock { resnets, upsampler });
        }
        let latent = cfg.latent_channels;
        Ok(Self {
            post_quant_conv: Conv2d::load(latent, latent, ConvConfig::square(1), vb.pp("post_quant_conv"))?,
            conv_in: Conv2d::load(latent, last, three, decoder.pp("conv_in"))?,
            mid_block: MidBlock::load(last, groups, decoder.pp("mid_block"))?,
            up_blocks,
            conv_norm_out: GroupNorm::load(groups, first, NORM_EPS, decoder.pp("conv_norm_out"))?,
            conv_out: Conv2d::load(first, cfg.out_channels, three, decoder.pp("conv_out"))?,
        })
    }

    /// z: (b, h, w, 4), the scaling factor taken off -> (b, 8h, 8w, 3), about on [-1, 1]
    pub fn forward(&self, z: &Tensor) -> Result<Tensor> {
        let x = self.conv_in.forward(&self.post_quant_conv.forward(z)?)?; // (b, h, w, c)
        let mut x = self.mid_block.forward(&x)?;
        for block in &self.up_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(&x)?;
            }
            if let Some(conv) = &block.upsampler {
                x = conv.forward(&upsample_nearest(&x, 2)?)?; // (b, 2h, 2w, c)
            }
        }
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&x)?) // (b, 8h, 8w, 3)
    }
}
