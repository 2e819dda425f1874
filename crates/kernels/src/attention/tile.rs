//! One block of queries of one head: scores, weights and weighted sums, block of keys by block of keys.

use super::tiled::Tiles;
use super::{Attention, Mask, Shape, Strides, View};
use crate::activation::exp2;
use crate::amx::{DEPTH, ROWS as TILE_ROWS};
use crate::context::{Context, Profile};
use crate::gemm::matrix::Matrix;
use crate::gemm::panels::Layout;
use crate::gemm::tile::{Block, Init, ROWS, RowStarts};
use crate::isa::{Isa, Op};
use crate::memory::Shared;
use crate::simd::Simd;

/// Queries of a block at most.
const QUERIES: usize = 16 * ROWS;
/// Keys of a block, about: two thirds as many to half as many more.
const KEYS: usize = 256;
/// Lower than any score that counts.
const NOTHING: f32 = -1e30;

/// How an attention is cut into blocks, and where a head's packed keys and values lie.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    isa: Isa,
    dim: usize,
    keys: usize,
    /// queries of a block
    pub rows: usize,
    /// keys of a block, a multiple of every vector's length
    pub step: usize,
    /// how keys and values are packed for AMX, where it multiplies
    tiles: Option<Tiles>,
}

impl Plan {
    pub fn new(ctx: &Context, shape: &Shape) -> Self {
        let isa = ctx.isa();
        let tiles =
            (isa == Isa::Amx && ctx.profile() == Profile::Fast).then(|| Tiles::new(shape.dim, shape.keys));
        let (rows, keys) = if tiles.is_some() { (TILE_ROWS, DEPTH) } else { (ROWS, 16) };
        // blocks of one size: a last one of few rows or keys would cost as much as a whole one
        let rows = shape.queries.div_ceil(shape.queries.div_ceil(QUERIES)).next_multiple_of(rows);
        let blocks = ((shape.keys + KEYS / 2) / KEYS).max(1);
        let step = shape.keys.div_ceil(blocks).next_multiple_of(keys);
        Self { isa, dim: shape.dim, keys: shape.keys, rows, step, tiles }
    }

    /// Scores of a block.
    pub fn scores(&self) -> usize {
        self.rows * self.step
    }

    /// Values of a row of sums.
    fn columns(&self) -> usize {
        self.tiles.map_or(self.dim, |tiles| tiles.columns())
    }

    /// Sums of a block.
    pub fn sums(&self) -> usize {
        self.rows * self.columns()
    }

    /// bf16 of a block's queries and weights.
    pub fn rounded(&self) -> usize {
        self.tiles.map_or(0, |tiles| tiles.rows(self.rows, self.step))
    }

    /// f32 of a head's packed keys and values.
    pub fn head(&self) -> usize {
        if let Some(tiles) = self.tiles {
            return tiles.head() / 2;
        }
        self.values_at() + self.values().len().next_multiple_of(16)
    }

    /// Keys from `key` on that a block has, as columns.
    fn block(&self, key: usize) -> Layout {
        Layout::new(self.isa, self.dim, self.step.min(self.keys - key))
    }

    fn values(&self) -> Layout {
        Layout::new(self.isa, self.keys, self.dim)
    }

    fn values_at(&self) -> usize {
        self.keys.next_multiple_of(16) * self.dim
    }

    /// k (l, d) -> for each block of keys panels of d x l, each key a column; scaled so that scores come out as powers of two.
    ///
    /// # Safety
    /// A head fits at `to`.
    pub unsafe fn pack_keys(&self, attention: &Attention, place: (usize, usize), to: *mut f32) {
        if let Some(tiles) = self.tiles {
            // SAFETY: the caller's promise.
            return unsafe { tiles.pack_keys(attention, place, to.cast()) };
        }
        let View { data, strides } = attention.k;
        let base = place.0 * strides.batch + place.1 * strides.head;
        let factor = attention.scale * std::f32::consts::LOG2_E;
        for key in (0..self.keys).step_by(self.step) {
            let layout = self.block(key);
            let matrix = Matrix::of_columns(layout, &data[base + key * strides.position..], strides.position);
            for i in 0..layout.panels() {
                let panel = layout.panel(i);
                // SAFETY: blocks before this one hold `step` keys each, a multiple of every panel's padding.
                unsafe {
                    let to = to.add(key * self.dim + panel.offset);
                    matrix.pack(self.isa, panel, 0..self.dim, to);
                    self.isa.run(Scaled { x: to, y: to, len: panel.width * self.dim, factor });
                }
            }
        }
    }

