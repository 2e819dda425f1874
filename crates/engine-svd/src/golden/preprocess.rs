//! `preprocess`: pictures of three sizes as CLIP and as the VAE take them.

use candle_core::Tensor;
use golden::{Case, CaseError, Given, Outputs, every};
use pictures::View;
use serde::Deserialize;

use crate::picture::{canvas, clip_input};
use crate::weights::Normalisation;

/// What CLIP takes.
const SIDE: usize = 224;

#[derive(Deserialize)]
struct Config {
    vae_hw: (usize, usize),
}

pub struct Preprocess;

impl Case for Preprocess {
    fn components(&self) -> &[&str] {
        &["image preprocessing"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let Config { vae_hw: (height, width) } = given.config()?;
        let mut outputs = Outputs::new();
        for (name, _) in given.file.stored("in.rgb") {
            let number = name.trim_start_matches("in.rgb").trim_end_matches("_u8");
            let rgb = given.input(name)?;
            let (h, w, _) = rgb.dims3()?;
            let bytes: Vec<u8> = rgb.flatten_all()?.to_vec1()?;
            let picture = View::new(&bytes, (w, h))?;
            let resized = clip_input::resized(picture, SIDE)?;
            outputs.out(&format!("resized224_{number}_sub4"), thinned(&resized, 4)?);
            outputs.out(
                &format!("pixel_values_{number}_sub4"),
                thinned(&clip_input::normalised(&resized, Normalisation::CLIP)?, 4)?,
            );
            outputs
                .out(&format!("vae_in_{number}"), thinned(&canvas::painted(picture, (width, height))?, 2)?);
        }
        Ok(outputs)
    }
}

/// (1, h, w, 3) -> (1, 3, h / by, w / by)
fn thinned(picture: &Tensor, by: usize) -> candle_core::Result<Tensor> {
    every(by, &every(by, picture, 1)?, 2)?.permute((0, 3, 1, 2))?.contiguous()
}
