//! The last layer: tokens to the velocity of their patches, in f32.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;
use layers::{Bias, LayerNorm, Linear, strictly};

use super::config::{DitConfig, PATCH};
use super::embed::Grid;

#[derive(Clone, Debug)]
pub(super) struct Head {
    norm: LayerNorm,
    head: Linear,
    modulation: Tensor, // (2, c)
    channels: usize,
}

impl Head {
    pub fn load(cfg: &DitConfig, vb: VarBuilder) -> Result<Self> {
        let outputs = cfg.out_dim * PATCH * PATCH;
        Ok(Self {
            norm: LayerNorm::plain(cfg.eps),
            head: strictly(|| Linear::load(cfg.dim, outputs, Bias::Yes, vb.pp("head")))?,
            modulation: vb.get((1, 2, cfg.dim), "modulation")?.squeeze(0)?.to_dtype(DType::F32)?,
            channels: cfg.out_dim,
        })
    }

    /// x: (1, l, c), e: (1, c) -> (out_dim, t, 2h, 2w), f32
    pub fn forward(&self, x: &Tensor, e: &Tensor, (t, h, w): Grid) -> Result<Tensor> {
        let e = self.modulation.broadcast_add(e)?;
        let (shift, scale) = (e.get(0)?, e.get(1)?); // (c)
        let u = match x.dtype() {
            DType::F32 => self.norm.forward_modulated(x, &shift, &scale)?,
            // the reference rounds what the norm gives, and nothing after it
            _ => {
                let x = self.norm.forward(x)?.to_dtype(DType::F32)?;
                x.broadcast_mul(&(scale + 1.0)?)?.broadcast_add(&shift)?
            }
        };
        let y = self.head.forward(&u)?;
        y.reshape((t, h, w, PATCH, PATCH, self.channels))?
            .permute((5, 0, 1, 3, 2, 4))? // (c, t, h, 2, w, 2)
            .reshape((self.channels, t, h * PATCH, w * PATCH))
    }
}
