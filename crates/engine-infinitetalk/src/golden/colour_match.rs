//! `colour_match`: three frames to the spread of a reference. The strength is in the output's name.

use candle_core::{Device, Tensor};
use golden::{Allowance, Case, CaseError, Given, Outputs};

use crate::picture::ColourMatch;

pub struct Colours;

impl Case for Colours {
    fn components(&self) -> &[&str] {
        &["LAB colour correction"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        // (1, 3, t, h, w) -> (t, h, w, 3)
        let frames = |name: &str| -> Result<Tensor, CaseError> {
            Ok(given.input(name)?.squeeze(0)?.permute((1, 2, 3, 0))?.contiguous()?)
        };
        let reference: Vec<f32> = frames("in.reference")?.flatten_all()?.to_vec1()?;
        let source = frames("in.source")?;
        let (t, h, w, _) = source.dims4()?;
        let source: Vec<f32> = source.flatten_all()?.to_vec1()?;
        let mut outputs = Outputs::new();
        for (name, _) in given.file.stored("out.strength_") {
            let mut colours = ColourMatch::new(&reference, name["out.strength_".len()..].parse()?)?;
            let mut made = source.clone();
            for frame in made.chunks_exact_mut(3 * h * w) {
                colours.apply(frame)?;
            }
            let made = Tensor::from_vec(made, (t, h, w, 3), &Device::Cpu)?;
            let made = made.permute((3, 0, 1, 2))?.unsqueeze(0)?.contiguous()?; // (1, 3, t, h, w)
            outputs.out(name.trim_start_matches("out."), made);
        }
        Ok(outputs)
    }

    /// The notes: the third frame is of one colour, and the reference may divide by a rounding error there.
    fn allowance(&self, _output: &str) -> Allowance {
        Allowance::Entry { axis: 2, index: 2, max_abs: 0.05 }
    }
}
