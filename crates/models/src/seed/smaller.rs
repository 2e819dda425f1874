//! Nets of few channels and blocks, made of the key inventories of the released files: which blocks stay, and what becomes of each width
//! (`assets/smaller.toml`). The rest of a seeded model at such a scale are files that stand for the released ones, configs first of all.

use std::collections::BTreeMap;

use contract::Complaint;
use serde::Deserialize;

use super::Scale;
use crate::inventory::{Dtype, Inventory, Tensor, parts};

const TABLE: &str = include_str!("../../assets/smaller.toml");

/// Files that stand for released ones, by scale; `smaller` stands for every scale but the full one, `any` for all.
macro_rules! stand_ins {
    ($($path:literal),+ $(,)?) => {
        const STAND_INS: &[(&str, &[u8])] = &[$(($path, include_bytes!(concat!("../../assets/", $path)))),+];
    };
}

stand_ins!(
    "full/wan_dit.config.json",
    "small/wan_dit.config.json",
    "tiny/wan_dit.config.json",
    "full/wav2vec2.config.json",
    "small/wav2vec2.config.json",
    "tiny/wav2vec2.config.json",
    "any/wav2vec2.preprocessor_config.json",
    "any/svd_model_index.json",
    "any/svd_preprocessor.config.json",
    "any/svd_scheduler.config.json",
    "full/svd_image_encoder.config.json",
    "tiny/svd_image_encoder.config.json",
    "full/svd_unet.config.json",
    "tiny/svd_unet.config.json",
    "full/svd_xt_unet.config.json",
    "tiny/svd_xt_unet.config.json",
    "full/svd_vae.config.json",
    "tiny/svd_vae.config.json",
    "smaller/umt5/special_tokens_map.json",
    "smaller/umt5/spiece.model",
    "smaller/umt5/tokenizer.json",
    "smaller/umt5/tokenizer_config.json",
);

pub fn stand_in(name: &str, scale: Scale) -> Option<&'static [u8]> {
    let folders = match scale {
        Scale::Full => &["full", "any"][..],
        Scale::Small => &["small", "smaller", "any"],
        Scale::Tiny => &["tiny", "smaller", "any"],
    };
    let paths = folders.iter().map(|folder| format!("{folder}/{name}"));
    paths.into_iter().find_map(|path| STAND_INS.iter().find(|(at, _)| *at == path)).map(|(_, bytes)| *bytes)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    net: Vec<Net>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Net {
    scale: String,
    inventory: String,
    /// In place of the inventory's.
    dtype: Option<String>,
    /// Beginnings of keys that are left out.
    #[serde(default)]
    without: Vec<String>,
    /// Of keys that begin so and go on with a number: how many there are.
    #[serde(default)]
    blocks: BTreeMap<String, u64>,
    widths: BTreeMap<String, u64>,
}

/// The tensors of an inventory's net at a scale; `None` where there is none.
pub fn tensors(inventories: &str, scale: Scale) -> Result<Option<Vec<Tensor>>, Complaint> {
    let mut all = Vec::new();
    for inventory in parts(inventories) {
        match of_one(inventory, scale)? {
            Some(tensors) => all.extend(tensors),
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}

fn of_one(inventory: &str, scale: Scale) -> Result<Option<Vec<Tensor>>, Complaint> {
    let wrong = |why: String| {
        Complaint::new("bad_catalogue", format!("the table of smaller nets is wrong: {why}"), "")
    };
    let table: Table = toml::from_str(TABLE).map_err(|error| wrong(error.to_string()))?;
    let of_scale = |net: &&Net| net.scale == scale.name() && net.inventory == inventory;
    let Some(net) = table.net.iter().find(of_scale) else { return Ok(None) };
    let dtype = match &net.dtype {
        None => None,
        Some(name) => Some(
            Dtype::named(name).ok_or_else(|| wrong(format!("{inventory} has the unknown dtype {name}")))?,
        ),
    };
    let mut tensors = Inventory::named(inventory)?.tensors;
    tensors.retain(|tensor| net.holds(&tensor.key));
    for tensor in &mut tensors {
        for width in &mut tensor.shape {
            *width = net.widths.get(&width.to_string()).copied().unwrap_or(*width);
        }
        if let (Some(dtype), true) = (dtype, tensor.dtype != Dtype::I64) {
            tensor.dtype = dtype;
        }
    }
    Ok(Some(tensors))
}

impl Net {
    fn holds(&self, key: &str) -> bool {
        let left_out = self.without.iter().any(|start| key.starts_with(start.as_str()));
        let beyond = self.blocks.iter().any(|(start, count)| {
            let number = key.strip_prefix(start.as_str()).and_then(|rest| rest.split('.').next());
            number.and_then(|number| number.parse::<u64>().ok()).is_some_and(|number| number >= *count)
        });
        !left_out && !beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_widths_are_fewer_and_names_stay() {
        let full = Inventory::named("wan_i2v_14b_dit").unwrap().tensors;
        for (scale, at_most) in [(Scale::Tiny, 8_000_000), (Scale::Small, 120_000_000)] {
            let tensors = tensors("wan_i2v_14b_dit", scale).unwrap().unwrap();
            assert!(tensors.iter().all(|tensor| full.iter().any(|other| other.key == tensor.key)));
            assert!(!tensors.iter().flat_map(|tensor| &tensor.shape).any(|&n| n == 5120 || n == 13_824));
            let elements: u64 = tensors.iter().map(Tensor::elements).sum();
            assert!(elements < at_most, "{} {elements}", scale.name());
        }
        assert!(tensors("musetalk_unet", Scale::Tiny).unwrap().is_none());
        assert!(tensors("wan_vae", Scale::Full).unwrap().is_none());
    }

    #[test]
    fn a_stand_in_is_that_of_its_scale() {
        let text =
            |name, scale| stand_in(name, scale).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(text("wan_dit.config.json", Scale::Full).unwrap().contains("5120"));
        assert!(!text("wan_dit.config.json", Scale::Tiny).unwrap().contains("5120"));
        assert!(text("umt5/tokenizer.json", Scale::Small).is_some());
        assert!(text("umt5/tokenizer.json", Scale::Full).is_none());
        let official = text("wav2vec2.preprocessor_config.json", Scale::Full).unwrap();
        assert_eq!(official.len(), 160); // the released file's
    }
}
