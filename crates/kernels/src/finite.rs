//! Whether all values are numbers: neither infinite nor NaN.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::context::Context;
use crate::isa::Op;
use crate::simd::Simd;

pub fn is_finite(ctx: &Context, x: &[f32]) -> bool {
    const TASK: usize = 1 << 17; // values a task
    let broken = AtomicBool::new(false);
    ctx.parallel(x.len().div_ceil(TASK), |task| {
        let part = &x[task * TASK..((task + 1) * TASK).min(x.len())];
        // SAFETY: the context's set runs on this machine.
        if !unsafe { ctx.isa().run(Finite { x: part }) } {
            broken.store(true, Ordering::Relaxed);
        }
    });
    !broken.into_inner()
}

struct Finite<'a> {
    x: &'a [f32],
}

impl Op for Finite<'_> {
    type Out = bool;
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> bool {
        let (x, len) = (self.x.as_ptr(), self.x.len());
        // SAFETY: i + n <= len.
        unsafe {
            // zero times a number is zero, and NaN otherwise
            let (zero, mut sums) = (S::splat(0.0), [S::splat(0.0); 2]);
            let mut i = 0;
            while i + 2 * S::LANES <= len {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = S::fma(S::load(x.add(i + j * S::LANES)), zero, *sum);
                }
                i += 2 * S::LANES;
            }
            while i < len {
                let n = S::LANES.min(len - i);
                sums[0] = S::fma(S::load_part(x.add(i), n), zero, sums[0]);
                i += n;
            }
            S::sum(S::add(sums[0], sums[1])) == 0.0
        }
    }
}
