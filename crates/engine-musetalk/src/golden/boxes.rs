//! `bbox_logic`: points and detected boxes to boxes, with shifts, and with the margin of v1.5.

use candle_core::{Device, Tensor};
use golden::{Case, CaseError, Given, Outputs};

use super::picture::{numbers, rect};
use crate::face_box::{BoxRule, FacePoints};

/// Stands where no face was detected.
const NO_FACE: [i64; 4] = [0; 4];

pub struct Boxes;

impl Case for Boxes {
    fn components(&self) -> &[&str] {
        &["landmarks x detector -> box"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let points: Vec<Vec<Vec<f32>>> = given.input("in.landmarks68")?.to_vec3()?;
        let detected = given.input("in.detector_box")?;
        let shifts: Vec<i64> = given.input("in.bbox_shift")?.to_vec1()?;
        let one = |name: &str| -> Result<i32, CaseError> {
            Ok(i32::try_from(given.input(name)?.flatten_all()?.to_vec1::<i64>()?[0])?)
        };
        let (extra_margin, frame_height) = (one("in.extra_margin")?, one("in.frame_height")?);
        let (mut plain, mut with_margin) = (Vec::new(), Vec::new());
        for (i, (points, &shift)) in points.iter().zip(&shifts).enumerate() {
            let detected = rect(&detected.get(i)?)?;
            if detected.x1 < 0 {
                plain.push(NO_FACE);
                with_margin.push(NO_FACE);
                continue;
            }
            let whole: Vec<[i32; 2]> = points.iter().map(|p| [p[0] as i32, p[1] as i32]).collect();
            let points: FacePoints = whole.try_into().map_err(|_| "a face has 68 points")?;
            let rule = BoxRule::v1(i32::try_from(shift)?);
            plain.push(numbers(rule.face_box(&points, detected, frame_height).rect));
            let rule = BoxRule { extra_margin: Some(extra_margin), ..rule };
            with_margin.push(numbers(rule.face_box(&points, detected, frame_height).rect));
        }
        let mut outputs = Outputs::new();
        outputs.out("bbox", Tensor::from_vec(plain.concat(), (plain.len(), 4), &Device::Cpu)?);
        let shape = (with_margin.len(), 4);
        outputs.out("bbox_with_margin", Tensor::from_vec(with_margin.concat(), shape, &Device::Cpu)?);
        Ok(outputs)
    }
}
