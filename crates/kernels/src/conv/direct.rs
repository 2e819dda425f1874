//! Convolution as a product without a column matrix: strips of the picture are copied once, padded (and rounded to bf16),
//! and the rows of A are pixels of the strip. Does every kernel, stride, dilation and group.

use super::geometry::{ConvSpec, Size};
use crate::context::Context;
use crate::finish::Finish;
use crate::gemm::panels::{FromF32, Layout, Panel, Panels};
use crate::gemm::product::CHUNK;
use crate::gemm::tile::{Block, Element, Init, RowStarts};
use crate::memory::Shared;
use std::ops::Range;

/// Bytes a strip takes at most, or twice so many where that is a row of the output: it stays in the second-level cache.
const STRIP_BYTES: usize = 640 << 10;
/// Pixels a strip takes at most: more do not make the weights' way to the core any cheaper.
const STRIP_PIXELS: usize = 768;

/// Packed weights: for each group a matrix (kh kw c, o), c padded to the element's step.
pub(crate) struct Direct<E: Element> {
    panels: Panels<E>,
}

/// One call's inputs and target.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub spec: &'a ConvSpec,
    pub input: Size,
    pub output: Size,
    pub x: &'a [f32],
    pub y: Shared<f32>,
    pub bias: Option<&'a [f32]>,
    pub finish: Finish<'a>,
}

/// Padded channels of a group.
fn padded<E: Element>(spec: &ConvSpec) -> usize {
    spec.group_in().next_multiple_of(E::STEP)
}

impl<E: Element + FromF32> Direct<E> {
    pub fn bytes(ctx: &Context, spec: &ConvSpec) -> usize {
        let layout = Layout::new(ctx.isa(), spec.taps() * padded::<E>(spec), spec.group_out());
        spec.groups * layout.len() * size_of::<E>()
    }

    /// weights: (o, c / groups, kh, kw)
    pub fn pack(ctx: &Context, spec: &ConvSpec, weights: &[f32]) -> Self {
        let (c, cp, o, taps) = (spec.group_in(), padded::<E>(spec), spec.group_out(), spec.taps());
        let layout = Layout::new(ctx.isa(), taps * cp, o);
        let panels = Panels::pack(ctx, spec.groups, layout, |group, k, column| {
            let (tap, channel) = (k / cp, k % cp);
            if channel < c {
                E::from_f32(weights[((group * o + column) * c + channel) * taps + tap])
            } else {
                E::default()
            }
        });
        Self { panels }
    }

    pub fn held(&self) -> usize {
        self.panels.bytes()
    }

    /// # Safety
    /// All lengths of the call agree with its sizes.
    pub unsafe fn run(&self, ctx: &Context, call: &Call) {
        let (spec, out) = (call.spec, call.output);
        let rows = out.n * out.h;
        let plan = Plan::new::<E>(ctx, call);
        let layout = self.panels.layout();
        let strips = plan.strips(rows);
        let shares =
            if strips * spec.groups >= 2 * ctx.threads() { 1 } else { layout.panels().min(ctx.threads()) };
        let share = layout.panels().div_ceil(shares);
        ctx.parallel(strips * spec.groups * shares, |task| {
            let (strip, group, first) =
                (task / shares / spec.groups, task / shares % spec.groups, task % shares * share);
            let strip = Strip::<E>::copy(ctx, call, plan.strip(strip, call.output), group);
            for i in first..(first + share).min(layout.panels()) {
                // SAFETY: tasks differ in rows, group or panels; the rest is the caller's promise.
                unsafe { self.panel(ctx, call, &strip, layout.panel(i)) };
            }
        });
    }