    /// v (l, d) -> panels of l x d.
    ///
    /// # Safety
    /// A head fits at `to`.
    pub unsafe fn pack_values(&self, attention: &Attention, place: (usize, usize), to: *mut f32) {
        if let Some(tiles) = self.tiles {
            // SAFETY: the caller's promise.
            return unsafe { tiles.pack_values(attention, place, to.cast()) };
        }
        let View { data, strides } = attention.v;
        let base = place.0 * strides.batch + place.1 * strides.head;
        let layout = self.values();
        let matrix = Matrix::of_rows(layout, &data[base..], strides.position);
        for i in 0..layout.panels() {
            let panel = layout.panel(i);
            // SAFETY: the panel lies within the head.
            unsafe { matrix.pack(self.isa, panel, 0..self.keys, to.add(self.values_at() + panel.offset)) };
        }
    }
}

/// A block of queries of one head.
pub(super) struct Tile<'a> {
    pub attention: &'a Attention<'a>,
    pub plan: Plan,
    /// (item of the batch, head)
    pub place: (usize, usize),
    pub start: usize,
    pub rows: usize,
    /// the head's keys and values
    pub packed: *const f32,
}

impl Tile<'_> {
    /// # Safety
    /// The packed keys and values belong to the place, and nobody else writes its queries' output.
    pub unsafe fn run(
        &self,
        ctx: &Context,
        (scores, sums, rounded): (&mut [f32], &mut [f32], &mut [u16]),
        (out, to): (Shared<f32>, Strides),
    ) {
        let Attention { shape, lengths, .. } = *self.attention;
        let (item, head) = self.place;
        let (dim, isa) = (shape.dim, ctx.isa());
        let length = lengths.map_or(shape.keys, |lengths| lengths[item]);
        let (mut peaks, mut weights) = ([NOTHING; QUERIES], [0f32; QUERIES]);
        if length == 0 {
            sums.fill(0.0);
        }
        let columns = self.plan.columns();
        let (queries, weighed) = match self.plan.tiles {
            Some(tiles) => {
                let q = self.attention.q;
                let base = item * q.strides.batch + head * q.strides.head + self.start * q.strides.position;
                let (queries, weighed) = rounded.split_at_mut(rounded.len() - self.plan.scores());
                let x = (&q.data[base..], q.strides.position);
                tiles.pack_left(x, (self.rows, dim), queries);
                (queries, weighed)
            }
            None => (&mut rounded[..], &mut [][..]),
        };
        let (scores, sums) = (scores.as_mut_ptr(), sums.as_mut_ptr());
        // SAFETY: strides were checked; scores hold rows x step, sums rows x columns.
        unsafe {
            for key in (0..length).step_by(self.plan.step) {
                let count = self.plan.step.min(length - key);
                match self.plan.tiles {
                    Some(tiles) => {
                        let sides = (queries.as_ptr(), self.packed.cast());
                        tiles.score(&self.plan, sides, (key, count), scores);
                    }
                    None => self.score(key, count, scores),
                }
                isa.run(Weigh {
                    rows: self.rows,
                    scores,
                    stride: self.plan.step,
                    count,
                    mask: self.mask_rows(key),
                    peaks: peaks.as_mut_ptr(),
                    weights: weights.as_mut_ptr(),
                    sums,
                    dim: columns,
                });
                match self.plan.tiles {
                    Some(tiles) => {
                        let step = self.plan.step;
                        let x = std::slice::from_raw_parts(scores, self.plan.scores());
                        tiles.pack_left((x, step), (self.rows, count), weighed);
                        let sides = (weighed.as_ptr(), self.packed.cast());
                        tiles.sum(&self.plan, sides, (key, count), sums);
                    }
                    None => self.sum(key, count, (scores, sums)),
                }
            }
            let base = item * to.batch + head * to.head + self.start * to.position;
            for (row, weight) in weights.iter().enumerate().take(self.rows) {
                let factor = if peaks[row] > NOTHING { 1.0 / weight } else { 0.0 };
                let y = out.ptr().add(base + row * to.position);
                isa.run(Scaled { x: sums.add(row * columns), y, len: dim, factor });
            }
        }
    }

    /// scores (rows, count) = q k^T for the keys from `key` on.
    unsafe fn score(&self, key: usize, count: usize, scores: *mut f32) {
        let Plan { isa, dim, step, .. } = self.plan;
        let q = self.attention.q;
        let queries =
            self.place.0 * q.strides.batch + self.place.1 * q.strides.head + self.start * q.strides.position;
        let layout = self.plan.block(key);
        for panel in (0..layout.panels()).map(|i| layout.panel(i)).take_while(|panel| panel.first < count) {
            // SAFETY: the caller's promise; a block of keys has at most `step` columns.
            unsafe {
                let b = self.packed.add(key * dim + panel.offset);
                isa.run(Block {
                    rows: self.rows,
                    a: q.data.as_ptr().add(queries),
                    starts: RowStarts::Every(q.strides.position),
                    segments: 1,
                    segment_stride: 0,
                    len: dim,
                    b,
                    vectors: panel.vectors,
                    last: panel.last,
                    c: scores.add(panel.first),
                    c_stride: step,
                    init: Init::Zero,
                    bias: std::ptr::null(),
                    next: b.wrapping_add(dim * panel.width),
                });
            }
        }
    }

    /// sums (rows, dim) += weights v for the keys from `key` on; the first keys begin them.
    unsafe fn sum(&self, key: usize, count: usize, (weights, sums): (*const f32, *mut f32)) {
        let Plan { isa, dim, step, .. } = self.plan;
        let layout = self.plan.values();
        for panel in (0..layout.panels()).map(|i| layout.panel(i)) {
            // SAFETY: the caller's promise.
            unsafe {
                let (b, c) = (
                    self.packed.add(self.plan.values_at() + panel.offset + key * panel.width),
                    sums.add(panel.first),
                );
                isa.run(Block {
                    rows: self.rows,
                    a: weights,
                    starts: RowStarts::Every(step),
                    segments: 1,
                    segment_stride: 0,
                    len: count,
                    b,
                    vectors: panel.vectors,
                    last: panel.last,
                    c,
                    c_stride: dim,
                    init: if key == 0 { Init::Zero } else { Init::Rows(c, dim) },
                    bias: std::ptr::null(),
                    next: std::ptr::null(),
                });
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
        }
    }
}

