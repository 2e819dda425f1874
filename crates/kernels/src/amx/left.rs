//! The left side of a product as tiles are loaded from it: values rounded to bf16, 32 of them of each row side by side, so
//! that 16 rows are one piece of memory.

use super::{DEPTH, ROW_BYTES, ROWS};
use crate::context::Context;
use crate::memory::Borrowed;
use std::ops::Range;

/// Up to 16 rows of the left side: a tile at each step of k.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    /// where they begin, in bytes
    pub start: u32,
    /// row of the target that the first one makes
    pub first: u32,
    pub count: u32,
}

/// A left side. Whole tiles can be read from the start of each of its rows at each of its steps, also where fewer rows count.
pub(crate) struct Left<'a> {
    pub data: Borrowed<'a, u16>,
    /// bytes from row to row of a tile
    pub row_bytes: usize,
    /// bytes from the start of rows to their tile, for each 32 values of k
    pub steps: Vec<u32>,
    pub tiles: Vec<Rows>,
    /// rows of the whole target, of which these are some
    pub all: usize,
}

impl Left<'_> {
    /// Whether every tile lies within the data.
    pub fn is_whole(&self) -> bool {
        let start = self.tiles.iter().map(|rows| rows.start as usize).max().unwrap_or(0);
        let step = self.steps.iter().map(|step| *step as usize).max().unwrap_or(0);
        start + step + (ROWS - 1) * self.row_bytes + ROW_BYTES <= size_of_val(&*self.data)
    }
}

/// Rows `range` of x: (rows, k). The tiles of 16 rows follow each other, so that a product reads them in one run.
pub(crate) fn pack_rows<'a>(ctx: &'a Context, x: &[f32], k: usize, range: Range<usize>) -> Left<'a> {
    const TILE: usize = ROWS * DEPTH;
    let (rows, blocks, all) = (range.len(), k.div_ceil(DEPTH), x.len() / k);
    let mut data = ctx.scratch().take::<u16>(blocks * rows.next_multiple_of(ROWS) * DEPTH);
    let x = &x[range.start * k..range.end * k];
    for (x, to) in x.chunks(ROWS * k).zip(data.chunks_exact_mut(blocks * TILE)) {
        round(Rounded { x, c: k, stride: k, pitch: DEPTH, plane: TILE }, to);
    }
    let tiles = (0..rows).step_by(ROWS).map(|row| Rows {
        start: (row * blocks * ROW_BYTES) as u32,
        first: (range.start + row) as u32,
        count: ROWS.min(rows - row) as u32,
    });
    let steps = (0..blocks).map(|block| (block * ROWS * ROW_BYTES) as u32);
    Left { row_bytes: ROW_BYTES, steps: steps.collect(), tiles: tiles.collect(), all, data }
}

/// Where rounded rows go: block j of 32 values of row i to `j * plane + i * pitch`, zeros behind the last value of a row.
#[derive(Clone, Copy)]
pub(crate) struct Rounded<'a> {
    /// rows of c values
    pub x: &'a [f32],
    pub c: usize,
    /// distance of rows
    pub stride: usize,
    pub pitch: usize,
    pub plane: usize,
}

/// Rounds to the nearest, ties to even; what is smaller than 2^-126 becomes zero.
pub(crate) fn round(rounded: Rounded, to: &mut [u16]) {
    let Rounded { x, c, stride, pitch, plane } = rounded;
    if x.len() < c {
        return;
    }
    let rows = (x.len() - c) / stride + 1;
    let reach = (c.div_ceil(DEPTH) - 1) * plane + (rows - 1) * pitch + DEPTH;
    assert!(reach <= to.len(), "rounded rows reach value {reach} of {}", to.len());
    #[cfg(target_arch = "x86_64")]
    // SAFETY: only contexts that have tiles, and so these instructions, come here; all lies within x and `to` as asserted.
    unsafe {
        x86::round(rounded, rows, to.as_mut_ptr());
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{DEPTH, Rounded};
    use std::arch::x86_64::*;

    /// Blocks that are written by turns: each may lie in a page of its own, and a core foresees the places of few of them.
    const TOGETHER: usize = 16;

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn round(rounded: Rounded, rows: usize, to: *mut u16) {
        let Rounded { x, c, stride, pitch, plane } = rounded;
        let (whole, rest) = (c / DEPTH, c % DEPTH);
        let low = ((1u64 << rest.min(16)) - 1) as __mmask16;
        let high = ((1u64 << rest.saturating_sub(16)) - 1) as __mmask16;
        let mut first = 0;
        while first < whole {
            let blocks = TOGETHER.min(whole - first);
            for row in 0..rows {
                // SAFETY: whole blocks of the row lie in x; the caller checked the target.
                unsafe {
                    let mut from = x.as_ptr().add(row * stride + first * DEPTH);
                    let mut to = to.add(row * pitch + first * plane);
                    for _ in 0..blocks {
                        // the machine foresees no jump to the next row
                        _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(stride).cast());
                        _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(stride + 16).cast());
                        store(to, _mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16)));
                        from = from.add(DEPTH);
                        to = to.wrapping_add(plane);
                    }
                }
            }
            first += blocks;
        }
        if rest > 0 {
            for row in 0..rows {
                // SAFETY: the masks cut off what is not of this row.
                unsafe {
                    let from = x.as_ptr().add(row * stride + whole * DEPTH);
                    let second = _mm512_maskz_loadu_ps(high, from.wrapping_add(16));
                    store(to.add(row * pitch + whole * plane), _mm512_maskz_loadu_ps(low, from), second);
                }
            }
        }
    }

    /// # Safety
    /// 32 values fit at `to`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn store(to: *mut u16, low: __m512, high: __m512) {
        // SAFETY: the caller's promise; both types are 64 bytes of plain numbers.
        unsafe {
            let pairs = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(to.cast(), pairs);
        }
    }
}
