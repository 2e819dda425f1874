//! B matrices packed for the micro-kernel: panels of up to `COLS` vectors side by side, k by k; all of them about as wide.

use super::matrix::Matrix;
use super::product::Source;
use super::tile::Element;
use crate::context::Context;
use crate::format::bf16;
use crate::isa::{Isa, Op};
use crate::memory::{Aligned, Shared};
use crate::simd::Simd;

/// `count` matrices of (k, n). A panel is `[k / STEP][vectors * LANES][STEP]`.
pub(crate) struct Panels<E: Element> {
    data: Aligned<E>,
    layout: Layout,
}

/// Where panels lie in a packed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// a multiple of `STEP`
    pub k: usize,
    pub n: usize,
    lanes: usize,
    cols: usize,
}

/// One panel's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel {
    /// first column
    pub first: usize,
    pub columns: usize,
    pub vectors: usize,
    /// lanes of the last vector that are columns
    pub last: usize,
    /// padded columns
    pub width: usize,
    /// of its first element in the matrix
    pub offset: usize,
}

impl Layout {
    pub fn new(isa: Isa, k: usize, n: usize) -> Self {
        Self { k, n, lanes: isa.lanes(), cols: isa.cols() }
    }

    /// The same columns over another k.
    pub fn with_k(self, k: usize) -> Self {
        Self { k, ..self }
    }

    pub fn panels(&self) -> usize {
        self.n.div_ceil(self.lanes * self.cols)
    }

    pub fn panel(&self, i: usize) -> Panel {
        // 5 vectors are 3 and 2 rather than 4 and 1: a panel of one has too few sums at once to hide a product's latency
        let (all, panels) = (self.n.div_ceil(self.lanes), self.panels());
        let wider = all % panels;
        let vectors = all / panels + usize::from(i < wider);
        let first = (i * (all / panels) + i.min(wider)) * self.lanes;
        let width = vectors * self.lanes;
        let columns = width.min(self.n - first);
        let last = columns - (width - self.lanes);
        Panel { first, columns, vectors, last, width, offset: first * self.k }
    }

    /// Elements of a packed matrix.
    pub fn len(&self) -> usize {
        self.n.div_ceil(self.lanes) * self.lanes * self.k
    }
}

impl<E: Element> Panels<E> {
    /// Packs `get(matrix, k, n)`. k beyond the last multiple of `STEP` must not occur: pad k first.
    pub fn pack(
        ctx: &Context,
        count: usize,
        layout: Layout,
        get: impl Fn(usize, usize, usize) -> E + Sync,
    ) -> Self {
        assert!(layout.k.is_multiple_of(E::STEP));
        let mut data = Aligned::<E>::zeros(count * layout.len());
        let shared = Shared::new(&mut data);
        let panels = layout.panels();
        ctx.parallel(count * panels, |task| {
            let (matrix, panel) = (task / panels, layout.panel(task % panels));
            // SAFETY: panels are disjoint parts of data.
            let out = unsafe {
                let start = shared.ptr().add(matrix * layout.len() + panel.offset);
                std::slice::from_raw_parts_mut(start, panel.width * layout.k)
            };
            for (step, row) in out.chunks_exact_mut(panel.width * E::STEP).enumerate() {
                for column in 0..panel.columns {
                    for s in 0..E::STEP {
                        row[column * E::STEP + s] = get(matrix, step * E::STEP + s, panel.first + column);
                    }
                }
            }
        });
        Self { data, layout }
    }

