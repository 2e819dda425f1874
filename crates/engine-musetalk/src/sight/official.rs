//! As the official code: S3FD on the whole frame at its full size, RTMPose on the whole frame as if it were a person's box, and each frame for
//! itself. Reference: `get_landmark_and_bbox` at 0a89dec.

use std::sync::Arc;

use candle_core::Device;
use contract::EngineError;

use super::{Seen, Sight, failed, tensors};
use crate::checkpoints::FaceNets;
use crate::face_box::{BoxRule, FacePoints};
use crate::nets::rtmpose::crop::{self, Region};
use crate::nets::rtmpose::points;
use crate::nets::s3fd::{self, detect};
use pictures::{Plane, Rect, View};

pub struct Official {
    nets: Arc<FaceNets>,
    device: Device,
    rule: BoxRule,
}

impl Official {
    pub fn new(nets: Arc<FaceNets>, device: Device, rule: BoxRule) -> Self {
        Self { nets, device, rule }
    }

    fn look(&self, frame: View<3>) -> candle_core::Result<Option<Seen>> {
        let rgb = tensors::tensor(frame, &self.device)?;
        let heads = self.nets.detector.forward(&s3fd::normalise(&rgb)?)?;
        let found = detect::candidates(&heads, &detect::Thresholds::SFD)?;
        let kept = detect::suppress(&found, &detect::Thresholds::SFD);
        let Some(best) = detect::best_face(&found, &kept, &detect::Thresholds::SFD) else { return Ok(None) };
        let [x1, y1, x2, y2] = best.map(|edge| edge as i32);
        let points = self.points(frame)?;
        let face = self.rule.face_box(&points, Rect::new(x1, y1, x2, y2), frame.height() as i32).rect;
        let edges = [face.x1, face.y1, face.x2, face.y2].map(|edge| edge as f32);
        let others = kept.iter().filter(|&&i| found[i].score > detect::Thresholds::SFD.face).count() - 1;
        Ok(Some(Seen { edges, canon: None, confidence: found[kept[0]].score, others }))
    }

    fn points(&self, frame: View<3>) -> candle_core::Result<FacePoints> {
        let config = &self.nets.pose_config;
        let region = Region::of_frame(frame.size(), config.input_size);
        let input = crop::warp(frame, &region, config.input_size).map_err(candle_core::Error::wrap)?;
        let input = crop::normalise(&tensors::of_picture(&input, &self.device)?)?;
        let simcc = self.nets.pose.forward_with_mirror(&input)?;
        let face = points::face(&points::decode(config, &simcc, &region)?);
        let count = face.len();
        face.try_into()
            .map_err(|_| candle_core::Error::Msg(format!("a pose of {count} points of a face, not 68")))
    }
}

impl Sight for Official {
    fn see(&mut self, frame: View<3>) -> Result<Option<Seen>, EngineError> {
        self.look(frame).map_err(failed)
    }

    fn parse(&mut self, input: View<3>, _: Rect, _: &Seen) -> Result<Plane, EngineError> {
        tensors::classes(&self.nets.parser, input, &self.device).map_err(failed)
    }
}
