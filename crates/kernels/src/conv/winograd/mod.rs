//! Winograd convolution of 3x3 kernels at stride 1: T * T small products in place of one with 9 taps. F(4,3) needs 36
//! multiplications for 16 outputs (144 directly) and holds 4 times the weights, F(2,3) 16 for 4 (36) and 1.78 times.

mod tiles;
mod transform;

pub(crate) use transform::{F2, F4, Filter};

use super::direct::Call;
use super::geometry::ConvSpec;
use crate::context::Context;
use crate::finish::Add;
use crate::gemm::panels::{Layout, Panels};
use crate::gemm::product::CHUNK;
use crate::gemm::tile::{Block, Init, ROWS, RowStarts};
use crate::memory::Shared;
use std::marker::PhantomData;
use std::ops::Range;
use tiles::{Gather, Grid, Scatter};

/// Bytes of transformed tiles that one thread works on, where weights are small: they stay in the second-level cache.
const LOCAL_BYTES: usize = 1536 << 10;
/// Transformed weights up to this size come from the cache for every block of tiles.
const SMALL_WEIGHTS: usize = 4 << 20;
/// Tiles of a block where weights are large: each weight is fetched once a block.
const LARGE_BLOCK: usize = 256;

/// Packed weights: T * T matrices (c, o).
pub(crate) struct Winograd<F, const T: usize, const M: usize> {
    panels: Panels<f32>,
    filter: PhantomData<F>,
}

/// Buffers of one block of tiles.
#[derive(Clone, Copy)]
struct Planes {
    v: *mut f32,
    u: *mut f32,
    v_plane: usize,
    u_plane: usize,
    first: usize,
}

impl<F: Filter<T, M>, const T: usize, const M: usize> Winograd<F, T, M> {
    pub fn bytes(ctx: &Context, spec: &ConvSpec) -> usize {
        T * T * Layout::new(ctx.isa(), spec.in_channels, spec.out_channels).len() * size_of::<f32>()
    }

    /// weights: (o, c, 3, 3). Transformed in f64.
    pub fn pack(ctx: &Context, spec: &ConvSpec, weights: &[f32]) -> Self {
        let (c, o) = (spec.in_channels, spec.out_channels);
        let layout = Layout::new(ctx.isa(), c, o);
        let panels = Panels::pack_all(ctx, T * T, layout, |k, column, out: &mut [f32]| {
            let kernel = &weights[(column * c + k) * 9..][..9];
            let mut half = [[0f64; 3]; T];
            for (row, g) in half.iter_mut().zip(&F::G) {
                for (j, value) in row.iter_mut().enumerate() {
                    *value = (0..3).map(|i| g[i] * f64::from(kernel[i * 3 + j])).sum();
                }
            }
            for i in 0..T {
                for (j, g) in F::G.iter().enumerate() {
                    out[i * T + j] = (0..3).map(|l| half[i][l] * g[l]).sum::<f64>() as f32;
                }
            }
        });
        Self { panels, filter: PhantomData }
    }

    pub fn held(&self) -> usize {
        self.panels.bytes()
    }

