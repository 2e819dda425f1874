//! The vision tower of CLIP (Radford et al. 2021): a ViT with a norm before its first block. One net, two spellings of its keys: that
//! of transformers (`CLIPVisionModelWithProjection`, SVD's image encoder) and that of Wan's `visual.*`, which fuses query, key and
//! value and of which only the output of the last block but one is used. Reference: transformers 5.23.0 and Wan2.1 9737cba,
//! `wan/modules/clip.py`. Refused: pictures of another size than the position embedding was made for.

use candle_core::{D, Result, Tensor, bail};
use candle_nn::VarBuilder;
use golden::{Case, CaseError, Given, Net, Outputs, Registry, every};
use layers::weights::{Inventory, Outline};
use layers::{Activation, Bias, Conv2d, ConvConfig, LayerNorm, Linear, Mask, Padding, attention};
use serde::Deserialize;

/// The names of transformers' `CLIPVisionConfig`.
#[derive(Clone, Debug, Deserialize)]
pub struct ClipVisionConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub patch_size: usize,
    pub image_size: usize,
    pub projection_dim: usize,
    pub hidden_act: String,
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f64,
}

/// transformers' default, and Wan's.
fn layer_norm_eps() -> f64 {
    1e-5
}

impl ClipVisionConfig {
    /// ViT-H/14, in SVD and (as a part of XLM-RoBERTa CLIP) in Wan 2.1.
    pub fn vit_h_14() -> Self {
        Self {
            hidden_size: 1280,
            intermediate_size: 5120,
            num_hidden_layers: 32,
            num_attention_heads: 16,
            patch_size: 14,
            image_size: 224,
            projection_dim: 1024,
            hidden_act: "gelu".into(),
            layer_norm_eps: layer_norm_eps(),
        }
    }

    pub fn check(&self) -> Result<()> {
        if self.num_attention_heads == 0 || !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            bail!(
                "hidden_size {} cannot be split into num_attention_heads {}",
                self.hidden_size,
                self.num_attention_heads
            );
        }
        if self.patch_size == 0 || self.image_size < self.patch_size {
            bail!("no patch of patch_size {} fits into image_size {}", self.patch_size, self.image_size);
        }
        if self.num_hidden_layers == 0 {
            bail!("num_hidden_layers is 0, but must be at least 1");
        }
        Activation::named(&self.hidden_act).map(|_| ())
    }

    fn tokens(&self) -> usize {
        let side = self.image_size / self.patch_size;
        side * side + 1
    }
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
    fn load(cfg: &ClipVisionConfig, vb: VarBuilder) -> Result<Self> {
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

    fn load_wan(cfg: &ClipVisionConfig, vb: VarBuilder) -> Result<Self> {
        let c = cfg.hidden_size;
        let fused = vb.pp("to_qkv");
        let (weight, bias) = (fused.get((3 * c, c), "weight")?, fused.get(3 * c, "bias")?); // rows: query, key, value
        let part = |i: usize| Linear::new(weight.narrow(0, i * c, c)?, Some(bias.narrow(0, i * c, c)?));
        Ok(Self {
            q: part(0)?,
            k: part(1)?,
            v: part(2)?,
            out: Linear::load(c, c, Bias::Yes, vb.pp("proj"))?,
            heads: cfg.num_attention_heads,
        })
    }

    /// x: (b, l, c) -> what x sees of itself, plus `addend`: the same
    fn forward_plus(&self, x: &Tensor, addend: &Tensor) -> Result<Tensor> {
        let (b, l, c) = x.dims3()?;
        let d = c / self.heads;
        let heads = |linear: &Linear| linear.forward(x)?.reshape((b, l, self.heads, d)); // (b, l, n, d)
        let (q, k, v) = (heads(&self.q)?, heads(&self.k)?, heads(&self.v)?);
        let y = attention(&q, &k, &v, &Mask::Full, (d as f64).powf(-0.5))?;
        self.out.forward_plus(&y.reshape((b, l, c))?, addend)
    }
}

#[derive(Clone, Debug)]
struct Block {
    norm1: LayerNorm,
    attention: Attention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    act: Activation,
}

impl Block {
    fn load(cfg: &ClipVisionConfig, vb: VarBuilder) -> Result<Self> {
        let (c, wide) = (cfg.hidden_size, cfg.intermediate_size);
        Ok(Self {
            norm1: norm(cfg, vb.pp("layer_norm1"))?,
            attention: Attention::load(cfg, vb.pp("self_attn"))?,
            norm2: norm(cfg, vb.pp("layer_norm2"))?,
            fc1: Linear::load(c, wide, Bias::Yes, vb.pp("mlp.fc1"))?,
            fc2: Linear::load(wide, c, Bias::Yes, vb.pp("mlp.fc2"))?,
            act: Activation::named(&cfg.hidden_act)?,
        })
    }

