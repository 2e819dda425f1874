//! `TransformerSpatioTemporalModel` (diffusers 0.42.1) with one layer: a block over the pixels of each frame, one over the frames of each pixel, and their mixture.
//! Both are made of the same tokens where they lie, (b, f, pixels, c): only attention looks along one axis or the other.

use candle_core::{D, Result, Tensor};
use candle_nn::VarBuilder;
use layers::{Bias, GroupNorm, LayerNorm, Linear, Mask, attention, frame_attention, geglu, mix};
use layers::{add_each, weights::is_outline};

use super::condition::{OneToken, TimestepMlp, TransformerClip, places};
use super::config::NORM_GROUPS;
use super::eps;
use crate::nets::res_block::{Counts, spatial_share};

/// Values the wide middle of a feed-forward may have at a time (16 MiB of f32), so that it stays in the caches, and memory does not grow with the clip.
const WIDE: usize = 4 << 20;

/// Self attention behind a norm; queries, keys and values come of one product.
#[derive(Debug)]
struct SelfAttention {
    norm: LayerNorm,
    to_qkv: Linear,
    to_out: Linear,
    heads: usize,
}

impl SelfAttention {
    fn load((channels, heads): (usize, usize), vb: VarBuilder, norm: VarBuilder) -> Result<Self> {
        let weight = |name: &str| vb.pp(name).get((channels, channels), "weight");
        let parts = [weight("to_q")?, weight("to_k")?, weight("to_v")?];
        let fused = match is_outline(&parts[0]) {
            true => parts[0].narrow(0, 0, 1)?.broadcast_as((3 * channels, channels))?,
            false => Tensor::cat(&parts, 0)?, // (3c, c)
        };
        Ok(Self {
            norm: LayerNorm::load(channels, eps::LAYER_NORM, Bias::Yes, norm)?,
            to_qkv: Linear::new(fused, None)?,
            to_out: Linear::load(channels, channels, Bias::Yes, vb.pp("to_out.0"))?,
            heads,
        })
    }

    /// Three times the shape of `dims`, where they lie in one product. x: (b, f, p, c)
    fn parts<const N: usize>(&self, x: &Tensor, dims: [usize; N]) -> Result<[Tensor; 3]> {
        let heads = [3, self.heads, x.dim(D::Minus1)? / self.heads];
        let qkv = self.to_qkv.forward(&self.norm.forward(x)?)?.reshape([&dims[..], &heads].concat())?;
        let part = |i: usize| qkv.narrow(N, i, 1)?.squeeze(N);
        Ok([part(0)?, part(1)?, part(2)?])
    }

    fn scale(&self, channels: usize) -> f64 {
        ((channels / self.heads) as f64).powf(-0.5)
    }

    /// x, and what it sees of its own frame, and `added`: (b, c). x: (b, f, p, c) -> the same
    fn within_frames(&self, x: &Tensor, added: &Tensor) -> Result<Tensor> {
        let (b, f, p, c) = x.dims4()?;
        let [q, k, v] = self.parts(x, [b * f, p])?; // (b * f, p, n, d)
        let y = attention(&q, &k, &v, &Mask::Full, self.scale(c))?;
        self.to_out.forward_plus_each(&y.reshape((b, f, p, c))?, x, added)
    }

    /// The same of its own pixel in all frames.
    fn over_frames(&self, x: &Tensor, added: &Tensor) -> Result<Tensor> {
        let (b, f, p, c) = x.dims4()?;
        let [q, k, v] = self.parts(x, [b, f, p])?; // (b, f, p, n, d)
        let y = frame_attention(&q, &k, &v, self.scale(c))?;
        self.to_out.forward_plus_each(&y.reshape((b, f, p, c))?, x, added)
    }
}

/// GEGLU behind a norm.
#[derive(Debug)]
struct FeedForward {
    norm: LayerNorm,
    proj_in: Linear,
    proj_out: Linear,
    channels: usize,
}

impl FeedForward {
    fn load(channels: usize, vb: VarBuilder, norm: VarBuilder) -> Result<Self> {
        let net = vb.pp("net");
        Ok(Self {
            norm: LayerNorm::load(channels, eps::LAYER_NORM, Bias::Yes, norm)?,
            proj_in: Linear::load(channels, 8 * channels, Bias::Yes, net.pp("0.proj"))?,
            proj_out: Linear::load(4 * channels, channels, Bias::Yes, net.pp(2))?,
            channels,
        })
    }

