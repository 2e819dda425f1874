//! The encoder of umT5 (Chung et al. 2023), which reads Wan's prompts: a T5 with a table of relative positions of its own in every layer.
//! Reference: Wan2.1 9737cba, `wan/modules/t5.py`. Texts run at their true length, which gives the rows that the reference gets from a
//! padded batch with a mask. Deviation: in bf16 the logits and the attention weights stay f32. Refused: f16, in which the
//! reference clamps what overflows.

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::VarBuilder;
use golden::{Case, CaseError, Given, Net, Outputs, Registry};
use layers::weights::{Inventory, Outline};
use layers::{Activation, Bias, Linear, Mask, RmsNorm, attention};
use serde::Deserialize;

/// `T5LayerNorm`'s own; no argument changes it.
const EPS: f64 = 1e-6;

/// Tokens; everything farther away shares the last bucket (`T5RelativeEmbedding`'s `max_dist`).
const MAX_DISTANCE: f32 = 128.0;

/// The arguments of the reference's `umt5_xxl`, as far as they make an encoder.
#[derive(Clone, Debug, Deserialize)]
pub struct Umt5Config {
    pub vocab_size: usize,
    pub dim: usize,
    pub dim_attn: usize,
    pub dim_ffn: usize,
    pub num_heads: usize,
    pub encoder_layers: usize,
    pub num_buckets: usize,
}

impl Umt5Config {
    /// models_t5_umt5-xxl-enc-bf16.pth
    pub fn xxl() -> Self {
        Self {
            vocab_size: 256_384,
            dim: 4096,
            dim_attn: 4096,
            dim_ffn: 10_240,
            num_heads: 64,
            encoder_layers: 24,
            num_buckets: 32,
        }
    }

    pub fn check(&self) -> Result<()> {
        if self.num_heads == 0 || !self.dim_attn.is_multiple_of(self.num_heads) {
            bail!("dim_attn {} cannot be split into num_heads {}", self.dim_attn, self.num_heads);
        }
        if self.num_buckets < 4 || !self.num_buckets.is_multiple_of(4) {
            bail!("num_buckets is a multiple of 4 (two directions, near and far), not {}", self.num_buckets);
        }
        Ok(())
    }
}

/// A bias for every head and every distance between a query and a key.
#[derive(Clone, Debug)]
struct RelativeEmbedding {
    embedding: Tensor, // (buckets, n)
}

impl RelativeEmbedding {
    fn load(cfg: &Umt5Config, vb: VarBuilder) -> Result<Self> {
        Ok(Self { embedding: vb.get((cfg.num_buckets, cfg.num_heads), "embedding.weight")? })
    }

    /// buckets: (l, l) -> (1, n, l, l)
    fn forward(&self, buckets: &Tensor) -> Result<Tensor> {
        let l = buckets.dim(0)?;
        let bias = self.embedding.index_select(&buckets.flatten_all()?, 0)?; // (l * l, n)
        bias.t()?.reshape((1, (), l, l))
    }
}

/// Which row of the table a query and a key of a text of `l` tokens look up: (l, l)
fn buckets(l: usize, num_buckets: usize, device: &Device) -> Result<Tensor> {
    let one_way = num_buckets / 2;
    let exact = one_way / 2;
    let bucket = |query: usize, key: usize| {
        let distance = query.abs_diff(key);
        let near = if distance < exact {
            distance
        } else {
            let far = (distance as f32 / exact as f32).ln() / (MAX_DISTANCE / exact as f32).ln();
            (exact + (far * (one_way - exact) as f32) as usize).min(one_way - 1)
        };
        (if key > query { one_way + near } else { near }) as u32
    };
    let all: Vec<u32> = (0..l).flat_map(|query| (0..l).map(move |key| bucket(query, key))).collect();
    Tensor::from_vec(all, (l, l), device)
}

#[derive(Clone, Debug)]
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    heads: usize,
}

impl Attention {
    fn load(cfg: &Umt5Config, vb: VarBuilder) -> Result<Self> {
        let inner = |name: &str| Linear::load(cfg.dim, cfg.dim_attn, Bias::No, vb.pp(name));
        Ok(Self {
            q: inner("q")?,
            k: inner("k")?,
            v: inner("v")?,
            o: Linear::load(cfg.dim_attn, cfg.dim, Bias::No, vb.pp("o"))?,
            heads: cfg.num_heads,
        })
    }

