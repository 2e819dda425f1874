//! Latents and what a frame hears to a talking face: the UNet, run once, and the VAE's way out.

use candle_core::{DType, Device, Result, Tensor};
use encoders::kl_vae::KlDecoder;
use layers::Probe;

use crate::nets::positional::with_positions;
use crate::nets::unet::Unet;

/// Sides of the face in pixels, and of its latents.
pub const SIDE: usize = 256;
pub const LATENT_SIDE: usize = 32;
/// The masked face's four, then the reference's.
pub const LATENT_CHANNELS: usize = 8;
/// Numbers of a face's latents.
pub const LATENTS: usize = LATENT_SIDE * LATENT_SIDE * LATENT_CHANNELS;

pub struct Generator {
    unet: Unet,
    decoder: KlDecoder,
    /// What latents are multiplied by before the UNet sees them.
    scaling: f64,
}

impl Generator {
    pub fn new(unet: Unet, (decoder, scaling): (KlDecoder, f64)) -> Self {
        Self { unet, decoder, scaling }
    }

    /// latents: of each face `LATENTS` numbers, (32, 32, 8); contexts: (50, 384) each, without positions -> (b, 32, 32, 4)
    pub fn predict(&self, latents: &[&[f32]], contexts: &[&Tensor], probe: &Probe) -> Result<Tensor> {
        let device = contexts.first().map_or(&Device::Cpu, |context| context.device());
        let shape = (latents.len(), LATENT_SIDE, LATENT_SIDE, LATENT_CHANNELS);
        let latents = Tensor::from_vec(latents.concat(), shape, device)?; // (b, 32, 32, 8)
        let contexts = with_positions(&Tensor::stack(contexts, 0)?)?; // (b, 50, 384)
        self.unet.forward(&latents.to_dtype(contexts.dtype())?, &contexts, probe)
    }

    /// predicted: (b, 32, 32, 4) -> of each a picture of `SIDE` x `SIDE` in RGB
    pub fn decode(&self, predicted: &Tensor) -> Result<Vec<Vec<u8>>> {
        let pictures = self.decoder.forward(&(predicted / self.scaling)?)?; // (b, 256, 256, 3)
        let values: Vec<f32> = pictures.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(values
            .chunks(SIDE * SIDE * 3)
            .map(|picture| picture.iter().copied().map(byte).collect())
            .collect())
    }
}

/// -1..1 to 0..255, in the order of the reference and rounded as numpy does.
fn byte(value: f32) -> u8 {
    ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_to_even() {
        let rows = [(-2.0, 0), (-1.0, 0), (1.0, 255), (7.0, 255), (0.0, 128), (f32::NAN, 0)];
        for (value, want) in rows {
            assert_eq!(byte(value), want, "{value}");
        }
    }
}
