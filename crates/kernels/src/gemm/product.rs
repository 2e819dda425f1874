//! C (m, n) = A (m, k) B (k, n), with A's rows in memory and B packed in whatever format: blocks of rows times panels, k in
//! chunks that leave B's part in the second-level cache while all rows of the block pass it.

use super::panels::{Layout, Panel, Panels};
use super::tile::{Block, Element, Init, ROWS, RowStarts};
use crate::context::Context;
use crate::finish::Finish;
use crate::memory::Shared;
use std::ops::Range;

/// Values of k a chunk takes: 320 x 64 f32 are 80 KiB.
pub(crate) const CHUNK: usize = 320;

/// Rows a task takes at most.
const ROW_BLOCK: usize = 192;
/// The same where each task packs B for itself: more rows share that.
const PACKING_ROW_BLOCK: usize = 384;

/// Panels that pass a chunk of k together where A's rows are too long to stay in the second-level cache until the next
/// panel; their sums for 192 rows are 384 KiB.
const GROUP: usize = 8;
/// Bytes of A that stay there.
const CACHED_BYTES: usize = 2 << 20;

/// B, chunk by chunk.
pub(crate) trait Source: Sync {
    type E: Element;
    fn layout(&self) -> Layout;
    /// Values `chunk` needs in its buffer; 0 where the packed form is multiplied as it lies.
    fn buffer(&self) -> usize;
    /// Rows k0..k0 + kb of a panel, packed as the micro-kernel reads them; in `buffer`, if it has one.
    fn chunk(&self, ctx: &Context, panel: Panel, k: Range<usize>, buffer: &mut [Self::E]) -> *const Self::E;
}

/// One matrix of packed panels.
pub(crate) struct Plain<'a, E: Element> {
    pub panels: &'a Panels<E>,
    pub matrix: usize,
}

impl<E: Element> Source for Plain<'_, E> {
    type E = E;
    fn layout(&self) -> Layout {
        self.panels.layout()
    }
    fn buffer(&self) -> usize {
        0
    }
    fn chunk(&self, _: &Context, panel: Panel, k: Range<usize>, _: &mut [E]) -> *const E {
        // SAFETY: the panel belongs to this layout and k lies within it.
        unsafe { self.panels.matrix(self.matrix).add(panel.offset + k.start * panel.width) }
    }
}

/// The left side and the target.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, E> {
    pub rows: usize,
    /// (rows, layout.k), `a_stride` apart
    pub a: &'a [E],
    pub a_stride: usize,
    /// (rows, layout.n), `c_stride` apart; the whole target
    pub c: Shared<f32>,
    pub c_stride: usize,
    pub bias: Option<&'a [f32]>,
    pub finish: Finish<'a>,
}

/// # Safety
/// The target has room for all rows and is touched by nobody else; A holds all rows; the bias holds n values.
pub(crate) unsafe fn multiply<B: Source>(ctx: &Context, product: Product<B::E>, b: &B) {
    let layout = b.layout();
    if product.rows == 0 {
        return;
    }
    let blocks = product.rows.div_ceil(if b.buffer() == 0 { ROW_BLOCK } else { PACKING_ROW_BLOCK });
    let block_rows = product.rows.div_ceil(blocks).next_multiple_of(ROWS);
    let blocks = product.rows.div_ceil(block_rows);
    // few rows: threads share the panels instead
    let shares = if blocks >= 2 * ctx.threads() { 1 } else { layout.panels().min(2 * ctx.threads()) };
    let share = layout.panels().div_ceil(shares);
    ctx.parallel(blocks * shares, |task| {
        let (block, first) = (task / shares, (task % shares) * share);
        let rows = block * block_rows..((block + 1) * block_rows).min(product.rows);
        // SAFETY: tasks differ in rows or panels; the rest is the caller's promise.
        unsafe { rows_times(ctx, &product, b, (rows, first..(first + share).min(layout.panels()))) };
    });
}

/// Rows of A times panels of B.
unsafe fn rows_times<B: Source>(
    ctx: &Context,
    product: &Product<B::E>,
    b: &B,
    (rows, panels): (Range<usize>, Range<usize>),
) {
    let layout = b.layout();
    let k = layout.k;
    let mut buffer = ctx.scratch().take::<B::E>(b.buffer());
    let together = if rows.len() * k * size_of::<B::E>() > CACHED_BYTES { GROUP } else { 1 };
    let mut steps = panels
        .clone()
        .step_by(together)
        .flat_map(|first| {
            let group = first..(first + together).min(panels.end);
            (0..k).step_by(CHUNK).flat_map(move |k0| group.clone().map(move |i| (i, k0..(k0 + CHUNK).min(k))))
        })
        .peekable();
    while let Some((i, step)) = steps.next() {
        let panel = layout.panel(i);
        let b_chunk = b.chunk(ctx, panel, step.clone(), &mut buffer);
        // packed panels lie there already; a buffer is filled when its turn comes
        let next = match steps.peek() {
            Some((i, step)) if buffer.is_empty() => b.chunk(ctx, layout.panel(*i), step.clone(), &mut []),
            _ => b_chunk,
        };
        let offset = rows.start * product.c_stride + panel.first;
        // SAFETY: rows and panel lie within A, B and C.
        unsafe {
            let c = product.c.ptr().add(offset);
            let (init, bias) = if step.start == 0 {
                let bias = product.bias.map_or(std::ptr::null(), |bias| bias.as_ptr().add(panel.first));
                (product.finish.init(product.c, offset, product.c_stride), bias)
            } else {
                (Init::Rows(c, product.c_stride), std::ptr::null())
            };
            ctx.isa().run(Block {
                rows: rows.len(),
                a: product.a.as_ptr().add(rows.start * product.a_stride + step.start),
                starts: RowStarts::Every(product.a_stride),
                segments: 1,
                segment_stride: 0,
                len: step.len(),
                b: b_chunk,
                vectors: panel.vectors,
                last: panel.last,
                c,
                c_stride: product.c_stride,
                init,
                bias,
                next,
            });
            if step.end == k {
                product.finish.complete(ctx, c, (rows.len(), panel.columns), product.c_stride);
            }
        }
    }
}