    /// x: (b, l, c), bias: (1, n, l, l) -> what x sees of itself, plus `addend`: (b, l, c)
    fn forward_plus(&self, x: &Tensor, bias: &Tensor, addend: &Tensor) -> Result<Tensor> {
        let (b, l, _) = x.dims3()?;
        let heads = |linear: &Linear| linear.forward(x)?.reshape((b, l, self.heads, ())); // (b, l, n, d)
        let (q, k, v) = (heads(&self.q)?, heads(&self.k)?, heads(&self.v)?);
        let y = attention(&q, &k, &v, &Mask::Bias(bias), 1.0)?; // T5 does not scale
        self.o.forward_plus(&y.flatten_from(2)?, addend)
    }
}

#[derive(Clone, Debug)]
struct FeedForward {
    gate: Linear,
    fc1: Linear,
    fc2: Linear,
}

impl FeedForward {
    fn load(cfg: &Umt5Config, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            gate: Linear::load(cfg.dim, cfg.dim_ffn, Bias::No, vb.pp("gate.0"))?,
            fc1: Linear::load(cfg.dim, cfg.dim_ffn, Bias::No, vb.pp("fc1"))?,
            fc2: Linear::load(cfg.dim_ffn, cfg.dim, Bias::No, vb.pp("fc2"))?,
        })
    }

    /// x: (b, l, c) -> the layers of x plus `addend`: the same
    fn forward_plus(&self, x: &Tensor, addend: &Tensor) -> Result<Tensor> {
        let gate = self.gate.forward_then(x, Activation::GeluTanh)?; // (b, l, ffn)
        self.fc2.forward_plus(&(self.fc1.forward(x)? * gate)?, addend)
    }
}

#[derive(Clone, Debug)]
struct Block {
    norm1: RmsNorm,
    attention: Attention,
    norm2: RmsNorm,
    ffn: FeedForward,
    positions: RelativeEmbedding,
}

impl Block {
    fn load(cfg: &Umt5Config, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            norm1: RmsNorm::load(cfg.dim, EPS, vb.pp("norm1"))?,
            attention: Attention::load(cfg, vb.pp("attn"))?,
            norm2: RmsNorm::load(cfg.dim, EPS, vb.pp("norm2"))?,
            ffn: FeedForward::load(cfg, vb.pp("ffn"))?,
            positions: RelativeEmbedding::load(cfg, vb.pp("pos_embedding"))?,
        })
    }

    /// x: (b, l, c), buckets: (l, l) -> (b, l, c)
    fn forward(&self, x: &Tensor, buckets: &Tensor) -> Result<Tensor> {
        let bias = self.positions.forward(buckets)?;
        let x = self.attention.forward_plus(&self.norm1.forward(x)?, &bias, x)?;
        self.ffn.forward_plus(&self.norm2.forward(&x)?, &x)
    }
}

#[derive(Clone, Debug)]
pub struct Umt5Encoder {
    tokens: Tensor, // (vocabulary, c)
    blocks: Vec<Block>,
    norm: RmsNorm,
    num_buckets: usize,
}

impl Umt5Encoder {
    pub fn load(cfg: &Umt5Config, vb: VarBuilder) -> Result<Self> {
        cfg.check()?;
        if vb.dtype() == DType::F16 {
            bail!("umT5 overflows in f16: use bf16 or f32");
        }
        let blocks = vb.pp("blocks");
        Ok(Self {
            tokens: vb.get((cfg.vocab_size, cfg.dim), "token_embedding.weight")?,
            blocks: (0..cfg.encoder_layers).map(|i| Block::load(cfg, blocks.pp(i))).collect::<Result<_>>()?,
            norm: RmsNorm::load(cfg.dim, EPS, vb.pp("norm"))?,
            num_buckets: cfg.num_buckets,
        })
    }

    /// ids: (b, l), texts of one true length, the end token with them, without padding -> (b, l, c)
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let (b, l) = ids.dims2()?;
        let mut x = self.tokens.index_select(&ids.flatten_all()?, 0)?.reshape((b, l, ()))?; // (b, l, c)
        let buckets = buckets(l, self.num_buckets, x.device())?;
        for block in &self.blocks {
            x = block.forward(&x, &buckets)?;
        }
        self.norm.forward(&x)
    }
}