/// Pointer to the first row and distance of rows.
#[derive(Clone, Copy)]
enum MaskRows {
    All,
    Additive(*const f32, usize),
}

/// Scores, which are powers of two, to weights; sums so far are corrected where the peak rose.
struct Weigh {
    rows: usize,
    scores: *mut f32,
    /// distance of rows of scores
    stride: usize,
    count: usize,
    mask: MaskRows,
    peaks: *mut f32,
    weights: *mut f32,
    sums: *mut f32,
    /// values of a row of sums
    dim: usize,
}

impl Op for Weigh {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let whole = self.count / S::LANES * S::LANES;
        let rest = self.count - whole;
        // what lies behind the last score counts for nothing, whatever it is
        let mut caps = [f32::NEG_INFINITY; 16];
        caps[..rest].fill(f32::INFINITY);
        for row in 0..self.rows {
            // SAFETY: whole vectors fit in a row of scores; masks hold `count` values a row.
            unsafe {
                let cap = S::load(caps.as_ptr());
                let s = self.scores.add(row * self.stride);
                self.mask::<S>(row);
                let mut high = [S::splat(NOTHING); 2];
                let mut i = 0;
                while i < whole {
                    high[i / S::LANES % 2] = S::max(S::load(s.add(i)), high[i / S::LANES % 2]);
                    i += S::LANES;
                }
                if rest > 0 {
                    high[0] = S::max(S::min(S::load(s.add(whole)), cap), high[0]);
                }
                let old = *self.peaks.add(row);
                let fresh = S::highest(S::max(high[0], high[1]));
                let peak = if fresh > old { fresh } else { old };
                let at = S::splat(peak);
                let mut sum = S::splat(0.0);
                let mut i = 0;
                while i < whole {
                    let e = exp2::<S>(S::sub(S::load(s.add(i)), at));
                    S::store(s.add(i), e);
                    sum = S::add(sum, e);
                    i += S::LANES;
                }
                if rest > 0 {
                    let e = exp2::<S>(S::sub(S::min(S::load(s.add(whole)), cap), at));
                    S::store(s.add(whole), e);
                    sum = S::add(sum, e);
                }
                let mut weight = *self.weights.add(row);
                // before the first score that counts there are no sums, or zeros
                if peak > old && old > NOTHING {
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
                let s = self.scores.add(row * self.stride + i);
                match self.mask {
                    MaskRows::All => return,
                    MaskRows::Additive(mask, stride) => {
                        let added = S::load_part(mask.add(row * stride + i), n);
                        let v = S::fma(added, S::splat(std::f32::consts::LOG2_E), S::load_part(s, n));
                        S::store_part(s, v, n);
                    }
                }
            }
            i += n;
        }
    }
}

/// y = x times a factor; may be in place.
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
