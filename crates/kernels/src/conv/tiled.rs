//! Convolution by AMX's tiles as a product without a column matrix. The rows of a tile are 16 output pixels, and where a tap of
//! the kernel sees them is a distance in a strip of the picture that was padded and rounded to bf16 beforehand.

use super::direct::Call;
use super::geometry::ConvSpec;
use crate::amx::{DEPTH, LEFT_BYTES, Left, ROWS, Rounded, Rows, Target, TileWeights};
use crate::amx::{multiply, round, shares};
use crate::context::Context;
use crate::format::bf16;
use std::ops::Range;

/// How pixels lie in a strip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// 32 channels of a pixel side by side, in each line a run of pixels for each 32; a tile is part of an output row
    Blocks,
    /// a plane for each 32 channels, with a copy for each column of the kernel and each row of a stride, each as wide as the output: a tile goes on
    /// in the next row, for pictures narrower than a tile or little wider
    Copies,
    /// few channels: pixels as they lie, a kernel's row is one run of values
    Runs,
}

/// Packed weights.
pub(crate) struct Tiled {
    weights: TileWeights,
}

/// Few channels, and nothing between the columns of a kernel.
fn has_runs(spec: &ConvSpec) -> bool {
    spec.in_channels < DEPTH && spec.dilation[1] == 1
}

/// Tiles of k.
fn steps(spec: &ConvSpec) -> usize {
    if has_runs(spec) {
        spec.kernel[0] * (spec.kernel[1] * spec.in_channels).div_ceil(DEPTH)
    } else {
        spec.in_channels.div_ceil(DEPTH) * spec.taps()
    }
}

impl Tiled {
    pub fn able(spec: &ConvSpec) -> bool {
        spec.groups == 1
    }

    pub fn bytes(spec: &ConvSpec) -> usize {
        TileWeights::bytes_of(steps(spec), spec.out_channels)
    }

    /// How much of the products is padding: multiplications done for each one asked for.
    pub fn padding(spec: &ConvSpec) -> f64 {
        let done = steps(spec) * DEPTH * spec.out_channels.next_multiple_of(ROWS);
        done as f64 / (spec.in_channels * spec.taps() * spec.out_channels) as f64
    }

    /// weights: (o, c, kh, kw)
    pub fn pack(ctx: &Context, spec: &ConvSpec, weights: &[f32]) -> Self {
        let (c, taps, kw) = (spec.in_channels, spec.taps(), spec.kernel[1]);
        let row = (kw * c).next_multiple_of(DEPTH);
        let runs = has_runs(spec);
        let place = |k: usize| {
            if runs {
                let (ky, at) = (k / row, k % row);
                (at < kw * c).then(|| (at % c, ky * kw + at / c))
            } else {
                let channel = k / (taps * DEPTH) * DEPTH + k % DEPTH;
                (channel < c).then_some((channel, k / DEPTH % taps))
            }
        };
        let weights = TileWeights::pack(ctx, steps(spec), spec.out_channels, |k, o| {
            place(k).map_or(0, |(channel, tap)| bf16::from_f32(weights[(o * c + channel) * taps + tap]))
        });
        Self { weights }
    }

    pub fn held(&self) -> usize {
        self.weights.bytes()
    }

    /// # Safety
    /// The context has tiles; all lengths of the call agree with its sizes.
    pub unsafe fn run(&self, ctx: &Context, call: &Call) {
        let plan = Plan::new(ctx, call);
        let rows = call.output.n * call.output.h;
        let strips = rows.div_ceil(plan.strip_rows);
        let shares = shares(ctx, strips, &self.weights);
        ctx.parallel(strips * shares.len(), |task| {
            let strip = task / shares.len();
            let rows = strip * plan.strip_rows..((strip + 1) * plan.strip_rows).min(rows);
            let left = plan.strip(ctx, call, rows);
            let target = Target { c: call.y, bias: call.bias, finish: call.finish };
            // SAFETY: tasks differ in rows or panels; the rest is the caller's promise.
            unsafe { multiply(ctx, &left, (&self.weights, shares[task % shares.len()].clone()), target) };
        });
    }
}

/// How a call is cut into strips, and how a strip lies in memory.
struct Plan {
    form: Form,
    /// output rows of a strip; rows of all pictures are counted through
    strip_rows: usize,
    /// pixels of a line of the strip
    width: usize,
    /// values from pixel to pixel
    pitch: usize,
    /// lines that are kept apart by their row within a stride
    phases: usize,
    /// copies of each line, each shifted by a column of the kernel
    copies: usize,
}

