//! unet/config.json, and what of it this UNet can be. Every refusal names the key and its value.

use candle_core::{Result, bail};
use serde::Deserialize;

/// Whether a block has transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Attends,
    Plain,
}

/// A number for all levels or one for each, as diffusers writes either.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Levels {
    All(usize),
    Each(Vec<usize>),
}

impl Levels {
    /// One for each of `levels`; `key` is what the config calls it.
    fn each(&self, key: &str, levels: usize) -> Result<Vec<usize>> {
        match self {
            Self::All(number) => Ok(vec![*number; levels]),
            Self::Each(numbers) if numbers.len() == levels => Ok(numbers.clone()),
            Self::Each(numbers) => {
                bail!("{key} has {} numbers, but block_out_channels has {levels}", numbers.len())
            }
        }
    }

    fn one(&self, key: &str, levels: usize) -> Result<usize> {
        let numbers = self.each(key, levels)?;
        match numbers.iter().all(|number| *number == numbers[0]) {
            true => Ok(numbers[0]),
            false => bail!("{key} is {numbers:?}; this UNet takes the same at every level"),
        }
    }
}

/// The names of config.json.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct UnetConfig {
    #[serde(rename = "_class_name", default = "class_name")]
    pub class_name: String,
    pub in_channels: usize,
    pub out_channels: usize,
    pub down_block_types: Vec<String>,
    pub up_block_types: Vec<String>,
    pub block_out_channels: Vec<usize>,
    /// Channels of the embedding of each of the three added ids.
    pub addition_time_embed_dim: usize,
    pub projection_class_embeddings_input_dim: usize,
    pub layers_per_block: Levels,
    pub cross_attention_dim: Levels,
    #[serde(default = "one")]
    pub transformer_layers_per_block: Levels,
    pub num_attention_heads: Levels,
    /// What the model was trained for; others can be computed.
    pub num_frames: usize,
}

const CLASS: &str = "UNetSpatioTemporalConditionModel";

fn class_name() -> String {
    CLASS.into()
}

/// diffusers' default.
fn one() -> Levels {
    Levels::All(1)
}

/// fps, motion bucket, noise augmentation
pub const ADDED_IDS: usize = 3;
/// Groups of every group norm; diffusers has no key for them.
pub const NORM_GROUPS: usize = 32;

/// What the config says, in numbers that are known to fit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// Of each level: channels, heads.
    pub widths: Vec<usize>,
    pub heads: Vec<usize>,
    pub down: Vec<Kind>,
    pub up: Vec<Kind>,
    pub layers: usize,
    pub context: usize,
}

impl UnetConfig {
    /// stabilityai/stable-video-diffusion-img2vid-xt
    pub fn img2vid_xt() -> Self {
        let blocks = |first: &str, rest: &str, last: &str| {
            [first, rest, rest, last].map(|kind| format!("{kind}BlockSpatioTemporal")).to_vec()
        };
        Self {
            class_name: class_name(),
            in_channels: 8,
            out_channels: 4,
            down_block_types: blocks("CrossAttnDown", "CrossAttnDown", "Down"),
            up_block_types: blocks("Up", "CrossAttnUp", "CrossAttnUp"),
            block_out_channels: vec![320, 640, 1280, 1280],
            addition_time_embed_dim: 256,
            projection_class_embeddings_input_dim: 768,
            layers_per_block: Levels::All(2),
            cross_attention_dim: Levels::All(1024),
            transformer_layers_per_block: one(),
            num_attention_heads: Levels::Each(vec![5, 10, 20, 20]),
            num_frames: 25,
        }
    }

    /// stabilityai/stable-video-diffusion-img2vid
    pub fn img2vid() -> Self {
        Self { num_frames: 14, ..Self::img2vid_xt() }
    }

    pub fn check(&self) -> Result<()> {
        self.plan().map(drop)
    }

