//! `unet` and `unet_bf16`. In half precision every operation here reads and writes the dtype and sums in f32.

use candle_core::Tensor;
use golden::{Case, CaseError, Given, Net, Outputs, Registry, every};
use layers::{Probe, weights::Outline};

use super::{Unet, UnetConfig};
use crate::nets::Watch;

pub fn register(registry: &mut Registry) {
    registry.cases.push(&Velocity);
    registry.nets.push(Net {
        inventory: "svd_unet",
        unused: &[],
        outline: || {
            let outline = Outline::new();
            Unet::load(&UnetConfig::img2vid_xt(), outline.builder())?;
            Ok(outline.inventory())
        },
    });
}

struct Velocity;

impl Case for Velocity {
    fn components(&self) -> &[&str] {
        &["UNetSpatioTemporalConditionModel", "UNetSpatioTemporalConditionModel in bf16"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: UnetConfig = given.config()?;
        let unet = Unet::load(&cfg, given.weights()?)?;
        let x = given.float_input("in.sample")?.permute((0, 1, 3, 4, 2))?.contiguous()?; // (b, f, h, w, 8)
        let (context, ids) = (given.float_input("in.image_embeds")?, given.float_input("in.added_time_ids")?);
        let timestep = given.input("in.timestep")?.to_scalar::<f32>()?;
        let probe = Probe::on();
        let watch = Watch { stop: &|| false, probe: &probe };
        let clip = unet.clip(&context, x.dim(1)?, &ids)?;
        let step = unet.step(timestep, &clip, &watch)?;
        let pred = unet.forward(&x, &step, &clip, &watch)?;
        let mut outputs = Outputs::new();
        for (name, value) in probe.into_taken() {
            let name = match name.as_str() {
                "down_blocks.0.resnets.0" => "d0_res0",
                "down_blocks.0.attentions.0" => "d0_attn0",
                name => name,
            };
            outputs.probe(name, thinned(&value)?);
        }
        outputs.out("pred", pred.permute((0, 1, 4, 2, 3))?.contiguous()?);
        Ok(outputs)
    }
}

/// Two frames of the first item, their pixels in a row and thinned to about 16. (b, f, h, w, c) -> (2, c, 16)
fn thinned(x: &Tensor) -> candle_core::Result<Tensor> {
    if x.rank() != 5 {
        return Ok(x.clone());
    }
    let pixels = x.flatten(0, 1)?.narrow(0, 0, 2)?.flatten(1, 2)?; // (2, h * w, c)
    let stride = (pixels.dim(1)? / 16).max(1);
    every(stride, &pixels, 1)?.transpose(1, 2)?.contiguous()
}
