//! Passes over activations that have no weights: something added to each clip or frame, and the mixture of two.

use crate::context::Context;
use crate::error::{Error, Result, check_len, check_positive};
use crate::isa::Op;
use crate::memory::{Shared, is_streamed};
use crate::simd::Simd;

/// Values a task takes, about.
const TASK: usize = 1 << 16;

/// x: (groups, rows, c), added: (groups, c) -> y = x + added: (groups, rows, c)
pub fn add_each(ctx: &Context, x: &[f32], (added, c): (&[f32], usize), y: &mut [f32]) -> Result<()> {
    check_positive("channels of what is added", c)?;
    let groups = added.len() / c;
    check_positive("groups something is added to", groups)?;
    check_len("what is added", added.len(), groups * c)?;
    if !x.len().is_multiple_of(groups * c) {
        return Err(Error::Shape {
            what: "length of what something is added to",
            got: x.len(),
            limit: "a multiple of what is added",
            remedy: "check the shapes",
        });
    }
    check_len("sum", y.len(), x.len())?;
    let rows = x.len() / groups / c;
    let streams = is_streamed(y.len(), y.as_ptr()) && c.is_multiple_of(16);
    let y = Shared::new(y);
    let part = TASK.div_ceil(c);
    let parts = rows.div_ceil(part);
    ctx.parallel(groups * parts, |task| {
        let (group, first) = (task / parts, task % parts * part);
        let offset = (group * rows + first) * c;
        // SAFETY: each task has its own rows, all within x and y.
        unsafe {
            ctx.isa().run(AddRow {
                x: x.as_ptr().add(offset),
                y: y.ptr().add(offset),
                rows: part.min(rows - first),
                added: &added[group * c..(group + 1) * c],
                streams,
            });
        }
    });
    Ok(())
}

/// y = x * share + z * (1 - share), value by value
pub fn mix(ctx: &Context, [x, z]: [&[f32]; 2], share: f32, y: &mut [f32]) -> Result<()> {
    check_len("what is mixed", z.len(), x.len())?;
    check_len("mixture", y.len(), x.len())?;
    let streams = is_streamed(y.len(), y.as_ptr());
    let y = Shared::new(y);
    ctx.parallel(x.len().div_ceil(TASK), |task| {
        let offset = task * TASK;
        // SAFETY: each task has its own values, all within x, z and y.
        unsafe {
            ctx.isa().run(Mix {
                x: x.as_ptr().add(offset),
                z: z.as_ptr().add(offset),
                y: y.ptr().add(offset),
                len: TASK.min(x.len() - offset),
                share,
                streams,
            });
        }
    });
    Ok(())
}

struct AddRow<'a> {
    x: *const f32,
    y: *mut f32,
    rows: usize,
    added: &'a [f32],
    /// past the caches
    streams: bool,
}

impl Op for AddRow<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.added.len();
        for row in 0..self.rows {
            let mut i = 0;
            while i < c {
                let n = S::LANES.min(c - i);
                // SAFETY: the row exists in x and y; i + n <= c.
                unsafe {
                    let at = row * c + i;
                    let v =
                        S::add(S::load_part(self.x.add(at), n), S::load_part(self.added.as_ptr().add(i), n));
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

struct Mix {
    x: *const f32,
    z: *const f32,
    y: *mut f32,
    len: usize,
    share: f32,
    /// past the caches; a task begins at a multiple of a line
    streams: bool,
}

impl Op for Mix {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: i + n stays within the slices.
        unsafe {
            let (share, rest) = (S::splat(self.share), S::splat(1.0 - self.share));
            let mut i = 0;
            while i < self.len {
                let n = S::LANES.min(self.len - i);
                let z = S::load_part(self.z.add(i), n);
                // products by themselves, so that every machine rounds the same way
                let v = S::add(S::mul(S::load_part(self.x.add(i), n), share), S::mul(z, rest));
                if self.streams && n == S::LANES {
                    S::stream(self.y.add(i), v);
                } else {
                    S::store_part(self.y.add(i), v, n);
                }
                i += n;
            }
            if self.streams {
                S::fence();
            }
        }
    }
}
