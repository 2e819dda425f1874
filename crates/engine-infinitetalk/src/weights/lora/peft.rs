//! PEFT's `adapter_config.json`, which lies beside a LoRA's weights and holds alpha. Refused: other methods than LoRA, and patterns of
//! modules that are regular expressions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::weights::error::BadWeights;

const CONFIG: &str = "adapter_config.json";
/// The names PEFT gives its weights; the first is what is missing where there is none.
const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

#[derive(Clone, Debug, Deserialize)]
pub struct Adapter {
    peft_type: String,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
}

impl Adapter {
    /// The config beside a file of weights, where there is one.
    pub fn beside(weights: &Path) -> Result<Option<Self>, BadWeights> {
        let config = weights.with_file_name(CONFIG);
        if !config.exists() {
            return Ok(None);
        }
        let read = || -> Result<Self, String> {
            let text = std::fs::read(&config).map_err(|error| error.to_string())?;
            let adapter: Self = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
            adapter.check()?;
            Ok(adapter)
        };
        let not_that = |why| BadWeights::NotThat { path: config.clone(), what: "the config of a LoRA", why };
        read().map(Some).map_err(not_that)
    }

    /// alpha / rank, or alpha / sqrt(rank) in rank-stabilised LoRA (Kalajdzievski 2023).
    pub fn factor(&self, module: &str, rank: usize) -> f64 {
        let of_module = self.alpha_pattern.iter().find(|(pattern, _)| {
            module
                .strip_suffix(pattern.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        });
        let alpha = of_module.map_or(self.lora_alpha, |(_, alpha)| *alpha);
        let rank = rank as f64;
        alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    fn check(&self) -> Result<(), String> {
        if self.peft_type != "LORA" || self.use_dora {
            let method = if self.use_dora { "DoRA" } else { self.peft_type.as_str() };
            return Err(format!("the method is {method}, only LoRA can be merged"));
        }
        if self.fan_in_fan_out {
            return Err(
                "fan_in_fan_out is true, but this model holds its weights as (outputs, inputs)".into()
            );
        }
        let special =
            |pattern: &&String| pattern.contains(['*', '+', '?', '[', '(', '{', '|', '^', '$', '\\']);
        match self.alpha_pattern.keys().find(special) {
            Some(pattern) => {
                Err(format!("alpha_pattern `{pattern}` is a regular expression, only names are taken"))
            }
            None if self.lora_alpha.is_finite() => Ok(()),
            None => Err(format!("lora_alpha is {}", self.lora_alpha)),
        }
    }
}

/// The file of weights that a path means.
pub fn weights_in(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    let named = WEIGHTS.map(|name| path.join(name));
    named.iter().find(|path| path.is_file()).unwrap_or(&named[0]).clone()
}