    /// # Safety
    /// All lengths of the call agree with its sizes.
    pub unsafe fn run(&self, ctx: &Context, call: &Call) {
        let (c, o) = (call.spec.in_channels, call.spec.out_channels);
        let grid = Grid::new(call.output, M);
        let tiles = call.output.n * grid.rows * grid.columns;
        let large = self.panels.bytes() > SMALL_WEIGHTS;
        let block = if large {
            LARGE_BLOCK
        } else {
            (LOCAL_BYTES / (T * T * (c + o) * size_of::<f32>()) / ROWS * ROWS).max(2 * ROWS)
        }
        .min(tiles);
        let blocks = tiles.div_ceil(block);
        // a line more than the tiles need: planes a multiple of 4 KiB apart would all fall into one set of the first-level cache
        let (v_plane, u_plane) = (block * c + 16, block * o + 16);
        let zeros = vec![0f32; c];
        let local = !large && blocks >= ctx.threads();
        let tasks = if local { ctx.threads().min(blocks) } else { 1 };
        let mut buffers = ctx.scratch().take::<f32>(tasks * T * T * (v_plane + u_plane));
        let shared = Shared::new(&mut buffers);
        let planes = |task: usize, first: usize| {
            let v = shared.ptr().wrapping_add(task * T * T * (v_plane + u_plane));
            Planes { v, u: v.wrapping_add(T * T * v_plane), v_plane, u_plane, first }
        };
        let zeros = zeros.as_slice();
        let range = |b: usize| b * block..((b + 1) * block).min(tiles);
        let products = T * T * self.panels.layout().panels();
        if local {
            let next = std::sync::atomic::AtomicUsize::new(0);
            ctx.parallel(tasks, |task| {
                loop {
                    let b = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if b >= blocks {
                        break;
                    }
                    let range = range(b);
                    let planes = planes(task, range.start);
                    // SAFETY: each task has its own planes and each block its own pixels.
                    unsafe {
                        self.scatter(ctx, call, (planes, zeros), range.clone());
                        for i in 0..products {
                            self.product(ctx, planes, range.len(), i);
                        }
                        self.gather(ctx, call, planes, range);
                    }
                }
            });
        } else {
            for b in 0..blocks {
                let range = range(b);
                let planes = planes(0, range.start);
                let part = range.len().div_ceil(4 * ctx.threads()).max(4);
                let parts = range.len().div_ceil(part);
                let part = |p: usize| range.start + p * part..(range.start + (p + 1) * part).min(range.end);
                let planes = SharedPlanes(planes);
                // SAFETY: tasks differ in tiles, or in point and panel.
                unsafe {
                    ctx.parallel(parts, |p| self.scatter(ctx, call, (planes.get(), zeros), part(p)));
                    ctx.parallel(products, |i| self.product(ctx, planes.get(), range.len(), i));
                    ctx.parallel(parts, |p| self.gather(ctx, call, planes.get(), part(p)));
                }
            }
        }
    }

    unsafe fn scatter(
        &self,
        ctx: &Context,
        call: &Call,
        (planes, zeros): (Planes, &[f32]),
        tiles: Range<usize>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            ctx.isa().run(Scatter::<F, T, M> {
                x: call.x.as_ptr(),
                input: call.input,
                c: call.spec.in_channels,
                padding: call.spec.padding,
                grid: Grid::new(call.output, M),
                tiles,
                first: planes.first,
                zeros: zeros.as_ptr(),
                v: planes.v,
                plane: planes.v_plane,
                filter: PhantomData,
            });
        }
    }

    /// One panel of one point's product for all tiles of a block.
    unsafe fn product(&self, ctx: &Context, planes: Planes, tiles: usize, i: usize) {
        let layout = self.panels.layout();
        let (point, panel) = (i / layout.panels(), layout.panel(i % layout.panels()));
        let mut k = 0;
        // SAFETY: the caller's promise; point < T * T.
        unsafe {
            let c = planes.u.add(point * planes.u_plane + panel.first);
            while k < layout.k {
                let len = CHUNK.min(layout.k - k);
                let b = self.panels.matrix(point).add(panel.offset + k * panel.width);
                ctx.isa().run(Block {
                    rows: tiles,
                    a: planes.v.add(point * planes.v_plane + k),
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
                    bias: std::ptr::null(),
                    // panels and points follow each other
                    next: b.wrapping_add(len * panel.width),
                });
                k += len;
            }
        }
    }

    unsafe fn gather(&self, ctx: &Context, call: &Call, planes: Planes, tiles: Range<usize>) {
        // SAFETY: the caller's promise.
        unsafe {
            ctx.isa().run(Gather::<F, T, M> {
                u: planes.u,
                plane: planes.u_plane,
                first: planes.first,
                tiles,
                grid: Grid::new(call.output, M),
                output: call.output,
                o: call.spec.out_channels,
                bias: call.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
                add: match call.finish.add {
                    Add::Nothing => std::ptr::null(),
                    Add::Output => call.y.ptr(),
                    Add::Rows(rows) => rows.as_ptr(),
                },
                act: call.finish.act,
                y: call.y.ptr(),
                filter: PhantomData,
            });
        }
    }
}

/// Planes that tasks of one loop share.
#[derive(Clone, Copy)]
struct SharedPlanes(Planes);
// SAFETY: tasks write disjoint parts; see where they are used.
unsafe impl Send for SharedPlanes {}
// SAFETY: as above.
unsafe impl Sync for SharedPlanes {}

impl SharedPlanes {
    fn get(&self) -> Planes {
        self.0
    }
}
