//! Pictures to transformed tiles and back: the two ends of a Winograd convolution.

use super::transform::Filter;
use crate::activation::{Act, apply};
use crate::conv::geometry::{Padding, Size};
use crate::isa::Op;
use crate::simd::Simd;
use std::marker::PhantomData;
use std::ops::Range;

/// Tiles of a batch, counted through: pictures, rows of tiles, tiles.
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    pub rows: usize,
    pub columns: usize,
}

impl Grid {
    pub fn new(output: Size, m: usize) -> Self {
        Self { rows: output.h.div_ceil(m), columns: output.w.div_ceil(m) }
    }

    /// (picture, row, column)
    #[inline(always)]
    fn place(self, tile: usize) -> (usize, usize, usize) {
        let in_picture = tile % (self.rows * self.columns);
        (tile / (self.rows * self.columns), in_picture / self.columns, in_picture % self.columns)
    }
}

/// V[point][tile][c] = B^T d B of the tiles `tiles`, which lie from `first` on in V.
///
/// # Safety (of running it)
/// x holds the pictures, V holds T * T planes `plane` apart, zeros holds c values.
pub(crate) struct Scatter<F, const T: usize, const M: usize> {
    pub x: *const f32,
    pub input: Size,
    pub c: usize,
    pub padding: Padding,
    pub grid: Grid,
    pub tiles: Range<usize>,
    pub first: usize,
    pub zeros: *const f32,
    pub v: *mut f32,
    pub plane: usize,
    pub filter: PhantomData<F>,
}

impl<F: Filter<T, M>, const T: usize, const M: usize> Op for Scatter<F, T, M> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: places outside the picture read zeros; channels stay below c.
        unsafe {
            let c = self.c;
            for tile in self.tiles.clone() {
                let (picture, row, column) = self.grid.place(tile);
                let mut from = [[self.zeros; T]; T];
                for i in 0..T {
                    let y = (row * M + i).wrapping_sub(self.padding.top);
                    for j in 0..T {
                        let x = (column * M + j).wrapping_sub(self.padding.left);
                        if y < self.input.h && x < self.input.w {
                            from[i][j] = self.x.add(((picture * self.input.h + y) * self.input.w + x) * c);
                        }
                    }
                }
                let to = self.v.add((tile - self.first) * c);
                let mut channel = 0;
                while channel + S::LANES <= c {
                    let mut d = [[S::splat(0.0); T]; T];
                    for j in 0..T {
                        let mut line = [S::splat(0.0); T];
                        for i in 0..T {
                            line[i] = S::load(from[i][j].add(channel));
                        }
                        let line = F::input::<S>(line);
                        for i in 0..T {
                            d[i][j] = line[i];
                        }
                    }
                    for i in 0..T {
                        let line = F::input::<S>(d[i]);
                        for j in 0..T {
                            S::store(to.add((i * T + j) * self.plane + channel), line[j]);
                        }
                    }
                    channel += S::LANES;
                }
                let rest = c - channel;
                if rest > 0 {
                    let mut d = [[S::splat(0.0); T]; T];
                    for j in 0..T {
                        let mut line = [S::splat(0.0); T];
                        for i in 0..T {
                            line[i] = S::load_part(from[i][j].add(channel), rest);
                        }
                        let line = F::input::<S>(line);
                        for i in 0..T {
                            d[i][j] = line[i];
                        }
                    }
                    for i in 0..T {
                        let line = F::input::<S>(d[i]);
                        for j in 0..T {
                            S::store_part(to.add((i * T + j) * self.plane + channel), line[j], rest);
                        }
                    }
                }
            }
        }
    }
}

/// y = act(A^T U A + bias + add) for the tiles `tiles`.
///
/// # Safety (of running it)
/// U holds T * T planes, y the output; `add` is null or of y's shape, `bias` null or o values.
pub(crate) struct Gather<F, const T: usize, const M: usize> {
    pub u: *const f32,
    pub plane: usize,
    pub first: usize,
    pub tiles: Range<usize>,
    pub grid: Grid,
    pub output: Size,
    pub o: usize,
    pub bias: *const f32,
    pub add: *const f32,
    pub act: Act,
    pub y: *mut f32,
    pub filter: PhantomData<F>,
}

impl<F: Filter<T, M>, const T: usize, const M: usize> Op for Gather<F, T, M> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: pixels outside the output are skipped; channels stay below o.
        unsafe {
            for tile in self.tiles.clone() {
                let from = self.u.add((tile - self.first) * self.o);
                let mut channel = 0;
                while channel + S::LANES <= self.o {
                    self.channels::<S, true>(tile, from, channel);
                    channel += S::LANES;
                }
                if channel < self.o {
                    self.channels::<S, false>(tile, from, channel);
                }
            }
        }
    }
}

impl<F: Filter<T, M>, const T: usize, const M: usize> Gather<F, T, M> {
    #[inline(always)]
    unsafe fn channels<S: Simd, const WHOLE: bool>(&self, tile: usize, from: *const f32, channel: usize) {
        // SAFETY: whole vectors are touched only if they lie below o.
        unsafe {
            let n = self.o - channel;
            let mut z = [[S::splat(0.0); T]; M];
            for j in 0..T {
                let mut line = [S::splat(0.0); T];
                for i in 0..T {
                    let p = from.add((i * T + j) * self.plane + channel);
                    line[i] = if WHOLE { S::load(p) } else { S::load_part(p, n) };
                }
                let line = F::output::<S>(line);
                for i in 0..M {
                    z[i][j] = line[i];
                }
            }
            let mut bias = S::splat(0.0);
            if !self.bias.is_null() {
                let p = self.bias.add(channel);
                bias = if WHOLE { S::load(p) } else { S::load_part(p, n) };
            }
            let (picture, row, column) = self.grid.place(tile);
            for i in 0..M {
                let y = row * M + i;
                if y >= self.output.h {
                    break;
                }
                let line = F::output::<S>(z[i]);
                for j in 0..M {
                    let x = column * M + j;
                    if x >= self.output.w {
                        break;
                    }
                    let at = ((picture * self.output.h + y) * self.output.w + x) * self.o + channel;
                    let mut v = S::add(line[j], bias);
                    if !self.add.is_null() {
                        let p = self.add.add(at);
                        v = S::add(v, if WHOLE { S::load(p) } else { S::load_part(p, n) });
                    }
                    let v = apply::<S>(self.act, v);
                    if WHOLE { S::store(self.y.add(at), v) } else { S::store_part(self.y.add(at), v, n) }
                }
            }
        }
    }
}
