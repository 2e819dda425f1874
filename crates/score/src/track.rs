//! Following a patch of the face: correlation over whole pixels, then Gauss-Newton (inverse compositional, Baker & Matthews 2004)
//! on the shift alone, which ends within a few hundredths of a pixel. Brightness and contrast may change.

use crate::patch::{Patch, Plane, Window};
use face::Similarity;

/// Grey levels of noise added to the contrast of a searched patch, so that flat skin does not match by its noise.
const NOISE: f32 = 1.5;

/// How far to look, in canonical px, around a guess.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    pub x: usize,
    pub up: usize,
    pub down: usize,
}

/// Where the patch was found, relative to where its template was cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    pub dx: f32,
    pub dy: f32,
    /// Normalised correlation, -1..1.
    pub likeness: f32,
}

pub struct Template {
    home: Window,
    /// Mean 0.
    values: Vec<f32>,
    norm: f32,
    /// d/dx and d/dy of the values, and the inverse of their 2x2 Hessian; `None` on flat skin.
    slopes: Option<Slopes>,
}

struct Slopes {
    x: Vec<f32>,
    y: Vec<f32>,
    inverse: [f32; 3],
}

impl Template {
    pub fn new(plane: &Plane, to_picture: &Similarity, home: Window) -> Self {
        let rim = plane.cut(to_picture, home.grown(1, 1, 1, 1)).into_full_range();
        let (mut values, mut x, mut y) = (Vec::new(), Vec::new(), Vec::new());
        for row in 1..=home.height {
            for column in 1..=home.width {
                values.push(rim.at(column, row));
                x.push(0.5 * (rim.at(column + 1, row) - rim.at(column - 1, row)));
                y.push(0.5 * (rim.at(column, row + 1) - rim.at(column, row - 1)));
            }
        }
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        values.iter_mut().for_each(|v| *v -= mean);
        let norm = values.iter().map(|v| v * v).sum::<f32>().sqrt();
        Self { home, norm, slopes: Slopes::new(x, y), values }
    }

    /// Standard deviation of the template, grey levels: below 2 there is nothing to follow.
    pub fn contrast(&self) -> f32 {
        self.norm / (self.values.len() as f32).sqrt()
    }

    /// Looks around `guess` (a shift from home), as far as `reach`.
    pub fn find(&self, plane: &Plane, to_picture: &Similarity, guess: (f32, f32), reach: Reach) -> Found {
        let around = self.home.shifted(guess.0, guess.1).grown(reach.x, reach.x, reach.up, reach.down);
        let field = plane.cut(to_picture, around).into_full_range();
        let mut best = Found { dx: guess.0, dy: guess.1, likeness: f32::NEG_INFINITY };
        for row in 0..=reach.up + reach.down {
            for column in 0..=2 * reach.x {
                let likeness = self.likeness(&field, column, row);
                if likeness > best.likeness {
                    let dx = guess.0 + column as f32 - reach.x as f32;
                    let dy = guess.1 + row as f32 - reach.up as f32;
                    best = Found { dx, dy, likeness };
                }
            }
        }
        self.refined(plane, to_picture, best)
    }

    fn likeness(&self, field: &Patch, left: usize, top: usize) -> f32 {
        let (mut sum, mut squares, mut product) = (0f32, 0f32, 0f32);
        for (row, values) in self.values.chunks_exact(self.home.width).enumerate() {
            let at = (top + row) * field.width + left;
            let under = &field.data[at..at + self.home.width];
            let (s, q, p) = row_sums(values, under);
            sum += s;
            squares += q;
            product += p;
        }
        let count = self.values.len() as f32;
        let spread = (squares - sum * sum / count).max(0.0) + count * NOISE * NOISE;
        product / (spread.sqrt() * (self.norm + NOISE))
    }

    fn refined(&self, plane: &Plane, to_picture: &Similarity, start: Found) -> Found {
        let Some(slopes) = &self.slopes else { return start };
        let mut found = start;
        for _ in 0..4 {
            let patch = plane.cut(to_picture, self.home.shifted(found.dx, found.dy)).into_full_range();
            let mean = patch.data.iter().sum::<f32>() / patch.data.len() as f32;
            let (mut like, mut power) = (0f32, 1e-3f32);
            for (value, seen) in self.values.iter().zip(&patch.data) {
                like += value * (seen - mean);
                power += (seen - mean) * (seen - mean);
            }
            // least squares: the contrast that makes the seen patch most like the template
            let gain = (like / power).clamp(0.25, 4.0);
            let (mut ex, mut ey) = (0f32, 0f32);
            for (i, (value, seen)) in self.values.iter().zip(&patch.data).enumerate() {
                let error = gain * (seen - mean) - value;
                ex += slopes.x[i] * error;
                ey += slopes.y[i] * error;
            }
            let [a, b, c] = slopes.inverse;
            let (sx, sy) = (a * ex + b * ey, b * ex + c * ey);
            found.dx -= sx.clamp(-0.7, 0.7);
            found.dy -= sy.clamp(-0.7, 0.7);
            if sx.hypot(sy) < 0.01 {
                break;
            }
        }
        // further than the neighbouring pixel the correlation's peak would have been elsewhere: the refinement slid off
        let slid = (found.dx - start.dx).abs() > 1.2 || (found.dy - start.dy).abs() > 1.2;
        if slid { start } else { found }
    }
}