/// Distances in a strip, in values.
#[derive(Clone, Copy)]
struct Apart {
    line: usize,
    copy: usize,
    block: usize,
}

/// Output rows of one picture within a strip.
struct Part {
    picture: usize,
    /// first output row
    y: usize,
    rows: usize,
    /// first line of the part in each copy and phase
    line: usize,
}

impl Plan {
    fn new(ctx: &Context, call: &Call) -> Self {
        let (spec, out) = (call.spec, call.output);
        let padded = (out.w - 1) * spec.stride[1] + spec.dilation[1] * (spec.kernel[1] - 1) + 1;
        let form = if has_runs(spec) {
            Form::Runs
        } else if out.w.next_multiple_of(ROWS) * 15 <= out.w * 16 {
            Form::Blocks
        } else {
            Form::Copies
        };
        let (width, pitch, phases, copies) = match form {
            Form::Runs => (padded, spec.in_channels, 1, 1),
            Form::Blocks => (padded, DEPTH, 1, 1),
            Form::Copies => (out.w, DEPTH, spec.stride[0], spec.kernel[1]),
        };
        let mut plan = Self { form, strip_rows: 1, width, pitch, phases, copies };
        let blocks = if form == Form::Runs { 1 } else { spec.in_channels.div_ceil(DEPTH) };
        let line = blocks * copies * width * pitch * size_of::<u16>();
        let rows = out.n * out.h;
        let by_memory = (LEFT_BYTES / line).saturating_sub(plan.reach(spec)) / spec.stride[0];
        let by_threads = rows.div_ceil(ctx.threads()).max((4 * ROWS).div_ceil(out.w));
        let most = by_memory.min(by_threads).max((2 * ROWS).div_ceil(out.w)).max(1);
        // strips of one size
        plan.strip_rows = rows.div_ceil(rows.div_ceil(most));
        plan
    }

    /// Blocks of 32 channels.
    fn blocks(&self, spec: &ConvSpec) -> usize {
        if self.form == Form::Runs { 1 } else { spec.in_channels.div_ceil(DEPTH) }
    }

    /// Lines below a row's first one that its kernel sees.
    fn reach(&self, spec: &ConvSpec) -> usize {
        spec.dilation[0] * (spec.kernel[0] - 1)
    }

    /// Lines of each phase that output rows of one picture see.
    fn lines(&self, spec: &ConvSpec, rows: usize) -> usize {
        ((rows - 1) * spec.stride[0] + self.reach(spec) + 1).div_ceil(self.phases)
    }

