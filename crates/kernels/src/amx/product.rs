//! C (rows, n) = A B by tiles: for each panel of B all rows of A, sums in tiles over the whole of k.

use super::left::{Left, Rows, pack_rows};
use super::tiles::{Block, Configured, Lines, Sums, Tall, WIDTH, block};
use super::weights::{Panel, TileWeights};
use super::{COLUMNS, DEPTH, ROWS};
use crate::activation::{Act, apply};
use crate::context::Context;
use crate::finish::Finish;
use crate::gemm::tile::Init;
use crate::isa::Op;
use crate::memory::{Shared, is_streamed};
use crate::simd::Simd;
use std::ops::Range;

/// Bytes of A that stay in the second-level cache while the panels pass.
pub(crate) const LEFT_BYTES: usize = 768 << 10;

/// Where a product goes, and what it becomes there.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// (rows, n)
    pub c: Shared<f32>,
    pub bias: Option<&'a [f32]>,
    pub finish: Finish<'a>,
}

/// Rows of x (rows, k) times all of B.
///
/// # Safety
/// The target has room for all rows and is touched by nobody else; the bias holds n values.
pub(crate) unsafe fn multiply_rows(
    ctx: &Context,
    (x, k): (&[f32], usize),
    weights: &TileWeights,
    target: Target,
) {
    let rows = x.len() / k;
    if rows == 0 {
        return;
    }
    let most = (LEFT_BYTES / (weights.steps() * DEPTH * size_of::<u16>())).max(2 * ROWS);
    let by_threads = rows.div_ceil(ctx.threads()).max(4 * ROWS);
    let blocks = rows.div_ceil(most.min(by_threads));
    let block_rows = rows.div_ceil(blocks).next_multiple_of(2 * ROWS);
    let blocks = rows.div_ceil(block_rows);
    let shares = shares(ctx, blocks, weights);
    ctx.parallel(blocks * shares.len(), |task| {
        let block = task / shares.len();
        let range = block * block_rows..((block + 1) * block_rows).min(rows);
        let left = pack_rows(ctx, x, k, range);
        // SAFETY: tasks differ in rows or panels; the rest is the caller's promise.
        unsafe { multiply(ctx, &left, (weights, shares[task % shares.len()].clone()), target) };
    });
}

/// Ranges of panels that threads share where there are too few blocks of rows for all of them.
pub(crate) fn shares(ctx: &Context, blocks: usize, weights: &TileWeights) -> Vec<Range<usize>> {
    let panels = weights.panels();
    let shares = if blocks >= ctx.threads() { 1 } else { panels.min(2 * ctx.threads()) };
    let share = panels.div_ceil(shares);
    (0..panels).step_by(share).map(|first| first..(first + share).min(panels)).collect()
}

/// Rows of A times panels of B.
///
/// # Safety
/// The context has tiles; the target has the rows that A names, and nobody else touches the panels' columns of them.
pub(crate) unsafe fn multiply(
    ctx: &Context,
    left: &Left,
    (weights, panels): (&TileWeights, Range<usize>),
    target: Target,
) {
    assert_eq!(left.steps.len(), weights.steps(), "both sides have one k");
    assert!(left.is_whole(), "a tile reaches beyond the left side");
    let data = left.data.as_ptr().cast::<u8>();
    let streams = is_streamed(left.all * weights.n(), target.c.ptr());
    let mut sums = Sums([0.0; 2 * ROWS * WIDTH]);
    // SAFETY: the caller's promise.
    let tiles = unsafe { Configured::new() };
    for panel in panels.map(|i| weights.panel(i)) {
        for pair in left.tiles.chunks(2) {
            let a = [&pair[0], &pair[pair.len() - 1]].map(|rows| data.wrapping_add(rows.start as usize));
            let tall = if pair.len() == 2 { Tall::Two } else { Tall::One };
            let (rows, steps) = (left.row_bytes, left.steps.as_slice());
            let first = pair[0].first as usize;
            let apart = weights.n() * size_of::<f32>();
            let goal = target.c.ptr().wrapping_add(first * weights.n() + panel.first);
            let whole = panel.is_whole() && is_run(pair);
            let init = if whole && !streams { target.init(first, weights.n(), &panel) } else { None };
            let goal = Lines { at: goal, apart };
            let (init, to) = match init {
                Some(init) => (init, goal),
                None => (Lines::NONE, Lines { at: sums.0.as_mut_ptr(), apart: WIDTH * size_of::<f32>() }),
            };
            // SAFETY: all tiles lie within both sides as asserted; rows and columns of the target by the caller's promise.
            unsafe {
                block(
                    &tiles,
                    Block { a, tall, rows, steps, b: panel.b, wide: panel.wide, init, sums: to, goal },
                );
                if to.at == goal.at {
                    continue;
                }
                for (rows, sums) in pair.iter().zip(sums.0.chunks_exact(ROWS * WIDTH)) {
                    let range = rows.first as usize..(rows.first + rows.count) as usize;
                    ctx.isa().run(Finished::new((&target, weights.n(), streams), &panel, range, sums));
                }
            }
        }
    }
}

