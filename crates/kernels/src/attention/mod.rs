//! softmax(q k^T scale + mask) v without the matrix of scores: blocks of queries pass blocks of keys, maximum and sum are
//! kept and corrected as they grow (Milakov & Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135).
//! A query that may see no key at all gets zeros. Under the fast profile both products are made of bf16 values where the machine has AMX.

mod small;
mod tile;
mod tiled;

use crate::context::Context;
use crate::error::{Error, Result, check_len, check_positive};
use crate::memory::Shared;
use tile::{Plan, Tile};

/// Bytes of packed keys and values at once, unless one head for each thread takes more.
const PACKED_BYTES: usize = 32 << 20;
/// Bytes of packed keys and values that stay in the second-level cache while a block of queries passes.
const CACHED_BYTES: usize = 1 << 20;

/// Numbers of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub batch: usize,
    pub heads: usize,
    pub queries: usize,
    pub keys: usize,
    /// of a head
    pub dim: usize,
}

/// How far apart items, positions and heads lie; the values of a head lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strides {
    pub batch: usize,
    pub position: usize,
    pub head: usize,
}

impl Strides {
    /// (b, l, n, d) without gaps
    pub fn blnd(length: usize, heads: usize, dim: usize) -> Self {
        Self { batch: length * heads * dim, position: heads * dim, head: dim }
    }

    /// Whether no two values lie in one place: each step leaps over all that the smaller steps reach.
    fn is_apart(&self, shape: &Shape, length: usize) -> bool {
        let mut steps = [(shape.batch, self.batch), (length, self.position), (shape.heads, self.head)];
        steps.sort_by_key(|(_, stride)| *stride);
        let mut reach = shape.dim;
        steps.into_iter().filter(|(count, _)| *count > 1).all(|(count, stride)| {
            let leaps = stride >= reach;
            reach = reach.saturating_add((count - 1).saturating_mul(stride));
            leaps
        })
    }

    fn reach(&self, shape: &Shape, length: usize) -> usize {
        let steps = [
            (shape.batch, self.batch),
            (length, self.position),
            (shape.heads, self.head),
            (shape.dim + 1, 1),
        ];
        // what overflows lies in no slice
        steps.iter().fold(0, |reach: usize, (count, stride)| {
            reach.saturating_add((count - 1).saturating_mul(*stride))
        })
    }
}

/// Queries, keys or values where they lie.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub data: &'a [f32],
    pub strides: Strides,
}

/// What a query may see. Strides of 0 share a mask; the values for the keys lie side by side.
#[derive(Debug, Clone, Copy)]
pub enum Mask<'a> {
    All,
    /// added to the scaled scores; minus infinity hides a key, and a query that sees none gets zeros
    Additive {
        data: &'a [f32],
        batch: usize,
        head: usize,
        query: usize,
    },
}

/// One attention.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    pub shape: Shape,
    pub q: View<'a>,
    pub k: View<'a>,
    pub v: View<'a>,
    pub scale: f32,
    pub mask: Mask<'a>,
    /// keys of each item of the batch that count; `None`: all
    pub lengths: Option<&'a [usize]>,
}

impl Attention<'_> {
    /// Writes (b, l, n, d), or whatever the strides say; what lies between is left alone.
    pub fn run(&self, ctx: &Context, out: &mut [f32], strides: Strides) -> Result<()> {
        self.check(out.len(), strides)?;
        let shape = self.shape;
        if self.is_small() {
            // SAFETY: it is small, and all lengths were checked.
            unsafe { self.run_small(ctx, Shared::new(out), strides) };
            return Ok(());
        }
        let plan = Plan::new(ctx, &shape);
        let heads = shape.batch * shape.heads;
        let at_once = (PACKED_BYTES / 4 / plan.head()).max(ctx.threads()).min(heads);
        let mut packed = ctx.scratch().take::<f32>(at_once * plan.head());
        let shared = Shared::new(&mut packed);
        let out = Shared::new(out);
        let blocks = shape.queries.div_ceil(plan.rows);
        // side by side in memory, the queries of several heads are fetched once if all of them pass before the next block
        let together =
            (CACHED_BYTES / 4 / plan.head()).min(heads * blocks / (4 * ctx.threads())).clamp(1, at_once);
        let place = |head: usize| (head / shape.heads, head % shape.heads);
        let mut first = 0;
        while first < heads {
            let count = at_once.min(heads - first);
            ctx.parallel(2 * count, |i| {
                let place = place(first + i / 2);
                // SAFETY: each task has its own head's keys or values.
                unsafe {
                    let to = shared.ptr().add(i / 2 * plan.head());
                    if i % 2 == 0 {
                        plan.pack_keys(self, place, to)
                    } else {
                        plan.pack_values(self, place, to)
                    }
                }
            });
            ctx.parallel(count.div_ceil(together) * blocks, |i| {
                let (slot, start) = (i / blocks * together, i % blocks * plan.rows);
                let mut scores = ctx.scratch().take::<f32>(plan.scores());
                let mut sums = ctx.scratch().take::<f32>(plan.sums());
                let mut rounded = ctx.scratch().take::<u16>(plan.rounded());
                for slot in slot..(slot + together).min(count) {
                    let tile = Tile {
                        attention: self,
                        plan,
                        place: place(first + slot),
                        start,
                        rows: plan.rows.min(shape.queries - start),
                        packed: shared.ptr().wrapping_add(slot * plan.head()),
                    };
                    // SAFETY: each task has its own queries of its own heads.
                    unsafe { tile.run(ctx, (&mut scores, &mut sums, &mut rounded), (out, strides)) };
                }
            });
            first += count;
        }
        Ok(())
    }

    fn check(&self, out: usize, strides: Strides) -> Result<()> {
        let shape = &self.shape;
        for (what, got) in [
            ("batch", shape.batch),
            ("heads", shape.heads),
            ("queries", shape.queries),
            ("keys", shape.keys),
            ("head dim", shape.dim),
        ] {
            check_positive(what, got)?;
        }
        for (what, reach, got) in [
            ("queries", self.q.strides.reach(shape, shape.queries), self.q.data.len()),
            ("keys", self.k.strides.reach(shape, shape.keys), self.k.data.len()),
            ("values", self.v.strides.reach(shape, shape.keys), self.v.data.len()),
            ("attention output", strides.reach(shape, shape.queries), out),
        ] {
            if reach > got {
                return Err(Error::Reach { what, reach, got });
            }
        }
        if !strides.is_apart(shape, shape.queries) {
            return Err(Error::Overlap { what: "attention output" });
        }
        let mask = |len: usize, batch: usize, head: usize, query: usize| {
            let steps =
                [(shape.batch, batch), (shape.heads, head), (shape.queries, query), (shape.keys + 1, 1)];
            let reach = steps.iter().fold(0, |reach: usize, (count, stride)| {
                reach.saturating_add((count - 1).saturating_mul(*stride))
            });
            if reach > len { Err(Error::Reach { what: "mask", reach, got: len }) } else { Ok(()) }
        };
        match self.mask {
            Mask::All => {}
            Mask::Additive { data, batch, head, query } => mask(data.len(), batch, head, query)?,
        }
        if let Some(lengths) = self.lengths {
            check_len("key lengths", lengths.len(), shape.batch)?;
            if let Some(got) = lengths.iter().find(|l| **l > shape.keys) {
                let limit = "at most the number of keys";
                return Err(Error::Shape {
                    what: "key length",
                    got: *got,
                    limit,
                    remedy: "check the lengths",
                });
            }
        }
        Ok(())
    }
}