    fn strip<'a>(&self, ctx: &'a Context, call: &Call, rows: Range<usize>) -> Left<'a> {
        let (spec, out) = (call.spec, call.output);
        let mut parts = Vec::new();
        let (mut row, mut lines) = (rows.start, 0);
        while row < rows.end {
            let (picture, y) = (row / out.h, row % out.h);
            let rows = (out.h - y).min(rows.end - row);
            parts.push(Part { picture, y, rows, line: lines });
            lines += self.lines(spec, rows);
            row += rows;
        }
        let blocks = self.blocks(spec);
        let run = self.width * self.pitch;
        // distances of lines, of copies of a phase, of blocks of channels
        let apart = match self.form {
            Form::Copies => {
                Apart { line: run, copy: lines * run, block: lines * run * self.phases * self.copies }
            }
            Form::Blocks | Form::Runs => Apart { line: blocks * run, copy: 0, block: run },
        };
        let row_values = if self.form == Form::Copies { DEPTH } else { spec.stride[1] * self.pitch };
        // the last tile may begin at the last pixel, and a run may end behind it
        let behind = ROWS * row_values + spec.kernel[1] * self.pitch + DEPTH;
        let mut data = ctx.scratch().take::<u16>(lines * blocks * run * self.phases * self.copies + behind);
        let end = data.len() - behind;
        data[end..].fill(0);
        for part in &parts {
            for phase in 0..self.phases {
                for line in 0..self.lines(spec, part.rows) {
                    for shift in 0..self.copies {
                        let at = (shift * self.phases + phase) * apart.copy + (part.line + line) * apart.line;
                        let y = part.y * spec.stride[0] + line * self.phases + phase;
                        self.line(call, (part.picture, y, shift), &mut data[at..], apart.block);
                    }
                }
            }
        }
        let mut tiles = Vec::with_capacity(rows.len() * out.w / ROWS + rows.len());
        for part in &parts {
            let first = (part.picture * out.h + part.y) * out.w;
            let mut tile = |start: usize, pixel: usize, count: usize| {
                tiles.push(Rows {
                    start: (start * size_of::<u16>()) as u32,
                    first: (first + pixel) as u32,
                    count: count.min(ROWS) as u32,
                });
            };
            if self.form == Form::Copies {
                let pixels = part.rows * out.w;
                for pixel in (0..pixels).step_by(ROWS) {
                    tile((part.line * self.width + pixel) * DEPTH, pixel, pixels - pixel);
                }
            } else {
                for row in 0..part.rows {
                    let line = (part.line + row * spec.stride[0]) * apart.line;
                    for x in (0..out.w).step_by(ROWS) {
                        tile(line + x * spec.stride[1] * self.pitch, row * out.w + x, out.w - x);
                    }
                }
            }
        }
        let steps = self.steps(spec, apart);
        Left { data, row_bytes: row_values * size_of::<u16>(), steps, tiles, all: out.pixels() }
    }

    /// Where each 32 values of k lie, in bytes from a tile's start.
    fn steps(&self, spec: &ConvSpec, apart: Apart) -> Vec<u32> {
        let [kh, kw] = spec.kernel;
        let line = |ky: usize| {
            let y = ky * spec.dilation[0];
            y % self.phases * apart.copy + y / self.phases * apart.line
        };
        let column = |kx: usize| match self.form {
            Form::Copies => kx * self.phases * apart.copy,
            Form::Blocks | Form::Runs => kx * spec.dilation[1] * self.pitch,
        };
        let values: Vec<usize> = if self.form == Form::Runs {
            let row = (kw * spec.in_channels).div_ceil(DEPTH);
            (0..kh).flat_map(|ky| (0..row).map(move |j| line(ky) + j * DEPTH)).collect()
        } else {
            let taps: Vec<usize> = (0..kh * kw).map(|tap| line(tap / kw) + column(tap % kw)).collect();
            (0..self.blocks(spec)).flat_map(|b| taps.iter().map(move |tap| b * apart.block + tap)).collect()
        };
        values.into_iter().map(|at| (at * size_of::<u16>()) as u32).collect()
    }

    /// One padded line: row y of a padded picture, from column `shift` of the kernel on.
    fn line(&self, call: &Call, (picture, y, shift): (usize, usize, usize), to: &mut [u16], plane: usize) {
        let (spec, input, c) = (call.spec, call.input, call.spec.in_channels);
        let blocks = self.blocks(spec);
        let mut clear = |pixels: Range<usize>| {
            for block in 0..blocks {
                let at = block * plane;
                to[at + pixels.start * self.pitch..at + pixels.end * self.pitch].fill(0);
            }
        };
        let Some(y) = y.checked_sub(spec.padding.top).filter(|y| *y < input.h) else {
            clear(0..self.width);
            return;
        };
        // pixel i of the line is column `i * stride + shift - left` of the picture
        let stride = if self.form == Form::Copies { spec.stride[1] } else { 1 };
        let shift = shift * spec.dilation[1];
        let left = spec.padding.left;
        let first = left.saturating_sub(shift).div_ceil(stride).min(self.width);
        let end = (input.w + left).saturating_sub(shift).div_ceil(stride).clamp(first, self.width);
        clear(0..first);
        clear(end..self.width);
        if first == end {
            return;
        }
        let source = &call.x[((picture * input.h + y) * input.w + first * stride + shift - left) * c..];
        if self.form == Form::Runs {
            let count = (end - first) * c;
            // in one run, as if a line were one long row; what its last block has too much is written anew by the next line
            run(&source[..count], &mut to[first * c..]);
        } else if stride == 1 {
            let x = &source[..(end - first) * c];
            round(Rounded { x, c, stride: c, pitch: DEPTH, plane }, &mut to[first * DEPTH..]);
        } else {
            for i in 0..end - first {
                let x = &source[i * stride * c..][..c];
                round(Rounded { x, c, stride: c, pitch: DEPTH, plane }, &mut to[(first + i) * DEPTH..]);
            }
        }
    }
}

/// Rounds a run of values.
fn run(x: &[f32], to: &mut [u16]) {
    let whole = x.len() / DEPTH * DEPTH;
    round(Rounded { x: &x[..whole], c: DEPTH, stride: DEPTH, pitch: DEPTH, plane: 0 }, to);
    let mut rest = [0u16; DEPTH];
    if whole < x.len() {
        let x = &x[whole..];
        round(Rounded { x, c: x.len(), stride: x.len(), pitch: 0, plane: 0 }, &mut rest);
        to[whole..whole + x.len()].copy_from_slice(&rest[..x.len()]);
    }
}
