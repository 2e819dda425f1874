//! `musetalk.json`, which v1 and v1.5 share, and what of it this UNet can be.

use candle_core::{Result, bail};
use serde::Deserialize;

/// The names of config.json.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct UnetConfig {
    pub act_fn: String,
    /// Despite its name the number of heads, at every level (diffusers kept SD's misnomer).
    pub attention_head_dim: usize,
    pub block_out_channels: Vec<usize>,
    #[serde(default)]
    pub center_input_sample: bool,
    pub cross_attention_dim: usize,
    pub down_block_types: Vec<String>,
    pub downsample_padding: usize,
    pub flip_sin_to_cos: bool,
    pub freq_shift: f64,
    pub in_channels: usize,
    pub layers_per_block: usize,
    pub mid_block_scale_factor: f64,
    pub norm_eps: f64,
    pub norm_num_groups: usize,
    pub out_channels: usize,
    pub up_block_types: Vec<String>,
}

/// Whether a block of this type has attention; refuses types it does not know.
pub fn attends(kind: &str) -> Result<bool> {
    match kind {
        "CrossAttnDownBlock2D" | "CrossAttnUpBlock2D" => Ok(true),
        "DownBlock2D" | "UpBlock2D" => Ok(false),
        other => bail!(
            "a UNet block `{other}` is not known; known are DownBlock2D, UpBlock2D, CrossAttnDownBlock2D and CrossAttnUpBlock2D"
        ),
    }
}

impl UnetConfig {
    /// musetalk.json
    pub fn musetalk() -> Self {
        let blocks = |types: [&str; 4]| types.map(str::to_owned).to_vec();
        let (plain, cross) = ("DownBlock2D", "CrossAttnDownBlock2D");
        Self {
            act_fn: "silu".into(),
            attention_head_dim: 8,
            block_out_channels: vec![320, 640, 1280, 1280],
            center_input_sample: false,
            cross_attention_dim: 384,
            down_block_types: blocks([cross, cross, cross, plain]),
            downsample_padding: 1,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            in_channels: 8,
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            norm_eps: 1e-5,
            norm_num_groups: 32,
            out_channels: 4,
            up_block_types: blocks([
                "UpBlock2D",
                "CrossAttnUpBlock2D",
                "CrossAttnUpBlock2D",
                "CrossAttnUpBlock2D",
            ]),
        }
    }

    pub fn check(&self) -> Result<()> {
        let levels = self.block_out_channels.len();
        if levels == 0 || self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            bail!(
                "a UNet of {levels} widths (block_out_channels) has as many blocks each way, not {} (down_block_types) and {} (up_block_types)",
                self.down_block_types.len(),
                self.up_block_types.len()
            );
        }
        for (types, side) in [(&self.down_block_types, "DownBlock2D"), (&self.up_block_types, "UpBlock2D")] {
            for kind in types {
                attends(kind)?;
                if !kind.ends_with(side) {
                    bail!("a UNet block `{kind}` is on the wrong side; a {side} belongs there");
                }
            }
        }
        if self.act_fn != "silu" && self.act_fn != "swish" {
            bail!("a UNet with act_fn `{}` is not known; known is silu", self.act_fn);
        }
        if self.center_input_sample {
            bail!("a UNet with center_input_sample is not known; it must be false");
        }
        if self.mid_block_scale_factor != 1.0 {
            bail!("mid_block_scale_factor must be 1, not {}", self.mid_block_scale_factor);
        }
        let heads = self.attention_head_dim;
        if let Some(width) = self.block_out_channels.iter().find(|&&w| heads == 0 || !w.is_multiple_of(heads))
        {
            bail!("{width} channels cannot be split over {heads} heads (attention_head_dim)");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_it_cannot_be() {
        assert!(UnetConfig::musetalk().check().is_ok());
        let check = |change: fn(&mut UnetConfig), part: &str| {
            let mut cfg = UnetConfig::musetalk();
            change(&mut cfg);
            let error = cfg.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        check(|cfg| cfg.act_fn = "gelu".into(), "gelu");
        check(|cfg| cfg.up_block_types[1] = "AttnUpBlock2D".into(), "AttnUpBlock2D");
        check(|cfg| cfg.up_block_types[1] = "DownBlock2D".into(), "wrong side");
        check(|cfg| cfg.block_out_channels[2] = 1001, "1001 channels");
        check(|cfg| cfg.block_out_channels.truncate(3), "3 widths");
        check(|cfg| cfg.mid_block_scale_factor = 1.4, "1.4");
        check(|cfg| cfg.center_input_sample = true, "center_input_sample");
    }
}
