//! Where a known patch of a face went: a coarse search by correlation, then Lucas-Kanade alignment of a similarity
//! (inverse compositional: Baker and Matthews, "Lucas-Kanade 20 years on", IJCV 2004), to a few hundredths of a pixel.

use crate::blur::gaussian;
use crate::correlate::{ncc, ncc_at};
use crate::gradient::sobel;
use crate::model::Similarity;
use crate::plane::Plane;

/// The upper face in the canonical frame, brows to nose: it moves with the skull, not with speech.
pub(crate) const LEFT: usize = 20;
pub(crate) const TOP: usize = 18;
const WIDTH: usize = 152;
const HEIGHT: usize = 92;
/// How far around the patch a `View` shows the frame, canonical px; the coarse search goes so far.
pub(crate) const AROUND: usize = 24;
/// Size of a view: the patch with its surroundings.
pub(crate) const VIEW_WIDTH: usize = WIDTH + 2 * AROUND;
pub(crate) const VIEW_HEIGHT: usize = HEIGHT + 2 * AROUND;
/// The coarse search looks at every fourth pixel.
const COARSE: usize = 4;

/// Luma around a predicted place of the patch, canonical px, its upper left at (`LEFT - AROUND`, `TOP - AROUND`).
pub(crate) struct View {
    full: Plane,
    half: Plane,
    coarse: Plane,
}

impl View {
    /// `luma`: `VIEW_WIDTH` x `VIEW_HEIGHT`.
    pub fn new(luma: Plane) -> Self {
        let full = gaussian(&luma, 0.8, 0.8);
        let half = every(&gaussian(&luma, 1.6, 1.6), 2);
        let coarse = every(&gaussian(&luma, 3.2, 3.2), COARSE);
        Self { full, half, coarse }
    }
}

fn every(plane: &Plane, step: usize) -> Plane {
    let (w, h) = (plane.width / step, plane.height / step);
    let data = (0..w * h).map(|i| plane.at(i % w * step, i / w * step)).collect();
    Plane::new(w, h, data)
}

/// A patch to be found again.
pub(crate) struct Template {
    full: Level,
    half: Level,
    coarse: Plane,
}

/// The patch at one resolution: grey levels and how they change with scale, rotation and shift.
struct Level {
    step: f32,
    grey: Plane,
    /// Per pixel d(grey)/d(scale, rotation, x, y), lengths in canonical px.
    slopes: Vec<[f32; 4]>,
}

impl Template {
    /// The patch in the middle of a view.
    pub fn new(view: &View) -> Self {
        let middle = |plane: &Plane, step: usize| {
            let (x, y) = (AROUND / step, AROUND / step);
            plane.window(x..x + WIDTH / step, y..y + HEIGHT / step)
        };
        Self {
            full: Level::new(middle(&view.full, 1), 1.0),
            half: Level::new(middle(&view.half, 2), 2.0),
            coarse: middle(&view.coarse, COARSE),
        }
    }

    /// The move from the view's predicted canonical frame to the true one, and the likeness there (-1..1).
    pub fn align(&self, view: &View) -> (Similarity, f32) {
        let (dx, dy) = self.coarse_shift(&view.coarse);
        // the patch lies at +d in the view: the canonical frame has to move by -d
        let mut found = Similarity { a: 1.0, b: 0.0, tx: -dx, ty: -dy };
        for _ in 0..6 {
            let (next, change) = self.half.improve(&view.half, &found);
            found = next;
            if change < 0.05 {
                break;
            }
        }
        for _ in 0..4 {
            let (next, change) = self.full.improve(&view.full, &found);
            found = next;
            if change < 0.01 {
                break;
            }
        }
        let there = self.full.seen(&view.full, &found);
        (found, ncc(&there, &self.full.grey.data))
    }

    /// Likeness where the view predicts the patch.
    pub fn likeness(&self, view: &View, at: &Similarity) -> f32 {
        ncc(&self.half.seen(&view.half, at), &self.half.grey.data)
    }

