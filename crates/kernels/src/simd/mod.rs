//! The few vector operations that all kernels are made of, and one implementation of them for each instruction set.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod portable;

/// 1.5 * 2^23 + 127. A small number added to it is rounded to a whole one, ties to even, and leaves the exponent of its power
/// of two in the lowest byte.
pub(crate) const ROUNDING: f32 = 12_582_912.0 + 127.0;

/// A vector type. All functions need the instructions of their set enabled in the calling function.
///
/// # Safety
/// Loads and stores touch exactly `LANES` values (`_part`: the first `n <= LANES`).
pub(crate) trait Simd: Copy + 'static {
    /// `LANES` f32
    type V: Copy;
    /// `LANES` pairs of bf16
    type P: Copy;
    const LANES: usize;
    /// vectors in a full panel of packed weights
    const COLS: usize;

    /// asks for the line at p in the second-level cache; p may be anything
    unsafe fn prefetch(p: *const u8);
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// past the caches where the machine can; p lies at a multiple of the vector's length
    unsafe fn stream(p: *mut f32, v: Self::V);
    /// what was streamed is there before anything that comes after
    unsafe fn fence();
    unsafe fn load_part(p: *const f32, n: usize) -> Self::V;
    unsafe fn store_part(p: *mut f32, v: Self::V, n: usize);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// a * b + c
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// c - a * b
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// 2^n of `ROUNDING + n` for whole n in -127..=127; at -127 the result is 0, as a denormal would slow down every product
    unsafe fn power(t: Self::V) -> Self::V;
    /// neighbours in each other's place: 0 and 1, 2 and 3, …
    unsafe fn swap(v: Self::V) -> Self::V;
    unsafe fn sum(v: Self::V) -> f32;
    unsafe fn highest(v: Self::V) -> f32;
    /// to[j][i] = from[i][j] of up to `LANES` rows and columns, rows `stride` apart; whole vectors are written, zeros behind
    /// the rows of `from`
    unsafe fn transpose(from: (*const f32, usize), part: (usize, usize), to: (*mut f32, usize));
    /// `LANES` i8 as f32
    unsafe fn load_i8(p: *const i8) -> Self::V;
    /// rounded to bf16, ties to even; NaN stays NaN
    unsafe fn store_bf16(p: *mut u16, v: Self::V);
    unsafe fn load_pairs(p: *const u16) -> Self::P;
    /// the pair at p in every lane
    unsafe fn splat_pair(p: *const u16) -> Self::P;
    /// the first of each pair, as f32
    unsafe fn low(p: Self::P) -> Self::V;
    /// the second of each pair, as f32
    unsafe fn high(p: Self::P) -> Self::V;
    /// acc + a.0 * b.0 + a.1 * b.1
    unsafe fn dot_pairs(acc: Self::V, a: Self::P, b: Self::P) -> Self::V;
}
