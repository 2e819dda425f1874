//! The head's sway: a turn of an ellipsoid, felt less and less outside it. Beyond `EDGE` nothing moves, so that the
//! background keeps its bytes. Brows and irises move along with it.

use face::{EYE_Y, Similarity};

use crate::curve::{bump, smooth};
use crate::level::leveled;
use crate::pose::Pose;

/// Centre and half axes of the head, canonical px.
const CENTER: (f32, f32) = (96.0, 70.0);
const AXES: (f32, f32) = (105.0, 135.0);
/// Squared distance, in half axes, at which motion has died away.
const EDGE: f32 = 2.6;
/// The neck, about which the head rolls.
const NECK_Y: f32 = 180.0;

/// One frame's sway over the picture.
pub struct HeadField {
    canon: Similarity,
    yaw: f32,
    pitch: f32,
    roll: f32,
    shift: (f32, f32),
    brow: f32,
    gaze: (f32, f32),
}

impl HeadField {
    /// The canonical rectangle (x range, y range) outside of which nothing moves.
    pub const REACH: ((f32, f32), (f32, f32)) = (
        (CENTER.0 - 1.613 * AXES.0, CENTER.0 + 1.613 * AXES.0),
        (CENTER.1 - 1.613 * AXES.1, CENTER.1 + 1.613 * AXES.1),
    );

    pub fn new(canon: Similarity, pose: &Pose) -> Self {
        let head = pose.head;
        Self {
            canon,
            yaw: head.yaw,
            pitch: head.pitch,
            roll: head.roll,
            shift: head.shift,
            brow: pose.brow,
            gaze: pose.gaze,
        }
    }

    pub fn is_still(&self) -> bool {
        [self.yaw, self.pitch, self.roll, self.shift.0, self.shift.1, self.brow, self.gaze.0, self.gaze.1]
            .iter()
            .all(|v| *v == 0.0)
    }

    /// Columns of row `y` that the head reaches, as picture px.
    pub fn span(canon: &Similarity, y: f32, width: usize) -> std::ops::Range<usize> {
        // (ax - by + tx - cx)² / rx² + (bx + ay + ty - cy)² / ry² = EDGE, solved for x
        let (p, q) = (canon.a / AXES.0, (-canon.b * y + canon.tx - CENTER.0) / AXES.0);
        let (r, s) = (canon.b / AXES.1, (canon.a * y + canon.ty - CENTER.1) / AXES.1);
        let (a, b, c) = (p * p + r * r, p * q + r * s, q * q + s * s - EDGE);
        let root = b * b - a * c;
        if root <= 0.0 {
            return 0..0;
        }
        let (half, middle) = (root.sqrt() / a, -b / a);
        let start = (middle - half).clamp(0.0, width as f32) as usize;
        start..(middle + half + 1.0).clamp(start as f32, width as f32) as usize
    }

    /// Displacement (target to source, canonical px) of every `step`th pixel of a row, from `(x0, y)` on.
    #[inline(always)]
    pub fn row(&self, (x0, y, step): (f32, f32, f32), dx: &mut [f32], dy: &mut [f32]) {
        let m = &self.canon;
        let (bx, by) = (m.tx - m.b * y, m.ty + m.a * y);
        for (i, (dx, dy)) in dx.iter_mut().zip(dy.iter_mut()).enumerate() {
            let px = x0 + i as f32 * step;
            let (x, y) = (m.a * px + bx, m.b * px + by);
            let (ex, ey) = ((x - CENTER.0) / AXES.0, (y - CENTER.1) / AXES.1);
            let r2 = ex * ex + ey * ey;
            let depth = (1.0 - r2).max(0.0).sqrt();
            let weight = smooth(EDGE, 0.9, r2);
            let angle = self.roll * weight;
            let (qx, qy) = (x - CENTER.0, y - NECK_Y);
            let turn = 0.5 * angle * angle;
            let left = (self.yaw * (18.0 + 55.0 * depth)) + self.shift.0;
            let up = (self.pitch * (12.0 + 45.0 * depth)) + self.shift.1;
            // brows: a band above the eyes, fading before the lids
            let (wx, wy) = ((x - 96.0) / 52.0, (y - 27.0) / 9.5);
            let brow = self.brow * bump(wx * wx * wx * wx + wy * wy);
            // irises, and hardly the lids
            let (gx, gy) = (((x - 96.0).abs() - 40.0) / 8.5, (y - EYE_Y) / 4.8);
            let iris = bump(gx * gx + gy * gy);
            *dx = angle * qy - turn * qx - weight * left - iris * self.gaze.0;
            *dy = -angle * qx - turn * qy - weight * up + brow - iris * self.gaze.1;
        }
    }
}

leveled! {
    /// `HeadField::row`, or nothing where the head is still.
    pub fn head_row(head: Option<&HeadField>, at: (f32, f32, f32), dx: &mut [f32], dy: &mut [f32]) {
        match head {
            Some(head) => head.row(at, dx, dy),
            None => {
                dx.fill(0.0);
                dy.fill(0.0);
            }
        }
    }
}
