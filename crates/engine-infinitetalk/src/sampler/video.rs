//! Between frames and latents, a piece at a time, so that what is held does not grow and a stop is seen between pieces. Outside latents are
//! (c, t, h, w) as the DiT has them; the VAE has them channels-last.

use candle_core::{DType, Device, Result, Tensor};
use layers::is_finite;

use super::SamplerError;
use crate::nets::wan_vae::{Memory, WanVae};

/// frames: (1, 1, h, w, 3), then (1, 4, h, w, 3) each, on [-1, 1] -> latents (c, t, h / 8, w / 8), f32
pub(super) fn encode(
    vae: &WanVae,
    frames: impl IntoIterator<Item = Result<Tensor>>,
    stop: &dyn Fn() -> bool,
) -> std::result::Result<Tensor, SamplerError> {
    let mut memory = Memory::new();
    let mut latents = Vec::new();
    for piece in frames {
        if stop() {
            return Err(SamplerError::Stopped);
        }
        let piece = piece?.to_device(vae.device())?.to_dtype(vae.dtype())?;
        latents.push(vae.encode_piece(&piece, &mut memory)?); // (1, 1, h / 8, w / 8, c)
    }
    let latents = Tensor::cat(&latents, 1)?.squeeze(0)?.permute((3, 0, 1, 2))?.contiguous()?;
    finite(&latents, "encoder")?;
    Ok(latents.to_dtype(DType::F32)?) // the sampler counts in f32
}

/// Hands every frame to `each` as soon as it exists: interleaved RGB on [-1, 1]. Ends early, without an error, when `each` answers false.
/// latents: (c, t, h, w)
pub(super) fn decode(
    vae: &WanVae,
    latents: &Tensor,
    each: &mut dyn FnMut(Vec<f32>) -> std::result::Result<Next, SamplerError>,
) -> std::result::Result<(), SamplerError> {
    let latents = latents.to_dtype(vae.dtype())?.permute((1, 2, 3, 0))?.unsqueeze(0)?.contiguous()?;
    let mut memory = Memory::new();
    for at in 0..latents.dim(1)? {
        let piece = vae.decode_piece(&latents.narrow(1, at, 1)?, &mut memory)?; // (1, 1 or 4, 8 h, 8 w, 3)
        finite(&piece, "decoder")?;
        let piece = piece.squeeze(0)?.clamp(-1f64, 1f64)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        for frame in 0..piece.dim(0)? {
            if each(piece.get(frame)?.flatten_all()?.to_vec1()?)? == Next::Enough {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Whether another frame is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    More,
    Enough,
}

fn finite(x: &Tensor, half: &str) -> std::result::Result<(), SamplerError> {
    if is_finite(x)? { Ok(()) } else { Err(SamplerError::NotFinite { part: format!("the VAE's {half}") }) }
}
