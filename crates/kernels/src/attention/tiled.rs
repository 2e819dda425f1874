//! The two products of an attention by AMX's tiles: keys, values, queries and weights are rounded to bf16, scores and sums are f32.

use super::tile::Plan;
use super::{Attention, View};
use crate::amx::{
    Block, COLUMNS, Configured, DEPTH, Lines, Paired, ROW_BYTES, ROWS, Rounded, Tall, Wide, block, round,
};
use crate::isa::{Isa, Op};
use crate::simd::Simd;

/// Values of a tile.
const TILE: usize = ROWS * DEPTH;

/// Where a head's packed keys and values lie, in bf16. Both are right sides: tiles of 32 k by 16 columns, for each pair of
/// columns' tiles all of k.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    /// tiles of the head's dim as k
    depth: usize,
    /// pairs of tiles of the head's dim as columns
    wide: usize,
    /// keys, in tiles of k
    keys: usize,
}

impl Tiles {
    pub fn new(dim: usize, keys: usize) -> Self {
        Self { depth: dim.div_ceil(DEPTH), wide: dim.div_ceil(2 * COLUMNS), keys: keys.div_ceil(DEPTH) }
    }

    /// bf16 of packed keys; those of values follow.
    fn values_at(&self) -> usize {
        self.keys * 2 * self.depth * TILE
    }

    /// bf16 of a head.
    pub fn head(&self) -> usize {
        self.values_at() + self.wide * self.keys * 2 * TILE
    }

    /// Columns of sums.
    pub fn columns(&self) -> usize {
        self.wide * 2 * COLUMNS
    }

    /// bf16 that a block of queries and its weights for `step` keys take.
    pub fn rows(&self, rows: usize, step: usize) -> usize {
        rows.next_multiple_of(ROWS) * (self.depth * DEPTH + step)
    }

    /// k (l, d), each key a column; times `factor`.
    ///
    /// # Safety
    /// A head fits at `to`; the context has tiles.
    pub unsafe fn pack_keys(&self, attention: &Attention, place: (usize, usize), to: *mut u16) {
        let (View { data, strides }, shape) = (attention.k, attention.shape);
        let base = place.0 * strides.batch + place.1 * strides.head;
        let factor = attention.scale * std::f32::consts::LOG2_E;
        let mut scaled = vec![0f32; ROWS * shape.dim];
        let mut rows = vec![0u16; self.depth * TILE];
        for tile in 0..self.keys * 2 {
            rows.fill(0);
            let first = tile * COLUMNS;
            let count = COLUMNS.min(shape.keys.saturating_sub(first));
            for (row, scaled) in scaled.chunks_exact_mut(shape.dim).enumerate().take(count) {
                let key = &data[base + (first + row) * strides.position..][..shape.dim];
                for (to, from) in scaled.iter_mut().zip(key) {
                    *to = from * factor;
                }
            }
            let x = &scaled[..count * shape.dim];
            round(Rounded { x, c: shape.dim, stride: shape.dim, pitch: DEPTH, plane: TILE }, &mut rows);
            for depth in 0..self.depth {
                // SAFETY: the caller's promise; rows hold whole tiles.
                unsafe {
                    let to = to.add(((tile / 2 * self.depth + depth) * 2 + tile % 2) * TILE);
                    Isa::Amx.run(Turned { from: rows[depth * TILE..].as_ptr(), to });
                }
            }
        }
    }

    /// v (l, d).
    ///
    /// # Safety
    /// As above.
    pub unsafe fn pack_values(&self, attention: &Attention, place: (usize, usize), to: *mut u16) {
        let (View { data, strides }, shape) = (attention.v, attention.shape);
        let base = place.0 * strides.batch + place.1 * strides.head;
        for wide in 0..self.wide * 2 {
            let first = wide * COLUMNS;
            let columns = COLUMNS.min(shape.dim.saturating_sub(first));
            for key in 0..self.keys * DEPTH / 2 {
                let row = |i: usize| {
                    let key = 2 * key + i;
                    (key < shape.keys && columns > 0)
                        .then(|| data[base + key * strides.position + first..][..columns].as_ptr())
                };
                // SAFETY: the caller's promise; `columns` values lie at each row.
                unsafe {
                    let tile = (wide / 2 * self.keys + key / ROWS) * 2 + wide % 2;
                    let to = to.add(self.values_at() + tile * TILE + key % ROWS * DEPTH);
                    Isa::Amx.run(Paired { rows: [row(0), row(1)], columns, to });
                }
            }
        }
    }

