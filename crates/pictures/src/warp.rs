//! OpenCV's `warpAffine` with `INTER_LINEAR`, black outside: places in 1024ths of a pixel, rounded to 32nds for the weights, which have 15 bits.

use super::{View, ViewMut};

/// `AB_SCALE`
const PLACE: f64 = 1024.0;
/// From 1024ths to 32nds.
const PLACE_TO_STEP: i64 = 5;
/// `INTER_TAB_SIZE`
const STEPS: i64 = 32;
const HALF_A_STEP: i64 = PLACE as i64 / STEPS / 2;

/// From a pixel of the result to the source: `x = m[0][0] x' + m[0][1] y' + m[0][2]`, and `y` by the second row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine(pub [[f64; 3]; 2]);

impl Affine {
    /// The inverse, in the order of operations of `warpAffine`; all zero where there is none.
    pub fn inverse(&self) -> Self {
        let [[a, b, c], [d, e, f]] = self.0;
        let determinant = a * e - b * d;
        let scale = if determinant != 0.0 { 1.0 / determinant } else { 0.0 };
        let ([a, e], [b, d]) = ([e * scale, a * scale], [b * -scale, d * -scale]);
        Self([[a, b, -a * c - b * f], [d, e, -d * c - e * f]])
    }
}

pub fn warp<const C: usize>(from: View<C>, to_source: &Affine, to: &mut ViewMut<C>) {
    let [across, down] = to_source.0;
    let place = |v: f64| (v * PLACE).round_ties_even() as i64;
    let (width, height) = to.size();
    let steps: Vec<[i64; 2]> =
        (0..width).map(|x| [place(across[0] * x as f64), place(down[0] * x as f64)]).collect();
    let (last_x, last_y) = (from.width() as i64 - 1, from.height() as i64 - 1);
    for row in 0..height {
        let start = [across, down].map(|m| place(m[1] * row as f64 + m[2]) + HALF_A_STEP);
        for (out, step) in to.row_mut(row).chunks_exact_mut(C).zip(&steps) {
            let at = [0, 1].map(|axis| (start[axis] + step[axis]) >> PLACE_TO_STEP);
            let [x, y] = at.map(|v| v.div_euclid(STEPS));
            if x < -1 || y < -1 || x > last_x || y > last_y {
                out.fill(0);
                continue;
            }
            let [beside, below] = at.map(|v| v.rem_euclid(STEPS) as u32);
            let weights = [
                (STEPS as u32 - beside) * (STEPS as u32 - below),
                beside * (STEPS as u32 - below),
                (STEPS as u32 - beside) * below,
                beside * below,
            ];
            if (0..last_x).contains(&x) && (0..last_y).contains(&y) {
                let [upper, lower] = [y, y + 1].map(|y| &from.row(y as usize)[x as usize * C..][..2 * C]);
                let pixels = [&upper[..C], &upper[C..], &lower[..C], &lower[C..]];
                for (c, out) in out.iter_mut().enumerate() {
                    *out = mixed(pixels.map(|pixel| pixel[c]), weights);
                }
            } else {
                let pixel = |x: i64, y: i64| {
                    let inside = (0..=last_x).contains(&x) && (0..=last_y).contains(&y);
                    inside.then(|| &from.row(y as usize)[x as usize * C..][..C])
                };
                let pixels = [pixel(x, y), pixel(x + 1, y), pixel(x, y + 1), pixel(x + 1, y + 1)];
                for (c, out) in out.iter_mut().enumerate() {
                    *out = mixed(pixels.map(|pixel| pixel.map_or(0, |pixel| pixel[c])), weights);
                }
            }
        }
    }
}

/// Weights of a thousandth: 15 bits less the 5 that are always zero.
#[inline(always)]
fn mixed(values: [u8; 4], weights: [u32; 4]) -> u8 {
    let sum: u32 = values.iter().zip(weights).map(|(&value, weight)| u32::from(value) * weight).sum();
    ((sum + (1 << 9)) >> 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::pattern;
    use crate::{Picture, Plane};

    fn warped(from: &Plane, forward: [[f64; 3]; 2], size: (usize, usize)) -> Vec<u8> {
        let mut out = Picture::blank(size).unwrap();
        warp(from.view(), &Affine(forward).inverse(), &mut out.view_mut());
        out.into_bytes()
    }

    #[test]
    fn as_opencv_warps() {
        let turned = warped(&pattern(4, 4), [[0.8, -0.6, 1.5], [0.6, 0.8, -0.25]], (5, 4));
        let rows = [0, 47, 34, 29, 0, 107, 146, 149, 154, 56, 101, 105, 93, 99, 60, 91, 222, 99, 71, 5];
        assert_eq!(turned, rows);
        // what cannot be inverted shows one pixel
        assert_eq!(warped(&pattern(4, 3), [[0.0; 3]; 2], (2, 2)), [17; 4]);
    }

    #[test]
    fn what_is_outside_is_black() {
        assert_eq!(warped(&pattern(1, 1), [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], (3, 2)), [0, 17, 0, 0, 0, 0]);
        assert_eq!(warped(&pattern(4, 4), [[1.0, 0.0, 900.0], [0.0, 1.0, -900.0]], (2, 1)), [0, 0]);
    }
}