/// Whether whole tiles make rows of the target that follow each other.
fn is_run(pair: &[Rows]) -> bool {
    let whole = ROWS as u32;
    pair.iter().all(|rows| rows.count == whole)
        && pair.windows(2).all(|pair| pair[0].first + whole == pair[1].first)
}

impl Target<'_> {
    /// Where tiles that become rows of the target as they are begin: all that is to be done is one addition, or none.
    fn init(&self, row: usize, n: usize, panel: &Panel) -> Option<Lines> {
        if self.finish.act != Act::Identity {
            return None;
        }
        let offset = row * n + panel.first;
        match (self.bias, self.finish.init(self.c, offset, n)) {
            (None, Init::Zero) => Some(Lines::NONE),
            // one row for all
            (Some(bias), Init::Zero) => Some(Lines { at: bias[panel.first..].as_ptr().cast_mut(), apart: 0 }),
            (None, Init::Rows(at, apart)) => {
                Some(Lines { at: at.cast_mut(), apart: apart * size_of::<f32>() })
            }
            (Some(_), Init::Rows(..)) => None,
        }
    }
}

/// Sums to rows of the target.
struct Finished<'a> {
    sums: &'a [f32],
    rows: usize,
    columns: usize,
    c: *mut f32,
    stride: usize,
    init: Init,
    /// null: none
    bias: *const f32,
    act: Act,
    /// past the caches
    streams: bool,
}

impl<'a> Finished<'a> {
    fn new(
        (target, n, streams): (&Target, usize, bool),
        panel: &Panel,
        rows: Range<usize>,
        sums: &'a [f32],
    ) -> Self {
        let offset = rows.start * n + panel.first;
        Self {
            sums,
            rows: rows.len(),
            columns: panel.columns,
            c: target.c.ptr().wrapping_add(offset),
            stride: n,
            init: target.finish.init(target.c, offset, n),
            bias: target.bias.map_or(std::ptr::null(), |bias| bias[panel.first..].as_ptr()),
            act: target.finish.act,
            streams: streams && n.is_multiple_of(COLUMNS),
        }
    }
}

impl Op for Finished<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut column = 0;
        while column < self.columns {
            let n = S::LANES.min(self.columns - column);
            // SAFETY: n columns of each row, of init's rows and of the bias exist; sums hold whole rows.
            unsafe {
                let bias =
                    if self.bias.is_null() { S::splat(0.0) } else { S::load_part(self.bias.add(column), n) };
                for row in 0..self.rows {
                    let mut v = S::add(S::load(self.sums.as_ptr().add(row * WIDTH + column)), bias);
                    if let Init::Rows(init, stride) = self.init {
                        v = S::add(v, S::load_part(init.add(row * stride + column), n));
                    }
                    let v = apply::<S>(self.act, v);
                    let to = self.c.add(row * self.stride + column);
                    if self.streams && n == S::LANES { S::stream(to, v) } else { S::store_part(to, v, n) }
                }
            }
            column += S::LANES;
        }
        if self.streams {
            // SAFETY: a fence.
            unsafe { S::fence() }
        }
    }
}