    /// Rows of f32 as a left side's tiles: for each 16 rows one tile for each 32 values, one behind the other.
    pub fn pack_left(&self, (x, stride): (&[f32], usize), (rows, c): (usize, usize), to: &mut [u16]) {
        let blocks = c.div_ceil(DEPTH);
        for (i, to) in to.chunks_mut(blocks * TILE).enumerate().take(rows.div_ceil(ROWS)) {
            let count = ROWS.min(rows - i * ROWS);
            let x = &x[i * ROWS * stride..][..(count - 1) * stride + c];
            round(Rounded { x, c, stride, pitch: DEPTH, plane: TILE }, to);
        }
    }

    /// scores = queries times the keys from `key` on, `count` of them.
    ///
    /// # Safety
    /// Queries are `rows` packed rows, `packed` a head; scores has whole tiles of rows and columns.
    pub unsafe fn score(
        &self,
        plan: &Plan,
        (queries, packed): (*const u16, *const u16),
        (key, count): (usize, usize),
        scores: *mut f32,
    ) {
        let stride = plan.step * size_of::<f32>();
        let left = Packed::new(queries, self.depth, plan.rows);
        // SAFETY: the caller's promise.
        unsafe {
            let tiles = Configured::new();
            for pair in 0..count.div_ceil(2 * COLUMNS) {
                let b = packed.add((key / (2 * COLUMNS) + pair) * 2 * self.depth * TILE);
                let to = Lines { at: scores.add(pair * 2 * COLUMNS), apart: stride };
                left.times(&tiles, b, to, Begin::Zero);
            }
        }
    }

    /// sums += weights times the values from `key` on, `count` of them; the first keys begin the sums.
    ///
    /// # Safety
    /// As above.
    pub unsafe fn sum(
        &self,
        plan: &Plan,
        (weights, packed): (*const u16, *const u16),
        (key, count): (usize, usize),
        sums: *mut f32,
    ) {
        let stride = self.columns() * size_of::<f32>();
        let left = Packed::new(weights, count.div_ceil(DEPTH), plan.rows);
        // SAFETY: the caller's promise.
        unsafe {
            let tiles = Configured::new();
            for pair in 0..self.wide {
                let b = packed.add(self.values_at() + (pair * self.keys + key / DEPTH) * 2 * TILE);
                let to = Lines { at: sums.add(pair * 2 * COLUMNS), apart: stride };
                let begin = if key == 0 { Begin::Zero } else { Begin::Sums };
                left.times(&tiles, b, to, begin);
            }
        }
    }
}

/// What sums begin with.
#[derive(Clone, Copy, PartialEq)]
enum Begin {
    Zero,
    Sums,
}

/// A packed left side.
struct Packed {
    at: *const u16,
    /// distances of tiles of k
    steps: Vec<u32>,
    rows: usize,
}

impl Packed {
    fn new(at: *const u16, depth: usize, rows: usize) -> Self {
        let steps = (0..depth).map(|step| (step * TILE * size_of::<u16>()) as u32).collect();
        Self { at, steps, rows }
    }

    /// All rows times one pair of columns' tiles.
    unsafe fn times(&self, tiles: &Configured, b: *const u16, to: Lines, begin: Begin) {
        let high = self.rows.div_ceil(ROWS);
        for i in (0..high).step_by(2) {
            let tile = |i: usize| self.at.wrapping_add(i * self.steps.len() * TILE).cast::<u8>();
            let sums = Lines { at: to.at.wrapping_byte_add(i * ROWS * to.apart), ..to };
            let tall = if i + 1 < high { Tall::Two } else { Tall::One };
            let init = if begin == Begin::Sums { sums } else { Lines::NONE };
            // SAFETY: the caller's promise.
            unsafe {
                let (a, wide) = ([tile(i), tile(i + 1)], Wide::Two);
                block(
                    tiles,
                    Block {
                        a,
                        tall,
                        rows: ROW_BYTES,
                        steps: &self.steps,
                        b: b.cast(),
                        wide,
                        init,
                        sums,
                        goal: sums,
                    },
                );
            }
        }
    }
}

/// 16 rows of 16 pairs, transposed: a right side's tile of 16 rows.
struct Turned {
    from: *const u16,
    to: *mut u16,
}

impl Op for Turned {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // as f32 that are only moved
        let (from, to) = (self.from.cast::<f32>(), self.to.cast::<f32>());
        for row in (0..ROWS).step_by(S::LANES) {
            for column in (0..ROWS).step_by(S::LANES) {
                // SAFETY: whole tiles at both places.
                unsafe {
                    let from = from.add(row * ROWS + column);
                    S::transpose((from, ROWS), (S::LANES, S::LANES), (to.add(column * ROWS + row), ROWS));
                }
            }
        }
    }
}
