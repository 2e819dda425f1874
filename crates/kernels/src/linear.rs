//! y = x W^T + b with W held in f32, bf16, q8_0 or as whole numbers with a scale a row. Activations stay f32 unless the profile allows
//! bf16 products: what is stored smaller is widened chunk by chunk, exactly, on its way into the product.

use crate::amx::{DEPTH, Target, TileWeights, multiply_rows};
use crate::context::{Context, Profile};
use crate::error::{Error, Result, check_len, check_positive};
use crate::finish::Finish;
use crate::format::q8_0;
use crate::gemm::matrix::Matrix;
use crate::gemm::panels::{FromF32, Layout, Panel, Panels};
use crate::gemm::product::{CHUNK, Plain, Product, Source, multiply};
use crate::isa::{Isa, Op};
use crate::memory::{Aligned, Borrowed, Shared};
use crate::simd::Simd;
use std::ops::Range;

/// Weights (out, in) as a checkpoint has them.
#[derive(Debug, Clone, Copy)]
pub enum Weight<'a> {
    F32(&'a [f32]),
    /// bits
    Bf16(&'a [u16]),
    /// GGUF blocks along `in`
    Q8_0(&'a [u8]),
    /// a row is its whole numbers times its scale
    Int8 {
        values: &'a [i8],
        scales: &'a [f32],
    },
}

/// A linear layer.
pub struct Linear {
    ctx: Context,
    inputs: usize,
    outputs: usize,
    bias: Option<Vec<f32>>,
    held: Held,
}

enum Held {
    F32(Panels<f32>),
    /// multiplied as bf16, activations rounded
    Bf16(Panels<u16>),
    /// the same by AMX's tiles
    Amx(TileWeights),
    /// widened to f32 on the way
    Widened(Panels<u16>),
    Q8(Q8Panels),
}

impl Linear {
    /// Under `Profile::Fast`, f32 and bf16 weights are multiplied as bf16 where the machine does that faster.
    pub fn new(
        ctx: &Context,
        [outputs, inputs]: [usize; 2],
        weight: Weight,
        bias: Option<Vec<f32>>,
    ) -> Result<Self> {
        check_positive("linear outputs", outputs)?;
        check_positive("linear inputs", inputs)?;
        if let Some(bias) = &bias {
            check_len("linear bias", bias.len(), outputs)?;
        }
        let count = outputs * inputs;
        let rounds = ctx.profile() == Profile::Fast && ctx.isa().multiplies_bf16();
        let layout = Layout::new(ctx.isa(), inputs, outputs);
        let paired = Layout::new(ctx.isa(), inputs.next_multiple_of(2), outputs);
        let pairs = |get: &(dyn Fn(usize) -> u16 + Sync)| {
            Panels::pack(ctx, 1, paired, |_, k, o| if k < inputs { get(o * inputs + k) } else { 0 })
        };
        let products = |get: &(dyn Fn(usize) -> u16 + Sync)| {
            if ctx.isa() != Isa::Amx {
                return Held::Bf16(pairs(get));
            }
            let steps = inputs.div_ceil(DEPTH);
            Held::Amx(TileWeights::pack(ctx, steps, outputs, |k, o| {
                if k < inputs { get(o * inputs + k) } else { 0 }
            }))
        };
        let held = match weight {
            Weight::F32(w) => {
                check_len("linear weights", w.len(), count)?;
                if rounds {
                    products(&|i| u16::from_f32(w[i]))
                } else {
                    Held::F32(Panels::of(ctx, &Matrix::of_columns(layout, w, inputs)))
                }
            }
            Weight::Bf16(w) => {
                check_len("linear weights", w.len(), count)?;
                if rounds { products(&|i| w[i]) } else { Held::Widened(pairs(&|i| w[i])) }
            }
            Weight::Q8_0(bytes) => Held::Q8(Q8Panels::of_blocks(ctx, layout, bytes)?),
            Weight::Int8 { values, scales } => {
                check_len("linear weights", values.len(), count)?;
                check_len("scales of a linear layer's rows", scales.len(), outputs)?;
                Held::Q8(Q8Panels::of_rows(ctx, layout, values, scales))
            }
        };
        Ok(Self { ctx: ctx.clone(), inputs, outputs, bias, held })
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    pub fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// How the product is computed.
    pub fn variant(&self) -> &'static str {
        match &self.held {
            Held::F32(_) => "linear-f32",
            Held::Bf16(_) => "linear-bf16",
            Held::Amx(_) => "linear-amx",
            Held::Widened(_) => "linear-bf16-widened",
            Held::Q8(p) if p.block == q8_0::BLOCK => "linear-q8_0",
            Held::Q8(_) => "linear-int8",
        }
    }

    /// Bytes the weights take.
    pub fn weight_bytes(&self) -> usize {
        match &self.held {
            Held::F32(p) => p.bytes(),
            Held::Bf16(p) | Held::Widened(p) => p.bytes(),
            Held::Amx(weights) => weights.bytes(),
            Held::Q8(p) => p.values.bytes() + p.scales.bytes(),
        }
    }

    /// x: (rows, in) -> y: (rows, out)
    pub fn forward(&self, x: &[f32], y: &mut [f32], finish: Finish) -> Result<()> {
        self.forward_biased(x, y, self.bias.as_deref(), finish)
    }

    /// The same with another bias, (out).
    pub fn forward_biased(
        &self,
        x: &[f32],
        y: &mut [f32],
        bias: Option<&[f32]>,
        finish: Finish,
    ) -> Result<()> {
        if let Some(bias) = bias {
            check_len("linear bias", bias.len(), self.outputs)?;
        }
        let rows = x.len() / self.inputs;
        check_len("linear input", x.len(), rows * self.inputs)?;
        check_len("linear output", y.len(), rows * self.outputs)?;
        finish.check(y.len())?;
        let ctx = &self.ctx;
        let c = Shared::new(y);
        let c_stride = self.outputs;
        // SAFETY: all lengths were checked above.
        unsafe {
            match &self.held {
                Held::F32(panels) => {
                    let product = Product { rows, a: x, a_stride: self.inputs, c, c_stride, bias, finish };
                    multiply(ctx, product, &Plain { panels, matrix: 0 });
                }
                Held::Bf16(panels) => {
                    let a = rounded(ctx, x, self.inputs);
                    let product =
                        Product { rows, a: &a, a_stride: panels.layout().k, c, c_stride, bias, finish };
                    multiply(ctx, product, &Plain { panels, matrix: 0 });
                }
                Held::Amx(weights) => {
                    multiply_rows(ctx, (x, self.inputs), weights, Target { c, bias, finish });
                }
                Held::Widened(panels) => {
                    let product = Product { rows, a: x, a_stride: self.inputs, c, c_stride, bias, finish };
                    multiply(ctx, product, &Widened { panels, k: self.inputs });
                }
                Held::Q8(panels) => {
                    let product = Product { rows, a: x, a_stride: self.inputs, c, c_stride, bias, finish };
                    multiply(ctx, product, panels);
                }
            }
        }
        Ok(())
    }
}

/// Rows of k values as bf16; odd k get a zero behind.
pub(crate) fn rounded<'a>(ctx: &'a Context, x: &[f32], k: usize) -> Borrowed<'a, u16> {
    const TASK: usize = 1 << 15; // values a task, about
    let padded = k.next_multiple_of(2);
    let rows = x.len() / k;
    let mut out = ctx.scratch().take::<u16>(rows * padded);
    let shared = Shared::new(&mut out);
    let block = TASK.div_ceil(k);
    ctx.parallel(rows.div_ceil(block), |task| {
        let range = task * block..((task + 1) * block).min(rows);
        // SAFETY: tasks have their own rows of `out`.
        let to = unsafe {
            std::slice::from_raw_parts_mut(shared.ptr().add(range.start * padded), range.len() * padded)
        };
        let from = &x[range.start * k..range.end * k];
        if padded == k {
            u16::convert(ctx, from, to);
        } else {
            for (from, to) in from.chunks_exact(k).zip(to.chunks_exact_mut(padded)) {
                u16::convert(ctx, from, &mut to[..k]);
                to[k..].fill(0);
            }
        }
    });
    out
}

