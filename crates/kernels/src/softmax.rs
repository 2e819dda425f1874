//! Softmax over rows, in place.

use crate::activation::exp;
use crate::context::Context;
use crate::error::{Result, check_len, check_positive};
use crate::isa::Op;
use crate::memory::Shared;
use crate::simd::Simd;

/// x: (rows, c); each row becomes exp(x - max) / sum.
pub fn softmax(ctx: &Context, c: usize, x: &mut [f32]) -> Result<()> {
    const TASK: usize = 1 << 14; // values a task, about
    check_positive("channels of a softmax", c)?;
    let rows = x.len() / c;
    check_len("softmax input", x.len(), rows * c)?;
    let x = Shared::new(x);
    let part = TASK.div_ceil(c);
    ctx.parallel(rows.div_ceil(part), |task| {
        let first = task * part;
        // SAFETY: each task has its own rows.
        unsafe { ctx.isa().run(Rows { x: x.ptr().add(first * c), rows: part.min(rows - first), c }) }
    });
    Ok(())
}

struct Rows {
    x: *mut f32,
    rows: usize,
    c: usize,
}

impl Op for Rows {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in 0..self.rows {
            // SAFETY: the row exists; i + n <= c.
            unsafe {
                let x = self.x.add(row * self.c);
                let mut peak = f32::NEG_INFINITY;
                for i in 0..self.c {
                    peak = if *x.add(i) > peak { *x.add(i) } else { peak };
                }
                let peak = S::splat(peak);
                let mut whole = 0f64;
                let mut i = 0;
                while i < self.c {
                    let n = S::LANES.min(self.c - i);
                    let e = exp::<S>(S::sub(S::load_part(x.add(i), n), peak));
                    S::store_part(x.add(i), e, n);
                    whole += f64::from(S::sum(S::load_part(x.add(i), n)));
                    i += n;
                }
                let inverse = S::splat((1.0 / whole) as f32);
                let mut i = 0;
                while i < self.c {
                    let n = S::LANES.min(self.c - i);
                    S::store_part(x.add(i), S::mul(S::load_part(x.add(i), n), inverse), n);
                    i += n;
                }
            }
        }
    }
}