    fn load_wan(cfg: &ClipVisionConfig, vb: VarBuilder) -> Result<Self> {
        let (c, wide) = (cfg.hidden_size, cfg.intermediate_size);
        Ok(Self {
            norm1: norm(cfg, vb.pp("norm1"))?,
            attention: Attention::load_wan(cfg, vb.pp("attn"))?,
            norm2: norm(cfg, vb.pp("norm2"))?,
            fc1: Linear::load(c, wide, Bias::Yes, vb.pp("mlp.0"))?,
            fc2: Linear::load(wide, c, Bias::Yes, vb.pp("mlp.2"))?,
            act: Activation::named(&cfg.hidden_act)?,
        })
    }

    /// x: (b, l, c) -> the same
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.attention.forward_plus(&self.norm1.forward(x)?, x)?;
        let wide = self.fc1.forward_then(&self.norm2.forward(&x)?, self.act)?; // (b, l, intermediate)
        self.fc2.forward_plus(&wide, &x)
    }
}

fn norm(cfg: &ClipVisionConfig, vb: VarBuilder) -> Result<LayerNorm> {
    LayerNorm::load(cfg.hidden_size, cfg.layer_norm_eps, Bias::Yes, vb)
}

/// Patches, positions and blocks.
#[derive(Clone, Debug)]
pub struct ClipVision {
    patch: Conv2d,
    class: Tensor,     // (1, 1, c)
    positions: Tensor, // (1, l, c)
    pre_norm: LayerNorm,
    blocks: Vec<Block>,
    image_size: usize,
}

impl ClipVision {
    /// transformers' keys below `vision_model`; all blocks.
    pub fn load(cfg: &ClipVisionConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        let (c, embeddings) = (cfg.hidden_size, vb.pp("embeddings"));
        let layers = vb.pp("encoder.layers");
        Ok(Self {
            patch: patch_embedding(cfg, embeddings.pp("patch_embedding"))?,
            class: embeddings.get(c, "class_embedding")?.reshape((1, 1, c))?,
            positions: embeddings.get((cfg.tokens(), c), "position_embedding.weight")?.unsqueeze(0)?,
            pre_norm: norm(cfg, vb.pp("pre_layrnorm"))?, // spelt so
            blocks: (0..cfg.num_hidden_layers)
                .map(|i| Block::load(cfg, layers.pp(i)))
                .collect::<Result<_>>()?,
            image_size: cfg.image_size,
        })
    }

    /// Wan's keys below `visual`; all blocks but the last, whose input is what Wan asks for.
    pub fn load_wan(cfg: &ClipVisionConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        let (c, blocks) = (cfg.hidden_size, vb.pp("transformer"));
        Ok(Self {
            patch: patch_embedding(cfg, vb.pp("patch_embedding"))?,
            class: vb.get((1, 1, c), "cls_embedding")?,
            positions: vb.get((1, cfg.tokens(), c), "pos_embedding")?,
            pre_norm: norm(cfg, vb.pp("pre_norm"))?,
            blocks: (0..cfg.num_hidden_layers - 1)
                .map(|i| Block::load_wan(cfg, blocks.pp(i)))
                .collect::<Result<_>>()?,
            image_size: cfg.image_size,
        })
    }

    /// The side of the square pictures it takes, in pixels.
    pub fn image_size(&self) -> usize {
        self.image_size
    }

    /// pixels: (b, h, w, 3), normalised by CLIP's mean and deviation -> (b, 1 + patches, c)
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let (b, h, w, _) = pixels.dims4()?;
        if (h, w) != (self.image_size, self.image_size) {
            bail!("CLIP takes pictures of {0}x{0}, not {h}x{w}: resize them first", self.image_size);
        }
        let patches = self.patch.forward(pixels)?.flatten(1, 2)?; // (b, patches, c)
        let c = patches.dim(D::Minus1)?;
        let tokens = Tensor::cat(&[self.class.broadcast_as((b, 1, c))?.contiguous()?, patches], 1)?;
        let mut x = self.pre_norm.forward(&tokens.broadcast_add(&self.positions)?)?; // (b, l, c)
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        Ok(x)
    }
}

fn patch_embedding(cfg: &ClipVisionConfig, vb: VarBuilder) -> Result<Conv2d> {
    let conv = ConvConfig::square(cfg.patch_size).stride(cfg.patch_size).padding(Padding::NONE);
    Conv2d::load(3, cfg.hidden_size, conv.without_bias(), vb)
}

