//! The encoder of Whisper (Radford et al. 2022), whose hidden states are MuseTalk's audio features. Reference: `WhisperEncoder` of
//! transformers; keys are those of openai/whisper-tiny below `model.encoder.`. Deviation: channels last, and every state is returned.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use layers::{Activation, Bias, Conv1d, ConvConfig, LayerNorm, Linear, Mask, Padding, attention};
use serde::Deserialize;

/// Fields of config.json.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    pub d_model: usize,
    pub encoder_layers: usize,
    pub encoder_attention_heads: usize,
    pub encoder_ffn_dim: usize,
    pub num_mel_bins: usize,
    pub max_source_positions: usize,
}

impl Config {
    /// openai/whisper-tiny
    pub fn tiny() -> Self {
        Self {
            d_model: 384,
            encoder_layers: 4,
            encoder_attention_heads: 6,
            encoder_ffn_dim: 1536,
            num_mel_bins: 80,
            max_source_positions: 1500,
        }
    }

    fn check(&self) -> Result<()> {
        if self.encoder_attention_heads == 0 || !self.d_model.is_multiple_of(self.encoder_attention_heads) {
            bail!("{} channels cannot be split into {} heads", self.d_model, self.encoder_attention_heads);
        }
        Ok(())
    }
}

/// The default of `nn.LayerNorm`.
const EPS: f64 = 1e-5;

struct SelfAttention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: usize,
}

impl SelfAttention {
    fn load(cfg: &Config, vb: VarBuilder) -> Result<Self> {
        let linear = |name: &str, bias| Linear::load(cfg.d_model, cfg.d_model, bias, vb.pp(name));
        Ok(Self {
            q_proj: linear("q_proj", Bias::Yes)?,
            k_proj: linear("k_proj", Bias::No)?, // a bias of the keys has no effect under a softmax
            v_proj: linear("v_proj", Bias::Yes)?,
            out_proj: linear("out_proj", Bias::Yes)?,
            heads: cfg.encoder_attention_heads,
        })
    }

    /// x: (b, l, c) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, l, c) = x.dims3()?;
        let d = c / self.heads;
        let split = |x: Tensor| x.reshape((b, l, self.heads, d)); // (b, l, n, d)
        let (q, k) = (split(self.q_proj.forward(x)?)?, split(self.k_proj.forward(x)?)?);
        let v = split(self.v_proj.forward(x)?)?;
        let y = attention(&q, &k, &v, &Mask::Full, (d as f64).powf(-0.5))?;
        self.out_proj.forward(&y.reshape((b, l, c))?)
    }
}

struct Layer {
    self_attn: SelfAttention,
    self_attn_layer_norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: LayerNorm,
}

impl Layer {
    fn load(cfg: &Config, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            self_attn: SelfAttention::load(cfg, vb.pp("self_attn"))?,
            self_attn_layer_norm: LayerNorm::load(
                cfg.d_model,
                EPS,
                Bias::Yes,
                vb.pp("self_attn_layer_norm"),
            )?,
            fc1: Linear::load(cfg.d_model, cfg.encoder_ffn_dim, Bias::Yes, vb.pp("fc1"))?,
            fc2: Linear::load(cfg.encoder_ffn_dim, cfg.d_model, Bias::Yes, vb.pp("fc2"))?,
            final_layer_norm: LayerNorm::load(cfg.d_model, EPS, Bias::Yes, vb.pp("final_layer_norm"))?,
        })
    }

    /// x: (b, l, c) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = (x + self.self_attn.forward(&self.self_attn_layer_norm.forward(x)?)?)?;
        let hidden = Activation::Gelu.forward(&self.fc1.forward(&self.final_layer_norm.forward(&x)?)?)?;
        x + self.fc2.forward(&hidden)?
    }
}

pub struct WhisperEncoder {
    conv1: Conv1d,
    conv2: Conv1d,
    embed_positions: Tensor,
    layers: Vec<Layer>,
    layer_norm: LayerNorm,
}

impl WhisperEncoder {
    /// `vb`: at `model.encoder` of the file.
    pub fn load(cfg: &Config, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        let conv = ConvConfig::square(3).padding(Padding::even(1));
        let layers = vb.pp("layers");
        Ok(Self {
            conv1: Conv1d::load(cfg.num_mel_bins, cfg.d_model, conv, vb.pp("conv1"))?,
            conv2: Conv1d::load(cfg.d_model, cfg.d_model, conv.stride(2), vb.pp("conv2"))?,
            embed_positions: vb.get((cfg.max_source_positions, cfg.d_model), "embed_positions.weight")?,
            layers: (0..cfg.encoder_layers).map(|i| Layer::load(cfg, layers.pp(i))).collect::<Result<_>>()?,
            layer_norm: LayerNorm::load(cfg.d_model, EPS, Bias::Yes, vb.pp("layer_norm"))?,
        })
    }

    /// mel: (b, 2 * positions, mel bins) -> before the first layer and after each, the last one normed: layers + 1 times (b, positions, d_model)
    pub fn forward(&self, mel: &Tensor) -> Result<Vec<Tensor>> {
        let x = Activation::Gelu.forward(&self.conv1.forward(mel)?)?;
        let x = Activation::Gelu.forward(&self.conv2.forward(&x)?)?; // (b, l / 2, c)
        let mut states = vec![x.broadcast_add(&self.embed_positions)?];
        for layer in &self.layers {
            let next = layer.forward(states.last().expect("it begins with one"))?;
            states.push(next);
        }
        let last = states.pop().expect("it begins with one");
        states.push(self.layer_norm.forward(&last)?);
        Ok(states)
    }
}