    /// Packs matrices whose values come together: `get(k, n, values)` fills the value of each matrix at (k, n).
    pub fn pack_all(
        ctx: &Context,
        count: usize,
        layout: Layout,
        get: impl Fn(usize, usize, &mut [E]) + Sync,
    ) -> Self {
        let mut data = Aligned::<E>::zeros(count * layout.len());
        let shared = Shared::new(&mut data);
        ctx.parallel(layout.panels(), |i| {
            let panel = layout.panel(i);
            let mut values = vec![E::default(); count];
            for column in 0..panel.columns {
                for k in 0..layout.k {
                    get(k, panel.first + column, &mut values);
                    let at =
                        panel.offset + k / E::STEP * panel.width * E::STEP + column * E::STEP + k % E::STEP;
                    for (matrix, value) in values.iter().enumerate() {
                        // SAFETY: panels are disjoint parts of data; `at` lies within the panel.
                        unsafe { *shared.ptr().add(matrix * layout.len() + at) = *value };
                    }
                }
            }
        });
        Self { data, layout }
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    pub fn bytes(&self) -> usize {
        self.data.bytes()
    }

    /// The packed matrix.
    pub fn matrix(&self, i: usize) -> *const E {
        self.data[i * self.layout.len()..].as_ptr()
    }
}

impl Panels<f32> {
    /// Packs one matrix as it lies in memory.
    pub fn of(ctx: &Context, matrix: &Matrix) -> Self {
        let layout = matrix.layout();
        let mut data = Aligned::<f32>::zeros(layout.len());
        let shared = Shared::new(&mut data);
        ctx.parallel(layout.panels(), |i| {
            let panel = layout.panel(i);
            // SAFETY: panels are disjoint parts of data.
            unsafe { matrix.pack(ctx.isa(), panel, 0..layout.k, shared.ptr().add(panel.offset)) };
        });
        Self { data, layout }
    }
}

impl Panels<f32> {
    /// N matrices from one whose k is P parts: each the sum of the parts, so much of each. In f64.
    pub fn combined<const N: usize, const P: usize>(&self, ctx: &Context, shares: &[[f64; P]; N]) -> Self {
        assert!(self.layout.k.is_multiple_of(P));
        let layout = self.layout.with_k(self.layout.k / P);
        let mut data = Aligned::<f32>::zeros(N * layout.len());
        let shared = Shared::new(&mut data);
        let panels = layout.panels();
        ctx.parallel(N * panels, |task| {
            let (matrix, panel) = (task / panels, layout.panel(task % panels));
            let len = panel.width * layout.k;
            let parts = &self.data[self.layout.panel(task % panels).offset..][..P * len];
            // SAFETY: panels are disjoint parts of data.
            let to = unsafe {
                std::slice::from_raw_parts_mut(shared.ptr().add(matrix * layout.len() + panel.offset), len)
            };
            for (i, to) in to.iter_mut().enumerate() {
                *to = (0..P).map(|part| shares[matrix][part] * f64::from(parts[part * len + i])).sum::<f64>()
                    as f32;
            }
        });
        Self { data, layout }
    }
}

/// How f32 becomes an element.
pub(crate) trait FromF32: Sized {
    fn from_f32(x: f32) -> Self;
    /// Many at once; both slices are equally long.
    fn convert(ctx: &Context, from: &[f32], to: &mut [Self]);
}

impl FromF32 for f32 {
    fn from_f32(x: f32) -> f32 {
        x
    }
    fn convert(_: &Context, from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }
}

impl FromF32 for u16 {
    fn from_f32(x: f32) -> u16 {
        bf16::from_f32(x)
    }
    fn convert(ctx: &Context, from: &[f32], to: &mut [u16]) {
        assert_eq!(from.len(), to.len());
        // SAFETY: both hold that many values; the context's set runs on this machine.
        unsafe { ctx.isa().run(RoundBf16 { from: from.as_ptr(), to: to.as_mut_ptr(), len: to.len() }) }
    }
}

struct RoundBf16 {
    from: *const f32,
    to: *mut u16,
    len: usize,
}

impl Op for RoundBf16 {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: i stays below len.
        unsafe {
            let mut i = 0;
            while i + S::LANES <= self.len {
                S::store_bf16(self.to.add(i), S::load(self.from.add(i)));
                i += S::LANES;
            }
            while i < self.len {
                *self.to.add(i) = bf16::from_f32(*self.from.add(i));
                i += 1;
            }
        }
    }
}
