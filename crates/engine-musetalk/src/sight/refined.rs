//! The same nets, used better: the detector sees the frame at a size at which faces are found and no larger; one face is followed among several;
//! its points are measured on a crop around it, where a bin is a fraction of a pixel, and between bins.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use contract::EngineError;

use super::{Seen, Sight, chosen, failed, tensors};
use crate::checkpoints::FaceNets;
use crate::face_box::BoxRule;
use crate::nets::rtmpose::Simcc;
use crate::nets::rtmpose::crop::{self, Region};
use crate::nets::rtmpose::points::FACE;
use crate::nets::s3fd::{self, detect};
use crate::settings::Choice;
use pictures::linear::Linear;
use pictures::{Level, Plane, Rect, Rgb, View};

/// Longest side at which faces are looked for: one of 5 % of the frame is 32 pixels then.
const SEARCH: usize = 640;
/// The detector halves its input five times.
const SMALLEST: usize = 32;
/// Heights of the face that the pose net sees: it was trained on persons, not on faces that fill the picture.
const AROUND: f32 = 3.0;
/// Overlap (intersection over union) by which a box is the one of the frame before.
const SAME: f32 = 0.2;
/// Bins beside the best that tell where between bins the point lies.
const BESIDE: usize = 2;
/// Points of which the less sure half must be this sure, or the detector's box is taken: values of SimCC, no probabilities.
const SURE: f32 = 0.25;

/// The bridge of the nose in the middle of the face, in iBUG's order.
const MIDDLE: usize = 29;

pub struct Refined {
    nets: Arc<FaceNets>,
    device: Device,
    rule: BoxRule,
    choice: Choice,
    linear: Linear,
    last: Option<Followed>,
}

/// The followed face as it was detected last.
#[derive(Clone, Copy, Debug)]
struct Followed {
    edges: [f32; 4],
    /// No frame so far showed another.
    alone: bool,
}

impl Refined {
    pub fn new(nets: Arc<FaceNets>, device: Device, (rule, choice): (BoxRule, Choice)) -> Self {
        Self { nets, device, rule, choice, linear: Linear::new(Level::best()), last: None }
    }

    fn look(&mut self, frame: View<3>, faces: &[([f32; 4], f32)]) -> candle_core::Result<Option<Seen>> {
        let Some(at) = choose(faces, self.last, self.choice) else { return Ok(None) };
        let (detected, score) = faces[at];
        let alone = faces.len() == 1 && self.last.is_none_or(|last| last.alone);
        self.last = Some(Followed { edges: detected, alone });
        let (points, sure) = self.points(frame, detected)?;
        let edges = match sure {
            true => self.edges(&points, frame.height() as f32),
            false => None,
        };
        let edges = edges.unwrap_or_else(|| with_margin(detected, self.rule, frame.height() as f32));
        Ok(Some(Seen { edges, canon: None, confidence: score, others: faces.len() - 1 }))
    }

    /// All faces of a frame with their scores, in its pixels.
    fn faces(&mut self, frame: View<3>) -> candle_core::Result<Vec<([f32; 4], f32)>> {
        let (w, h) = frame.size();
        let scale = SEARCH as f64 / w.max(h) as f64;
        let (rgb, scale) = if scale < 1.0 {
            let side = |side: usize| ((side as f64 * scale).round() as usize).max(SMALLEST);
            let size = (side(w), side(h));
            let mut small = Rgb::blank(size).map_err(candle_core::Error::wrap)?;
            self.linear.resize(frame, &mut small.view_mut());
            let back = [w as f32 / size.0 as f32, h as f32 / size.1 as f32];
            (tensors::of_picture(&small, &self.device)?, back)
        } else {
            (tensors::tensor(frame, &self.device)?, [1.0; 2])
        };
        let heads = self.nets.detector.forward(&s3fd::normalise(&rgb)?)?;
        let found = detect::candidates(&heads, &detect::Thresholds::SFD)?;
        let kept = detect::suppress(&found, &detect::Thresholds::SFD);
        let faces =
            kept.into_iter().map(|i| &found[i]).filter(|face| face.score > detect::Thresholds::SFD.face);
        Ok(faces
            .map(|f| ([f.x1 * scale[0], f.y1 * scale[1], f.x2 * scale[0], f.y2 * scale[1]], f.score))
            .collect())
    }

    /// The 68 points, between bins, and whether they are to be believed.
    fn points(
        &self,
        frame: View<3>,
        [x1, y1, x2, y2]: [f32; 4],
    ) -> candle_core::Result<(Vec<[f32; 2]>, bool)> {
        let config = &self.nets.pose_config;
        let (w, h) = config.input_size;
        let height = (x2 - x1).max(y2 - y1) * AROUND;
        let region = Region {
            center: [(x1 + x2) / 2.0, (y1 + y2) / 2.0],
            scale: [height * w as f32 / h as f32, height],
        };
        let input = crop::warp(frame, &region, config.input_size).map_err(candle_core::Error::wrap)?;
        let input = crop::normalise(&tensors::of_picture(&input, &self.device)?)?;
        let Simcc { x, y } = self.nets.pose.forward_with_mirror(&input)?;
        let rows = |bins: &Tensor| bins.get(0)?.to_dtype(DType::F32)?.to_vec2::<f32>();
        let (x, y) = (rows(&x)?, rows(&y)?);
        let per_pixel = config.simcc_split_ratio as f32;
        let sides = [w as f32 * per_pixel, h as f32 * per_pixel];
        let place = |axis: usize, bin: f32| {
            bin / sides[axis] * region.scale[axis] + region.center[axis] - 0.5 * region.scale[axis]
        };
        let mut scores = Vec::with_capacity(FACE.len());
        let points = FACE.map(|point| {
            let ((bin_x, score_x), (bin_y, score_y)) = (between(&x[point]), between(&y[point]));
            scores.push(score_x.min(score_y));
            [place(0, bin_x), place(1, bin_y)]
        });
        let points = points.collect();
        scores.sort_by(f32::total_cmp);
        let sure = scores.get(scores.len() / 4).is_some_and(|&score| score > SURE);
        Ok((points, sure))
    }