    fn coarse_shift(&self, coarse: &Plane) -> (f32, f32) {
        let reach = AROUND / COARSE;
        let patch = &self.coarse;
        let mut best = (0.0, 0.0, f32::NEG_INFINITY);
        for y in 0..=(coarse.height - patch.height).min(2 * reach) {
            for x in 0..=(coarse.width - patch.width).min(2 * reach) {
                let (dx, dy) = (x as f32 - reach as f32, y as f32 - reach as f32);
                // of equally good places the nearest
                let score = ncc_at(coarse, patch, x, y) - 0.004 * dx.hypot(dy);
                if score > best.2 {
                    best = (dx * COARSE as f32, dy * COARSE as f32, score);
                }
            }
        }
        (best.0, best.1)
    }
}

impl Level {
    fn new(grey: Plane, step: f32) -> Self {
        let (dx, dy) = sobel(&grey);
        let slopes = (0..grey.data.len())
            .map(|i| {
                let (x, y) = from_middle(i, grey.width, step);
                let (gx, gy) = (dx.data[i] / step, dy.data[i] / step);
                [gx * x + gy * y, gy * x - gx * y, gx, gy]
            })
            .collect();
        Self { step, grey, slopes }
    }

    /// What `view` shows where the template's pixels lie when the canonical frame moves by `moved`.
    fn seen(&self, view: &Plane, moved: &Similarity) -> Vec<f32> {
        let to_view = Similarity {
            a: 1.0 / self.step,
            b: 0.0,
            tx: (AROUND as f32 - LEFT as f32) / self.step,
            ty: (AROUND as f32 - TOP as f32) / self.step,
        };
        let to_view = moved.inverse().then(&to_view);
        let (w, h) = (self.grey.width, self.grey.height);
        let mut seen = Vec::with_capacity(w * h);
        for row in 0..h {
            let (x0, y0) = to_view.apply(LEFT as f32, TOP as f32 + row as f32 * self.step);
            let (dx, dy) = (to_view.a * self.step, to_view.b * self.step);
            seen.extend((0..w).map(|i| view.bilinear(x0 + dx * i as f32, y0 + dy * i as f32)));
        }
        seen
    }

    /// One Gauss-Newton step with robust weights; also how far it moved the patch's edge, canonical px.
    fn improve(&self, view: &Plane, moved: &Similarity) -> (Similarity, f32) {
        let mut seen = self.seen(view, moved);
        match_levels(&mut seen, &self.grey.data);
        let errors: Vec<f32> = seen.iter().zip(&self.grey.data).map(|(s, t)| s - t).collect();
        let spread = errors.iter().map(|e| e.abs()).sum::<f32>() / errors.len() as f32;
        // closed eyes and hair in the wind must not pull: beyond three times the mean error a pixel counts ever less
        let limit = (3.0 * spread).max(2.0);
        let mut normal = [[0.0f64; 4]; 4];
        let mut right = [0.0f64; 4];
        for (error, slope) in errors.iter().zip(&self.slopes) {
            let weight = 1.0 / (1.0 + (error / limit).powi(2));
            for i in 0..4 {
                let weighted = weight * slope[i];
                right[i] += f64::from(weighted * error);
                for (sum, other) in normal[i].iter_mut().zip(slope) {
                    *sum += f64::from(weighted * other);
                }
            }
        }
        let Some([scale, turn, dx, dy]) = solve(normal, right) else {
            return (*moved, 0.0);
        };
        let (a, b) = (1.0 + scale, turn);
        // about the patch's middle
        let delta = Similarity {
            a,
            b,
            tx: MIDDLE.0 + dx - (a * MIDDLE.0 - b * MIDDLE.1),
            ty: MIDDLE.1 + dy - (b * MIDDLE.0 + a * MIDDLE.1),
        };
        let change = dx.hypot(dy) + scale.hypot(turn) * WIDTH as f32 / 2.0;
        if change.is_finite() && change < AROUND as f32 {
            (moved.then(&delta), change)
        } else {
            (*moved, 0.0)
        }
    }
}

