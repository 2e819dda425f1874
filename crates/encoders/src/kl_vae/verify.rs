//! `vae_encode` and `vae_decode`: a face to the eight channels MuseTalk's UNet takes, and latents to a face.

use candle_core::{DType, Tensor};
use golden::{Case, CaseError, Given, Net, Outputs, Registry};
use layers::weights::Outline;

use super::{KlDecoder, KlEncoder, KlVaeConfig};

/// The attention of the MuseTalk cases has its old names, as the released files do.
const NEW_NAME: &str = "to_q";

pub fn register(registry: &mut Registry) {
    registry.cases.extend([&Encode as &dyn Case, &Decode]);
    registry.nets.push(Net {
        inventory: "sd_vae",
        unused: &[],
        outline: || {
            let (cfg, outline) = (KlVaeConfig::sd(), Outline::new().without(NEW_NAME));
            KlEncoder::load(&cfg, outline.builder())?;
            KlDecoder::load(&cfg, outline.builder())?;
            Ok(outline.inventory())
        },
    });
}

struct Encode;

impl Case for Encode {
    fn components(&self) -> &[&str] {
        &["SD VAE encoder"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: KlVaeConfig = given.config()?;
        let encoder = KlEncoder::load(&cfg, given.weights_as(|seeded| seeded.without(NEW_NAME))?)?;
        let rgb = given.input("in.crop256_bgr_u8")?.flip(&[2])?.to_dtype(DType::F32)?; // (h, w, 3)
        let unit = (rgb / 255.0)?;
        let (h, w, _) = unit.dims3()?;
        // MuseTalk blackens the lower half, which is -1 once it is normalised
        let upper = unit.narrow(0, 0, h / 2)?.pad_with_zeros(0, 0, h - h / 2)?;
        let normalised =
            |unit: &Tensor| ((unit - 0.5)? / 0.5)?.to_dtype(given.dtype())?.reshape((1, h, w, 3));
        let (masked, full) = (normalised(&upper)?, normalised(&unit)?);
        let (of_masked, of_full) = (encoder.forward(&masked)?, encoder.forward(&full)?);
        let latents8 = (Tensor::cat(&[&of_masked.mean, &of_full.mean], 3)? * cfg.scaling_factor)?;
        let mut outputs = Outputs::new();
        outputs.probe("px_masked", thinned(&masked, cfg.reduction())?);
        outputs.probe("px_ref", thinned(&full, cfg.reduction())?);
        outputs.out("latents8", channels_first(&latents8)?);
        outputs.out("mean_ref", channels_first(&of_full.mean)?);
        outputs.out("logvar_ref", channels_first(&of_full.logvar)?);
        Ok(outputs)
    }
}

struct Decode;

impl Case for Decode {
    fn components(&self) -> &[&str] {
        &["SD VAE decoder"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: KlVaeConfig = given.config()?;
        let decoder = KlDecoder::load(&cfg, given.weights_as(|seeded| seeded.without(NEW_NAME))?)?;
        let latents = given.float_input("in.latents")?.permute((0, 2, 3, 1))?.contiguous()?; // (b, h, w, 4)
        let raw = decoder.forward(&(latents / cfg.scaling_factor)?)?.to_dtype(DType::F32)?; // (b, 8h, 8w, 3)
        let bytes = (((&raw * 0.5)? + 0.5)?.clamp(0f32, 1f32)? * 255.0)?;
        let bgr = half_even(&bytes.flip(&[3])?)?;
        let mut outputs = Outputs::new();
        outputs.out("raw_sub2", thinned(&raw, 2)?);
        outputs.out("bgr_u8", bgr);
        Ok(outputs)
    }
}

/// numpy's rounding, to bytes.
fn half_even(x: &Tensor) -> candle_core::Result<Tensor> {
    let rounded: Vec<u8> =
        x.flatten_all()?.to_vec1::<f32>()?.into_iter().map(|v| v.round_ties_even() as u8).collect();
    Tensor::from_vec(rounded, x.shape(), x.device())
}

/// (b, h, w, c) -> (b, c, h, w)
fn channels_first(x: &Tensor) -> candle_core::Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()
}

/// Every `stride`-th row and column. (b, h, w, c) -> (b, c, h / stride, w / stride)
fn thinned(x: &Tensor, stride: usize) -> candle_core::Result<Tensor> {
    let every = |n: usize| {
        Tensor::from_iter((0..n).step_by(stride).map(|i| i as u32), x.device()) // (n / stride,)
    };
    let (_, h, w, _) = x.dims4()?;
    channels_first(&x.index_select(&every(h)?, 1)?.index_select(&every(w)?, 2)?)
}