/// What SVD conditions on: the class token of the last block, normed and projected.
#[derive(Clone, Debug)]
pub struct ClipVisionWithProjection {
    vision: ClipVision,
    post_norm: LayerNorm,
    projection: Linear,
}

impl ClipVisionWithProjection {
    pub fn load(cfg: &ClipVisionConfig, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            vision: ClipVision::load(cfg, vb.pp("vision_model"))?,
            post_norm: norm(cfg, vb.pp("vision_model.post_layernorm"))?,
            projection: Linear::load(
                cfg.hidden_size,
                cfg.projection_dim,
                Bias::No,
                vb.pp("visual_projection"),
            )?,
        })
    }

    pub fn vision(&self) -> &ClipVision {
        &self.vision
    }

    /// pixels: (b, h, w, 3) -> (b, projection)
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        self.project(&self.vision.forward(pixels)?)
    }

    /// hidden: (b, l, c), of the last block -> (b, projection)
    pub fn project(&self, hidden: &Tensor) -> Result<Tensor> {
        let class = hidden.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?; // (b, c)
        self.projection.forward(&self.post_norm.forward(&class)?)
    }
}

pub fn register(registry: &mut Registry) {
    registry.cases.push(&ImageEncoder);
    registry.nets.push(Net { inventory: "svd_image_encoder", unused: &[], outline });
}

fn outline() -> Result<Inventory> {
    let outline = Outline::new();
    ClipVisionWithProjection::load(&ClipVisionConfig::vit_h_14(), outline.builder())?;
    Ok(outline.inventory())
}

struct ImageEncoder;

impl Case for ImageEncoder {
    fn components(&self) -> &[&str] {
        &["CLIPVisionModelWithProjection"]
    }

    fn run(&self, given: &Given) -> std::result::Result<Outputs, CaseError> {
        let net = ClipVisionWithProjection::load(&given.config()?, given.weights()?)?;
        let pixels = given.float_input("in.pixel_values")?.permute((0, 2, 3, 1))?.contiguous()?;
        let hidden = net.vision().forward(&pixels)?; // (b, l, c)
        let mut outputs = Outputs::new();
        outputs.out("last_hidden_sub4", every(4, &hidden, 1)?);
        outputs.out("image_embeds", net.project(&hidden)?);
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn tiny() -> ClipVisionConfig {
        ClipVisionConfig {
            hidden_size: 8,
            intermediate_size: 8,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            patch_size: 2,
            image_size: 4,
            projection_dim: 8,
            ..ClipVisionConfig::vit_h_14()
        }
    }

    /// How large a signal of 1e-3 around nothing leaves a norm: its variance is as small as an epsilon, so this tells which one is used.
    #[test]
    fn norms_have_an_epsilon_of_1e_5() {
        let weights = || golden::Seeded::new("tiny").builder(DType::F32, &Device::Cpu);
        let net = ClipVisionWithProjection::load(&tiny(), weights()).unwrap();
        let wan = ClipVision::load_wan(&tiny(), weights()).unwrap();
        let values: Vec<f32> = (0..8).map(|i| if i % 2 == 0 { 1e-3 } else { -1e-3 }).collect();
        let x = Tensor::from_vec(values, (1, 8), &Device::Cpu).unwrap();
        let (block, last) = (&wan.blocks[0], &net.vision.blocks[1]);
        for norm in [&wan.pre_norm, &block.norm1, &block.norm2, &last.norm1, &last.norm2, &net.post_norm] {
            let y = norm.forward(&x).unwrap();
            let strength = y.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            assert!((strength - 0.3015).abs() < 0.05, "{strength}"); // 1e-3 / sqrt(1e-6 + 1e-5)
        }
    }

    #[test]
    fn refuses_what_it_was_not_made_for() {
        let tiny = tiny();
        let said = |cfg: ClipVisionConfig| cfg.check().unwrap_err().to_string();
        assert!(tiny.check().is_ok());
        assert!(said(ClipVisionConfig { num_attention_heads: 3, ..tiny.clone() }).contains("heads 3"));
        assert!(said(ClipVisionConfig { image_size: 1, ..tiny.clone() }).contains("image_size 1"));
        assert!(said(ClipVisionConfig { num_hidden_layers: 0, ..tiny.clone() }).contains("at least 1"));
        assert!(said(ClipVisionConfig { hidden_act: "mish".into(), ..tiny.clone() }).contains("mish"));
        let weights = golden::Seeded::new("refusals").builder(DType::F32, &Device::Cpu);
        let net = ClipVision::load(&tiny, weights).unwrap();
        let large = Tensor::zeros((1, 6, 4, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(net.forward(&large).unwrap_err().to_string().contains("4x4, not 6x4"));
    }
}
