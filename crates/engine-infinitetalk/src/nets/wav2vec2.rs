//! wav2vec 2.0 base (Baevski et al. 2020), as InfiniteTalk hears with it: the raw waveform through a stack of convolutions, resampled in
//! time to the frames of the video, through a transformer whose every layer is kept. References: InfiniteTalk 0107cd9,
//! `src/audio_analysis/wav2vec2.py`; transformers 5.23.0, `Wav2Vec2Model`. Refused: the "layer" norm and pre-norm variants (large
//! models), convolutions with biases, adapters.

use candle_core::{D, DType, Result, Tensor, bail};
use candle_nn::VarBuilder;
use golden::{Case, CaseError, Given, Net, Outputs, Registry, every};
use layers::weights::{Inventory, Outline, is_outline};
use layers::{
    Activation, Bias, Conv1d, ConvConfig, GroupNorm, LayerNorm, Linear, Mask, Padding, Probe, attention,
};
use serde::Deserialize;

/// `nn.GroupNorm`'s own; the config has no say in it.
const GROUP_NORM_EPS: f64 = 1e-5;

/// The names of transformers' `Wav2Vec2Config`, with its defaults, which are the base model.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Wav2Vec2Config {
    pub hidden_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub intermediate_size: usize,
    pub hidden_act: String,
    pub layer_norm_eps: f64,
    pub feat_extract_norm: String,
    pub feat_extract_activation: String,
    pub conv_dim: Vec<usize>,
    pub conv_kernel: Vec<usize>,
    pub conv_stride: Vec<usize>,
    pub conv_bias: bool,
    pub num_conv_pos_embeddings: usize,
    pub num_conv_pos_embedding_groups: usize,
    pub do_stable_layer_norm: bool,
    pub add_adapter: bool,
}

impl Default for Wav2Vec2Config {
    fn default() -> Self {
        Self::base()
    }
}

impl Wav2Vec2Config {
    /// TencentGameMate/chinese-wav2vec2-base
    pub fn base() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-5,
            feat_extract_norm: "group".into(),
            feat_extract_activation: "gelu".into(),
            conv_dim: vec![512; 7],
            conv_kernel: vec![10, 3, 3, 3, 3, 2, 2],
            conv_stride: vec![5, 2, 2, 2, 2, 2, 2],
            conv_bias: false,
            num_conv_pos_embeddings: 128,
            num_conv_pos_embedding_groups: 16,
            do_stable_layer_norm: false,
            add_adapter: false,
        }
    }

    pub fn check(&self) -> Result<()> {
        let (c, heads, groups) =
            (self.hidden_size, self.num_attention_heads, self.num_conv_pos_embedding_groups);
        if heads == 0 || !c.is_multiple_of(heads) {
            bail!("hidden_size {c} cannot be split into num_attention_heads {heads}");
        }
        if groups == 0 || !c.is_multiple_of(groups) || self.num_conv_pos_embeddings == 0 {
            bail!(
                "a position convolution of num_conv_pos_embeddings {} taps in num_conv_pos_embedding_groups {groups} does not fit hidden_size {c}",
                self.num_conv_pos_embeddings
            );
        }
        let layers = self.conv_dim.len();
        if layers == 0 || self.conv_kernel.len() != layers || self.conv_stride.len() != layers {
            bail!(
                "conv_dim, conv_kernel and conv_stride are to be of one length, not {layers}, {} and {}",
                self.conv_kernel.len(),
                self.conv_stride.len()
            );
        }
        if self.feat_extract_norm != "group" {
            bail!("feat_extract_norm is `{}`, only `group` is known", self.feat_extract_norm);
        }
        if self.do_stable_layer_norm || self.conv_bias || self.add_adapter {
            bail!("do_stable_layer_norm, conv_bias and add_adapter must be false, as in the base model");
        }
        Activation::named(&self.hidden_act)?;
        Activation::named(&self.feat_extract_activation).map(|_| ())
    }
}

