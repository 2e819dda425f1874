//! `bisenet`: a picture to logits and classes.

use candle_core::{DType, Tensor};
use golden::{Case, CaseError, Given, Net, Outputs};
use layers::{Probe, weights::Outline};
use serde::Deserialize;

use super::picture::{channels_first, every};
use crate::nets::bisenet::{Bisenet, BisenetConfig, UNUSED, normalise};

#[derive(Deserialize)]
struct Config {
    n_classes: usize,
}

pub struct FaceParsing;

impl Case for FaceParsing {
    fn components(&self) -> &[&str] {
        &["BiSeNet"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: Config = given.config()?;
        let net = Bisenet::load(&BisenetConfig { n_classes: cfg.n_classes }, given.weights()?)?;
        let rgb = given.float_input("in.rgb_u8")?.unsqueeze(0)?; // (1, h, w, 3)
        let probe = Probe::on();
        let logits = net.forward(&normalise(&rgb)?, &probe)?; // (1, h, w, classes)
        let mut outputs = Outputs::new();
        outputs.probes(probe, |_, x| channels_first(&every(x, 8, 3)?))?;
        outputs.out("argmax_u8", logits.argmax(3)?.to_dtype(DType::U8)?);
        outputs.out("logits_sub2", thinned(&logits)?);
        Ok(outputs)
    }
}

/// (b, h, w, c) -> (b, c, h / 2, w / 2)
fn thinned(x: &Tensor) -> candle_core::Result<Tensor> {
    channels_first(&every(&every(x, 2, 1)?, 2, 2)?)
}

/// 79999_iter.pth
pub fn net() -> Net {
    Net {
        inventory: "bisenet",
        unused: UNUSED,
        outline: || {
            let outline = Outline::new();
            Bisenet::load(&BisenetConfig::celeb_a_mask(), outline.builder())?;
            Ok(outline.inventory())
        },
    }
}
