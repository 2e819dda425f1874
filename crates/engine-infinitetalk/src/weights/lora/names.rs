//! How LoRA files spell the keys of Wan's DiT: `diffusion_model.` (ComfyUI, the official program), PEFT's `base_model.model.`, kohya's
//! `lora_unet_` with underscores in place of dots, or the bare name; `lora_down` / `lora_up` or `lora_A` / `lora_B`; `diff` for a weight,
//! `diff_b` for a bias, `diff_m` for a modulation.

use std::collections::{BTreeMap, BTreeSet};

use layers::weights::Inventory;

const PEFT: &str = "base_model.model.";
const COMFY: &str = "diffusion_model.";
const KOHYA: &str = "lora_unet_";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Down,
    Up,
    Alpha,
    Diff,
    DiffBias,
    DiffModulation,
}

impl Part {
    /// The tensor of the module that it changes.
    pub fn target(self) -> &'static str {
        match self {
            Self::Down | Self::Up | Self::Alpha | Self::Diff => "weight",
            Self::DiffBias => "bias",
            Self::DiffModulation => "modulation",
        }
    }
}

const ENDINGS: [(&str, Part); 8] = [
    (".lora_down.weight", Part::Down),
    (".lora_up.weight", Part::Up),
    (".lora_A.weight", Part::Down),
    (".lora_B.weight", Part::Up),
    (".alpha", Part::Alpha),
    (".diff", Part::Diff),
    (".diff_b", Part::DiffBias),
    (".diff_m", Part::DiffModulation),
];

/// What other methods write, and what they are called.
const OTHERS: [(&str, &str); 6] = [
    ("dora_scale", "DoRA"),
    ("lora_magnitude_vector", "DoRA"),
    ("hada_", "LoHa"),
    ("lokr_", "LoKr"),
    ("oft_", "OFT"),
    ("boft_", "OFT"),
];

#[derive(Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// Without the prefix; kohya's still with underscores.
    pub module: &'a str,
    pub part: Part,
}

impl<'a> Key<'a> {
    pub fn parse(key: &'a str) -> Result<Self, String> {
        let name = key.strip_prefix(PEFT).unwrap_or(key);
        let name = name.strip_prefix("model.").unwrap_or(name);
        let name = name.strip_prefix(COMFY).or_else(|| name.strip_prefix(KOHYA)).unwrap_or(name);
        if let Some((module, part)) =
            ENDINGS.iter().find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part)))
        {
            return Ok(Self { module, part });
        }
        // PEFT puts the name of the adapter between: lora_A.default.weight
        for (middle, part) in [(".lora_A.", Part::Down), (".lora_B.", Part::Up)] {
            if let Some((module, adapter)) = name.split_once(middle)
                && adapter.strip_suffix(".weight").is_some_and(|adapter| !adapter.contains('.'))
            {
                return Ok(Self { module, part });
            }
        }
        match OTHERS.iter().find(|(sign, _)| name.contains(sign)) {
            Some((_, method)) => {
                Err(format!("is of {method}, only LoRA and plain differences can be merged"))
            }
            None => Err("is not a key of a LoRA".into()),
        }
    }
}

/// Whether the official program reads it.
pub fn official(key: &str) -> bool {
    let read = [".lora_down.weight", ".lora_up.weight", ".diff", ".diff_b"];
    key.starts_with(COMFY) && read.iter().any(|ending| key.ends_with(ending))
}

pub fn of_peft(key: &str) -> bool {
    key.starts_with(PEFT)
}

pub fn of_text_encoder(key: &str) -> bool {
    let name = key.strip_prefix(PEFT).unwrap_or(key);
    ["lora_te", "text_encoder", "cond_stage_model.", "conditioner.", "te."]
        .iter()
        .any(|start| name.starts_with(start))
}

/// The modules of a net, by both spellings.
pub struct Modules {
    shapes: BTreeMap<String, Vec<usize>>,
    dotted: BTreeSet<String>,
    underscored: BTreeMap<String, String>,
}

impl Modules {
    pub fn of(net: &Inventory) -> Self {
        let dotted: BTreeSet<String> =
            net.iter().filter_map(|(key, _)| Some(key.rsplit_once('.')?.0.to_owned())).collect();
        Self {
            shapes: net.iter().map(|(key, shape)| (key.to_owned(), shape.to_vec())).collect(),
            underscored: dotted.iter().map(|name| (name.replace('.', "_"), name.clone())).collect(),
            dotted,
        }
    }

    pub fn find(&self, module: &str) -> Option<&str> {
        let found = self.dotted.get(module).or_else(|| self.underscored.get(module));
        found.map(String::as_str)
    }

    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.shapes.get(key).map(Vec::as_slice)
    }

    /// Why a module has no place here.
    pub fn unknown(&self, module: &str) -> String {
        let shared = |name: &&String| name.bytes().zip(module.bytes()).take_while(|(a, b)| a == b).count();
        match self.dotted.iter().max_by_key(shared).filter(|name| shared(name) > 0) {
            Some(near) => {
                format!("names the module `{module}`, which this model does not have; it has `{near}`")
            }
            None => format!("names the module `{module}`, which this model does not have"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_key() {
        let net = Inventory::of_shapes([
            ("blocks.0.cross_attn.k_img.weight".to_owned(), vec![4, 4]),
            ("blocks.0.cross_attn.k_img.bias".to_owned(), vec![4]),
            ("blocks.0.modulation".to_owned(), vec![1, 6, 4]),
        ]);
        let modules = Modules::of(&net);
        let (attention, block) = ("blocks.0.cross_attn.k_img", "blocks.0");
        for (key, module, part) in [
            ("diffusion_model.blocks.0.cross_attn.k_img.lora_down.weight", attention, Part::Down),
            ("diffusion_model.blocks.0.cross_attn.k_img.lora_B.weight", attention, Part::Up),
            ("model.diffusion_model.blocks.0.cross_attn.k_img.alpha", attention, Part::Alpha),
            ("base_model.model.blocks.0.cross_attn.k_img.lora_A.weight", attention, Part::Down),
            ("base_model.model.blocks.0.cross_attn.k_img.lora_A.default.weight", attention, Part::Down),
            ("lora_unet_blocks_0_cross_attn_k_img.lora_up.weight", attention, Part::Up),
            ("blocks.0.cross_attn.k_img.lora_up.weight", attention, Part::Up),
            ("diffusion_model.blocks.0.cross_attn.k_img.diff", attention, Part::Diff),
            ("diffusion_model.blocks.0.cross_attn.k_img.diff_b", attention, Part::DiffBias),
            ("diffusion_model.blocks.0.diff_m", block, Part::DiffModulation),
        ] {
            let parsed = Key::parse(key).unwrap();
            assert_eq!((modules.find(parsed.module), parsed.part), (Some(module), part), "{key}");
        }
        assert_eq!(modules.find("blocks.1.cross_attn.k_img"), None);
        assert!(
            modules.unknown("blocks.1.x").contains("it has `blocks.0"),
            "{}",
            modules.unknown("blocks.1.x")
        );
        for (key, said) in [
            ("diffusion_model.blocks.0.ffn.0.dora_scale", "DoRA"),
            ("diffusion_model.blocks.0.ffn.0.hada_w1_a", "LoHa"),
            ("blocks.0.ffn.0.weight", "not a key of a LoRA"),
        ] {
            assert!(Key::parse(key).unwrap_err().contains(said), "{key}");
        }
    }
}