    unsafe fn panel(&self, ctx: &Context, call: &Call, strip: &Strip<E>, panel: Panel) {
        let spec = call.spec;
        let (cp, o) = (padded::<E>(spec), spec.out_channels);
        // runs of k that lie side by side in the strip: the taps of a kernel row, if nothing comes between them
        let joined = spec.dilation[1] == 1;
        let (run, runs) = if joined { (spec.kernel[1] * cp, 1) } else { (cp, spec.kernel[1]) };
        let row_stride = spec.dilation[0] * strip.width * cp;
        let run_stride = if joined { row_stride } else { spec.dilation[1] * cp };
        // (outer, inner): `inner` runs, `run_stride` apart, are summed in registers at once
        let (outer, inner) = if joined { (1, spec.kernel[0]) } else { (spec.kernel[0], runs) };
        let column = strip.group * spec.group_out() + panel.first;
        let offset = strip.first_pixel * o + column;
        let chunk = CHUNK / E::STEP * E::STEP;
        let at_once = (chunk / run).clamp(1, inner);
        let mut b = self.panels.matrix(strip.group).wrapping_add(panel.offset);
        let mut started = false;
        for high in 0..outer {
            let mut low = 0;
            while low < inner {
                let segments = at_once.min(inner - low);
                let base = high * row_stride + low * run_stride;
                let mut k = 0;
                while k < run {
                    let len = if segments > 1 { run } else { chunk.min(run - k) };
                    // SAFETY: pixels of the strip, panel and target exist by the caller's promise.
                    unsafe {
                        let c = call.y.ptr().add(offset);
                        let (init, bias) = if started {
                            (Init::Rows(c, o), std::ptr::null())
                        } else {
                            let bias = call.bias.map_or(std::ptr::null(), |bias| bias.as_ptr().add(column));
                            (call.finish.init(call.y, offset, o), bias)
                        };
                        ctx.isa().run(Block {
                            rows: strip.starts.len(),
                            a: strip.data.as_ptr().add(base + k),
                            starts: RowStarts::At(&strip.starts),
                            segments,
                            segment_stride: run_stride,
                            len,
                            b,
                            vectors: panel.vectors,
                            last: panel.last,
                            c,
                            c_stride: o,
                            init,
                            bias,
                            next: b.wrapping_add(segments * len * panel.width),
                        });
                    }
                    started = true;
                    b = b.wrapping_add(segments * len * panel.width);
                    k += len;
                }
                low += segments;
            }
        }
        // SAFETY: as above.
        unsafe {
            call.finish.complete(ctx, call.y.ptr().add(offset), (strip.starts.len(), panel.columns), o);
        }
    }
}

/// How a call is cut into strips.
pub(crate) struct Plan {
    /// output rows of a strip; rows of all pictures are counted through
    strip_rows: usize,
    /// output columns of a strip: all, unless a row is as long as a sound
    columns: usize,
    /// strips side by side
    parts: usize,
}

/// Output rows and columns.
type Part = (Range<usize>, Range<usize>);

/// Input columns that so many output columns see.
fn width(spec: &ConvSpec, columns: usize) -> usize {
    (columns - 1) * spec.stride[1] + spec.dilation[1] * (spec.kernel[1] - 1) + 1
}

impl Plan {
    pub fn new<E: Element>(ctx: &Context, call: &Call) -> Self {
        let (spec, out) = (call.spec, call.output);
        let row_bytes = width(spec, out.w) * padded::<E>(spec) * size_of::<E>();
        let reach = spec.dilation[0] * (spec.kernel[0] - 1);
        let rows = out.n * out.h;
        if row_bytes * (reach + 1) > 2 * STRIP_BYTES {
            let parts = (row_bytes * (reach + 1)).div_ceil(STRIP_BYTES).max(out.w.div_ceil(STRIP_PIXELS));
            let by_threads = (2 * ctx.threads()).div_ceil(rows * spec.groups);
            let columns = out.w.div_ceil(parts.max(by_threads)).max(96).min(out.w);
            return Self { strip_rows: 1, columns, parts: out.w.div_ceil(columns) };
        }
        let by_memory = (STRIP_BYTES / row_bytes).saturating_sub(reach) / spec.stride[0];
        let by_pixels = STRIP_PIXELS.div_ceil(out.w);
        let by_threads = (rows * spec.groups).div_ceil(2 * ctx.threads());
        let strip_rows = by_memory.min(by_pixels).min(by_threads.max(96usize.div_ceil(out.w))).max(1);
        Self { strip_rows, columns: out.w, parts: 1 }
    }

