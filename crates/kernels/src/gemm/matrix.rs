//! An f32 right side where it lies in memory, packed panel by panel into the form of `panels`.

use super::panels::{Layout, Panel};
use super::product::{CHUNK, Source};
use crate::context::Context;
use crate::isa::{Isa, Op};
use crate::simd::Simd;
use std::ops::Range;

/// (k, n) of f32.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    /// distance of rows, or of columns
    stride: usize,
    side: Side,
    layout: Layout,
}

/// What lies side by side in memory.
#[derive(Clone, Copy)]
enum Side {
    Rows,
    Columns,
}

impl<'a> Matrix<'a> {
    /// Rows of n values, `stride` apart.
    pub fn of_rows(layout: Layout, data: &'a [f32], stride: usize) -> Self {
        assert!(data.len() >= (layout.k - 1) * stride + layout.n, "a matrix ends before its last row");
        Self { data, stride, side: Side::Rows, layout }
    }

    /// Columns of k values, `stride` apart.
    pub fn of_columns(layout: Layout, data: &'a [f32], stride: usize) -> Self {
        assert!(data.len() >= (layout.n - 1) * stride + layout.k, "a matrix ends before its last column");
        Self { data, stride, side: Side::Columns, layout }
    }

    /// Writes rows `k` of a panel.
    ///
    /// # Safety
    /// The panel is one of the matrix's layout, k lies within it, and the panel's width times as many values fit at `to`.
    pub unsafe fn pack(&self, isa: Isa, panel: Panel, k: Range<usize>, to: *mut f32) {
        let Self { data, stride, .. } = *self;
        let (rows, columns, width) = (k.len(), panel.columns, panel.width);
        // SAFETY: the first row's or column's first value lies within data, as all that follow do by the assertions above.
        unsafe {
            match self.side {
                Side::Rows => {
                    let from = data.as_ptr().add(k.start * stride + panel.first);
                    isa.run(Copied { from, stride, rows, columns, to, width });
                }
                Side::Columns => {
                    let from = data.as_ptr().add(panel.first * stride + k.start);
                    isa.run(Transposed { from, stride, rows, columns, to, width });
                }
            }
        }
    }
}

/// Multiplied as it is packed, chunk by chunk: for a right side that serves one product.
impl Source for Matrix<'_> {
    type E = f32;
    fn layout(&self) -> Layout {
        self.layout
    }
    fn buffer(&self) -> usize {
        CHUNK * self.layout.panel(0).width
    }
    fn chunk(&self, ctx: &Context, panel: Panel, k: Range<usize>, buffer: &mut [f32]) -> *const f32 {
        assert!(buffer.len() >= k.len() * panel.width, "a chunk is at most CHUNK long");
        // SAFETY: panel and k are of this layout; the buffer is long enough.
        unsafe { self.pack(ctx.isa(), panel, k, buffer.as_mut_ptr()) };
        buffer.as_ptr()
    }
}

/// Rows side by side to a panel.
struct Copied {
    from: *const f32,
    stride: usize,
    rows: usize,
    columns: usize,
    to: *mut f32,
    width: usize,
}

/// Rows that are fetched before they are copied: a row of a wide matrix begins a page of its own, where the machine foresees nothing.
const FETCHED: usize = 24;

impl Op for Copied {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in 0..self.rows {
            // SAFETY: `columns` values lie at each row; the panel is as many whole vectors wide as they need.
            unsafe {
                let (from, to) = (self.from.add(row * self.stride), self.to.add(row * self.width));
                let mut column = 0;
                while column + S::LANES <= self.columns {
                    S::prefetch(from.wrapping_add(FETCHED * self.stride + column).cast());
                    S::store(to.add(column), S::load(from.add(column)));
                    column += S::LANES;
                }
                if column < self.columns {
                    S::store(to.add(column), S::load_part(from.add(column), self.columns - column));
                }
            }
        }
    }
}

/// Columns side by side to a panel.
struct Transposed {
    from: *const f32,
    stride: usize,
    rows: usize,
    columns: usize,
    to: *mut f32,
    width: usize,
}

impl Op for Transposed {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut column = 0;
        while column < self.columns {
            let mut row = 0;
            while row < self.rows {
                let part = (S::LANES.min(self.columns - column), S::LANES.min(self.rows - row));
                // SAFETY: `rows` values lie at each column; the panel is as many whole vectors wide as they need.
                unsafe {
                    let from = self.from.add(column * self.stride + row);
                    S::transpose(
                        (from, self.stride),
                        part,
                        (self.to.add(row * self.width + column), self.width),
                    );
                }
                row += S::LANES;
            }
            column += S::LANES;
        }
    }
}
