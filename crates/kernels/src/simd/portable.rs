//! Vectors as arrays: what the compiler makes of them on any machine. Also the arithmetic the other sets are tested against.

use super::Simd;
use crate::format::bf16;

#[derive(Clone, Copy)]
pub(crate) struct Portable;

const L: usize = 8;

/// One operation on every lane.
macro_rules! lanes {
    ($i:ident => $e:expr) => {{
        let mut out = [0f32; L];
        for $i in 0..L {
            out[$i] = $e;
        }
        out
    }};
}

impl Simd for Portable {
    type V = [f32; L];
    type P = [u32; L];
    const LANES: usize = L;
    const COLS: usize = 1;

    #[inline(always)]
    unsafe fn prefetch(_: *const u8) {}
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::V {
        [x; L]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self::V {
        // SAFETY: the caller has L values there.
        unsafe { p.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: Self::V) {
        // SAFETY: the caller has room for L values there.
        unsafe { p.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn stream(p: *mut f32, v: Self::V) {
        // SAFETY: the trait's.
        unsafe { Self::store(p, v) }
    }
    #[inline(always)]
    unsafe fn fence() {}
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize) -> Self::V {
        let mut out = [0f32; L];
        for (i, lane) in out.iter_mut().enumerate().take(n) {
            // SAFETY: the caller has n values there.
            *lane = unsafe { *p.add(i) };
        }
        out
    }
    #[inline(always)]
    unsafe fn store_part(p: *mut f32, v: Self::V, n: usize) {
        for (i, lane) in v.iter().enumerate().take(n) {
            // SAFETY: the caller has room for n values there.
            unsafe { *p.add(i) = *lane };
        }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        lanes!(i => a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        lanes!(i => a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        lanes!(i => a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        lanes!(i => a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        lanes!(i => if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        lanes!(i => if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // not `mul_add`: without the instruction that is a library call for each lane
        lanes!(i => a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn fnma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        lanes!(i => c[i] - a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn power(t: Self::V) -> Self::V {
        lanes!(i => f32::from_bits(t[i].to_bits() << 23))
    }
    #[inline(always)]
    unsafe fn transpose(
        (from, stride): (*const f32, usize),
        (rows, columns): (usize, usize),
        (to, to_stride): (*mut f32, usize),
    ) {
        for column in 0..columns {
            for row in 0..L {
                // SAFETY: the caller has the rows and columns there, and room for whole vectors.
                unsafe {
                    let value = if row < rows { *from.add(row * stride + column) } else { 0.0 };
                    *to.add(column * to_stride + row) = value;
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn swap(v: Self::V) -> Self::V {
        lanes!(i => v[i ^ 1])
    }
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
    #[inline(always)]
    unsafe fn highest(v: Self::V) -> f32 {
        let mut m = v[0];
        for x in &v[1..] {
            m = if *x > m { *x } else { m };
        }
        m
    }
    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self::V {
        // SAFETY: the caller has L values there.
        lanes!(i => unsafe { f32::from(*p.add(i)) })
    }
    #[inline(always)]
    unsafe fn store_bf16(p: *mut u16, v: Self::V) {
        for (i, x) in v.iter().enumerate() {
            // SAFETY: the caller has room for L values there.
            unsafe { *p.add(i) = bf16::from_f32(*x) };
        }
    }
    #[inline(always)]
    unsafe fn load_pairs(p: *const u16) -> Self::P {
        // SAFETY: the caller has L pairs there.
        unsafe { p.cast::<Self::P>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn splat_pair(p: *const u16) -> Self::P {
        // SAFETY: the caller has a pair there.
        [unsafe { p.cast::<u32>().read_unaligned() }; L]
    }
    #[inline(always)]
    unsafe fn low(p: Self::P) -> Self::V {
        lanes!(i => f32::from_bits(p[i] << 16))
    }
    #[inline(always)]
    unsafe fn high(p: Self::P) -> Self::V {
        lanes!(i => f32::from_bits(p[i] & 0xffff_0000))
    }
    #[inline(always)]
    unsafe fn dot_pairs(acc: Self::V, a: Self::P, b: Self::P) -> Self::V {
        // SAFETY: arithmetic on arrays.
        unsafe { Self::fma(Self::high(a), Self::high(b), Self::fma(Self::low(a), Self::low(b), acc)) }
    }
}
