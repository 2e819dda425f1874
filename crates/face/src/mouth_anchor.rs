//! The mouth line where somebody told us three of its points: still traced through the dark valley, but bound to them.

use crate::mouth_line::Trace;
use crate::plane::Plane;
use crate::spread::box_smooth;

/// Three points of the line, canonical px.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchors {
    pub left: (f32, f32),
    pub center: (f32, f32),
    pub right: (f32, f32),
}

impl Anchors {
    /// The smooth curve through the three points.
    fn curve(&self, x: f32) -> f32 {
        let ((x0, y0), (x1, y1), (x2, y2)) = (self.left, self.center, self.right);
        let l0 = (x - x1) * (x - x2) / ((x0 - x1) * (x0 - x2));
        let l1 = (x - x0) * (x - x2) / ((x1 - x0) * (x1 - x2));
        let l2 = (x - x0) * (x - x1) / ((x2 - x0) * (x2 - x1));
        l0 * y0 + l1 * y1 + l2 * y2
    }

    /// How far the line may leave the curve: 1 px at the points, more between them.
    fn freedom(&self, x: f32) -> f32 {
        let span = self.right.0 - self.left.0;
        let nearest = [self.left.0, self.center.0, self.right.0]
            .map(|p| (p - x).abs())
            .into_iter()
            .fold(f32::INFINITY, f32::min);
        1.0 + 4.0 * (4.0 * nearest / span).min(1.0)
    }
}

/// The strongest valley from corner to corner within the anchors' freedom. `left.x < center.x < right.x`.
pub(crate) fn trace_anchored(valleys: &Plane, anchors: &Anchors) -> Trace {
    let x0 = anchors.left.0.round() as i32;
    let columns = (anchors.right.0.round() as i32 - x0 + 1).max(3);
    let mut ys = Vec::with_capacity(columns as usize);
    let mut depths = Vec::with_capacity(columns as usize);
    for x in x0..x0 + columns {
        let x_f = (x as f32).clamp(anchors.left.0, anchors.right.0);
        let (middle, freedom) = (anchors.curve(x_f), anchors.freedom(x_f));
        let (mut sum, mut weight) = (1e-3 * middle, 1e-3);
        let reach = freedom.ceil() as i32;
        for dy in -reach..=reach {
            let y = middle.round() as i32 + dy;
            let away = (y as f32 - middle) / freedom;
            let w = valleys.clamped(x, y).powi(2) * (1.0 - away * away).max(0.0);
            sum += w * y as f32;
            weight += w;
        }
        ys.push(sum / weight);
        depths.push(valleys.clamped(x, (sum / weight).round() as i32));
    }
    let depth = depths.iter().sum::<f32>() / depths.len() as f32;
    Trace { x0, ys: box_smooth(&ys, 4), depth }
}