/// Sound to 50 features a second.
#[derive(Clone, Debug)]
struct FeatureExtractor {
    convs: Vec<Conv1d>,
    norm: GroupNorm,
    act: Activation,
}

impl FeatureExtractor {
    fn load(cfg: &Wav2Vec2Config, vb: VarBuilder) -> Result<Self> {
        let mut convs = Vec::with_capacity(cfg.conv_dim.len());
        let mut inputs = 1;
        let shapes = cfg.conv_dim.iter().zip(&cfg.conv_kernel).zip(&cfg.conv_stride);
        for (i, ((&outputs, &kernel), &stride)) in shapes.enumerate() {
            let conv = taps(kernel).stride(stride).without_bias();
            convs.push(Conv1d::load(inputs, outputs, conv, vb.pp(i).pp("conv"))?);
            inputs = outputs;
        }
        let first = cfg.conv_dim[0];
        Ok(Self {
            convs,
            norm: GroupNorm::load(first, first, GROUP_NORM_EPS, vb.pp("0.layer_norm"))?, // each channel by itself
            act: Activation::named(&cfg.feat_extract_activation)?,
        })
    }

    /// speech: (b, samples, 1) -> (b, l, c)
    fn forward(&self, speech: &Tensor) -> Result<Tensor> {
        let mut x = speech.clone();
        for (i, conv) in self.convs.iter().enumerate() {
            x = conv.forward(&x)?;
            if i == 0 {
                x = self.norm.forward(&x)?;
            }
            x = self.act.forward(&x)?;
        }
        Ok(x)
    }
}

/// A convolution over a sequence, without padding.
fn taps(kernel: usize) -> ConvConfig {
    ConvConfig { kernel: (1, kernel), ..ConvConfig::square(1) }.padding(Padding::NONE)
}

/// PyTorch's `interpolate(mode="linear", align_corners=True)`. x: (b, l, c) -> (b, length, c)
fn resize_linear(x: &Tensor, length: usize) -> Result<Tensor> {
    let l = x.dim(1)?;
    if l == 0 || length == 0 {
        bail!("{l} features cannot be stretched to {length} frames: the sound is too short");
    }
    let scale = if length > 1 { (l - 1) as f32 / (length - 1) as f32 } else { 0.0 };
    let at: Vec<f32> = (0..length).map(|i| scale * i as f32).collect();
    let lower: Vec<u32> = at.iter().map(|&at| (at as u32).min(l as u32 - 1)).collect();
    let upper: Vec<u32> = lower.iter().map(|&i| (i + 1).min(l as u32 - 1)).collect();
    let share: Vec<f32> = at.iter().zip(&lower).map(|(&at, &i)| at - i as f32).collect();
    let share = Tensor::from_vec(share, (1, length, 1), x.device())?.to_dtype(x.dtype())?;
    let pick = |indices: Vec<u32>| x.index_select(&Tensor::new(indices, x.device())?, 1); // (b, length, c)
    let (lower, upper) = (pick(lower)?, pick(upper)?);
    let rest = share.affine(-1.0, 1.0)?;
    lower.broadcast_mul(&rest)? + upper.broadcast_mul(&share)?
}

/// What stands for positions: a wide grouped convolution over the sequence, its weight split into length and direction at each tap.
#[derive(Clone, Debug)]
struct PositionalConv {
    conv: Conv1d,
    act: Activation,
}

impl PositionalConv {
    fn load(cfg: &Wav2Vec2Config, vb: VarBuilder) -> Result<Self> {
        let (c, k, groups) =
            (cfg.hidden_size, cfg.num_conv_pos_embeddings, cfg.num_conv_pos_embedding_groups);
        // newer files of transformers call them so
        let (length, direction) = if vb.contains_tensor("weight_g") {
            ("weight_g", "weight_v")
        } else {
            ("parametrizations.weight.original0", "parametrizations.weight.original1")
        };
        let length = vb.get((1, 1, k), length)?;
        let direction = vb.get((c, c / groups, k), direction)?;
        let bias = vb.get(c, "bias")?;
        // an even kernel makes one step too many, and the reference drops the last
        let padding = Padding { left: k / 2, right: (k - 1) / 2, ..Padding::NONE };
        Ok(Self {
            conv: Conv1d::new(
                unsplit(&length, &direction)?,
                Some(bias),
                taps(k).groups(groups).padding(padding),
            )?,
            act: Activation::named(&cfg.feat_extract_activation)?,
        })
    }