    /// The official box, of points between pixels.
    fn edges(&self, points: &[[f32; 2]], frame_height: f32) -> Option<[f32; 4]> {
        let most = |axis: usize| points.iter().map(|p| p[axis]).fold(f32::NEG_INFINITY, f32::max);
        let least = |axis: usize| points.iter().map(|p| p[axis]).fold(f32::INFINITY, f32::min);
        let middle = points[MIDDLE][1] + self.rule.bbox_shift as f32;
        let bottom = most(1);
        let edges = [least(0), (2.0 * middle - bottom).max(0.0), most(0), bottom];
        let good = edges[2] - edges[0] >= 2.0 && edges[3] - edges[1] >= 2.0;
        good.then(|| with_margin(edges, self.rule, frame_height))
    }
}

fn with_margin([x1, y1, x2, y2]: [f32; 4], rule: BoxRule, frame_height: f32) -> [f32; 4] {
    [x1, y1, x2, rule.extra_margin.map_or(y2, |margin| (y2 + margin as f32).min(frame_height))]
}

/// Which of the faces: the one that was followed, else the one that was asked for. Who was always alone is known after a cut, too.
fn choose(faces: &[([f32; 4], f32)], last: Option<Followed>, choice: Choice) -> Option<usize> {
    let indices = 0..faces.len();
    if let Some(last) = last {
        let likeness = |i: usize| overlap(faces[i].0, last.edges);
        let same = |&i: &usize| likeness(i) >= SAME || (last.alone && faces.len() == 1);
        return indices.max_by(|&a, &b| likeness(a).total_cmp(&likeness(b))).filter(same);
    }
    match choice {
        Choice::Main => indices.max_by(|&a, &b| area(faces[a].0).total_cmp(&area(faces[b].0))),
        Choice::Nth(n) => {
            let mut order: Vec<usize> = indices.collect();
            let middle = |i: &usize| faces[*i].0[0] + faces[*i].0[2];
            order.sort_by(|a, b| middle(a).total_cmp(&middle(b)));
            order.get(n as usize - 1).copied()
        }
    }
}

fn area([x1, y1, x2, y2]: [f32; 4]) -> f32 {
    (x2 - x1).max(0.0) * (y2 - y1).max(0.0)
}

fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let shared = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    shared / (area(a) + area(b) - shared).max(f32::MIN_POSITIVE)
}

/// The best bin, moved to the middle of what stands around it, and its value.
fn between(bins: &[f32]) -> (f32, f32) {
    let best = bins.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    let Some((best, &value)) = best else { return (0.0, f32::NEG_INFINITY) };
    let near = best.saturating_sub(BESIDE)..(best + BESIDE + 1).min(bins.len());
    let weights = near.map(|bin| (bin as f32, bins[bin].max(0.0)));
    let (sum, total) =
        weights.fold((0.0, 0.0), |(sum, total), (bin, weight)| (sum + bin * weight, total + weight));
    (if total > 0.0 { sum / total } else { best as f32 }, value)
}

impl Sight for Refined {
    fn see(&mut self, frame: View<3>) -> Result<Option<Seen>, EngineError> {
        let faces = self.faces(frame).map_err(failed)?;
        if self.last.is_none() {
            chosen(self.choice, faces.len())?;
        }
        self.look(frame, &faces).map_err(failed)
    }

    fn parse(&mut self, input: View<3>, _: Rect, _: &Seen) -> Result<Plane, EngineError> {
        tensors::classes(&self.nets.parser, input, &self.device).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_lies_between_bins() {
        let mut bins = vec![-1.0; 20];
        (bins[7], bins[8], bins[9]) = (1.0, 2.0, 1.0);
        assert_eq!(between(&bins), (8.0, 2.0));
        (bins[7], bins[8], bins[9]) = (0.0, 1.0, 1.0);
        let (bin, value) = between(&bins);
        assert!((bin - 8.5).abs() < 1e-6 && value == 1.0);
        assert_eq!(between(&[-3.0, -1.0, -2.0]).0, 1.0);
    }

    #[test]
    fn one_face_is_followed_among_several() {
        let left = ([0.0, 0.0, 10.0, 10.0], 0.9);
        let right = ([50.0, 0.0, 80.0, 30.0], 0.6);
        let faces = [right, left];
        assert_eq!(choose(&faces, None, Choice::Main), Some(0), "the largest");
        assert_eq!(choose(&faces, None, Choice::Nth(1)), Some(1), "from the left");
        assert_eq!(choose(&faces, None, Choice::Nth(3)), None);
        let followed = |edges, alone| Some(Followed { edges, alone });
        let near = [2.0, 0.0, 12.0, 10.0];
        assert_eq!(choose(&faces, followed(near, false), Choice::Main), Some(1), "the one followed");
        let far = [20.0, 0.0, 40.0, 10.0];
        assert_eq!(choose(&faces, followed(far, true), Choice::Main), None, "it is gone, or one of these");
        assert_eq!(
            choose(&faces[..1], followed(far, false), Choice::Main),
            None,
            "this may be the other one"
        );
        assert_eq!(choose(&faces[..1], followed(far, true), Choice::Main), Some(0), "who else after a cut");
    }
}
