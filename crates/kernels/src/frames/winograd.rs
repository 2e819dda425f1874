//! Four frames of each pixel at a time by F(4,3): six products in place of the ten to twelve of three taps. Frames are added up and taken apart where they lie, as the
//! pixels of a stretch are next to each other in each.

use super::{Call, TAPS};
use crate::context::{Booking, Context};
use crate::conv::{F4, Filter};
use crate::finish::Add;
use crate::gemm::panels::Panels;
use crate::gemm::product::CHUNK;
use crate::gemm::tile::{Block, Init, ROWS, RowStarts};
use crate::isa::Op;
use crate::simd::Simd;
use std::ops::Range;

/// Frames that a tile sees, and makes.
const T: usize = 6;
const M: usize = 4;
/// Bytes of transformed rows that one thread works on, where weights are small: they stay in the second-level cache.
const LOCAL_BYTES: usize = 1536 << 10;
/// Transformed weights up to this size come from the cache for every block of rows.
const SMALL_WEIGHTS: usize = 4 << 20;
/// Rows of a block where weights are large: each weight is fetched once a block.
const LARGE_BLOCK: usize = 256;
/// Fewer channels than this spend their time on sums.
const FEW: usize = 32;

/// Whether six products for four frames are fewer, by a tenth for the sums, than one for each frame that a tap sees.
pub(super) fn pays(frames: usize, [outputs, inputs]: [usize; 2]) -> bool {
    let directly = TAPS * frames - 2;
    inputs.min(outputs) >= FEW && 11 * T * frames.div_ceil(M) < 10 * directly
}

/// Packed weights: a matrix (inputs, outputs) for each of the six points.
pub(super) struct Winograd {
    panels: Panels<f32>,
    _booking: Booking,
}

/// Some pixels of one tile: rows of a block that lie next to each other in every frame.
struct Stretch {
    /// first row in the block
    at: usize,
    rows: usize,
    /// first row in the frame that is made first, counted through all clips
    first: usize,
    /// of the tile's first frame in its clip
    frame: usize,
}

impl Winograd {
    /// From panels whose k is taps, then channels; unless the weights' budget has no room.
    pub fn of(ctx: &Context, taps: &Panels<f32>) -> Option<Self> {
        let booking = ctx.book(taps.bytes() / TAPS * T)?;
        Some(Self { panels: taps.combined(ctx, &<F4 as Filter<T, M>>::G), _booking: booking })
    }

    /// # Safety
    /// All lengths of the call agree with its sizes, and the layer's.
    pub unsafe fn run(&self, ctx: &Context, call: &Call) {
        let layout = self.panels.layout();
        let (c, o) = (layout.k, layout.n);
        let tiles = call.clips.frames.div_ceil(M);
        let rows = call.clips.n * tiles * call.clips.pixels;
        let most = if self.panels.bytes() > SMALL_WEIGHTS {
            LARGE_BLOCK
        } else {
            (LOCAL_BYTES / (T * (c + o) * size_of::<f32>()) / ROWS * ROWS).max(2 * ROWS)
        };
        let block = most.min(rows.div_ceil(ctx.threads()).next_multiple_of(ROWS));
        // a line more than the rows need: planes a multiple of 4 KiB apart would all fall into one set of the first-level cache
        let (v_plane, u_plane) = (block * c + 16, block * o + 16);
        ctx.parallel(rows.div_ceil(block), |task| {
            let range = task * block..((task + 1) * block).min(rows);
            let mut planes = ctx.scratch().take::<f32>(T * (v_plane + u_plane));
            let v = planes.as_mut_ptr();
            // SAFETY: tasks have their own planes and their own rows of the output; the rest is the caller's promise.
            unsafe {
                let u = v.add(T * v_plane);
                for stretch in stretches(call, range.clone()) {
                    self.scatter(ctx, call, &stretch, (v, v_plane));
                }
                for point in 0..T {
                    let to = (v.add(point * v_plane).cast_const(), u.add(point * u_plane));
                    self.product(ctx, call, (point, range.len()), to);
                }
                for stretch in stretches(call, range.clone()) {
                    self.gather(ctx, call, &stretch, (u, u_plane));
                }
            }
        });
    }

    unsafe fn scatter(&self, ctx: &Context, call: &Call, stretch: &Stretch, (v, plane): (*mut f32, usize)) {
        let (c, clips) = (self.panels.layout().k, call.clips);
        let mut x = [std::ptr::null(); T];
        for (i, x) in x.iter_mut().enumerate() {
            let seen = (stretch.frame + i).checked_sub(1).filter(|seen| *seen < clips.frames);
            if seen.is_some() {
                *x = call.x.as_ptr().wrapping_add((stretch.first + i * clips.pixels - clips.pixels) * c);
            }
        }
        // SAFETY: each pointer that is not null has the stretch's rows before it, and so has each plane.
        unsafe { ctx.isa().run(Scatter { x, v: v.add(stretch.at * c), plane, len: stretch.rows * c }) }
    }

