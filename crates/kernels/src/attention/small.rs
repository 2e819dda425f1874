//! Attention over few keys, many times: each problem fits the first-level cache, so nothing is packed for a later use and no sums are corrected as they
//! grow. Products are f32 under both profiles. Refuses masks and lengths: those take the way of the tiles.

use super::{Attention, Mask, Strides, View};
use crate::activation::exp;
use crate::context::Context;
use crate::isa::Op;
use crate::memory::Shared;
use crate::simd::Simd;

/// Keys, queries and values of a head at most: keys and scores take 40 KiB then.
const MOST: (usize, usize, usize) = (32, 64, 256);
/// Problems a task takes.
const TASK: usize = 64;
/// Queries that pass the keys together.
const ROWS: usize = 4;

impl Attention<'_> {
    /// Whether it is many small problems.
    pub(super) fn is_small(&self) -> bool {
        let (keys, queries, dim) = MOST;
        matches!(self.mask, Mask::All)
            && self.lengths.is_none()
            && self.shape.keys <= keys
            && self.shape.queries <= queries
            && self.shape.dim <= dim
    }

    /// # Safety
    /// It is small; all lengths were checked, those of the target included.
    pub(super) unsafe fn run_small(&self, ctx: &Context, out: Shared<f32>, strides: Strides) {
        let shape = self.shape;
        let heads = shape.batch * shape.heads;
        let width = shape.keys.next_multiple_of(ctx.isa().lanes());
        ctx.parallel(heads.div_ceil(TASK), |task| {
            let mut turned = ctx.scratch().take::<f32>(shape.dim * width);
            let mut scores = ctx.scratch().take::<f32>(ROWS * width);
            for head in task * TASK..((task + 1) * TASK).min(heads) {
                let place = (head / shape.heads, head % shape.heads);
                let at = |strides: Strides| place.0 * strides.batch + place.1 * strides.head;
                let of = |view: &View| (view.data[at(view.strides)..].as_ptr(), view.strides.position);
                // SAFETY: the views and the target hold every row of this head, and each head has its own rows of the target.
                unsafe {
                    ctx.isa().run(Problem {
                        q: of(&self.q),
                        k: of(&self.k),
                        v: of(&self.v),
                        out: (out.ptr().add(at(strides)), strides.position),
                        sizes: (shape.queries, shape.keys, shape.dim),
                        scale: self.scale,
                        turned: turned.as_mut_ptr(),
                        scores: scores.as_mut_ptr(),
                    });
                }
            }
        });
    }
}

/// One head of one item; rows with their distance.
struct Problem {
    q: (*const f32, usize),
    k: (*const f32, usize),
    v: (*const f32, usize),
    out: (*mut f32, usize),
    /// queries, keys, values of a head
    sizes: (usize, usize, usize),
    scale: f32,
    /// keys as columns: (dim, keys up to whole vectors)
    turned: *mut f32,
    /// (`ROWS`, keys up to whole vectors)
    scores: *mut f32,
}

impl Op for Problem {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (queries, keys, dim) = self.sizes;
        let width = keys.next_multiple_of(S::LANES);
        // SAFETY: all rows exist, and the scratch memory has whole vectors of keys.
        unsafe {
            for key in (0..keys).step_by(S::LANES) {
                for d in (0..dim).step_by(S::LANES) {
                    let from = (self.k.0.add(key * self.k.1 + d), self.k.1);
                    let part = (S::LANES.min(keys - key), S::LANES.min(dim - d));
                    S::transpose(from, part, (self.turned.add(d * width + key), width));
                }
            }
            let mut query = 0;
            while query + ROWS <= queries {
                self.rows::<S, ROWS>(query, width);
                query += ROWS;
            }
            match queries - query {
                1 => self.rows::<S, 1>(query, width),
                2 => self.rows::<S, 2>(query, width),
                3 => self.rows::<S, 3>(query, width),
                _ => {}
            }
        }
    }
}

impl Problem {
    /// # Safety
    /// `query + R` queries exist; the keys are turned.
    #[inline(always)]
    unsafe fn rows<S: Simd, const R: usize>(&self, query: usize, width: usize) {
        let (_, keys, dim) = self.sizes;
        // SAFETY: the caller's promise.
        unsafe {
            let q = self.q.0.add(query * self.q.1);
            for key in (0..width).step_by(S::LANES) {
                let mut sums = [S::splat(0.0); R];
                for d in 0..dim {
                    let k = S::load(self.turned.add(d * width + key));
                    for i in 0..R {
                        sums[i] = S::fma(S::splat(*q.add(i * self.q.1 + d)), k, sums[i]);
                    }
                }
                for i in 0..R {
                    S::store(self.scores.add(i * width + key), S::mul(sums[i], S::splat(self.scale)));
                }
            }
            let mut inverse = [S::splat(0.0); R];
            for i in 0..R {
                let scores = self.scores.add(i * width);
                let mut peak = f32::NEG_INFINITY;
                for key in 0..keys {
                    peak = if *scores.add(key) > peak { *scores.add(key) } else { peak };
                }
                let peak = S::splat(peak);
                let mut whole = 0f32;
                for key in (0..keys).step_by(S::LANES) {
                    let n = S::LANES.min(keys - key);
                    S::store_part(scores.add(key), exp::<S>(S::sub(S::load(scores.add(key)), peak)), n);
                    whole += S::sum(S::load_part(scores.add(key), n));
                }
                inverse[i] = S::splat(1.0 / whole);
            }
            for d in (0..dim).step_by(S::LANES) {
                let n = S::LANES.min(dim - d);
                let mut sums = [S::splat(0.0); R];
                for key in 0..keys {
                    let v = S::load_part(self.v.0.add(key * self.v.1 + d), n);
                    for i in 0..R {
                        sums[i] = S::fma(S::splat(*self.scores.add(i * width + key)), v, sums[i]);
                    }
                }
                for i in 0..R {
                    let to = self.out.0.add((query + i) * self.out.1 + d);
                    S::store_part(to, S::mul(sums[i], inverse[i]), n);
                }
            }
        }
    }
}
