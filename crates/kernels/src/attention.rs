//! softmax(q k^T scale + mask) v without the matrix of scores: blocks of queries pass blocks of keys, maximum and sum are
//! kept and corrected as they grow (Milakov & Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135).
//! A query that may see no key at all gets zeros.

use crate::activation::exp2;
use crate::context::Context;
use crate::error::{Error, Result, check_len, check_positive};
use crate::gemm::panels::Layout;
use crate::gemm::tile::{Block, Init, ROWS, RowStarts};
use crate::isa::Op;
use crate::memory::Shared;
use crate::simd::Simd;

/// Queries of a block: 48 x 256 scores are 48 KiB.
const QUERIES: usize = 8 * ROWS;
/// Keys of a block, a multiple of every panel's width.
const KEYS: usize = 256;
/// Bytes of packed keys and values at once, unless one head for each thread takes more.
const PACKED_BYTES: usize = 32 << 20;
/// Lower than any score that counts.
const NOTHING: f32 = -1e30;

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

    /// (b, n, l, d) without gaps
    pub fn bnld(length: usize, heads: usize, dim: usize) -> Self {
        Self { batch: length * heads * dim, position: dim, head: length * dim }
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
    /// added to the scaled scores
    Additive {
        data: &'a [f32],
        batch: usize,
        head: usize,
        query: usize,
    },
    /// true: seen
    Keep {
        data: &'a [bool],
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
        let (keys, values) =
            (Layout::new(ctx.isa(), shape.dim, shape.keys), Layout::new(ctx.isa(), shape.keys, shape.dim));
        let head = keys.len().next_multiple_of(16) + values.len().next_multiple_of(16);
        let heads = shape.batch * shape.heads;
        let at_once = (PACKED_BYTES / 4 / head).max(ctx.threads()).min(heads);
        let mut packed = ctx.scratch().take::<f32>(at_once * head);
        let shared = Shared::new(&mut packed);
        let out = Shared::new(out);
        let blocks = shape.queries.div_ceil(QUERIES);
        // a task takes several blocks where there are enough, to borrow its memory once
        let tasks = blocks.min((8 * ctx.threads()).div_ceil(at_once).max(1));
        // scores come out as powers of two
        let factor = self.scale * std::f32::consts::LOG2_E;
        let mut first = 0;
        while first < heads {
            let count = at_once.min(heads - first);
            ctx.parallel(2 * count, |i| {
                let (item, n) = ((first + i / 2) / shape.heads, (first + i / 2) % shape.heads);
                // SAFETY: each task has its own head's keys or values.
                unsafe {
                    let to = shared.ptr().add(i / 2 * head);
                    if i % 2 == 0 {
                        pack_keys(keys, (self.k, factor), (item, n), to);
                    } else {
                        pack_values(values, self.v, (item, n), to.add(keys.len().next_multiple_of(16)));
                    }
                }
            });
            ctx.parallel(count * tasks, |i| {
                let (slot, task) = (i / tasks, i % tasks);
                let place = ((first + slot) / shape.heads, (first + slot) % shape.heads);
                let mut scores = ctx.scratch().take::<f32>(QUERIES * KEYS);
                let mut sums = ctx.scratch().take::<f32>(QUERIES * shape.dim.next_multiple_of(16));
                for block in (task..blocks).step_by(tasks) {
                    let start = block * QUERIES;
                    // SAFETY: each task has its own queries of its own head.
                    unsafe {
                        let keys_at = shared.ptr().add(slot * head);
                        let tile = Tile {
                            attention: self,
                            place,
                            start,
                            rows: QUERIES.min(shape.queries - start),
                            keys: (keys, keys_at),
                            values: (values, keys_at.add(keys.len().next_multiple_of(16))),
                        };
                        tile.run(ctx, (&mut scores, &mut sums), (out, strides));
                    }
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
            Mask::Keep { data, batch, head, query } => mask(data.len(), batch, head, query)?,
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

/// k (l, d) -> panels of d x l: each key a column, times `factor`.
unsafe fn pack_keys(layout: Layout, (k, factor): (View, f32), (item, head): (usize, usize), to: *mut f32) {
    let base = item * k.strides.batch + head * k.strides.head;
    for i in 0..layout.panels() {
        let panel = layout.panel(i);
        // SAFETY: the panel lies within the packed keys.
        let out = unsafe { std::slice::from_raw_parts_mut(to.add(panel.offset), panel.width * layout.k) };
        for column in 0..panel.width {
            if column < panel.columns {
                let key = &k.data[base + (panel.first + column) * k.strides.position..][..layout.k];
                for (row, value) in key.iter().enumerate() {
                    out[row * panel.width + column] = *value * factor;
                }
            } else {
                for row in 0..layout.k {
                    out[row * panel.width + column] = 0.0;
                }
            }
        }
    }
}

/// v (l, d) -> panels of l x d.
unsafe fn pack_values(layout: Layout, v: View, (item, head): (usize, usize), to: *mut f32) {
    let base = item * v.strides.batch + head * v.strides.head;
    for i in 0..layout.panels() {
        let panel = layout.panel(i);
        // SAFETY: the panel lies within the packed values.
        let out = unsafe { std::slice::from_raw_parts_mut(to.add(panel.offset), panel.width * layout.k) };
        for (row, out) in out.chunks_exact_mut(panel.width).enumerate() {
            let value = &v.data[base + row * v.strides.position + panel.first..][..panel.columns];
            out[..panel.columns].copy_from_slice(value);
            out[panel.columns..].fill(0.0);
        }
    }
}

/// A block of queries of one head.
struct Tile<'a> {
    attention: &'a Attention<'a>,
    /// (item of the batch, head)
    place: (usize, usize),
    start: usize,
    rows: usize,
    keys: (Layout, *const f32),
    values: (Layout, *const f32),
}

impl Tile<'_> {
    /// # Safety
    /// The packed keys and values belong to the place, and nobody else writes its queries' output.
    unsafe fn run(
        &self,
        ctx: &Context,
        (scores, sums): (&mut [f32], &mut [f32]),
        (out, to): (Shared<f32>, Strides),
    ) {
        let Attention { shape, q, lengths, .. } = *self.attention;
        let (item, head) = self.place;
        let (key_layout, packed_keys) = self.keys;
        let (value_layout, packed_values) = self.values;
        let (dim, isa) = (shape.dim, ctx.isa());
        let length = lengths.map_or(shape.keys, |lengths| lengths[item]);
        let (mut peaks, mut weights) = ([NOTHING; QUERIES], [0f32; QUERIES]);
        sums[..self.rows * dim].fill(0.0);
        let queries = item * q.strides.batch + head * q.strides.head + self.start * q.strides.position;
        let panel_keys = key_layout.panel(0).width.max(isa.lanes() * isa.cols());
        let (scores, sums) = (scores.as_mut_ptr(), sums.as_mut_ptr());
        let mut key = 0;
        // SAFETY: strides were checked; scores hold QUERIES x KEYS, sums QUERIES x dim.
        unsafe {
            while key < length {
                let count = KEYS.min(length - key);
                for i in key / panel_keys..(key + count).div_ceil(panel_keys) {
                    let panel = key_layout.panel(i);
                    isa.run(Block {
                        rows: self.rows,
                        a: q.data.as_ptr().add(queries),
                        starts: RowStarts::Every(q.strides.position),
                        segments: 1,
                        segment_stride: 0,
                        len: dim,
                        b: packed_keys.add(panel.offset),
                        vectors: panel.vectors,
                        last: panel.last,
                        c: scores.add(panel.first - key),
                        c_stride: KEYS,
                        init: Init::Zero,
                        bias: std::ptr::null(),
                        next: std::ptr::null(),
                    });
                }
                isa.run(Weigh {
                    rows: self.rows,
                    scores,
                    count,
                    mask: self.mask_rows(key),
                    peaks: peaks.as_mut_ptr(),
                    weights: weights.as_mut_ptr(),
                    sums,
                    dim,
                });
                for i in 0..value_layout.panels() {
                    let panel = value_layout.panel(i);
                    isa.run(Block {
                        rows: self.rows,
                        a: scores.cast_const(),
                        starts: RowStarts::Every(KEYS),
                        segments: 1,
                        segment_stride: 0,
                        len: count,
                        b: packed_values.add(panel.offset + key * panel.width),
                        vectors: panel.vectors,
                        last: panel.last,
                        c: sums.add(panel.first),
                        c_stride: dim,
                        init: Init::Rows(sums.add(panel.first), dim),
                        bias: std::ptr::null(),
                        next: std::ptr::null(),
                    });
                }
                key += count;
            }
            let base = item * to.batch + head * to.head + self.start * to.position;
            for (row, weight) in weights.iter().enumerate().take(self.rows) {
                let factor = if peaks[row] > NOTHING { 1.0 / weight } else { 0.0 };
                let y = out.ptr().add(base + row * to.position);
                isa.run(Scaled { x: sums.add(row * dim), y, len: dim, factor });
            }
        }
    }

    /// The mask of this tile's first query from a key on.
    fn mask_rows(&self, key: usize) -> MaskRows {
        let (item, n) = self.place;
        match self.attention.mask {
            Mask::All => MaskRows::All,
            Mask::Additive { data, batch, head, query } => {
                MaskRows::Additive(data[item * batch + n * head + self.start * query + key..].as_ptr(), query)
            }
            Mask::Keep { data, batch, head, query } => {
                MaskRows::Keep(data[item * batch + n * head + self.start * query + key..].as_ptr(), query)
            }
        }
    }
}

/// Pointer to the first row and distance of rows.
#[derive(Clone, Copy)]
enum MaskRows {
    All,
    Additive(*const f32, usize),
    Keep(*const bool, usize),
}

/// Scores, which are powers of two, to weights; sums so far are corrected where the peak rose.
struct Weigh {
    rows: usize,
    /// KEYS apart
    scores: *mut f32,
    count: usize,
    mask: MaskRows,
    peaks: *mut f32,
    weights: *mut f32,
    sums: *mut f32,
    dim: usize,
}

impl Op for Weigh {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let padded = self.count.next_multiple_of(S::LANES);
        for row in 0..self.rows {
            // SAFETY: padded <= KEYS; masks hold `count` values a row.
            unsafe {
                let s = self.scores.add(row * KEYS);
                for i in self.count..padded {
                    *s.add(i) = f32::NEG_INFINITY;
                }
                self.mask::<S>(row);
                let mut high = [S::splat(NOTHING); 2];
                let mut i = 0;
                while i < padded {
                    high[i / S::LANES % 2] = S::max(S::load(s.add(i)), high[i / S::LANES % 2]);
                    i += S::LANES;
                }
                let old = *self.peaks.add(row);
                let fresh = S::highest(S::max(high[0], high[1]));
                let peak = if fresh > old { fresh } else { old };
                let at = S::splat(peak);
                let mut sum = S::splat(0.0);
                let mut i = 0;
                while i < padded {
                    let e = exp2::<S>(S::sub(S::load(s.add(i)), at));
                    S::store(s.add(i), e);
                    sum = S::add(sum, e);
                    i += S::LANES;
                }
                let mut weight = *self.weights.add(row);
                if peak > old {
                    let mut first = [0f32; 16];
                    let factor = exp2::<S>(S::splat(old - peak));
                    S::store(first.as_mut_ptr(), factor);
                    weight *= first[0];
                    let sums = self.sums.add(row * self.dim);
                    let mut d = 0;
                    while d < self.dim {
                        let n = S::LANES.min(self.dim - d);
                        S::store_part(sums.add(d), S::mul(S::load_part(sums.add(d), n), factor), n);
                        d += n;
                    }
                }
                *self.peaks.add(row) = peak;
                *self.weights.add(row) = weight + S::sum(sum);
            }
        }
    }
}

impl Weigh {
    #[inline(always)]
    unsafe fn mask<S: Simd>(&self, row: usize) {
        let mut i = 0;
        while i < self.count {
            let n = S::LANES.min(self.count - i);
            // SAFETY: i + n <= count.
            unsafe {
                let s = self.scores.add(row * KEYS + i);
                match self.mask {
                    MaskRows::All => return,
                    MaskRows::Additive(mask, stride) => {
                        let added = S::load_part(mask.add(row * stride + i), n);
                        let v = S::fma(added, S::splat(std::f32::consts::LOG2_E), S::load_part(s, n));
                        S::store_part(s, v, n);
                    }
                    MaskRows::Keep(mask, stride) => {
                        for lane in 0..n {
                            if !*mask.add(row * stride + i + lane) {
                                *s.add(lane) = f32::NEG_INFINITY;
                            }
                        }
                    }
                }
            }
            i += n;
        }
    }
}

struct Scaled {
    x: *const f32,
    y: *mut f32,
    len: usize,
    factor: f32,
}

impl Op for Scaled {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut i = 0;
        while i < self.len {
            let n = S::LANES.min(self.len - i);
            // SAFETY: i + n <= len values lie at x and fit at y.
            unsafe {
                let v = S::mul(S::load_part(self.x.add(i), n), S::splat(self.factor));
                S::store_part(self.y.add(i), v, n);
            }
            i += n;
        }
    }
}
