//! The sampler: Catmull-Rom over 4x4 neighbours in whole numbers, so that every dispatch level gives the same byte.
//! Positions have 1/64 px; a whole position returns its pixel unchanged.

use std::sync::LazyLock;

use crate::level::Level;
use crate::plate::{PAD, Plane};

/// Steps a pixel.
pub const STEPS: i32 = 64;

/// Weights in 1/64, sum 64, for the pixels at -1, 0, 1, 2 around each of the 64 positions.
static WEIGHTS: LazyLock<[[i8; 4]; STEPS as usize]> = LazyLock::new(|| {
    std::array::from_fn(|step| {
        let f = step as f64 / f64::from(STEPS);
        let exact = [
            f * (-0.5 + f * (1.0 - 0.5 * f)),
            1.0 + f * f * (-2.5 + 1.5 * f),
            f * (0.5 + f * (2.0 - 1.5 * f)),
            f * f * (-0.5 + 0.5 * f),
        ];
        let mut weights = exact.map(|w| (w * 64.0).round() as i32);
        let largest = if f < 0.5 { 1 } else { 2 };
        weights[largest] += 64 - weights.iter().sum::<i32>();
        weights.map(|w| w as i8)
    })
});

/// Fills `out` with samples of `plane` at positions in 1/64 samples, relative to the padded plane's origin.
/// `qx` and `qy` are at least as long as `out`; positions outside are moved to the border.
pub fn fetch(level: Level, plane: &Plane, (qx, qy): (&[i32], &[i32]), out: &mut [u8]) {
    let (qx, qy) = (&qx[..out.len()], &qy[..out.len()]);
    match level {
        Level::Portable => portable(plane, qx, qy, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` has these variants only on CPUs that have AVX2, which includes SSSE3
        Level::Avx2 | Level::Avx512 => unsafe { x86::fetch(plane, qx, qy, out) },
    }
}

/// The upper left of the 16 neighbours, as an index into the padded plane, and the two fractions.
#[inline(always)]
fn place(plane: &Plane, qx: i32, qy: i32) -> (usize, usize, usize) {
    let (right, bottom) = ((plane.width + PAD) as i32 * STEPS, (plane.height + PAD) as i32 * STEPS);
    let (qx, qy) = (qx.clamp(STEPS, right), qy.clamp(STEPS, bottom));
    let (ix, iy) = ((qx >> 6) as usize, (qy >> 6) as usize);
    ((iy - 1) * plane.stride + ix - 1, (qx & 63) as usize, (qy & 63) as usize)
}

fn portable(plane: &Plane, qx: &[i32], qy: &[i32], out: &mut [u8]) {
    let weights = &*WEIGHTS;
    for ((out, &qx), &qy) in out.iter_mut().zip(qx).zip(qy) {
        let (at, fx, fy) = place(plane, qx, qy);
        if fx | fy == 0 {
            *out = plane.bytes[at + plane.stride + 1];
            continue;
        }
        let (wx, wy) = (weights[fx].map(i32::from), weights[fy].map(i32::from));
        let mut sum = 2048;
        for (k, wy) in wy.into_iter().enumerate() {
            let row = &plane.bytes[at + k * plane.stride..][..4];
            let line = (0..4).map(|j| i32::from(row[j]) * wx[j]).sum::<i32>();
            sum += line * wy;
        }
        *out = (sum >> 12).clamp(0, 255) as u8;
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Plane, WEIGHTS, place};

    /// Four rows of four pixels fill one 128-bit register: one multiply-add across x, one across y.
    #[target_feature(enable = "avx2")]
    pub fn fetch(plane: &Plane, qx: &[i32], qy: &[i32], out: &mut [u8]) {
        let weights = &*WEIGHTS;
        let stride = plane.stride;
        for ((out, &qx), &qy) in out.iter_mut().zip(qx).zip(qy) {
            let (at, fx, fy) = place(plane, qx, qy);
            if fx | fy == 0 {
                *out = plane.bytes[at + stride + 1];
                continue;
            }
            let rows = &plane.bytes[at..at + 3 * stride + 4];
            let four = |k: usize| -> i32 {
                i32::from_le_bytes([
                    rows[k * stride],
                    rows[k * stride + 1],
                    rows[k * stride + 2],
                    rows[k * stride + 3],
                ])
            };
            let pixels = _mm_set_epi32(four(3), four(2), four(1), four(0));
            let wx = _mm_set1_epi32(i32::from_le_bytes(weights[fx].map(|w| w as u8)));
            let halves = _mm_maddubs_epi16(pixels, wx); // two half sums a row
            let wy = _mm_cvtepi8_epi16(_mm_cvtsi32_si128(i32::from_le_bytes(weights[fy].map(|w| w as u8))));
            let wy = _mm_unpacklo_epi16(wy, wy);
            let lines = _mm_madd_epi16(halves, wy);
            let pairs = _mm_add_epi32(lines, _mm_shuffle_epi32::<0b_01_00_11_10>(lines));
            let sum = _mm_cvtsi128_si32(_mm_add_epi32(pairs, _mm_shuffle_epi32::<0b_10_11_00_01>(pairs)));
            *out = ((sum + 2048) >> 12).clamp(0, 255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> Vec<u8> {
        let mut state = 7u32;
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect()
    }

    #[test]
    fn whole_positions_are_exact_and_levels_agree() {
        let plane = Plane::new(40, 30, &noise(1200));
        let whole: Vec<i32> = (0..40).map(|x| (x + PAD as i32) * STEPS).collect();
        for level in Level::all() {
            let mut out = vec![0; 40];
            fetch(level, &plane, (&whole, &[(7 + PAD as i32) * STEPS; 40]), &mut out);
            assert_eq!(out, plane.row(7), "{level:?}");
        }
        let spread = |k: i32| -> Vec<i32> { (0..5000).map(|i| (i * k) % 3100 - 200).collect() };
        let (qx, qy) = (spread(7919), spread(6131));
        let expected = {
            let mut out = vec![0; 5000];
            fetch(Level::Portable, &plane, (&qx, &qy), &mut out);
            out
        };
        for level in Level::all() {
            let mut out = vec![0; 5000];
            fetch(level, &plane, (&qx, &qy), &mut out);
            assert_eq!(out, expected, "{level:?}");
        }
    }

    #[test]
    fn a_flat_plane_stays_flat() {
        let plane = Plane::new(8, 8, &[201; 64]);
        let mut out = vec![0; 64];
        let q: Vec<i32> = (0..64).map(|f| 7 * STEPS + f).collect();
        fetch(Level::Portable, &plane, (&q, &q), &mut out);
        assert!(out.iter().all(|&v| v == 201), "{out:?}");
    }
}
