//! `unet`, `unet_fp16` and `unet_bf16`. In half precision every operation here reads and writes the dtype and sums in f32.

use candle_core::Tensor;
use golden::{Case, CaseError, Given, Net, Outputs};
use layers::{Probe, weights::Outline};

use super::picture::{channels_first, channels_last, every};
use crate::nets::positional::with_positions;
use crate::nets::unet::{Unet, UnetConfig};

pub struct Musetalk;

impl Case for Musetalk {
    fn components(&self) -> &[&str] {
        &["MuseTalk UNet", "MuseTalk UNet in fp16", "MuseTalk UNet in bf16"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: UnetConfig = given.config()?;
        let unet = Unet::load(&cfg, given.weights()?)?;
        let latents = channels_last(&given.float_input("in.latents")?)?; // (b, h, w, 8)
        let audio = with_positions(&given.float_input("in.chunks")?)?; // (b, l, k)
        let probe = Probe::on();
        let pred = unet.forward(&latents, &audio, &probe)?;
        let mut outputs = Outputs::new();
        outputs.probes(probe, thinned)?;
        outputs.out("pred", channels_first(&pred)?);
        Ok(outputs)
    }
}

/// The first of the batch, its pixels in a row and thinned to about 16. (b, h, w, c) -> (1, c, 16)
fn thinned(_: &str, x: &Tensor) -> candle_core::Result<Tensor> {
    if x.rank() != 4 {
        return Ok(x.clone());
    }
    let pixels = x.narrow(0, 0, 1)?.flatten(1, 2)?; // (1, h * w, c)
    let stride = (pixels.dim(1)? / 16).max(1);
    every(&pixels, stride, 1)?.transpose(1, 2)?.contiguous()
}

/// musetalk/pytorch_model.bin and musetalkV15/unet.pth
pub fn net() -> Net {
    Net {
        inventory: "musetalk_unet",
        unused: &[],
        outline: || {
            let outline = Outline::new();
            Unet::load(&UnetConfig::musetalk(), outline.builder())?;
            Ok(outline.inventory())
        },
    }
}