pub fn register(registry: &mut Registry) {
    registry.cases.push(&Umt5Case);
    registry.nets.push(Net { inventory: "umt5_xxl", unused: &[], outline });
}

fn outline() -> Result<Inventory> {
    let outline = Outline::new();
    Umt5Encoder::load(&Umt5Config::xxl(), outline.builder())?;
    Ok(outline.inventory())
}

struct Umt5Case;

impl Case for Umt5Case {
    fn components(&self) -> &[&str] {
        &["umT5 encoder"]
    }

    /// `out.seq1` is the second row of the ids, `out.seq0_bf16` the first with weights and activations in bf16.
    fn run(&self, given: &Given) -> std::result::Result<Outputs, CaseError> {
        let cfg: Umt5Config = given.config()?;
        let ids = given.input("in.ids")?;
        let wide = Umt5Encoder::load(&cfg, given.weights()?)?;
        let half = Umt5Encoder::load(&cfg, given.weights()?.to_dtype(DType::BF16))?;
        let mut outputs = Outputs::new();
        for (name, _) in given.file.stored("out.seq") {
            let name = name.trim_start_matches("out.");
            let (net, row) = match name.strip_suffix("_bf16") {
                Some(row) => (&half, row),
                None => (&wide, name),
            };
            let row: usize = row.trim_start_matches("seq").parse()?;
            let text: Vec<i64> = ids.get(row)?.to_vec1()?;
            let length = text.iter().rposition(|&id| id != 0).map_or(0, |last| last + 1); // 0 is padding
            let text = ids.narrow(0, row, 1)?.narrow(1, 0, length)?;
            outputs.out(name, net.forward(&text)?.squeeze(0)?);
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_tokens_have_buckets_of_their_own_and_far_ones_share() {
        let table: Vec<Vec<u32>> = buckets(200, 32, &Device::Cpu).unwrap().to_vec2().unwrap();
        let (back, ahead) = (|d: usize| table[d][0], |d: usize| table[0][d]);
        for (distance, bucket) in [
            (0, 0),
            (1, 1),
            (7, 7),
            (8, 8),
            (11, 8),
            (12, 9),
            (15, 9),
            (16, 10),
            (22, 10),
            (23, 11),
            (32, 12),
        ] {
            assert_eq!(back(distance), bucket, "{distance} tokens back");
        }
        for (distance, bucket) in [(63, 13), (64, 14), (90, 14), (91, 15), (128, 15), (199, 15)] {
            assert_eq!(back(distance), bucket, "{distance} tokens back");
            assert_eq!(ahead(distance), 16 + bucket, "{distance} tokens ahead");
        }
    }

    fn tiny() -> Umt5Config {
        Umt5Config {
            vocab_size: 8,
            dim: 8,
            dim_attn: 8,
            dim_ffn: 8,
            num_heads: 2,
            encoder_layers: 1,
            num_buckets: 8,
        }
    }

    /// How large a signal of 1e-3 leaves a norm: its square is as small as an epsilon, so this tells which one is used.
    #[test]
    fn norms_have_an_epsilon_of_1e_6() {
        let vb = golden::Seeded::new("tiny").builder(DType::F32, &Device::Cpu);
        let net = Umt5Encoder::load(&tiny(), vb).unwrap();
        let x = Tensor::full(1e-3f32, (1, 8), &Device::Cpu).unwrap();
        for norm in [&net.blocks[0].norm1, &net.blocks[0].norm2, &net.norm] {
            let y = norm.forward(&x).unwrap();
            let strength = y.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            assert!((strength - 0.707).abs() < 0.1, "{strength}"); // 1e-3 / sqrt(1e-6 + 1e-6)
        }
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let cfg = tiny();
        let said = |cfg: Umt5Config| cfg.check().unwrap_err().to_string();
        assert!(said(Umt5Config { num_heads: 3, ..cfg.clone() }).contains("num_heads 3"));
        assert!(said(Umt5Config { num_buckets: 6, ..cfg.clone() }).contains("not 6"));
        let seeded = golden::Seeded::new("tiny");
        let half = Umt5Encoder::load(&cfg, seeded.builder(DType::F16, &Device::Cpu));
        assert!(half.unwrap_err().to_string().contains("bf16 or f32"));
    }
}
