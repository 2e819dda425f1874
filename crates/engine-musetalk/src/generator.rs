//! Latents and what a frame hears to a talking face: the UNet, run once, and the VAE's way out.

use candle_core::{DType, Device, Result, Tensor};
use encoders::kl_vae::KlDecoder;
use layers::Probe;

use crate::face_crop::{SIDE, to_bytes};
use crate::nets::positional::with_positions;
use crate::nets::unet::Unet;

/// Of a face's latents.
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
        let bytes = |picture: &[f32]| {
            let mut bytes = vec![0; picture.len()];
            to_bytes(picture, &mut bytes);
            bytes
        };
        Ok(values.chunks(SIDE * SIDE * 3).map(bytes).collect())
    }
}
