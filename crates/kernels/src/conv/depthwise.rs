//! One filter a channel: sums over taps, channels side by side in a vector.

use super::direct::Call;
use super::geometry::{ConvSpec, Size};
use crate::context::Context;
use crate::finish::Add;
use crate::isa::Op;
use crate::memory::Aligned;
use crate::simd::Simd;

/// Weights as (tap, channel).
pub(crate) struct Depthwise {
    weights: Aligned<f32>,
}

impl Depthwise {
    pub fn bytes(spec: &ConvSpec) -> usize {
        spec.weights() * size_of::<f32>()
    }

    /// weights: (c, 1, kh, kw)
    pub fn pack(spec: &ConvSpec, weights: &[f32]) -> Self {
        let (c, taps) = (spec.in_channels, spec.taps());
        let mut packed = Aligned::zeros(weights.len());
        for channel in 0..c {
            for tap in 0..taps {
                packed[tap * c + channel] = weights[channel * taps + tap];
            }
        }
        Self { weights: packed }
    }

    pub fn held(&self) -> usize {
        self.weights.bytes()
    }

    /// # Safety
    /// All lengths of the call agree with its sizes.
    pub unsafe fn run(&self, ctx: &Context, call: &Call) {
        let row = call.output.w * call.spec.in_channels;
        ctx.parallel(call.output.n * call.output.h, |i| {
            let (picture, y) = (i / call.output.h, i % call.output.h);
            let offset = i * row;
            // SAFETY: each task has its own output row; the rest is the caller's promise.
            unsafe {
                ctx.isa().run(Row {
                    spec: call.spec,
                    input: call.input,
                    x: call.x.as_ptr().add(picture * call.input.h * call.input.w * call.spec.in_channels),
                    y,
                    weights: self.weights.as_ptr(),
                    bias: call.bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
                    add: match call.finish.add {
                        Add::Nothing => std::ptr::null(),
                        Add::Output => call.y.ptr().add(offset),
                        Add::Rows(rows) => rows.as_ptr().add(offset),
                    },
                    out: call.y.ptr().add(offset),
                    width: call.output.w,
                });
                call.finish.complete(ctx, call.y.ptr().add(offset), (1, row), row);
            }
        });
    }
}

struct Row<'a> {
    spec: &'a ConvSpec,
    input: Size,
    /// the picture
    x: *const f32,
    /// output row
    y: usize,
    weights: *const f32,
    bias: *const f32,
    add: *const f32,
    out: *mut f32,
    width: usize,
}

/// Taps whose input lies within 0..len, for an output at `at`.
#[inline(always)]
fn inside(
    at: usize,
    len: usize,
    pad: usize,
    (kernel, stride, dilation): (usize, usize, usize),
) -> (usize, usize) {
    let start = at * stride;
    let first = pad.saturating_sub(start).div_ceil(dilation);
    let end = if len + pad > start { (len + pad - start).div_ceil(dilation).min(kernel) } else { 0 };
    (first, end)
}

impl Op for Row<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (spec, c) = (self.spec, self.spec.in_channels);
        let axis = |i: usize| (spec.kernel[i], spec.stride[i], spec.dilation[i]);
        let (top, bottom) = inside(self.y, self.input.h, spec.padding.top, axis(0));
        for x in 0..self.width {
            let (left, right) = inside(x, self.input.w, spec.padding.left, axis(1));
            let mut channel = 0;
            while channel < c {
                let n = S::LANES.min(c - channel);
                // SAFETY: only taps inside the picture are read; channel + n <= c.
                unsafe {
                    let mut acc = S::splat(0.0);
                    if !self.add.is_null() {
                        acc = S::load_part(self.add.add(x * c + channel), n);
                    }
                    if !self.bias.is_null() {
                        acc = S::add(acc, S::load_part(self.bias.add(channel), n));
                    }
                    for ky in top..bottom {
                        let row = self.y * spec.stride[0] + ky * spec.dilation[0] - spec.padding.top;
                        for kx in left..right {
                            let column = x * spec.stride[1] + kx * spec.dilation[1] - spec.padding.left;
                            let pixel = self.x.add((row * self.input.w + column) * c + channel);
                            let weight = self.weights.add((ky * spec.kernel[1] + kx) * c + channel);
                            acc = S::fma(S::load_part(pixel, n), S::load_part(weight, n), acc);
                        }
                    }
                    S::store_part(self.out.add(x * c + channel), acc, n);
                }
                channel += n;
            }
        }
    }
}
