//! `rtmpose`: a frame to the crop, the bins, the points and the face.

use candle_core::{DType, Device, Tensor};
use golden::{Allowance, Case, CaseError, Given, Net, Outputs};
use layers::weights::Outline;
use serde::Deserialize;

use super::picture::{bytes, channels_first, every, pixels, turned};
use crate::nets::rtmpose::crop::{Region, normalise, warp};
use crate::nets::rtmpose::points::{decode, face};
use crate::nets::rtmpose::{Rtmpose, RtmposeConfig, UNUSED};
use pictures::Rgb;

#[derive(Deserialize)]
struct Config {
    widen: f64,
    deepen: f64,
    keypoints: usize,
    input_wh: (usize, usize),
    flip_test: bool,
}

pub struct Pose;

impl Case for Pose {
    fn components(&self) -> &[&str] {
        &["RTMPose (DWPose)"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let kit: Config = given.config()?;
        let cfg = RtmposeConfig {
            deepen_factor: kit.deepen,
            widen_factor: kit.widen,
            input_size: kit.input_wh,
            out_channels: kit.keypoints,
            ..RtmposeConfig::dwpose()
        };
        let net = Rtmpose::load(&cfg, given.weights()?)?;
        let frame: Rgb = pixels(&given.input("in.frame_bgr_u8")?)?;
        let region = Region::of_frame(frame.size(), kit.input_wh);
        let crop = bytes(&warp(frame.view(), &region, kit.input_wh)?)?.to_device(given.device)?; // (h, w, 3)
        let x = normalise(&turned(&crop)?.to_dtype(given.dtype())?)?; // (1, h, w, 3)
        let simcc = if kit.flip_test { net.forward_with_mirror(&x)? } else { net.forward(&x)? };
        let points = decode(&cfg, &simcc, &region)?;

        let mut outputs = Outputs::new();
        outputs.out("warp_bgr_u8_sub2", every(&every(&crop, 2, 0)?, 2, 1)?);
        outputs.probe("x_sub8", channels_first(&every(&every(&x, 8, 1)?, 8, 2)?)?);
        outputs.out("simcc_x", every(&simcc.x.get(0)?, 2, 1)?);
        outputs.out("simcc_y", every(&simcc.y.get(0)?, 2, 1)?);
        let numbers = |values: Vec<i64>| Tensor::new(values, &Device::Cpu)?.to_dtype(DType::I32);
        outputs.out("argmax_x", numbers(points.iter().map(|p| p.bins[0] as i64).collect())?);
        outputs.out("argmax_y", numbers(points.iter().map(|p| p.bins[1] as i64).collect())?);
        let places: Vec<f32> = points.iter().flat_map(|p| p.place).collect();
        outputs.out("keypoints", Tensor::from_vec(places, (points.len(), 2), &Device::Cpu)?);
        let scores: Vec<f32> = points.iter().map(|p| p.score).collect();
        outputs.out("scores", Tensor::new(scores, &Device::Cpu)?);
        let face = face(&points);
        let whole = numbers(face.iter().flatten().map(|&v| i64::from(v)).collect())?;
        outputs.out("face68_i32", whole.reshape((face.len(), 2))?);
        Ok(outputs)
    }

    fn allowance(&self, output: &str) -> Allowance {
        match output {
            // "a keypoint whose argmax ties within the noise may move", one of them at most
            "argmax_x" | "argmax_y" | "keypoints" | "face68_i32" => Allowance::Rows(1),
            _ => Allowance::None,
        }
    }
}

/// dw-ll_ucoco_384.pth
pub fn net() -> Net {
    Net {
        inventory: "dwpose",
        unused: UNUSED,
        outline: || {
            let outline = Outline::new();
            Rtmpose::load(&RtmposeConfig::dwpose(), outline.builder())?;
            Ok(outline.inventory())
        },
    }
}
