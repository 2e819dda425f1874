//! Rotary position embedding in place, with the RMS norm before it where a net has one: one pass over what a projection made.

use crate::context::Context;
use crate::error::{Error, Result, check_len, check_positive};
use crate::isa::Op;
use crate::memory::Shared;
use crate::norm::total;
use crate::simd::Simd;

/// Values a task takes, about.
const TASK: usize = 1 << 16;

/// Cosines and sines of the angles of each position: (positions, dim / 2).
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    pub cos: &'a [f32],
    pub sin: &'a [f32],
    /// of a head
    pub dim: usize,
    pub pairs: Pairs,
}

/// Which values of a head are turned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// (0, 1), (2, 3), …
    Neighbours,
    /// (0, dim / 2), (1, dim / 2 + 1), …
    Halves,
}

/// A row over the root of its mean square and `eps`, times gamma (c).
#[derive(Debug, Clone, Copy)]
pub struct Rms<'a> {
    pub gamma: &'a [f32],
    pub eps: f32,
}

impl Turn<'_> {
    /// x: (…, positions, c), c whole heads: each row is normed, if at all, and each of its heads turned.
    pub fn run(&self, ctx: &Context, c: usize, norm: Option<Rms>, x: &mut [f32]) -> Result<()> {
        check_positive("channels of a head", self.dim)?;
        check_positive("channels to be turned", c)?;
        let positions = self.cos.len() / (self.dim / 2).max(1);
        let fits = self.dim.is_multiple_of(2) && c.is_multiple_of(self.dim);
        if !fits {
            return Err(Error::Shape {
                what: "channels to be turned",
                got: c,
                limit: "whole heads of an even size",
                remedy: "check the configuration",
            });
        }
        let rows = x.len() / c;
        check_len("cosines", self.cos.len(), positions * self.dim / 2)?;
        check_len("sines", self.sin.len(), self.cos.len())?;
        check_len("what is turned", x.len(), rows * c)?;
        if let Some(norm) = &norm {
            check_len("gamma", norm.gamma.len(), c)?;
        }
        if rows == 0 {
            return Ok(());
        }
        check_positive("positions", positions)?;
        if !rows.is_multiple_of(positions) {
            return Err(Error::Shape {
                what: "rows to be turned",
                got: rows,
                limit: "whole sequences of the table's positions",
                remedy: "make a table for these positions",
            });
        }
        let x = Shared::new(x);
        let part = TASK.div_ceil(c);
        ctx.parallel(rows.div_ceil(part), |task| {
            let first = task * part;
            // SAFETY: each task has its own rows, all within x; row % positions has its cosines and sines.
            unsafe {
                ctx.isa().run(Rows {
                    turn: self,
                    norm,
                    c,
                    x: x.ptr(),
                    first,
                    rows: part.min(rows - first),
                    positions,
                });
            }
        });
        Ok(())
    }
}

struct Rows<'a> {
    turn: &'a Turn<'a>,
    norm: Option<Rms<'a>>,
    c: usize,
    x: *mut f32,
    first: usize,
    rows: usize,
    positions: usize,
}

impl Op for Rows<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { turn, c, .. } = self;
        let (dim, half) = (turn.dim, turn.dim / 2);
        // as they meet the values: each cosine twice, each sine with either sign
        let (mut cos, mut sin) = (vec![0f32; dim], vec![0f32; dim]);
        for row in self.first..self.first + self.rows {
            let at = row % self.positions * half;
            for i in 0..half {
                let (a, b) = match turn.pairs {
                    Pairs::Neighbours => (2 * i, 2 * i + 1),
                    Pairs::Halves => (i, half + i),
                };
                (cos[a], cos[b]) = (turn.cos[at + i], turn.cos[at + i]);
                (sin[a], sin[b]) = (-turn.sin[at + i], turn.sin[at + i]);
            }
            // SAFETY: the row exists in x; heads lie within it, and i + n within a head.
            unsafe {
                let x = self.x.add(row * c);
                let inverse = match &self.norm {
                    Some(norm) => {
                        let square = total::<S, true>(x, c, 0.0) / c as f64;
                        (1.0 / (square + f64::from(norm.eps)).sqrt()) as f32
                    }
                    None => 1.0,
                };
                for head in (0..c).step_by(dim) {
                    let x = x.add(head);
                    if let Some(norm) = &self.norm {
                        let gamma = norm.gamma.as_ptr().add(head);
                        let mut i = 0;
                        while i < dim {
                            let n = S::LANES.min(dim - i);
                            let v = S::mul(S::load_part(x.add(i), n), S::splat(inverse));
                            S::store_part(x.add(i), S::mul(v, S::load_part(gamma.add(i), n)), n);
                            i += n;
                        }
                    }
                    match turn.pairs {
                        Pairs::Neighbours => neighbours::<S>(x, &cos, &sin),
                        Pairs::Halves => halves::<S>(x, &cos, &sin),
                    }
                }
            }
        }
    }
}

/// # Safety
/// As many values lie at x as there are cosines and sines.
#[inline(always)]
unsafe fn neighbours<S: Simd>(x: *mut f32, cos: &[f32], sin: &[f32]) {
    let mut i = 0;
    while i < cos.len() {
        let n = S::LANES.min(cos.len() - i); // even, as both are
        // SAFETY: i + n <= cos.len().
        unsafe {
            let v = S::load_part(x.add(i), n);
            let turned = S::mul(S::swap(v), S::load_part(sin.as_ptr().add(i), n));
            S::store_part(x.add(i), S::fma(v, S::load_part(cos.as_ptr().add(i), n), turned), n);
        }
        i += n;
    }
}

/// # Safety
/// As above.
#[inline(always)]
unsafe fn halves<S: Simd>(x: *mut f32, cos: &[f32], sin: &[f32]) {
    let half = cos.len() / 2;
    let mut i = 0;
    while i < half {
        let n = S::LANES.min(half - i);
        // SAFETY: i + n <= half.
        unsafe {
            let (a, b) = (S::load_part(x.add(i), n), S::load_part(x.add(half + i), n));
            let cos = S::load_part(cos.as_ptr().add(i), n);
            let sin = S::load_part(sin.as_ptr().add(half + i), n);
            S::store_part(x.add(i), S::fnma(b, sin, S::mul(a, cos)), n);
            S::store_part(x.add(half + i), S::fma(a, sin, S::mul(b, cos)), n);
        }
        i += n;
    }
}
