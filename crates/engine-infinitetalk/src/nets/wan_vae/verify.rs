//! The VAE's golden cases and the keys of its full-size net. The bf16 case rounds where the reference does: weights, statistics and
//! what every operation hands on are bf16, sums are made in f32.

use candle_core::{Result, Tensor};
use golden::{Case, CaseError, Given, Net, Outputs, Registry, every};
use layers::weights::{Inventory, Outline};

use super::{WanVae, WanVaeConfig};

pub fn register(registry: &mut Registry) {
    registry.cases.push(&WanVaeCase);
    registry.nets.push(Net { inventory: "wan_vae", unused: &[], outline });
}

fn outline() -> Result<Inventory> {
    let outline = Outline::new();
    WanVae::load(&WanVaeConfig::wan_2_1(), outline.builder())?;
    Ok(outline.inventory())
}

struct WanVaeCase;

impl Case for WanVaeCase {
    fn components(&self) -> &[&str] {
        &["Wan2.1 VAE", "Wan2.1 VAE in bf16"]
    }

    fn run(&self, given: &Given) -> std::result::Result<Outputs, CaseError> {
        let net = WanVae::load(&given.config()?, given.weights()?)?;
        let video = channels_last(&given.float_input("in.x")?)?; // (1, t, h, w, 3)
        let latents = channels_last(&given.float_input("in.z")?.unsqueeze(0)?)?; // (1, t, h, w, z)
        let mut outputs = Outputs::new();
        // `enc_9f`: the first 9 frames
        let clips = given.file.stored("out.enc_").filter_map(|(name, _)| {
            name.trim_start_matches("out.enc_").strip_suffix('f')?.parse::<usize>().ok()
        });
        for frames in clips {
            let latents = net.encode(&video.narrow(1, 0, frames)?)?;
            outputs.out(&format!("enc_{frames}f"), channels_first(&latents)?.squeeze(0)?);
        }
        let decoded = channels_first(&net.decode(&latents)?)?.squeeze(0)?; // (3, t, h, w)
        outputs.out("dec_unclamped_sub2", every(2, &every(2, &decoded, 2)?, 3)?);
        let last = decoded.narrow(1, decoded.dim(1)? - 1, 1)?.squeeze(1)?; // (3, h, w)
        outputs.out("dec_clamped_frame_last", last.clamp(-1.0, 1.0)?);
        Ok(outputs)
    }
}

/// (b, c, t, h, w) -> (b, t, h, w, c)
fn channels_last(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 2, 3, 4, 1))?.contiguous()
}

/// (b, t, h, w, c) -> (b, c, t, h, w)
fn channels_first(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 4, 1, 2, 3))?.contiguous()
}
