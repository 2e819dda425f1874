//! The right side of a product as tiles: pairs of k side by side in 16 columns, 16 pairs below each other.

use super::tiles::Wide;
use super::{COLUMNS, DEPTH};
use crate::context::Context;
use crate::format::bf16;
use crate::isa::Op;
use crate::memory::{Aligned, Shared};
use crate::simd::Simd;

/// Values of a tile.
const TILE: usize = DEPTH * COLUMNS;

/// A matrix (k, n) of bf16. Panels of two tiles' columns: `[k / 32][tile][16 pairs of k][16 columns][2]`; of an odd number of
/// tiles the last one is a panel of its own.
pub(crate) struct TileWeights {
    data: Aligned<u16>,
    /// tiles of k
    steps: usize,
    n: usize,
}

/// One panel.
#[derive(Clone, Copy)]
pub(crate) struct Panel {
    pub(super) b: *const u8,
    pub(super) wide: Wide,
    pub first: usize,
    pub columns: usize,
}

impl Panel {
    /// Whether all columns of its tiles count.
    pub(super) fn is_whole(&self) -> bool {
        self.columns.is_multiple_of(COLUMNS)
    }
}

impl TileWeights {
    /// Bytes of a matrix of `steps` tiles of k.
    pub fn bytes_of(steps: usize, n: usize) -> usize {
        steps * n.div_ceil(COLUMNS) * TILE * size_of::<u16>()
    }

    /// `get(k, n)` for 32 values of k a step.
    pub fn pack(ctx: &Context, steps: usize, n: usize, get: impl Fn(usize, usize) -> u16 + Sync) -> Self {
        let mut data = Aligned::<u16>::zeros(Self::bytes_of(steps, n) / size_of::<u16>());
        let shared = Shared::new(&mut data);
        ctx.parallel(n, |column| {
            let (at, stride) = place(steps, n, column);
            for step in 0..steps {
                for k in 0..DEPTH {
                    let at = at + step * stride + k / 2 * 2 * COLUMNS + k % 2;
                    // SAFETY: columns are disjoint parts of data, and `at` lies in the tile of this step.
                    unsafe { *shared.ptr().add(at) = get(step * DEPTH + k, column) };
                }
            }
        });
        Self { data, steps, n }
    }

    /// (n, k) of f32.
    pub fn of_columns(ctx: &Context, k: usize, n: usize, values: &[f32]) -> Self {
        Self::pack(
            ctx,
            k.div_ceil(DEPTH),
            n,
            |i, column| {
                if i < k { bf16::from_f32(values[column * k + i]) } else { 0 }
            },
        )
    }

    /// (k, n) of f32.
    pub fn of_rows(ctx: &Context, k: usize, n: usize, values: &[f32]) -> Self {
        assert!(values.len() >= k * n, "a matrix ends before its last row");
        let steps = k.div_ceil(DEPTH);
        let mut data = Aligned::<u16>::zeros(Self::bytes_of(steps, n) / size_of::<u16>());
        let shared = Shared::new(&mut data);
        // step by step, so that what lies side by side in memory is read together
        ctx.parallel(steps, |step| {
            for first in (0..n).step_by(COLUMNS) {
                let columns = COLUMNS.min(n - first);
                let (at, stride) = place(steps, n, first);
                for pair in 0..DEPTH / 2 {
                    let k0 = step * DEPTH + 2 * pair;
                    let row = |k0: usize| (k0 < k).then(|| values[k0 * n + first..].as_ptr());
                    let at = at + step * stride + pair * 2 * COLUMNS;
                    // SAFETY: tiles are disjoint parts of data; `columns` values lie at each row.
                    unsafe {
                        let to = shared.ptr().add(at);
                        ctx.isa().run(Paired { rows: [row(k0), row(k0 + 1)], columns, to });
                    }
                }
            }
        });
        Self { data, steps, n }
    }

    pub fn steps(&self) -> usize {
        self.steps
    }

    pub fn n(&self) -> usize {
        self.n
    }

    pub fn bytes(&self) -> usize {
        self.data.bytes()
    }

    pub fn panels(&self) -> usize {
        self.n.div_ceil(2 * COLUMNS)
    }

    pub fn panel(&self, i: usize) -> Panel {
        let first = i * 2 * COLUMNS;
        let columns = (2 * COLUMNS).min(self.n - first);
        Panel {
            b: self.data[first * self.steps * DEPTH..].as_ptr().cast(),
            wide: if columns > COLUMNS { Wide::Two } else { Wide::One },
            first,
            columns,
        }
    }
}

/// Where a column's first tile has it, and the distance of tiles of k.
fn place(steps: usize, n: usize, column: usize) -> (usize, usize) {
    let (panel, within) = (column / (2 * COLUMNS), column % (2 * COLUMNS));
    let tiles = if n - panel * 2 * COLUMNS > COLUMNS { 2 } else { 1 };
    let start = panel * 2 * COLUMNS * steps * DEPTH;
    (start + within / COLUMNS * TILE + within % COLUMNS * 2, tiles * TILE)
}

/// Two rows of up to 16 values as one of pairs, zeros for what there is not.
pub(crate) struct Paired {
    pub rows: [Option<*const f32>; 2],
    pub columns: usize,
    pub to: *mut u16,
}

impl Op for Paired {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut halves = [[0u16; COLUMNS]; 2];
        for (half, row) in halves.iter_mut().zip(self.rows) {
            let Some(row) = row else { continue };
            let mut column = 0;
            while column < self.columns {
                let n = S::LANES.min(self.columns - column);
                // SAFETY: n values lie there; LANES divides the half.
                unsafe { S::store_bf16(half.as_mut_ptr().add(column), S::load_part(row.add(column), n)) };
                column += S::LANES;
            }
        }
        for column in 0..COLUMNS {
            // SAFETY: 32 values fit at `to`.
            unsafe {
                *self.to.add(2 * column) = halves[0][column];
                *self.to.add(2 * column + 1) = halves[1][column];
            }
        }
    }
}
