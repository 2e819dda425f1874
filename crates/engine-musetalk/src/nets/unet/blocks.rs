//! A residual block with the constant time embedding in its bias, and the transformer that lets pixels look at each other and at the audio.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use layers::{
    Bias, Conv2d, ConvConfig, GroupNorm, LayerNorm, Linear, Mask, attention, geglu, weights::is_outline,
};

use super::UnetConfig;

/// Of the group norm before a transformer (diffusers, `Transformer2DModel`); the residual blocks have the config's.
const TRANSFORMER_NORM_EPS: f64 = 1e-6;
/// Of the layer norms in a transformer block.
const LAYER_NORM_EPS: f64 = 1e-5;

#[derive(Debug)]
pub struct ResnetBlock {
    norm1: GroupNorm,
    /// Its bias holds what the time embedding adds.
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    /// Where the number of channels changes.
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    /// temb: (1, 4c)
    pub fn load(
        cfg: &UnetConfig,
        (inputs, outputs): (usize, usize),
        temb: &Tensor,
        vb: VarBuilder,
    ) -> Result<Self> {
        let (groups, eps, three) = (cfg.norm_num_groups, cfg.norm_eps, ConvConfig::square(3));
        let conv_shortcut = match inputs == outputs {
            true => None,
            false => Some(Conv2d::load(inputs, outputs, ConvConfig::square(1), vb.pp("conv_shortcut"))?),
        };
        let time_emb_proj = Linear::load(temb.dim(1)?, outputs, Bias::Yes, vb.pp("time_emb_proj"))?;
        let conv1 = vb.pp("conv1");
        let weight = conv1.get((outputs, inputs, 3, 3), "weight")?;
        let bias = conv1.get(outputs, "bias")?;
        let bias = match is_outline(&weight) {
            true => bias,
            false => (bias + time_emb_proj.forward(&temb.silu()?)?.squeeze(0)?)?, // (o,)
        };
        Ok(Self {
            norm1: GroupNorm::load(groups, inputs, eps, vb.pp("norm1"))?,
            conv1: Conv2d::new(weight, Some(bias), three)?,
            norm2: GroupNorm::load(groups, outputs, eps, vb.pp("norm2"))?,
            conv2: Conv2d::load(outputs, outputs, three, vb.pp("conv2"))?,
            conv_shortcut,
        })
    }

    /// x: (b, h, w, i) -> (b, h, w, o)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.conv1.forward(&self.norm1.forward_silu(x)?)?; // (b, h, w, o)
        let y = self.norm2.forward_silu(&y)?;
        match &self.conv_shortcut {
            Some(conv) => self.conv2.forward_plus(&y, &conv.forward(x)?),
            None => self.conv2.forward_plus(&y, x),
        }
    }
}

#[derive(Debug)]
struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
}

impl Attention {
    /// `context`: channels of what is looked at.
    fn load(cfg: &UnetConfig, channels: usize, context: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            to_q: Linear::load(channels, channels, Bias::No, vb.pp("to_q"))?,
            to_k: Linear::load(context, channels, Bias::No, vb.pp("to_k"))?,
            to_v: Linear::load(context, channels, Bias::No, vb.pp("to_v"))?,
            to_out: Linear::load(channels, channels, Bias::Yes, vb.pp("to_out").pp(0))?,
            heads: cfg.attention_head_dim,
        })
    }

    /// x: (b, l, c), context: (b, m, k), addend: (b, l, c) -> attention plus the addend, (b, l, c)
    fn forward_plus(&self, x: &Tensor, context: &Tensor, addend: &Tensor) -> Result<Tensor> {
        let (b, l, c) = x.dims3()?;
        let (m, n, d) = (context.dim(1)?, self.heads, c / self.heads);
        let q = self.to_q.forward(x)?.reshape((b, l, n, d))?;
        let k = self.to_k.forward(context)?.reshape((b, m, n, d))?;
        let v = self.to_v.forward(context)?.reshape((b, m, n, d))?;
        let y = attention(&q, &k, &v, &Mask::Full, (d as f64).powf(-0.5))?; // (b, l, n, d)
        self.to_out.forward_plus(&y.reshape((b, l, c))?, addend)
    }
}