    /// x: (b, f, p, c) -> x and what is made of it, a part of the tokens at a time
    fn forward_plus(&self, x: &Tensor) -> Result<Tensor> {
        let rows = x.flatten(0, 2)?; // (l, c)
        let (l, step) = (rows.dim(0)?, (WIDE / (8 * self.channels)).max(1));
        let parts = (0..l).step_by(step).map(|from| {
            let x = rows.narrow(0, from, step.min(l - from))?;
            let wide = geglu(&self.proj_in.forward(&self.norm.forward(&x)?)?)?; // (step, 4c)
            self.proj_out.forward_plus(&wide, &x)
        });
        Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)?.reshape(x.dims())
    }
}

#[derive(Debug)]
pub struct Transformer {
    norm: GroupNorm,
    proj_in: Linear,
    spatial_attn1: SelfAttention,
    spatial_attn2: OneToken,
    spatial_ff: FeedForward,
    time_pos_embed: TimestepMlp,
    temporal_ff_in: FeedForward,
    temporal_attn1: SelfAttention,
    temporal_attn2: OneToken,
    temporal_ff: FeedForward,
    /// What the mixture has of the spatial block.
    share: f32,
    proj_out: Linear,
}

impl Transformer {
    /// (channels, heads, context)
    pub fn load((c, heads, context): (usize, usize, usize), vb: VarBuilder) -> Result<Self> {
        let spatial = vb.pp("transformer_blocks.0");
        let temporal = vb.pp("temporal_transformer_blocks.0");
        let attn1 =
            |block: &VarBuilder| SelfAttention::load((c, heads), block.pp("attn1"), block.pp("norm1"));
        let attn2 = |block: &VarBuilder| OneToken::load((c, context), block.pp("attn2"), block.pp("norm2"));
        Ok(Self {
            norm: GroupNorm::load(NORM_GROUPS, c, eps::TRANSFORMER, vb.pp("norm"))?,
            proj_in: Linear::load(c, c, Bias::Yes, vb.pp("proj_in"))?,
            spatial_attn1: attn1(&spatial)?,
            spatial_attn2: attn2(&spatial)?,
            spatial_ff: FeedForward::load(c, spatial.pp("ff"), spatial.pp("norm3"))?,
            time_pos_embed: TimestepMlp::load((c, 4 * c, c), vb.pp("time_pos_embed"))?,
            temporal_ff_in: FeedForward::load(c, temporal.pp("ff_in"), temporal.pp("norm_in"))?,
            temporal_attn1: attn1(&temporal)?,
            temporal_attn2: attn2(&temporal)?,
            temporal_ff: FeedForward::load(c, temporal.pp("ff"), temporal.pp("norm3"))?,
            share: spatial_share(Counts::Spatial, &vb)? as f32,
            proj_out: Linear::load(c, c, Bias::Yes, vb.pp("proj_out"))?,
        })
    }

    /// context: (b, k)
    pub fn clip(&self, context: &Tensor, frames: usize) -> Result<TransformerClip> {
        let positions = self.time_pos_embed.forward(&places(frames)?)?; // (f, c)
        Ok(TransformerClip {
            spatial: self.spatial_attn2.forward(context)?,
            temporal: self.temporal_attn2.forward(context)?,
            positions: positions.repeat((context.dim(0)?, 1))?,
        })
    }

    /// x: (b, f, h, w, c) -> the same
    pub fn forward(&self, x: &Tensor, clip: &TransformerClip) -> Result<Tensor> {
        let (b, f, h, w, c) = x.dims5()?;
        let y = self.norm.forward(&x.flatten(0, 1)?)?; // (b * f, h, w, c)
        let y = self.proj_in.forward(&y.reshape((b, f, h * w, c))?)?;
        let y = self.spatial_attn1.within_frames(&y, &clip.spatial)?;
        let y = self.spatial_ff.forward_plus(&y)?;
        let m = add_each(&y.flatten(0, 1)?, &clip.positions)?.reshape((b, f, h * w, c))?;
        let m = self.temporal_ff_in.forward_plus(&m)?;
        let m = self.temporal_attn1.over_frames(&m, &clip.temporal)?;
        let m = self.temporal_ff.forward_plus(&m)?;
        let y = mix(&y, &m, self.share)?; // the places are in m alone
        self.proj_out.forward_plus(&y.reshape((b, f, h, w, c))?, x)
    }

    /// Norms with the epsilon of a group norm, and with that of layer norms.
    #[cfg(test)]
    pub fn norms(&self) -> (&GroupNorm, [&LayerNorm; 5]) {
        let layers = [
            &self.spatial_attn1.norm,
            &self.spatial_ff.norm,
            &self.temporal_ff_in.norm,
            &self.temporal_attn1.norm,
            &self.temporal_ff.norm,
        ];
        (&self.norm, layers)
    }
}
