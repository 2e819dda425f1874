//! Activations, in place and as the last step of other kernels.
//! exp: Cephes' `expf` reduction and polynomial. erf: a polynomial of degree 9 in 1 / (1 + z / 2), fitted to ln erfc
//! by tools outside this crate; 3e-7 absolute.

use crate::context::Context;
use crate::isa::Op;
use crate::memory::Shared;
use crate::simd::{ROUNDING, Simd};

/// What is applied to each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Act {
    #[default]
    Identity,
    Relu,
    /// x * sigmoid(x)
    Silu,
    /// x * Phi(x), by erf
    Gelu,
    /// x * Phi(x), by the tanh approximation
    GeluTanh,
    /// x * sigmoid(1.702 x)
    QuickGelu,
}

/// Applies an activation to every value.
pub fn activate(ctx: &Context, act: Act, x: &mut [f32]) {
    const CHUNK: usize = 1 << 15; // values a task
    let len = x.len();
    let shared = Shared::new(x);
    ctx.parallel(len.div_ceil(CHUNK), |task| {
        let first = task * CHUNK;
        // SAFETY: each task has its own range within x; the context's set runs on this machine.
        unsafe { ctx.isa().run(Apply { act, x: shared.ptr().add(first), len: CHUNK.min(len - first) }) }
    });
}

/// gate: (rows, 2c) -> (rows, c), the first half times the activated second half (GEGLU: `Act::Gelu`).
pub fn gated(ctx: &Context, act: Act, c: usize, x: &[f32], out: &mut [f32]) -> crate::Result<()> {
    crate::error::check_positive("gated channels", c)?;
    crate::error::check_len("gated input", x.len(), 2 * out.len())?;
    crate::error::check_len("gated output", out.len(), out.len() / c * c)?;
    let rows = out.len() / c;
    let shared = Shared::new(out);
    ctx.parallel(rows, |row| {
        let (x, y) = (x[row * 2 * c..].as_ptr(), shared.ptr());
        // SAFETY: row < rows, so 2c values lie at x and c at y; each task has its own row.
        unsafe { ctx.isa().run(Gate { act, x, y: y.add(row * c), c }) }
    });
    Ok(())
}

pub(crate) struct Apply {
    pub act: Act,
    pub x: *mut f32,
    pub len: usize,
}

impl Op for Apply {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: i stays below len.
        unsafe {
            let mut i = 0;
            while i + S::LANES <= self.len {
                S::store(self.x.add(i), apply::<S>(self.act, S::load(self.x.add(i))));
                i += S::LANES;
            }
            let rest = self.len - i;
            if rest > 0 {
                S::store_part(self.x.add(i), apply::<S>(self.act, S::load_part(self.x.add(i), rest)), rest);
            }
        }
    }
}

struct Gate {
    act: Act,
    x: *const f32,
    y: *mut f32,
    c: usize,
}

impl Op for Gate {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: 2c values at x, c at y; i stays below c.
        unsafe {
            let gate = self.x.add(self.c);
            let mut i = 0;
            while i < self.c {
                let n = S::LANES.min(self.c - i);
                let (a, g) = (S::load_part(self.x.add(i), n), S::load_part(gate.add(i), n));
                S::store_part(self.y.add(i), S::mul(a, apply::<S>(self.act, g)), n);
                i += n;
            }
        }
    }
}

/// # Safety
/// The instructions of `S` are enabled.
#[inline(always)]
pub(crate) unsafe fn apply<S: Simd>(act: Act, x: S::V) -> S::V {
    // SAFETY: arithmetic on vectors.
    unsafe {
        match act {
            Act::Identity => x,
            Act::Relu => S::max(x, S::splat(0.0)),
            Act::Silu => silu::<S>(x),
            Act::Gelu => gelu::<S>(x),
            Act::GeluTanh => {
                // x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))
                let inner = S::mul(x, S::fma(S::splat(0.071_354_82), S::mul(x, x), S::splat(1.595_769)));
                S::mul(x, sigmoid::<S>(inner))
            }
            Act::QuickGelu => S::mul(x, sigmoid::<S>(S::mul(x, S::splat(1.702)))),
        }
    }
}