    /// x: (b, l, c) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.act.forward(&self.conv.forward(x)?)
    }
}

/// length * direction / |direction|, tap by tap. length: (1, 1, k), direction: (o, c, k) -> (o, c, k)
fn unsplit(length: &Tensor, direction: &Tensor) -> Result<Tensor> {
    if is_outline(direction) {
        return Ok(direction.clone());
    }
    let wide = direction.to_dtype(DType::F64)?; // once, at load: the product is rounded once
    let norm = wide.sqr()?.sum_keepdim((0, 1))?.sqrt()?; // (1, 1, k)
    wide.broadcast_mul(&length.to_dtype(DType::F64)?.div(&norm)?)?.to_dtype(direction.dtype())
}

#[derive(Clone, Debug)]
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    heads: usize,
}

impl Attention {
    fn load(cfg: &Wav2Vec2Config, vb: VarBuilder) -> Result<Self> {
        let c = cfg.hidden_size;
        let linear = |name: &str| Linear::load(c, c, Bias::Yes, vb.pp(name));
        Ok(Self {
            q: linear("q_proj")?,
            k: linear("k_proj")?,
            v: linear("v_proj")?,
            out: linear("out_proj")?,
            heads: cfg.num_attention_heads,
        })
    }

    /// x: (b, l, c) -> x and what it hears of itself: the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, l, c) = x.dims3()?;
        let d = c / self.heads;
        let heads = |linear: &Linear| linear.forward(x)?.reshape((b, l, self.heads, d)); // (b, l, n, d)
        let (q, k, v) = (heads(&self.q)?, heads(&self.k)?, heads(&self.v)?);
        let y = attention(&q, &k, &v, &Mask::Full, (d as f64).powf(-0.5))?;
        self.out.forward_plus(&y.reshape((b, l, c))?, x)
    }
}

/// The norms come after what they norm.
#[derive(Clone, Debug)]
struct EncoderLayer {
    attention: Attention,
    layer_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    final_layer_norm: LayerNorm,
    act: Activation,
}

impl EncoderLayer {
    fn load(cfg: &Wav2Vec2Config, vb: VarBuilder) -> Result<Self> {
        let (c, wide) = (cfg.hidden_size, cfg.intermediate_size);
        let norm = |name: &str| LayerNorm::load(c, cfg.layer_norm_eps, Bias::Yes, vb.pp(name));
        Ok(Self {
            attention: Attention::load(cfg, vb.pp("attention"))?,
            layer_norm: norm("layer_norm")?,
            intermediate: Linear::load(c, wide, Bias::Yes, vb.pp("feed_forward.intermediate_dense"))?,
            output: Linear::load(wide, c, Bias::Yes, vb.pp("feed_forward.output_dense"))?,
            final_layer_norm: norm("final_layer_norm")?,
            act: Activation::named(&cfg.hidden_act)?,
        })
    }

    /// x: (b, l, c) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.layer_norm.forward(&self.attention.forward(x)?)?;
        let wide = self.intermediate.forward_then(&x, self.act)?; // (b, l, intermediate)
        self.final_layer_norm.forward(&self.output.forward_plus(&wide, &x)?)
    }
}

#[derive(Clone, Debug)]
pub struct Wav2Vec2 {
    extractor: FeatureExtractor,
    projection_norm: LayerNorm,
    projection: Linear,
    positions: PositionalConv,
    norm: LayerNorm,
    layers: Vec<EncoderLayer>,
}