    /// So many are all rows of the output.
    pub fn strips(&self, rows: usize) -> usize {
        rows.div_ceil(self.strip_rows) * self.parts
    }

    pub fn strip(&self, i: usize, out: Size) -> Part {
        let (row, column) = (i / self.parts * self.strip_rows, i % self.parts * self.columns);
        (row..(row + self.strip_rows).min(out.n * out.h), column..(column + self.columns).min(out.w))
    }
}

/// Padded rows of the input that a range of output rows sees; one group's channels.
pub(crate) struct Strip<'a, E: Element> {
    pub data: crate::memory::Borrowed<'a, E>,
    /// where the pixel under the kernel's first tap lies, for each output pixel
    pub starts: Vec<u32>,
    pub width: usize,
    group: usize,
    pub first_pixel: usize,
}

impl<'a, E: Element + FromF32> Strip<'a, E> {
    pub fn copy(ctx: &'a Context, call: &Call, (rows, columns): Part, group: usize) -> Self {
        let (spec, input, out) = (call.spec, call.input, call.output);
        let (cp, width) = (padded::<E>(spec), width(spec, columns.len()));
        let from = columns.start * spec.stride[1];
        let reach = spec.dilation[0] * (spec.kernel[0] - 1);
        // parts of the strip that belong to one picture each: (picture, first output row, rows)
        let mut parts = Vec::new();
        let mut row = rows.start;
        while row < rows.end {
            let (picture, y) = (row / out.h, row % out.h);
            let count = (out.h - y).min(rows.end - row);
            parts.push((picture, y, count));
            row += count;
        }
        let height = |count: usize| (count - 1) * spec.stride[0] + reach + 1;
        let lines: usize = parts.iter().map(|p| height(p.2)).sum();
        let mut data = ctx.scratch().take::<E>(lines * width * cp);
        let mut starts = Vec::with_capacity(rows.len() * columns.len());
        let mut line = 0;
        for (picture, y, count) in parts {
            for r in 0..count {
                for x in 0..columns.len() {
                    starts.push((((line + r * spec.stride[0]) * width + x * spec.stride[1]) * cp) as u32);
                }
            }
            for h in 0..height(count) {
                let target = &mut data[line * width * cp..][..width * cp];
                match (y * spec.stride[0] + h).checked_sub(spec.padding.top).filter(|y| *y < input.h) {
                    Some(y) => {
                        let source = &call.x[(picture * input.h + y) * input.w * spec.in_channels..];
                        copy_line(ctx, spec, (&source[..input.w * spec.in_channels], group), (from, target));
                    }
                    None => target.fill(E::default()),
                }
                line += 1;
            }
        }
        Self { data, starts, width, group, first_pixel: rows.start * out.w + columns.start }
    }
}

/// One input line of one group from a padded column on, with padding left and right and behind the channels.
fn copy_line<E: Element + FromF32>(
    ctx: &Context,
    spec: &ConvSpec,
    (source, group): (&[f32], usize),
    (from, target): (usize, &mut [E]),
) {
    let (c, cp, channels) = (spec.group_in(), padded::<E>(spec), spec.in_channels);
    let width = target.len() / cp;
    let left = spec.padding.left.saturating_sub(from).min(width);
    let passed = from.saturating_sub(spec.padding.left).min(source.len() / channels);
    let source = &source[passed * channels..];
    let seen = (source.len() / channels).min(width - left);
    target[..left * cp].fill(E::default());
    target[(left + seen) * cp..].fill(E::default());
    let inside = &mut target[left * cp..(left + seen) * cp];
    if c == channels && c == cp {
        E::convert(ctx, &source[..seen * c], inside);
    } else {
        for (pixel, out) in inside.chunks_exact_mut(cp).enumerate() {
            E::convert(ctx, &source[pixel * channels + group * c..][..c], &mut out[..c]);
            out[c..].fill(E::default());
        }
    }
}
