//! `s3fd`: a frame to heads, candidates, what is left of them, and the box.

use candle_core::{DType, Device, Tensor};
use golden::{Allowance, Case, CaseError, Given, Net, Outputs};
use layers::weights::Outline;
use serde::Deserialize;

use super::picture::{channels_first, turned};
use crate::nets::s3fd::detect::{Thresholds, best_face, candidates, suppress};
use crate::nets::s3fd::{S3fd, normalise};

#[derive(Deserialize)]
struct Config {
    nms_iou: f32,
    score: f32,
    candidate_score: f32,
}

pub struct FaceDetection;

impl Case for FaceDetection {
    fn components(&self) -> &[&str] {
        &["S3FD"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: Config = given.config()?;
        let thresholds = Thresholds { candidate: cfg.candidate_score, overlap: cfg.nms_iou, face: cfg.score };
        let net = S3fd::load(given.weights()?)?;
        let rgb = turned(&given.input("in.bgr_u8")?)?.to_dtype(given.dtype())?; // (1, h, w, 3)
        let heads = net.forward(&normalise(&rgb)?)?;
        let found = candidates(&heads, &thresholds)?;
        let kept = suppress(&found, &thresholds);
        let mut outputs = Outputs::new();
        for (level, head) in heads.iter().enumerate() {
            outputs.out(&format!("head{}", 2 * level), channels_first(&head.conf)?);
            outputs.out(&format!("head{}", 2 * level + 1), channels_first(&head.loc)?);
        }
        let rows: Vec<f32> = found.iter().flat_map(|c| [c.x1, c.y1, c.x2, c.y2, c.score]).collect();
        outputs.out("candidates_x1y1x2y2s", Tensor::from_vec(rows, (found.len(), 5), &Device::Cpu)?);
        let indices: Vec<i64> = kept.iter().map(|&i| i as i64).collect();
        outputs.out("nms_keep", Tensor::new(indices, &Device::Cpu)?.to_dtype(DType::I32)?);
        if let Some(face) = best_face(&found, &kept, &thresholds) {
            outputs.out("box", Tensor::new(&face, &Device::Cpu)?);
        }
        Ok(outputs)
    }

    fn allowance(&self, output: &str) -> Allowance {
        match output {
            // the notes: its order may differ where two scores do by less than 1e-5
            "nms_keep" => Allowance::Neighbours,
            _ => Allowance::None,
        }
    }
}

/// s3fd-619a316812.pth
pub fn net() -> Net {
    Net {
        inventory: "s3fd",
        unused: &[],
        outline: || {
            let outline = Outline::new();
            S3fd::load(outline.builder())?;
            Ok(outline.inventory())
        },
    }
}
