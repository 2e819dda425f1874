//! Convolution over time, within each pixel: three frames to one, zeros before the first and behind the last. Clips are (n, frames, pixels, c); a kernel
//! of (3, 1) over pictures of frames by pixels means the same, but would copy all pixels of three frames for each it makes. Here rows are multiplied where they
//! lie, four frames at a time by Winograd's sums where that spares products, and under the fast profile each is rounded once for all three. Refuses other
//! numbers of taps.

mod winograd;

use crate::amx::{DEPTH, LEFT_BYTES, Left, ROW_BYTES, ROWS, Rounded, Rows, Target, TileWeights};
use crate::amx::{multiply, round, shares};
use crate::context::{Context, Profile};
use crate::error::{Result, check_len, check_positive};
use crate::finish::Finish;
use crate::format::bf16;
use crate::gemm::panels::{Layout, Panels};
use crate::gemm::product::CHUNK;
use crate::gemm::tile::{Block, Init, RowStarts};
use crate::isa::Isa;
use crate::memory::Shared;
use std::ops::Range;
use std::sync::OnceLock;
use winograd::Winograd;

const TAPS: usize = 3;
/// Rows a task takes at most.
const ROW_BLOCK: usize = 192;
/// Panels that pass a part of k together, so that rows come from the second-level cache.
const GROUP: usize = 8;

/// A layer.
pub struct FrameConv {
    ctx: Context,
    inputs: usize,
    outputs: usize,
    bias: Option<Vec<f32>>,
    held: Held,
    /// Made of the f32 panels for the first clip whose frames it pays for; `None` where the weights' budget had no room.
    winograd: OnceLock<Option<Winograd>>,
}

enum Held {
    /// k: taps, then channels
    F32(Panels<f32>),
    /// k: blocks of 32 channels, then taps
    Amx(TileWeights),
}

/// How many clips of how many frames and pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clips {
    pub n: usize,
    pub frames: usize,
    pub pixels: usize,
}

impl Clips {
    fn rows(&self) -> usize {
        self.n * self.frames * self.pixels
    }
}

/// A call whose lengths were checked.
struct Call<'a> {
    clips: Clips,
    x: &'a [f32],
    y: Shared<f32>,
    bias: Option<&'a [f32]>,
    finish: Finish<'a>,
}

impl FrameConv {
    /// weights: (out, in, 3), the earlier frame first
    pub fn new(
        ctx: &Context,
        [outputs, inputs]: [usize; 2],
        weights: &[f32],
        bias: Option<Vec<f32>>,
    ) -> Result<Self> {
        check_positive("channels of a convolution over time", inputs)?;
        check_positive("outputs of a convolution over time", outputs)?;
        check_len("weights of a convolution over time", weights.len(), outputs * inputs * TAPS)?;
        if let Some(bias) = &bias {
            check_len("bias of a convolution over time", bias.len(), outputs)?;
        }
        let weight = |o: usize, c: usize, tap: usize| weights[(o * inputs + c) * TAPS + tap];
        let held = if ctx.profile() == Profile::Fast && ctx.isa() == Isa::Amx {
            Held::Amx(TileWeights::pack(ctx, inputs.div_ceil(DEPTH) * TAPS, outputs, |k, o| {
                let (channel, tap) = (k / (TAPS * DEPTH) * DEPTH + k % DEPTH, k / DEPTH % TAPS);
                if channel < inputs { bf16::from_f32(weight(o, channel, tap)) } else { 0 }
            }))
        } else {
            let layout = Layout::new(ctx.isa(), TAPS * inputs, outputs);
            Held::F32(Panels::pack(ctx, 1, layout, |_, k, o| weight(o, k % inputs, k / inputs)))
        };
        Ok(Self { ctx: ctx.clone(), inputs, outputs, bias, held, winograd: OnceLock::new() })
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// How the products are made, by now.
    pub fn variant(&self) -> &'static str {
        match &self.held {
            Held::F32(_) if matches!(self.winograd.get(), Some(Some(_))) => "frames-winograd-f32",
            Held::F32(_) => "frames-f32",
            Held::Amx(_) => "frames-amx",
        }
    }