impl Slopes {
    fn new(x: Vec<f32>, y: Vec<f32>) -> Option<Self> {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let (xx, xy, yy) = (dot(&x, &x), dot(&x, &y), dot(&y, &y));
        let determinant = xx * yy - xy * xy;
        let textured = determinant > 1e-4 * xx * yy && xx.min(yy) > 0.2 * x.len() as f32;
        textured.then(|| Self { x, y, inverse: [yy / determinant, -xy / determinant, xx / determinant] })
    }
}

/// (sum, sum of squares, sum of products with the template) of one row; eight lanes, so that the compiler vectorises it.
fn row_sums(values: &[f32], under: &[f32]) -> (f32, f32, f32) {
    let mut lanes = [[0f32; 8]; 3];
    let (value_chunks, under_chunks) = (values.chunks_exact(8), under.chunks_exact(8));
    let rest = value_chunks.remainder().iter().zip(under_chunks.remainder());
    let (mut sum, mut squares, mut product) = (0f32, 0f32, 0f32);
    for (value, seen) in rest {
        sum += seen;
        squares += seen * seen;
        product += value * seen;
    }
    for (value, seen) in value_chunks.zip(under_chunks) {
        for i in 0..8 {
            lanes[0][i] += seen[i];
            lanes[1][i] += seen[i] * seen[i];
            lanes[2][i] += value[i] * seen[i];
        }
    }
    let [s, q, p] = lanes.map(|lane| lane.iter().sum::<f32>());
    (sum + s, squares + q, product + p)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 160;

    /// A smooth, unrepeating texture moved by (`dx`, `dy`).
    fn texture(dx: f32, dy: f32, light: f32) -> Vec<u8> {
        (0..SIZE * SIZE)
            .map(|i| {
                let (x, y) = ((i % SIZE) as f32 - dx, (i / SIZE) as f32 - dy);
                let wave = (x * 0.21).sin() + (y * 0.17 + 1.0).sin() + (x * 0.09 - y * 0.13).cos();
                (120.0 + light * 25.0 * wave).round() as u8
            })
            .collect()
    }

    fn plane(data: &[u8]) -> Plane<'_> {
        Plane { data, width: SIZE, height: SIZE }
    }

    #[test]
    fn a_patch_is_found_to_a_twentieth_of_a_pixel_under_other_light() {
        let still = Similarity { a: 1.0, b: 0.0, tx: 0.0, ty: 0.0 };
        let home = Window { x: 50.0, y: 60.0, width: 50, height: 38 };
        let first = texture(0.0, 0.0, 1.0);
        let template = Template::new(&plane(&first), &still, home);
        let reach = Reach { x: 8, up: 8, down: 8 };
        for (dx, dy, light) in [(0.0, 0.0, 1.0), (2.3, -4.6, 1.0), (-6.45, 5.5, 0.8)] {
            let moved = texture(dx, dy, light);
            let found = template.find(&plane(&moved), &still, (0.0, 0.0), reach);
            assert!((found.dx - dx).abs() < 0.05 && (found.dy - dy).abs() < 0.05, "{dx} {dy}: {found:?}");
            assert!(found.likeness > 0.9, "{found:?}");
        }
    }

    #[test]
    fn flat_skin_has_no_contrast_and_stays_where_it_was_guessed() {
        let data = vec![130u8; SIZE * SIZE];
        let plane = plane(&data);
        let still = Similarity { a: 1.0, b: 0.0, tx: 0.0, ty: 0.0 };
        let template = Template::new(&plane, &still, Window { x: 60.0, y: 60.0, width: 36, height: 28 });
        assert!(template.contrast() < 0.5);
        let found = template.find(&plane, &still, (0.0, 0.0), Reach { x: 0, up: 0, down: 0 });
        assert_eq!((found.dx, found.dy), (0.0, 0.0));
    }
}