    pub(super) fn plan(&self) -> Result<Plan> {
        if self.class_name != CLASS {
            bail!("_class_name is {}, this is a {CLASS}", self.class_name);
        }
        let levels = self.block_out_channels.len();
        if levels == 0 {
            bail!("block_out_channels is empty, it needs a width for each level");
        }
        let kinds = |key: &str, types: &[String], side: &str| -> Result<Vec<Kind>> {
            if types.len() != levels {
                bail!("{key} has {} blocks, but block_out_channels has {levels} widths", types.len());
            }
            types.iter().map(|kind| kind_of(key, kind, side)).collect()
        };
        let heads = self.num_attention_heads.each("num_attention_heads", levels)?;
        for (&width, &heads) in self.block_out_channels.iter().zip(&heads) {
            if width == 0 || !width.is_multiple_of(NORM_GROUPS) {
                bail!(
                    "block_out_channels has {width}, it needs multiples of {NORM_GROUPS}, the groups of its norms"
                );
            }
            if heads == 0 || !width.is_multiple_of(heads) {
                bail!("num_attention_heads has {heads}, which do not divide {width} (block_out_channels)");
            }
        }
        let transformers = self.transformer_layers_per_block.one("transformer_layers_per_block", levels)?;
        if transformers != 1 {
            bail!("transformer_layers_per_block is {transformers}, this UNet takes 1");
        }
        let layers = self.layers_per_block.one("layers_per_block", levels)?;
        let context = self.cross_attention_dim.one("cross_attention_dim", levels)?;
        let added = ADDED_IDS * self.addition_time_embed_dim;
        for (key, number) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("layers_per_block", layers),
            ("cross_attention_dim", context),
            ("num_frames", self.num_frames),
        ] {
            if number == 0 {
                bail!("{key} is 0, it must be at least 1");
            }
        }
        if self.addition_time_embed_dim == 0 || !self.addition_time_embed_dim.is_multiple_of(2) {
            bail!("addition_time_embed_dim is {}, it must be even and above 0", self.addition_time_embed_dim);
        }
        if self.projection_class_embeddings_input_dim != added {
            bail!(
                "projection_class_embeddings_input_dim is {}, but {ADDED_IDS} ids of addition_time_embed_dim {} make {added}",
                self.projection_class_embeddings_input_dim,
                self.addition_time_embed_dim
            );
        }
        Ok(Plan {
            widths: self.block_out_channels.clone(),
            heads,
            down: kinds("down_block_types", &self.down_block_types, "Down")?,
            up: kinds("up_block_types", &self.up_block_types, "Up")?,
            layers,
            context,
        })
    }
}

/// `side`: Down or Up
fn kind_of(key: &str, kind: &str, side: &str) -> Result<Kind> {
    let plain = kind.strip_prefix(side).is_some_and(|rest| rest == "BlockSpatioTemporal");
    let attends = kind.strip_prefix("CrossAttn").and_then(|kind| kind.strip_prefix(side));
    match (plain, attends) {
        (true, _) => Ok(Kind::Plain),
        (_, Some("BlockSpatioTemporal")) => Ok(Kind::Attends),
        _ => bail!(
            "{key} has {kind}; known there are {side}BlockSpatioTemporal and CrossAttn{side}BlockSpatioTemporal"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_it_cannot_be() {
        assert!(UnetConfig::img2vid_xt().check().is_ok());
        assert!(UnetConfig::img2vid().check().is_ok());
        let check = |change: fn(&mut UnetConfig), words: &str| {
            let mut cfg = UnetConfig::img2vid_xt();
            change(&mut cfg);
            let error = cfg.check().unwrap_err().to_string();
            assert!(error.contains(words), "{error}, not {words}");
        };
        check(|cfg| cfg.class_name = "UNet2DConditionModel".into(), "_class_name is UNet2DConditionModel");
        check(|cfg| cfg.down_block_types[3] = "DownBlock2D".into(), "down_block_types has DownBlock2D");
        check(
            |cfg| cfg.up_block_types[1] = cfg.down_block_types[0].clone(),
            "up_block_types has CrossAttnDown",
        );
        check(|cfg| cfg.up_block_types.truncate(3), "up_block_types has 3 blocks");
        check(|cfg| cfg.block_out_channels.clear(), "block_out_channels is empty");
        check(|cfg| cfg.block_out_channels[1] = 630, "block_out_channels has 630");
        check(
            |cfg| cfg.num_attention_heads = Levels::Each(vec![5, 10, 20]),
            "num_attention_heads has 3 numbers",
        );
        check(|cfg| cfg.num_attention_heads = Levels::All(7), "num_attention_heads has 7");
        check(
            |cfg| cfg.layers_per_block = Levels::Each(vec![2, 2, 1, 2]),
            "layers_per_block is [2, 2, 1, 2]",
        );
        check(|cfg| cfg.layers_per_block = Levels::All(0), "layers_per_block is 0");
        check(|cfg| cfg.transformer_layers_per_block = Levels::All(2), "transformer_layers_per_block is 2");
        check(|cfg| cfg.addition_time_embed_dim = 255, "addition_time_embed_dim is 255");
        check(
            |cfg| cfg.projection_class_embeddings_input_dim = 512,
            "projection_class_embeddings_input_dim is 512, but 3 ids of addition_time_embed_dim 256 make 768",
        );
        check(|cfg| cfg.out_channels = 0, "out_channels is 0");
    }

    #[test]
    fn the_published_config_is_read() {
        let text = r#"{"_class_name": "UNetSpatioTemporalConditionModel", "_diffusers_version": "0.24.0.dev0", "addition_time_embed_dim": 256,
            "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 1024, "down_block_types": ["CrossAttnDownBlockSpatioTemporal",
            "CrossAttnDownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"], "in_channels": 8,
            "layers_per_block": 2, "num_attention_heads": [5, 10, 20, 20], "num_frames": 25, "out_channels": 4,
            "projection_class_embeddings_input_dim": 768, "sample_size": 96, "transformer_layers_per_block": 1, "up_block_types":
            ["UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"]}"#;
        assert_eq!(serde_json::from_str::<UnetConfig>(text).unwrap(), UnetConfig::img2vid_xt());
    }
}