/// Middle of the patch, canonical px.
const MIDDLE: (f32, f32) = (LEFT as f32 + WIDTH as f32 / 2.0, TOP as f32 + HEIGHT as f32 / 2.0);

/// Place of a template's pixel from the patch's middle, canonical px.
fn from_middle(i: usize, width: usize, step: f32) -> (f32, f32) {
    ((i % width) as f32 * step - WIDTH as f32 / 2.0, (i / width) as f32 * step - HEIGHT as f32 / 2.0)
}

/// Gives `values` the mean and deviation of `model`: light may change.
fn match_levels(values: &mut [f32], model: &[f32]) {
    let (mean, deviation) = crate::spread::mean_deviation(values);
    let (model_mean, model_deviation) = crate::spread::mean_deviation(model);
    let gain = (model_deviation / deviation.max(1.0)).clamp(0.5, 2.0);
    for v in values {
        *v = (*v - mean) * gain + model_mean;
    }
}

/// Solves a symmetric, positive system by elimination; `None` where the patch has no structure.
fn solve(mut m: [[f64; 4]; 4], mut r: [f64; 4]) -> Option<[f32; 4]> {
    for i in 0..4 {
        let pivot = m[i];
        if pivot[i] < 1e-6 {
            return None;
        }
        for k in i + 1..4 {
            let factor = m[k][i] / pivot[i];
            for (value, above) in m[k].iter_mut().zip(pivot) {
                *value -= factor * above;
            }
            r[k] -= factor * r[i];
        }
    }
    for i in (0..4).rev() {
        let known: f64 = m[i].iter().zip(r).skip(i + 1).map(|(m, r)| m * r).sum();
        r[i] = (r[i] - known) / m[i][i];
    }
    Some(r.map(|v| v as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A smooth picture without repeats.
    fn scene(x: f32, y: f32) -> f32 {
        120.0
            + 40.0 * (0.11 * x + 0.03 * y).sin()
            + 30.0 * (0.09 * y - 0.05 * x + 1.0).cos()
            + 20.0 * (0.002 * x * y).sin()
    }

    fn view(through: &Similarity) -> View {
        let back = through.inverse();
        let data = (0..VIEW_WIDTH * VIEW_HEIGHT)
            .map(|i| {
                let x = (i % VIEW_WIDTH) as f32 + LEFT as f32 - AROUND as f32;
                let y = (i / VIEW_WIDTH) as f32 + TOP as f32 - AROUND as f32;
                let (x, y) = back.apply(x, y);
                scene(x, y)
            })
            .collect();
        View::new(Plane::new(VIEW_WIDTH, VIEW_HEIGHT, data))
    }

    #[test]
    fn a_moved_patch_is_found_to_a_fraction_of_a_pixel() {
        let still = Similarity { a: 1.0, b: 0.0, tx: 0.0, ty: 0.0 };
        let template = Template::new(&view(&still));
        let rows = [
            (0.0, 0.0, 0.0, 0.0),
            (0.3, -0.2, 0.0, 0.0),
            (7.0, 5.0, 0.02, 0.03),
            (-15.0, 11.0, -0.03, -0.05),
        ];
        for (dx, dy, scale, turn) in rows {
            // the scene drawn as if the prediction were wrong by this much
            let wrong = Similarity { a: 1.0 + scale, b: turn, tx: dx, ty: dy };
            let (found, likeness) = template.align(&view(&wrong));
            let (x, y) = wrong.then(&found).apply(MIDDLE.0, MIDDLE.1);
            let off = (x - MIDDLE.0).hypot(y - MIDDLE.1);
            assert!(
                off < 0.1 && likeness > 0.99,
                "{dx} {dy} {scale} {turn}: off by {off}, likeness {likeness}"
            );
        }
    }
}