    /// One point's product for all rows of a block.
    unsafe fn product(
        &self,
        ctx: &Context,
        call: &Call,
        (point, rows): (usize, usize),
        (v, u): (*const f32, *mut f32),
    ) {
        // this point's product is in each of the four frames once
        const WITH_BIAS: usize = 1;
        let layout = self.panels.layout();
        for panel in (0..layout.panels()).map(|panel| layout.panel(panel)) {
            for k in (0..layout.k).step_by(CHUNK) {
                let len = CHUNK.min(layout.k - k);
                let bias = call.bias.filter(|_| point == WITH_BIAS && k == 0);
                // SAFETY: rows and panel lie within planes and weights.
                unsafe {
                    let b = self.panels.matrix(point).add(panel.offset + k * panel.width);
                    let c = u.add(panel.first);
                    ctx.isa().run(Block {
                        rows,
                        a: v.add(k),
                        starts: RowStarts::Every(layout.k),
                        segments: 1,
                        segment_stride: 0,
                        len,
                        b,
                        vectors: panel.vectors,
                        last: panel.last,
                        c,
                        c_stride: layout.n,
                        init: if k == 0 { Init::Zero } else { Init::Rows(c, layout.n) },
                        bias: bias.map_or(std::ptr::null(), |bias| bias.as_ptr().add(panel.first)),
                        // panels and points follow each other
                        next: b.wrapping_add(len * panel.width),
                    });
                }
            }
        }
    }

    unsafe fn gather(&self, ctx: &Context, call: &Call, stretch: &Stretch, (u, plane): (*mut f32, usize)) {
        let (o, clips) = (self.panels.layout().n, call.clips);
        let made = M.min(clips.frames - stretch.frame);
        let (mut y, mut add) = ([std::ptr::null_mut(); M], [std::ptr::null(); M]);
        for i in 0..made {
            let offset = (stretch.first + i * clips.pixels) * o;
            y[i] = call.y.ptr().wrapping_add(offset);
            add[i] = match call.finish.add {
                Add::Nothing => std::ptr::null(),
                Add::Output => y[i].cast_const(),
                Add::Rows(rows) => rows.as_ptr().wrapping_add(offset),
            };
        }
        let len = stretch.rows * o;
        // SAFETY: the stretch's rows lie behind each pointer that is not null.
        unsafe {
            ctx.isa().run(Gather { u: u.add(stretch.at * o), plane, y, add, len });
            for y in &y[..made] {
                call.finish.complete(ctx, *y, (stretch.rows, o), o);
            }
        }
    }
}

/// Rows of a block, counted through clips, tiles and pixels, as stretches of one tile each.
fn stretches(call: &Call, rows: Range<usize>) -> impl Iterator<Item = Stretch> {
    let clips = call.clips;
    let tiles = clips.frames.div_ceil(M);
    let mut next = rows.start;
    std::iter::from_fn(move || {
        if next >= rows.end {
            return None;
        }
        let (tile, pixel) = (next / clips.pixels, next % clips.pixels);
        let (clip, frame) = (tile / tiles, tile % tiles * M);
        let count = (clips.pixels - pixel).min(rows.end - next);
        let at = next - rows.start;
        next += count;
        let first = (clip * clips.frames + frame) * clips.pixels + pixel;
        Some(Stretch { at, rows: count, first, frame })
    })
}

/// B^T of six frames, of which those that are null are zeros.
struct Scatter {
    x: [*const f32; T],
    v: *mut f32,
    plane: usize,
    len: usize,
}

impl Op for Scatter {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut i = 0;
        // SAFETY: i stays below len; the rest is whoever made this.
        unsafe {
            while i < self.len {
                let part = S::LANES.min(self.len - i);
                let mut d = [S::splat(0.0); T];
                for (d, x) in d.iter_mut().zip(&self.x) {
                    if !x.is_null() {
                        *d = if part == S::LANES { S::load(x.add(i)) } else { S::load_part(x.add(i), part) };
                    }
                }
                let d = <F4 as Filter<T, M>>::input::<S>(d);
                for (point, d) in d.into_iter().enumerate() {
                    let to = self.v.add(point * self.plane + i);
                    if part == S::LANES { S::store(to, d) } else { S::store_part(to, d, part) }
                }
                i += S::LANES;
            }
        }
    }
}

/// A^T of six points, and what is added, to the frames that are not null.
struct Gather {
    u: *const f32,
    plane: usize,
    y: [*mut f32; M],
    add: [*const f32; M],
    len: usize,
}

impl Op for Gather {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut i = 0;
        // SAFETY: as above.
        unsafe {
            while i < self.len {
                let part = S::LANES.min(self.len - i);
                let whole = part == S::LANES;
                let mut m = [S::splat(0.0); T];
                for (point, m) in m.iter_mut().enumerate() {
                    let from = self.u.add(point * self.plane + i);
                    *m = if whole { S::load(from) } else { S::load_part(from, part) };
                }
                let m = <F4 as Filter<T, M>>::output::<S>(m);
                for ((mut m, y), add) in m.into_iter().zip(&self.y).zip(&self.add) {
                    if y.is_null() {
                        continue;
                    }
                    if !add.is_null() {
                        let add = if whole { S::load(add.add(i)) } else { S::load_part(add.add(i), part) };
                        m = S::add(m, add);
                    }
                    if whole { S::store(y.add(i), m) } else { S::store_part(y.add(i), m, part) }
                }
                i += S::LANES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_pays_where_its_products_are_fewer() {
        let paying: Vec<usize> = (1..=9).filter(|frames| pays(*frames, [64, 64])).collect();
        assert_eq!(paying, [3, 4, 6, 7, 8, 9]);
        assert!(!pays(8, [3, 128]) && !pays(8, [128, 3]));
    }
}