impl Wav2Vec2 {
    /// `vb` holds the keys of a `Wav2Vec2ForPreTraining`; its quantizer and its heads are not asked for.
    pub fn load(cfg: &Wav2Vec2Config, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        let vb = vb.pp("wav2vec2");
        let (projection, encoder) = (vb.pp("feature_projection"), vb.pp("encoder"));
        let features = *cfg.conv_dim.last().expect("checked: at least one convolution");
        let layers = encoder.pp("layers");
        Ok(Self {
            extractor: FeatureExtractor::load(cfg, vb.pp("feature_extractor.conv_layers"))?,
            projection_norm: LayerNorm::load(
                features,
                cfg.layer_norm_eps,
                Bias::Yes,
                projection.pp("layer_norm"),
            )?,
            projection: Linear::load(features, cfg.hidden_size, Bias::Yes, projection.pp("projection"))?,
            positions: PositionalConv::load(cfg, encoder.pp("pos_conv_embed.conv"))?,
            norm: LayerNorm::load(cfg.hidden_size, cfg.layer_norm_eps, Bias::Yes, encoder.pp("layer_norm"))?,
            layers: (0..cfg.num_hidden_layers)
                .map(|i| EncoderLayer::load(cfg, layers.pp(i)))
                .collect::<Result<_>>()?,
        })
    }

    /// What each layer makes of each frame. speech: (b, samples) at 16 kHz, not normalised, for `frames` frames of video
    /// -> (b, frames, layers, c)
    pub fn forward(&self, speech: &Tensor, frames: usize, probe: &Probe) -> Result<Tensor> {
        let features = self.extractor.forward(&speech.unsqueeze(D::Minus1)?)?; // (b, l, features)
        probe.note("conv_feats", &features);
        let features = resize_linear(&features, frames)?; // (b, frames, features)
        let x = self.projection.forward(&self.projection_norm.forward(&features)?)?; // (b, frames, c)
        let mut x = self.norm.forward(&(&x + self.positions.forward(&x)?)?)?;
        probe.note("h0", &x);
        let mut all = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            x = layer.forward(&x)?;
            all.push(x.clone());
        }
        Tensor::stack(&all, 2)
    }
}

pub fn register(registry: &mut Registry) {
    registry.cases.push(&Wav2Vec2Case);
    registry.nets.push(Net {
        inventory: "wav2vec2_base",
        unused: &["wav2vec2.masked_spec_embed", "quantizer.", "project_hid.", "project_q."],
        outline,
    });
}

fn outline() -> Result<Inventory> {
    let outline = Outline::new();
    Wav2Vec2::load(&Wav2Vec2Config::base(), outline.builder())?;
    Ok(outline.inventory())
}

struct Wav2Vec2Case;

/// As the kit gives it: one width for all convolutions.
#[derive(Deserialize)]
struct CaseConfig {
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    conv_dim: usize,
    seq_len: usize,
    emb_frame_stride: usize,
}

impl Case for Wav2Vec2Case {
    fn components(&self) -> &[&str] {
        &["wav2vec2 base"]
    }