/// e^x within 2 units in the last place; 0 below -87.3, the largest finite power above 88.
///
/// # Safety
/// The instructions of `S` are enabled.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic on vectors.
    unsafe {
        let x = S::max(S::splat(-88.0), S::min(S::splat(88.0), x)); // in this order NaN stays NaN
        let t = S::fma(x, S::splat(std::f32::consts::LOG2_E), S::splat(ROUNDING));
        let n = S::sub(t, S::splat(ROUNDING));
        // ln 2 in two parts, the first exact in few bits (Cephes)
        let r = S::fnma(n, S::splat(0.693_359_4), x);
        let r = S::fnma(n, S::splat(-2.121_944_4e-4), r);
        let mut p = S::splat(1.987_569_1e-4);
        p = S::fma(p, r, S::splat(1.398_2e-3));
        p = S::fma(p, r, S::splat(8.333_452e-3));
        p = S::fma(p, r, S::splat(4.166_579_6e-2));
        p = S::fma(p, r, S::splat(1.666_666_5e-1));
        p = S::fma(p, r, S::splat(0.5));
        let e = S::add(S::fma(p, S::mul(r, r), r), S::splat(1.0));
        S::mul(e, S::power(t))
    }
}

/// 2^x for x <= 127, 2e-7 of the result (a polynomial of degree 5, fitted); 0 from -127 down.
///
/// # Safety
/// The instructions of `S` are enabled.
#[inline(always)]
pub(crate) unsafe fn exp2<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic on vectors.
    unsafe {
        let x = S::max(S::splat(-127.0), x); // in this order NaN stays NaN
        let t = S::add(x, S::splat(ROUNDING));
        let r = S::sub(x, S::sub(t, S::splat(ROUNDING)));
        let mut p = S::splat(1.330_060_7e-3);
        p = S::fma(p, r, S::splat(9.669_691e-3));
        p = S::fma(p, r, S::splat(5.550_558_5e-2));
        p = S::fma(p, r, S::splat(0.240_222_83));
        p = S::fma(p, r, S::splat(std::f32::consts::LN_2));
        p = S::fma(p, r, S::splat(1.0));
        S::mul(p, S::power(t))
    }
}

#[inline(always)]
unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic on vectors.
    unsafe {
        let one = S::splat(1.0);
        S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
    }
}

/// # Safety
/// The instructions of `S` are enabled.
#[inline(always)]
pub(crate) unsafe fn silu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic on vectors.
    unsafe { S::div(x, S::add(S::splat(1.0), exp::<S>(S::sub(S::splat(0.0), x)))) }
}

#[inline(always)]
unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    // SAFETY: arithmetic on vectors.
    unsafe {
        let zero = S::splat(0.0);
        let z = S::mul(S::max(x, S::sub(zero, x)), S::splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = S::div(S::splat(1.0), S::fma(z, S::splat(0.5), S::splat(1.0)));
        let mut p = S::splat(0.152_171_28);
        p = S::fma(p, t, S::splat(-0.720_157_55));
        p = S::fma(p, t, S::splat(1.248_985));
        p = S::fma(p, t, S::splat(-0.818_536_6));
        p = S::fma(p, t, S::splat(0.020_350_49));
        p = S::fma(p, t, S::splat(-0.051_861_517));
        p = S::fma(p, t, S::splat(0.052_532_7));
        p = S::fma(p, t, S::splat(0.382_924_55));
        p = S::fma(p, t, S::splat(0.999_060_4));
        p = S::fma(p, t, S::splat(-1.265_468_8));
        let erfc = S::mul(t, exp::<S>(S::fnma(z, z, p)));
        // x Phi(x) = max(x, 0) - |x| erfc(|x| / sqrt 2) / 2
        let half = S::mul(S::max(x, S::sub(zero, x)), S::splat(0.5));
        S::fnma(half, erfc, S::max(x, zero))
    }
}
