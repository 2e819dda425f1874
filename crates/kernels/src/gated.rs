//! y = x + a * gate, the gate one value a channel: how a block of a diffusion transformer adds what it made.

use crate::context::Context;
use crate::error::{Result, check_len, check_positive};
use crate::isa::Op;
use crate::memory::{Shared, is_streamed};
use crate::simd::Simd;

/// x, a: (rows, c), gate: (c) -> y: (rows, c)
pub fn add_gated(ctx: &Context, [x, a]: [&[f32]; 2], gate: &[f32], y: &mut [f32]) -> Result<()> {
    const TASK: usize = 1 << 16; // values a task, about
    let c = gate.len();
    check_positive("channels of a gate", c)?;
    let rows = x.len() / c;
    check_len("gated sum's input", x.len(), rows * c)?;
    check_len("what is gated", a.len(), x.len())?;
    check_len("gated sum", y.len(), x.len())?;
    let streams = is_streamed(y.len(), y.as_ptr()) && c.is_multiple_of(16);
    let y = Shared::new(y);
    let part = TASK.div_ceil(c);
    ctx.parallel(rows.div_ceil(part), |task| {
        let first = task * part;
        // SAFETY: each task has its own rows, all within x, a and y.
        unsafe {
            ctx.isa().run(Rows {
                x: x.as_ptr().add(first * c),
                a: a.as_ptr().add(first * c),
                y: y.ptr().add(first * c),
                rows: part.min(rows - first),
                gate,
                streams,
            });
        }
    });
    Ok(())
}

struct Rows<'a> {
    x: *const f32,
    a: *const f32,
    y: *mut f32,
    rows: usize,
    gate: &'a [f32],
    /// past the caches
    streams: bool,
}

impl Op for Rows<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.gate.len();
        for row in 0..self.rows {
            let mut i = 0;
            while i < c {
                let n = S::LANES.min(c - i);
                // SAFETY: the row exists in x, a and y; i + n <= c.
                unsafe {
                    let at = row * c + i;
                    let gate = S::load_part(self.gate.as_ptr().add(i), n);
                    let v = S::fma(S::load_part(self.a.add(at), n), gate, S::load_part(self.x.add(at), n));
                    if self.streams && n == S::LANES {
                        S::stream(self.y.add(at), v);
                    } else {
                        S::store_part(self.y.add(at), v, n);
                    }
                }
                i += n;
            }
        }
        if self.streams {
            // SAFETY: a fence.
            unsafe { S::fence() }
        }
    }
}
