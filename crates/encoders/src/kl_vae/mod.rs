//! AutoencoderKL, the VAE of Stable Diffusion (Rombach et al. 2022), as in diffusers 0.30.2: pictures (b, h, w, 3) on [-1, 1] to latents
//! (b, h/8, w/8, 4) and back. Attention weights are found under their old names (`query`) and their new ones (`to_q`).
//! Net only: neither sampling of the posterior nor the scaling factor is applied here.

mod blocks;
mod decoder;
mod encoder;
mod verify;

use candle_core::{Result, bail};
use serde::Deserialize;

pub use blocks::{MidBlock, ResnetBlock, SpatialAttention};
pub use decoder::KlDecoder;
pub use encoder::{KlEncoder, Posterior};
pub use verify::register;

/// Of every group norm of the VAE (diffusers, `Encoder` and `Decoder`); the UNet's differs.
const NORM_EPS: f64 = 1e-6;

/// The names of config.json.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct KlVaeConfig {
    pub in_channels: usize,
    pub out_channels: usize,
    pub latent_channels: usize,
    /// From the picture to the latents; each but the last halves the picture.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of a level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    #[serde(default = "thirty_two")]
    pub norm_num_groups: usize,
    #[serde(default = "silu")]
    pub act_fn: String,
    pub down_block_types: Vec<String>,
    /// A temporal decoder has none.
    #[serde(default)]
    pub up_block_types: Vec<String>,
    /// What latents are multiplied by before a generator sees them; the published config leaves it to diffusers' default.
    #[serde(default = "sd_scale")]
    pub scaling_factor: f64,
}

fn thirty_two() -> usize {
    32
}

fn silu() -> String {
    "silu".into()
}

/// diffusers' default of `scaling_factor`.
fn sd_scale() -> f64 {
    0.18215
}

impl KlVaeConfig {
    /// stabilityai/sd-vae-ft-mse
    pub fn sd() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 4,
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            norm_num_groups: thirty_two(),
            act_fn: silu(),
            down_block_types: vec!["DownEncoderBlock2D".into(); 4],
            up_block_types: vec!["UpDecoderBlock2D".into(); 4],
            scaling_factor: sd_scale(),
        }
    }

    pub fn check(&self) -> Result<()> {
        let levels = self.block_out_channels.len();
        if levels == 0 || self.down_block_types.len() != levels {
            bail!(
                "a VAE of {levels} widths (block_out_channels) has as many blocks, not {} (down_block_types)",
                self.down_block_types.len()
            );
        }
        let types = self.down_block_types.iter().chain(&self.up_block_types);
        let known = ["DownEncoderBlock2D", "UpDecoderBlock2D"];
        if let Some(other) = types.into_iter().find(|name| !known.contains(&name.as_str())) {
            bail!("a VAE block `{other}` is not known; known are {}", known.join(" and "));
        }
        if self.act_fn != "silu" && self.act_fn != "swish" {
            bail!("a VAE with act_fn `{}` is not known; known is silu", self.act_fn);
        }
        Ok(())
    }

    /// How many pixels of a picture's side become one of the latents'.
    pub fn reduction(&self) -> usize {
        1 << (self.block_out_channels.len().max(1) - 1)
    }
}
