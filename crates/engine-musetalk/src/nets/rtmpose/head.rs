//! RTMCCHead: a map per point, a gated attention unit between the points, and a row of bins per axis (Li et al. 2022, SimCC).

use candle_core::{D, DType, Result, Tensor};
use candle_nn::VarBuilder;
use layers::{Activation, Bias, Conv2d, ConvConfig, Linear};

use super::{REDUCTION, RtmposeConfig, Simcc, backbone};

/// `gau_cfg` of the config: hidden_dims, s and hidden_dims * expansion_factor.
const HIDDEN: usize = 256;
const SHARED: usize = 128;
const EXPANDED: usize = 2 * HIDDEN;
/// What a length is at least before it divides.
const LENGTH_EPS: f32 = 1e-5;

/// x over its root mean square, times one learnt number.
#[derive(Debug)]
struct ScaleNorm {
    g: Tensor,
}

impl ScaleNorm {
    fn load(vb: VarBuilder) -> Result<Self> {
        Ok(Self { g: vb.get(1, "g")? })
    }

    /// x: (b, l, c) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x_wide = x.to_dtype(DType::F32)?; // a sum of squares
        let scale = (x.dim(2)? as f64).powf(-0.5);
        let length = (x_wide.sqr()?.sum_keepdim(D::Minus1)?.sqrt()? * scale)?;
        let normed = x_wide.broadcast_div(&length.maximum(LENGTH_EPS)?)?;
        normed.to_dtype(x.dtype())?.broadcast_mul(&self.g)
    }
}

/// RTMCCBlock as self-attention, without a position bias (Hua et al. 2022).
#[derive(Debug)]
struct GatedAttention {
    ln: ScaleNorm,
    uv: Linear,
    /// (2, s)
    gamma: Tensor,
    beta: Tensor,
    o: Linear,
    res_scale: Tensor,
}

impl GatedAttention {
    fn load(vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            ln: ScaleNorm::load(vb.pp("ln"))?,
            uv: Linear::load(HIDDEN, 2 * EXPANDED + SHARED, Bias::No, vb.pp("uv"))?,
            gamma: vb.get((2, SHARED), "gamma")?,
            beta: vb.get((2, SHARED), "beta")?,
            o: Linear::load(EXPANDED, HIDDEN, Bias::No, vb.pp("o"))?,
            res_scale: vb.pp("res_scale").get(HIDDEN, "scale")?,
        })
    }

    /// x: (b, l, 256) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let uv = self.uv.forward_then(&self.ln.forward(x)?, Activation::Silu)?;
        let u = uv.narrow(2, 0, EXPANDED)?; // (b, l, 512)
        let v = uv.narrow(2, EXPANDED, EXPANDED)?.contiguous()?;
        let base = uv.narrow(2, 2 * EXPANDED, SHARED)?; // (b, l, 128)
        let turned = |i: usize| base.broadcast_mul(&self.gamma.get(i)?)?.broadcast_add(&self.beta.get(i)?);
        let (q, k) = (turned(0)?, turned(1)?);
        let logits = (q.matmul(&k.t()?.contiguous()?)? / (SHARED as f64).sqrt())?; // (b, l, l)
        let y = (u * logits.relu()?.sqr()?.matmul(&v)?)?;
        x.broadcast_mul(&self.res_scale)? + self.o.forward(&y)?
    }
}

#[derive(Debug)]
pub struct SimccHead {
    final_layer: Conv2d,
    mlp_norm: ScaleNorm,
    mlp: Linear,
    gau: GatedAttention,
    cls_x: Linear,
    cls_y: Linear,
}

impl SimccHead {
    pub fn load(cfg: &RtmposeConfig, vb: VarBuilder) -> Result<Self> {
        let ((w, h), bins) = (cfg.input_size, cfg.simcc_split_ratio);
        let (inputs, seven) = (cfg.width(backbone::OUTPUTS), ConvConfig::square(7));
        let pixels = (w / REDUCTION) * (h / REDUCTION);
        Ok(Self {
            final_layer: Conv2d::load(inputs, cfg.out_channels, seven, vb.pp("final_layer"))?,
            mlp_norm: ScaleNorm::load(vb.pp("mlp").pp(0))?,
            mlp: Linear::load(pixels, HIDDEN, Bias::No, vb.pp("mlp").pp(1))?,
            gau: GatedAttention::load(vb.pp("gau"))?,
            cls_x: Linear::load(HIDDEN, w * bins, Bias::No, vb.pp("cls_x"))?,
            cls_y: Linear::load(HIDDEN, h * bins, Bias::No, vb.pp("cls_y"))?,
        })
    }

    /// x: (b, h, w, c)
    pub fn forward(&self, x: &Tensor) -> Result<Simcc> {
        let maps = self.final_layer.forward(x)?.flatten(1, 2)?.transpose(1, 2)?.contiguous()?; // (b, points, h * w)
        let feats = self.mlp.forward(&self.mlp_norm.forward(&maps)?)?; // (b, points, 256)
        let feats = self.gau.forward(&feats)?;
        Ok(Simcc { x: self.cls_x.forward(&feats)?, y: self.cls_y.forward(&feats)? })
    }
}