    /// x: (n, frames, pixels, in) -> y: (n, frames, pixels, out)
    pub fn forward(&self, x: &[f32], clips: Clips, y: &mut [f32], finish: Finish) -> Result<()> {
        check_len("input of a convolution over time", x.len(), clips.rows() * self.inputs)?;
        check_len("output of a convolution over time", y.len(), clips.rows() * self.outputs)?;
        finish.check(y.len())?;
        if y.is_empty() {
            return Ok(());
        }
        let call = Call { clips, x, y: Shared::new(y), bias: self.bias.as_deref(), finish };
        // SAFETY: all lengths were checked above.
        unsafe {
            match &self.held {
                Held::F32(panels) => match self.winograd(panels, clips) {
                    Some(winograd) => winograd.run(&self.ctx, &call),
                    None => self.by_rows(panels, &call),
                },
                Held::Amx(weights) => self.by_tiles(weights, &call),
            }
        }
        Ok(())
    }

    fn winograd(&self, panels: &Panels<f32>, clips: Clips) -> Option<&Winograd> {
        let pays = winograd::pays(clips.frames, [self.outputs, self.inputs]);
        pays.then(|| self.winograd.get_or_init(|| Winograd::of(&self.ctx, panels)).as_ref())?
    }

    /// # Safety
    /// All lengths of the call agree with its sizes.
    unsafe fn by_rows(&self, panels: &Panels<f32>, call: &Call) {
        let (ctx, Clips { n, frames, pixels }) = (&self.ctx, call.clips);
        let blocks = pixels.div_ceil(ROW_BLOCK);
        let block_rows = pixels.div_ceil(blocks);
        let tasks = n * frames * blocks;
        let all = panels.layout().panels();
        let shares = if tasks >= 2 * ctx.threads() { 1 } else { all.min(2 * ctx.threads()) };
        let share = all.div_ceil(shares);
        ctx.parallel(tasks * shares, |task| {
            let (block, first) = (task / shares, task % shares * share);
            let (frame, block) = (block / blocks, block % blocks);
            let rows = block * block_rows..((block + 1) * block_rows).min(pixels);
            // SAFETY: tasks differ in rows or panels; the rest is the caller's promise.
            unsafe { self.rows(panels, call, (frame, rows), first..(first + share).min(all)) };
        });
    }

    /// Some pixels of a frame, counted through all clips.
    unsafe fn rows(
        &self,
        weights: &Panels<f32>,
        call: &Call,
        (frame, rows): (usize, Range<usize>),
        panels: Range<usize>,
    ) {
        let (c, o, Clips { frames, pixels, .. }) = (self.inputs, self.outputs, call.clips);
        let at = frame % frames;
        let seen = usize::from(at == 0)..if at + 1 == frames { TAPS - 1 } else { TAPS };
        let layout = weights.layout();
        let mut steps = panels
            .clone()
            .step_by(GROUP)
            .flat_map(|first| {
                let group = first..(first + GROUP).min(panels.end);
                let parts = seen.clone().flat_map(|tap| (0..c).step_by(CHUNK).map(move |k| (tap, k)));
                parts.flat_map(move |(tap, k)| group.clone().map(move |panel| (panel, tap, k)))
            })
            .peekable();
        let b = |(panel, tap, k): (usize, usize, usize)| {
            let panel = layout.panel(panel);
            weights.matrix(0).wrapping_add(panel.offset + (tap * c + k) * panel.width)
        };
        while let Some(step) = steps.next() {
            let (panel, tap, k) = step;
            let panel = layout.panel(panel);
            let len = CHUNK.min(c - k);
            let row = frame * pixels + rows.start;
            let offset = row * o + panel.first;
            // SAFETY: the tap sees a frame of this clip; rows and panel lie within both sides and the target.
            unsafe {
                let target = call.y.ptr().add(offset);
                let (init, bias) = if (tap, k) == (seen.start, 0) {
                    let bias = call.bias.map_or(std::ptr::null(), |bias| bias.as_ptr().add(panel.first));
                    (call.finish.init(call.y, offset, o), bias)
                } else {
                    (Init::Rows(target, o), std::ptr::null())
                };
                self.ctx.isa().run(Block {
                    rows: rows.len(),
                    a: call.x.as_ptr().add((row + tap * pixels - pixels) * c + k),
                    starts: RowStarts::Every(c),
                    segments: 1,
                    segment_stride: 0,
                    len,
                    b: b(step),
                    vectors: panel.vectors,
                    last: panel.last,
                    c: target,
                    c_stride: o,
                    init,
                    bias,
                    next: steps.peek().map_or(b(step), |next| b(*next)),
                });
                if tap + 1 == seen.end && k + len == c {
                    call.finish.complete(&self.ctx, target, (rows.len(), panel.columns), o);
                }
            }
        }
    }

