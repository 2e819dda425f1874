//! Heads to faces: candidates in the order of the reference (level, row, column), suppression of those that overlap a better one, and
//! the box MuseTalk takes. Boxes are in pixels of the frame; both corners belong to a box.

use candle_core::{DType, Result};

use super::Head;

/// Stride of the finest level; each further level doubles it.
const STRIDE: usize = 4;
/// A prior is a square of this many strides.
const PRIOR: usize = 4;
/// In units of the prior's size: what an offset and a logarithm of a size are multiplied by (Liu et al. 2016, SSD).
const VARIANCES: [f32; 2] = [0.1, 0.2];

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    pub x1: f32,
    pub y1: f32,
    pub x2: f32,
    pub y2: f32,
    /// Probability of a face.
    pub score: f32,
}

/// What MuseTalk's detector keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// A candidate needs more.
    pub candidate: f32,
    /// A candidate that overlaps a better one by more, as intersection over union, goes.
    pub overlap: f32,
    /// A face needs more.
    pub face: f32,
}

impl Thresholds {
    /// face-alignment's `sfd_detector`, as MuseTalk calls it
    pub const SFD: Self = Self { candidate: 0.05, overlap: 0.3, face: 0.5 };
}

/// Everything in the first picture of the batch that scores more than `thresholds.candidate`.
pub fn candidates(heads: &[Head], thresholds: &Thresholds) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for (level, head) in heads.iter().enumerate() {
        let stride = STRIDE << level;
        let conf: Vec<Vec<Vec<f32>>> = head.conf.get(0)?.to_dtype(DType::F32)?.to_vec3()?;
        let loc: Vec<Vec<Vec<f32>>> = head.loc.get(0)?.to_dtype(DType::F32)?.to_vec3()?;
        for (row, (conf, loc)) in conf.iter().zip(&loc).enumerate() {
            for (column, (conf, loc)) in conf.iter().zip(loc).enumerate() {
                let score = probability(conf[0], conf[1]);
                if score > thresholds.candidate {
                    found.push(decode(loc, (column, row), stride, score));
                }
            }
        }
    }
    Ok(found)
}

/// The second entry of the softmax of two.
fn probability(background: f32, face: f32) -> f32 {
    let most = background.max(face);
    let (background, face) = ((background - most).exp(), (face - most).exp());
    face / (background + face)
}

fn decode(loc: &[f32], (column, row): (usize, usize), stride: usize, score: f32) -> Candidate {
    let size = (PRIOR * stride) as f32;
    let middle =
        |index: usize, offset: f32| (stride / 2 + index * stride) as f32 + offset * VARIANCES[0] * size;
    let side = |log: f32| size * (log * VARIANCES[1]).exp();
    let (w, h) = (side(loc[2]), side(loc[3]));
    let (x1, y1) = (middle(column, loc[0]) - w / 2.0, middle(row, loc[1]) - h / 2.0);
    Candidate { x1, y1, x2: x1 + w, y2: y1 + h, score }
}

/// Indices of the candidates that no better one overlaps too much, best first.
pub fn suppress(candidates: &[Candidate], thresholds: &Thresholds) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&a, &b| candidates[b].score.total_cmp(&candidates[a].score));
    let mut kept: Vec<usize> = Vec::new();
    for index in order {
        let overlaps =
            |&better: &usize| overlap(&candidates[better], &candidates[index]) > thresholds.overlap;
        if !kept.iter().any(overlaps) {
            kept.push(index);
        }
    }
    kept
}

/// Intersection over union.
fn overlap(a: &Candidate, b: &Candidate) -> f32 {
    let area = |c: &Candidate| (c.x2 - c.x1 + 1.0) * (c.y2 - c.y1 + 1.0);
    let w = (a.x2.min(b.x2) - a.x1.max(b.x1) + 1.0).max(0.0);
    let h = (a.y2.min(b.y2) - a.y1.max(b.y1) + 1.0).max(0.0);
    w * h / (area(a) + area(b) - w * h)
}

/// The best face as whole pixels x1, y1, x2, y2: cut off at the frame's left and top, not at its right and bottom. `kept` is what `suppress`
/// returned.
pub fn best_face(candidates: &[Candidate], kept: &[usize], thresholds: &Thresholds) -> Option<[i64; 4]> {
    let best = candidates.get(*kept.first()?)?;
    let whole = |edge: f32| edge.max(0.0) as i64;
    (best.score > thresholds.face).then(|| [best.x1, best.y1, best.x2, best.y2].map(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(x1: f32, y1: f32, side: f32, score: f32) -> Candidate {
        Candidate { x1, y1, x2: x1 + side, y2: y1 + side, score }
    }

    #[test]
    fn a_prior_without_offset_is_a_square_around_its_cell() {
        let found = decode(&[0.0; 4], (2, 1), 8, 0.5);
        assert_eq!(found, Candidate { x1: 4.0, y1: -4.0, x2: 36.0, y2: 28.0, score: 0.5 });
        let moved = decode(&[1.0, -1.0, 5.0 * 2f32.ln(), 0.0], (0, 0), 4, 0.5); // twice as wide
        assert!((moved.x2 - moved.x1 - 32.0).abs() < 1e-4 && (moved.x1 + 12.4).abs() < 1e-4, "{moved:?}");
        assert!((moved.y1 + 7.6).abs() < 1e-4, "{moved:?}");
    }

    #[test]
    fn the_better_of_two_that_overlap_stays() {
        let faces = [
            candidate(0.0, 0.0, 9.0, 0.6),
            candidate(2.0, 0.0, 9.0, 0.9), // 80 of 120 pixels shared with the first
            candidate(40.0, 40.0, 9.0, 0.3), // alone
        ];
        let kept = suppress(&faces, &Thresholds::SFD);
        assert_eq!(kept, [1, 2]);
        assert_eq!(best_face(&faces, &kept, &Thresholds::SFD), Some([2, 0, 11, 9]));
        assert_eq!(suppress(&faces, &Thresholds { overlap: 0.7, ..Thresholds::SFD }), [1, 0, 2]);
    }

    #[test]
    fn no_face_without_a_score_and_no_corner_left_of_the_frame() {
        let faces = [candidate(-3.5, 2.5, 9.0, 0.5)];
        assert_eq!(best_face(&faces, &[0], &Thresholds::SFD), None);
        let faces = [candidate(-3.5, 2.5, 9.0, 0.51)];
        assert_eq!(best_face(&faces, &[0], &Thresholds::SFD), Some([0, 2, 5, 11]));
        assert_eq!(best_face(&[], &[], &Thresholds::SFD), None);
    }
}
