//! The matrices of Winograd's minimal filters F(2x2, 3x3) and F(4x4, 3x3) (Lavin & Gray, arXiv 1509.09308), in one dimension.
//! Points 0, 1, -1, infinity and 0, 1, -1, 2, -2, infinity.

use crate::simd::Simd;

/// A filter of T input points and M outputs, M = T - 2.
pub(crate) trait Filter<const T: usize, const M: usize>: Copy + Sync + Send + 'static {
    /// G (T, 3)
    const G: [[f64; 3]; T];

    /// B^T d
    ///
    /// # Safety
    /// The instructions of `S` are enabled.
    unsafe fn input<S: Simd>(d: [S::V; T]) -> [S::V; T];
    /// A^T m
    ///
    /// # Safety
    /// The instructions of `S` are enabled.
    unsafe fn output<S: Simd>(m: [S::V; T]) -> [S::V; M];
}

#[derive(Clone, Copy)]
pub(crate) struct F2;

impl Filter<4, 2> for F2 {
    const G: [[f64; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [S::V; 4]) -> [S::V; 4] {
        // SAFETY: arithmetic on vectors.
        unsafe { [S::sub(d[0], d[2]), S::add(d[1], d[2]), S::sub(d[2], d[1]), S::sub(d[1], d[3])] }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: [S::V; 4]) -> [S::V; 2] {
        // SAFETY: arithmetic on vectors.
        unsafe { [S::add(m[0], S::add(m[1], m[2])), S::sub(S::sub(m[1], m[2]), m[3])] }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct F4;

impl Filter<6, 4> for F4 {
    const G: [[f64; 3]; 6] = [
        [1.0 / 4.0, 0.0, 0.0],
        [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
        [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
        [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
        [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        [0.0, 0.0, 1.0],
    ];

    #[inline(always)]
    unsafe fn input<S: Simd>(d: [S::V; 6]) -> [S::V; 6] {
        // SAFETY: arithmetic on vectors.
        unsafe {
            let (four, five, two) = (S::splat(4.0), S::splat(5.0), S::splat(2.0));
            let a = S::fnma(four, d[2], d[4]);
            let b = S::fnma(four, d[1], d[3]);
            let e = S::sub(d[4], d[2]);
            let f = S::sub(d[3], d[1]);
            [
                S::fma(four, d[0], S::fnma(five, d[2], d[4])),
                S::add(a, b),
                S::sub(a, b),
                S::fma(two, f, e),
                S::fnma(two, f, e),
                S::fma(four, d[1], S::fnma(five, d[3], d[5])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: [S::V; 6]) -> [S::V; 4] {
        // SAFETY: arithmetic on vectors.
        unsafe {
            let (a, b) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
            let (c, d) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
            [
                S::add(m[0], S::add(a, c)),
                S::fma(S::splat(2.0), d, b),
                S::fma(S::splat(4.0), c, a),
                S::add(m[5], S::fma(S::splat(8.0), d, b)),
            ]
        }
    }
}