    /// # Safety
    /// The context has tiles; all lengths of the call agree with its sizes.
    unsafe fn by_tiles(&self, weights: &TileWeights, call: &Call) {
        let (ctx, Clips { n, frames, pixels }) = (&self.ctx, call.clips);
        let pixel_bytes = (frames + 2) * self.inputs.next_multiple_of(DEPTH) * size_of::<u16>();
        let most = (LEFT_BYTES / pixel_bytes).max(ROWS);
        let by_threads = (n * pixels).div_ceil(ctx.threads()).max(ROWS);
        let strips = pixels.div_ceil(most.min(by_threads));
        let strip_pixels = pixels.div_ceil(strips).next_multiple_of(ROWS);
        let strips = pixels.div_ceil(strip_pixels);
        let shares = shares(ctx, n * strips, weights);
        ctx.parallel(n * strips * shares.len(), |task| {
            let (clip, strip) = (task / shares.len() / strips, task / shares.len() % strips);
            let range = strip * strip_pixels..((strip + 1) * strip_pixels).min(pixels);
            let left = self.strip(call, clip, range);
            let target = Target { c: call.y, bias: call.bias, finish: call.finish };
            // SAFETY: tasks differ in rows or panels; the rest is the caller's promise.
            unsafe { multiply(ctx, &left, (weights, shares[task % shares.len()].clone()), target) };
        });
    }

    /// Some pixels of all frames of a clip, rounded, a frame of zeros at either end.
    fn strip(&self, call: &Call, clip: usize, range: Range<usize>) -> Left<'_> {
        const TILE: usize = ROWS * DEPTH;
        let (c, Clips { frames, pixels, .. }) = (self.inputs, call.clips);
        let blocks = c.div_ceil(DEPTH);
        let tiles = range.len().div_ceil(ROWS);
        let frame = tiles * blocks * TILE; // values
        let mut data = self.ctx.scratch().take::<u16>((frames + 2) * frame);
        data[..frame].fill(0);
        data[(frames + 1) * frame..].fill(0);
        let mut left = Vec::with_capacity(frames * tiles);
        for f in 0..frames {
            let first = (clip * frames + f) * pixels + range.start;
            let x = &call.x[first * c..(first + range.len()) * c];
            for (tile, x) in x.chunks(ROWS * c).enumerate() {
                let to = (f + 1) * frame + tile * blocks * TILE;
                let rounded = Rounded { x, c, stride: c, pitch: DEPTH, plane: TILE };
                round(rounded, &mut data[to..to + blocks * TILE]);
                left.push(Rows {
                    start: ((to - frame) * size_of::<u16>()) as u32,
                    first: (first + tile * ROWS) as u32,
                    count: (x.len() / c) as u32,
                });
            }
        }
        let taps = |block: usize| (0..TAPS).map(move |tap| (tap * frame + block * TILE) * size_of::<u16>());
        let steps = (0..blocks).flat_map(taps).map(|bytes| bytes as u32).collect();
        Left { data, row_bytes: ROW_BYTES, steps, tiles: left, all: call.clips.rows() }
    }
}
