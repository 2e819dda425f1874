//! The sampler: Catmull-Rom over 4x4 neighbours in whole numbers, so that every dispatch level gives the same byte.
//! Positions have 1/64 px; a whole position returns its pixel unchanged.

use crate::level::{Instructions, Level};
use crate::plate::Plane;

/// Steps a pixel.
pub const STEPS: i32 = 64;

/// Catmull-Rom's cubics in whole numbers: weights in 1/64, sum 64, for the pixels at -1, 0, 1, 2 around each position.
static WEIGHTS: [[i8; 4]; STEPS as usize] = {
    let mut table = [[0i8; 4]; STEPS as usize];
    let mut s = 0;
    while s < 64 {
        let (s1, s2, s3) = (s * 4096, s * s * 64, s * s * s);
        let exact = [-s1 + 2 * s2 - s3, 2 * 262_144 - 5 * s2 + 3 * s3, s1 + 4 * s2 - 3 * s3, s3 - s2];
        let mut sum = 0;
        let mut k = 0;
        while k < 4 {
            let rounded = (exact[k] + 4096i64).div_euclid(8192);
            table[s as usize][k] = rounded as i8;
            sum += rounded;
            k += 1;
        }
        // what rounding lost goes to the nearest pixel
        let nearest = if s < 32 { 1 } else { 2 };
        table[s as usize][nearest] += (64 - sum) as i8;
        s += 1;
    }
    table
};

/// Fills `out` with samples of `plane` at positions in 1/64 samples, relative to the padded plane's origin.
/// `qx` and `qy` are at least as long as `out`, their values from `STEPS` to the far border of the picture.
pub fn fetch(level: Level, plane: &Plane, (qx, qy): (&[i32], &[i32]), out: &mut [u8]) {
    let (qx, qy) = (&qx[..out.len()], &qy[..out.len()]);
    match level.instructions() {
        Instructions::Portable => portable(plane, qx, qy, out),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a `Level` has these only on CPUs that have AVX2, which includes SSSE3
        Instructions::Avx2 | Instructions::Avx512 => unsafe { x86::fetch(plane, qx, qy, out) },
    }
}

/// The upper left of the 16 neighbours, as an index into the padded plane, and the two fractions.
#[inline(always)]
fn place(plane: &Plane, qx: i32, qy: i32) -> (usize, usize, usize) {
    let (ix, iy) = ((qx >> 6) as usize, (qy >> 6) as usize);
    ((iy - 1) * plane.stride + ix - 1, (qx & 63) as usize, (qy & 63) as usize)
}

fn portable(plane: &Plane, qx: &[i32], qy: &[i32], out: &mut [u8]) {
    for ((out, &qx), &qy) in out.iter_mut().zip(qx).zip(qy) {
        let (at, fx, fy) = place(plane, qx, qy);
        if fx | fy == 0 {
            *out = plane.bytes[at + plane.stride + 1];
            continue;
        }
        let (wx, wy) = (WEIGHTS[fx].map(i32::from), WEIGHTS[fy].map(i32::from));
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

    use super::{Plane, STEPS, WEIGHTS, place};

    /// The four weights of a position, packed.
    static ACROSS: [i32; STEPS as usize] = {
        let mut table = [0; STEPS as usize];
        let mut s = 0;
        while s < table.len() {
            let [a, b, c, d] = WEIGHTS[s];
            table[s] = i32::from_le_bytes([a as u8, b as u8, c as u8, d as u8]);
            s += 1;
        }
        table
    };

    /// Each weight twice: a row's sum comes in two halves.
    static DOWN: [[i16; 8]; STEPS as usize] = {
        let mut table = [[0; 8]; STEPS as usize];
        let mut s = 0;
        while s < table.len() {
            let mut k = 0;
            while k < 8 {
                table[s][k] = WEIGHTS[s][k / 2] as i16;
                k += 1;
            }
            s += 1;
        }
        table
    };

    /// No closures here: they would not be inlined into a function with target features.
    #[target_feature(enable = "avx2")]
    pub fn fetch(plane: &Plane, qx: &[i32], qy: &[i32], out: &mut [u8]) {
        let (fours, rest) = out.as_chunks_mut::<4>();
        let (qx4, qx_rest) = qx.as_chunks::<4>();
        let (qy4, qy_rest) = qy.as_chunks::<4>();
        for ((out, qx), qy) in fours.iter_mut().zip(qx4).zip(qy4) {
            let a = lines(plane, qx[0], qy[0]);
            let b = lines(plane, qx[1], qy[1]);
            let c = lines(plane, qx[2], qy[2]);
            let d = lines(plane, qx[3], qy[3]);
            let sums = _mm_hadd_epi32(_mm_hadd_epi32(a, b), _mm_hadd_epi32(c, d));
            *out = bytes(sums);
        }
        for ((out, &qx), &qy) in rest.iter_mut().zip(qx_rest).zip(qy_rest) {
            let a = lines(plane, qx, qy);
            let pairs = _mm_hadd_epi32(a, a);
            *out = bytes(_mm_hadd_epi32(pairs, pairs))[0];
        }
    }

    /// One pixel's sums, a row each. Four rows of four pixels fill a register: one multiply-add across x, one across y.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn lines(plane: &Plane, qx: i32, qy: i32) -> __m128i {
        let (at, fx, fy) = place(plane, qx, qy);
        let stride = plane.stride;
        let rows = &plane.bytes[at..at + 3 * stride + 4];
        // SAFETY: the slice holds 4 bytes at each of 0, stride, 2 stride and 3 stride
        let pixels = unsafe {
            let row = rows.as_ptr();
            _mm_set_epi32(
                row.add(3 * stride).cast::<i32>().read_unaligned(),
                row.add(2 * stride).cast::<i32>().read_unaligned(),
                row.add(stride).cast::<i32>().read_unaligned(),
                row.cast::<i32>().read_unaligned(),
            )
        };
        let halves = _mm_maddubs_epi16(pixels, _mm_set1_epi32(ACROSS[fx]));
        // SAFETY: an entry of the table is 16 bytes
        let down = unsafe { _mm_loadu_si128(DOWN[fy].as_ptr().cast()) };
        _mm_madd_epi16(halves, down)
    }

    /// Rounded out of 1/4096 and clamped to bytes.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn bytes(sums: __m128i) -> [u8; 4] {
        let whole = _mm_srai_epi32::<12>(_mm_add_epi32(sums, _mm_set1_epi32(2048)));
        let words = _mm_packs_epi32(whole, whole);
        _mm_cvtsi128_si32(_mm_packus_epi16(words, words)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plate::PAD;

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
        let spread = |k: i32, end: i32| -> Vec<i32> {
            (0..5001).map(|i| STEPS + (i * k) % ((end + PAD as i32 - 1) * STEPS + 1)).collect()
        };
        let (qx, qy) = (spread(7919, 40), spread(6131, 30));
        let expected = {
            let mut out = vec![0; 5001];
            fetch(Level::PORTABLE, &plane, (&qx, &qy), &mut out);
            out
        };
        for level in Level::all() {
            let mut out = vec![0; 5001];
            fetch(level, &plane, (&qx, &qy), &mut out);
            assert_eq!(out, expected, "{level:?}");
        }
    }

    #[test]
    fn a_flat_plane_stays_flat() {
        let plane = Plane::new(8, 8, &[201; 64]);
        let mut out = vec![0; 64];
        let q: Vec<i32> = (0..64).map(|f| 7 * STEPS + f).collect();
        fetch(Level::PORTABLE, &plane, (&q, &q), &mut out);
        assert!(out.iter().all(|&v| v == 201), "{out:?}");
    }
}
