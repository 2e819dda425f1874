//! The configs of the nets that come without one: umT5, CLIP and the VAE. Widths and depths are read off the shapes of their tensors; what
//! no shape tells is the released net's. The DiT and wav2vec2 have a `config.json`.

use candle_core::Result;
use encoders::clip_vision::ClipVisionConfig;
use layers::weights::WrongCheckpoint;

use super::error::BadWeights;
use super::source::Source;
use crate::nets::umt5::Umt5Config;
use crate::nets::wan_vae::WanVaeConfig;

/// Channels of a head in ViT-H (1280 of 16).
const CLIP_HEAD: usize = 80;

/// The tensors of a checkpoint, and what it should be.
pub(super) struct Shapes<'a> {
    pub source: &'a Source,
    pub net: &'static str,
}

impl Shapes<'_> {
    fn dims<const N: usize>(&self, key: &str) -> std::result::Result<[usize; N], BadWeights> {
        let wrong = |why: String| {
            let what = self.source.place(key);
            Err(WrongCheckpoint { what, wanted: self.net.to_owned(), key: key.to_owned(), why }.into())
        };
        match self.source.shape(key) {
            None => wrong("is missing".into()),
            Some(shape) => match shape.try_into() {
                Ok(dims) => Ok(dims),
                Err(_) => wrong(format!("is {shape:?}, expected {N} dimensions")),
            },
        }
    }

    /// How many there are, counted from 0.
    fn count(&self, key: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|&i| self.source.shape(&key(i)).is_some()).count()
    }

    fn checked<T>(&self, key: &str, cfg: T, check: Result<()>) -> std::result::Result<T, BadWeights> {
        check.map(|()| cfg).map_err(|error| {
            let (what, wanted) = (self.source.place(key), self.net.to_owned());
            WrongCheckpoint { what, wanted, key: key.to_owned(), why: format!("makes no net: {error}") }
                .into()
        })
    }

    pub fn umt5(&self) -> std::result::Result<Umt5Config, BadWeights> {
        let [vocab_size, dim] = self.dims("token_embedding.weight")?;
        let [dim_attn, _] = self.dims("blocks.0.attn.q.weight")?;
        let [dim_ffn, _] = self.dims("blocks.0.ffn.fc1.weight")?;
        let positions = "blocks.0.pos_embedding.embedding.weight";
        let [num_buckets, num_heads] = self.dims(positions)?;
        let encoder_layers = self.count(|i| format!("blocks.{i}.norm1.weight"));
        let cfg = Umt5Config { vocab_size, dim, dim_attn, dim_ffn, num_heads, encoder_layers, num_buckets };
        let check = cfg.check();
        self.checked(positions, cfg, check)
    }

    pub fn clip(&self) -> std::result::Result<ClipVisionConfig, BadWeights> {
        let class = "visual.cls_embedding";
        let [_, _, hidden_size] = self.dims(class)?;
        let [_, _, _, patch_size] = self.dims("visual.patch_embedding.weight")?;
        let [_, tokens, _] = self.dims("visual.pos_embedding")?;
        let [intermediate_size, _] = self.dims("visual.transformer.0.mlp.0.weight")?;
        let [_, projection_dim] = self.dims("visual.head")?;
        let cfg = ClipVisionConfig {
            hidden_size,
            intermediate_size,
            num_hidden_layers: self.count(|i| format!("visual.transformer.{i}.norm1.weight")),
            num_attention_heads: hidden_size / CLIP_HEAD,
            patch_size,
            image_size: tokens.saturating_sub(1).isqrt() * patch_size,
            projection_dim,
            ..ClipVisionConfig::vit_h_14()
        };
        let check = cfg.check();
        self.checked(class, cfg, check)
    }

    pub fn vae(&self) -> std::result::Result<WanVaeConfig, BadWeights> {
        let key = "encoder.conv1.weight";
        let [dim, ..]: [usize; 5] = self.dims(key)?;
        let cfg = WanVaeConfig { dim, ..WanVaeConfig::wan_2_1() };
        let check = cfg.check();
        self.checked(key, cfg, check)
    }
}