/// `Transformer2DModel` with 1x1 convolutions at its ends and one `BasicTransformerBlock`.
#[derive(Debug)]
pub struct Transformer2d {
    norm: GroupNorm,
    proj_in: Conv2d,
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff_in: Linear,
    ff_out: Linear,
    proj_out: Conv2d,
}

impl Transformer2d {
    pub fn load(cfg: &UnetConfig, channels: usize, vb: VarBuilder) -> Result<Self> {
        let (groups, one) = (cfg.norm_num_groups, ConvConfig::square(1));
        let block = vb.pp("transformer_blocks").pp(0);
        let norm = |name: &str| LayerNorm::load(channels, LAYER_NORM_EPS, Bias::Yes, block.pp(name));
        let net = block.pp("ff").pp("net");
        Ok(Self {
            norm: GroupNorm::load(groups, channels, TRANSFORMER_NORM_EPS, vb.pp("norm"))?,
            proj_in: Conv2d::load(channels, channels, one, vb.pp("proj_in"))?,
            norm1: norm("norm1")?,
            attn1: Attention::load(cfg, channels, channels, block.pp("attn1"))?,
            norm2: norm("norm2")?,
            attn2: Attention::load(cfg, channels, cfg.cross_attention_dim, block.pp("attn2"))?,
            norm3: norm("norm3")?,
            ff_in: Linear::load(channels, 8 * channels, Bias::Yes, net.pp(0).pp("proj"))?,
            ff_out: Linear::load(4 * channels, channels, Bias::Yes, net.pp(2))?,
            proj_out: Conv2d::load(channels, channels, one, vb.pp("proj_out"))?,
        })
    }

    /// x: (b, h, w, c), audio: (b, m, k) -> (b, h, w, c)
    pub fn forward(&self, x: &Tensor, audio: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let y = self.proj_in.forward(&self.norm.forward(x)?)?.reshape((b, h * w, c))?; // (b, l, c)
        let normed = self.norm1.forward(&y)?;
        let y = self.attn1.forward_plus(&normed, &normed, &y)?;
        let y = self.attn2.forward_plus(&self.norm2.forward(&y)?, audio, &y)?;
        let inner = geglu(&self.ff_in.forward(&self.norm3.forward(&y)?)?)?; // (b, l, 4c)
        let y = self.ff_out.forward_plus(&inner, &y)?;
        self.proj_out.forward_plus(&y.reshape((b, h, w, c))?, x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use golden::Seeded;

    /// How large a signal of 1e-3 around nothing leaves a norm: its variance is as small as an epsilon, so this tells which one is used.
    fn strength(norm: impl Fn(&Tensor) -> Result<Tensor>, shape: &[usize]) -> f32 {
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| if i % 2 == 0 { 1e-3 } else { -1e-3 }).collect();
        let y = norm(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap();
        y.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt()
    }

    #[test]
    fn epsilons_differ_from_norm_to_norm() {
        let cfg = UnetConfig { block_out_channels: vec![64; 4], ..UnetConfig::musetalk() };
        let vb = Seeded::new("unet").builder(DType::F32, &Device::Cpu);
        let temb = Tensor::zeros((1, 256), DType::F32, &Device::Cpu).unwrap();
        let resnet = ResnetBlock::load(&cfg, (64, 64), &temb, vb.pp("resnet")).unwrap();
        let transformer = Transformer2d::load(&cfg, 64, vb.pp("transformer")).unwrap();
        let check = |strength: f32, eps: f32| {
            let want = 1e-3 / (1e-6 + eps).sqrt();
            assert!((strength - want).abs() < 0.1, "{strength} {want}");
        };
        let picture = [1, 4, 4, 64];
        check(strength(|x| resnet.norm1.forward(x), &picture), 1e-5);
        check(strength(|x| resnet.norm2.forward(x), &picture), 1e-5);
        check(strength(|x| transformer.norm.forward(x), &picture), 1e-6);
        for norm in [&transformer.norm1, &transformer.norm2, &transformer.norm3] {
            check(strength(|x| norm.forward(x), &picture), 1e-5);
        }
    }
}