    fn run(&self, given: &Given) -> std::result::Result<Outputs, CaseError> {
        let case: CaseConfig = given.config()?;
        let cfg = Wav2Vec2Config {
            hidden_size: case.hidden_size,
            num_hidden_layers: case.num_hidden_layers,
            num_attention_heads: case.num_attention_heads,
            intermediate_size: case.intermediate_size,
            conv_dim: vec![case.conv_dim; 7],
            ..Wav2Vec2Config::base()
        };
        let net = Wav2Vec2::load(&cfg, given.weights()?)?;
        let probe = Probe::on();
        let all = net.forward(&given.float_input("in.speech")?, case.seq_len, &probe)?; // (1, frames, layers, c)
        let mut outputs = Outputs::new();
        for (name, value) in probe.into_taken() {
            outputs.probe(&format!("{name}_sub3"), every(3, &value, 1)?);
        }
        outputs.out("emb", every(case.emb_frame_stride, &all, 1)?.squeeze(0)?);
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn both_ends_are_kept_and_the_rest_lies_between() {
        let x = Tensor::new(&[[[0f32], [10.0], [40.0]]], &Device::Cpu).unwrap();
        let stretched = |n| resize_linear(&x, n).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(stretched(5), [0.0, 5.0, 10.0, 25.0, 40.0]);
        assert_eq!(stretched(2), [0.0, 40.0]);
        assert_eq!(stretched(1), [0.0]);
        assert!(resize_linear(&x, 0).is_err());
    }

    /// How large a signal of 1e-3 around nothing leaves a norm: its variance is as small as an epsilon, so this tells which one is used.
    #[test]
    fn norms_have_an_epsilon_of_1e_5() {
        let cfg = Wav2Vec2Config {
            hidden_size: 16,
            num_hidden_layers: 1,
            num_attention_heads: 2,
            intermediate_size: 16,
            conv_dim: vec![16; 7],
            ..Wav2Vec2Config::base()
        };
        let net =
            Wav2Vec2::load(&cfg, golden::Seeded::new("tiny").builder(DType::F32, &Device::Cpu)).unwrap();
        // signs change from channel to channel and from step to step
        let sign = |i: usize| if (i + i / 16).is_multiple_of(2) { 1e-3 } else { -1e-3 };
        let x = Tensor::from_vec((0..128).map(sign).collect::<Vec<f32>>(), (1, 8, 16), &Device::Cpu).unwrap();
        let layer = &net.layers[0];
        for y in [
            net.extractor.norm.forward(&x),
            net.projection_norm.forward(&x),
            net.norm.forward(&x),
            layer.layer_norm.forward(&x),
            layer.final_layer_norm.forward(&x),
        ] {
            let strength = y.unwrap().sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            assert!((strength - 0.3015).abs() < 0.05, "{strength}"); // 1e-3 / sqrt(1e-6 + 1e-5)
        }
    }

    #[test]
    fn newer_names_give_the_same_weights() {
        let cfg = Wav2Vec2Config {
            hidden_size: 8,
            num_conv_pos_embeddings: 4,
            num_conv_pos_embedding_groups: 2,
            ..Wav2Vec2Config::base()
        };
        let seeded = golden::Seeded::new("names");
        let get = |key: &str, shape: &[usize]| seeded.tensor(key, shape, DType::F32, &Device::Cpu).unwrap();
        let (length, direction, bias) =
            (get("weight_g", &[1, 1, 4]), get("weight_v", &[8, 4, 4]), get("bias", &[8]));
        let x = get("x", &[1, 6, 8]);
        let answer = |names: [&str; 2]| {
            let tensors = [(names[0], &length), (names[1], &direction), ("bias", &bias)];
            let tensors = tensors.iter().map(|(name, t)| (name.to_string(), (*t).clone())).collect();
            let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
            let y = PositionalConv::load(&cfg, vb).unwrap().forward(&x).unwrap();
            assert_eq!(y.dims(), [1, 6, 8]);
            y.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let newer = ["parametrizations.weight.original0", "parametrizations.weight.original1"];
        assert_eq!(answer(["weight_g", "weight_v"]), answer(newer));
    }

    #[test]
    fn refuses_other_variants() {
        let base = Wav2Vec2Config::base;
        let said = |cfg: Wav2Vec2Config| cfg.check().unwrap_err().to_string();
        assert!(base().check().is_ok());
        assert!(said(Wav2Vec2Config { feat_extract_norm: "layer".into(), ..base() }).contains("`layer`"));
        assert!(said(Wav2Vec2Config { do_stable_layer_norm: true, ..base() }).contains("stable"));
        assert!(said(Wav2Vec2Config { conv_stride: vec![2], ..base() }).contains("7, 7 and 1"));
        assert!(said(Wav2Vec2Config { num_attention_heads: 7, ..base() }).contains("heads 7"));
        assert!(said(Wav2Vec2Config { num_conv_pos_embedding_groups: 5, ..base() }).contains("groups 5"));
    }
}