/// bf16 panels that are multiplied as f32.
struct Widened<'a> {
    panels: &'a Panels<u16>,
    k: usize,
}

impl Source for Widened<'_> {
    type E = f32;
    fn layout(&self) -> Layout {
        self.panels.layout().with_k(self.k)
    }
    fn buffer(&self) -> usize {
        // an odd last k is widened with its zero
        (CHUNK + 1) * self.panels.layout().panel(0).width
    }
    fn chunk(&self, ctx: &Context, panel: Panel, k: Range<usize>, buffer: &mut [f32]) -> *const f32 {
        // panels lie at their first column times the padded k
        let offset = panel.first * self.panels.layout().k + k.start * panel.width;
        let steps = k.len().div_ceil(2);
        assert!(buffer.len() >= 2 * steps * panel.width, "a chunk is at most CHUNK long");
        // SAFETY: CHUNK is even, so k starts at a pair; the buffer is long enough.
        unsafe {
            let from = self.panels.matrix(0).add(offset);
            ctx.isa().run(Widen { from, to: buffer.as_mut_ptr(), steps, width: panel.width });
        }
        buffer.as_ptr()
    }
}

struct Widen {
    from: *const u16,
    to: *mut f32,
    steps: usize,
    width: usize,
}

impl Op for Widen {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `steps` rows of `width` pairs lie at from, twice as many rows fit at to.
        unsafe {
            for step in 0..self.steps {
                let to = self.to.add(2 * step * self.width);
                let mut column = 0;
                while column < self.width {
                    let pairs = S::load_pairs(self.from.add(2 * (step * self.width + column)));
                    S::store(to.add(column), S::low(pairs));
                    S::store(to.add(self.width + column), S::high(pairs));
                    column += S::LANES;
                }
            }
        }
    }
}

/// Whole numbers with scales in panels: values `[k][width]`, scales `[k / block][width]`.
struct Q8Panels {
    values: Aligned<i8>,
    scales: Aligned<f32>,
    layout: Layout,
    scale_layout: Layout,
    /// values of a row that share a scale: q8_0's 32, or all
    block: usize,
}

impl Q8Panels {
    fn of_rows(ctx: &Context, layout: Layout, from: &[i8], row_scales: &[f32]) -> Self {
        let scale_layout = layout.with_k(1);
        let mut values = Aligned::<i8>::zeros(layout.len());
        let mut scales = Aligned::<f32>::zeros(scale_layout.len());
        let shared = Shared::new(&mut values);
        ctx.parallel(layout.panels(), |i| {
            let panel = layout.panel(i);
            // SAFETY: panels are disjoint parts of the values.
            let to = unsafe {
                std::slice::from_raw_parts_mut(shared.ptr().add(panel.offset), panel.width * layout.k)
            };
            for column in 0..panel.columns {
                let row = &from[(panel.first + column) * layout.k..][..layout.k];
                to.iter_mut().skip(column).step_by(panel.width).zip(row).for_each(|(to, from)| *to = *from);
            }
        });
        for i in 0..layout.panels() {
            let (panel, place) = (layout.panel(i), scale_layout.panel(i).offset);
            scales[place..place + panel.columns].copy_from_slice(&row_scales[panel.first..][..panel.columns]);
        }
        Self { values, scales, layout, scale_layout, block: layout.k.max(CHUNK) }
    }

    fn of_blocks(ctx: &Context, layout: Layout, bytes: &[u8]) -> Result<Self> {
        let (inputs, outputs) = (layout.k, layout.n);
        if !inputs.is_multiple_of(q8_0::BLOCK) {
            return Err(Error::Shape {
                what: "inputs of a q8_0 layer",
                got: inputs,
                limit: "a multiple of 32",
                remedy: "keep this layer in f32 or bf16",
            });
        }
        let row = inputs / q8_0::BLOCK * q8_0::BLOCK_BYTES;
        check_len("q8_0 weight bytes", bytes.len(), outputs * row)?;
        let scale_layout = Layout::new(ctx.isa(), inputs / q8_0::BLOCK, outputs);
        let mut values = Aligned::<i8>::zeros(layout.len());
        let mut scales = Aligned::<f32>::zeros(scale_layout.len());
        for i in 0..layout.panels() {
            let (panel, scale_panel) = (layout.panel(i), scale_layout.panel(i));
            for column in 0..panel.columns {
                let blocks = bytes[(panel.first + column) * row..][..row].chunks_exact(q8_0::BLOCK_BYTES);
                for (b, block) in blocks.enumerate() {
                    scales[scale_panel.offset + b * panel.width + column] =
                        q8_0::f16_to_f32(u16::from_le_bytes([block[0], block[1]]));
                    for (j, q) in block[2..].iter().enumerate() {
                        values[panel.offset + (b * q8_0::BLOCK + j) * panel.width + column] = *q as i8;
                    }
                }
            }
        }
        Ok(Self { values, scales, layout, scale_layout, block: q8_0::BLOCK })
    }
}

impl Source for Q8Panels {
    type E = f32;
    fn layout(&self) -> Layout {
        self.layout
    }
    fn buffer(&self) -> usize {
        CHUNK * self.layout.panel(0).width
    }
    fn chunk(&self, ctx: &Context, panel: Panel, k: Range<usize>, buffer: &mut [f32]) -> *const f32 {
        const { assert!(CHUNK.is_multiple_of(q8_0::BLOCK)) };
        assert!(buffer.len() >= k.len() * panel.width, "a chunk is at most CHUNK long");
        let scales = panel.first * self.scale_layout.k + k.start / self.block * panel.width;
        // SAFETY: the chunk starts at a block, or all of it has one scale, and it lies within the panel.
        unsafe {
            ctx.isa().run(Dequantize {
                values: self.values.as_ptr().add(panel.offset + k.start * panel.width),
                scales: self.scales.as_ptr().add(scales),
                to: buffer.as_mut_ptr(),
                rows: k.len(),
                width: panel.width,
                block: self.block,
            });
        }
        buffer.as_ptr()
    }
}

struct Dequantize {
    values: *const i8,
    scales: *const f32,
    to: *mut f32,
    rows: usize,
    width: usize,
    block: usize,
}

impl Op for Dequantize {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `rows` rows of `width` values lie at values and fit at to; one row of scales for `block` of them.
        unsafe {
            for row in 0..self.rows {
                let scales = self.scales.add(row / self.block * self.width);
                let mut column = 0;
                while column < self.width {
                    let at = row * self.width + column;
                    let value = S::mul(S::load_i8(self.values.add(at)), S::load(scales.add(column)));
                    S::store(self.to.add(at), value);
                    column += S::LANES;
                }
            }
        }
    }
}
