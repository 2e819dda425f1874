//! Few output channels (a net's last layer): dot products along a pixel's neighbourhood, where a panel would be mostly padding.

use super::direct::{Call, Plan, Strip};
use super::geometry::ConvSpec;
use crate::context::Context;
use crate::finish::Add;
use crate::isa::Op;
use crate::memory::Aligned;
use crate::simd::Simd;

/// Output channels that are worth it.
pub(crate) const MOST: usize = 8;

/// Weights as (o, kh, kw c).
pub(crate) struct Narrow {
    weights: Aligned<f32>,
}

impl Narrow {
    pub fn able(spec: &ConvSpec) -> bool {
        spec.groups == 1
            && spec.dilation[1] == 1
            && spec.out_channels <= MOST
            && spec.in_channels * spec.kernel[1] >= 64
    }

    pub fn bytes(spec: &ConvSpec) -> usize {
        spec.weights() * size_of::<f32>()
    }

    /// weights: (o, c, kh, kw)
    pub fn pack(spec: &ConvSpec, weights: &[f32]) -> Self {
        let (c, taps) = (spec.in_channels, spec.taps());
        let mut packed = Aligned::zeros(weights.len());
        for o in 0..spec.out_channels {
            for channel in 0..c {
                for tap in 0..taps {
                    packed[(o * taps + tap) * c + channel] = weights[(o * c + channel) * taps + tap];
                }
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
        let spec = call.spec;
        let rows = call.output.n * call.output.h;
        let plan = Plan::new::<f32>(ctx, call);
        ctx.parallel(plan.strips(rows), |i| {
            let strip = Strip::<f32>::copy(ctx, call, plan.strip(i, call.output), 0);
            let offset = strip.first_pixel * spec.out_channels;
            // SAFETY: each task has its own pixels; the rest is the caller's promise.
            unsafe {
                let y = call.y.ptr().add(offset);
                ctx.isa().run(Dots {
                    starts: &strip.starts,
                    a: strip.data.as_ptr(),
                    run: spec.kernel[1] * spec.in_channels,
                    runs: spec.kernel[0],
                    run_stride: spec.dilation[0] * strip.width * spec.in_channels,
                    weights: self.weights.as_ptr(),
                    o: spec.out_channels,
                    bias: call.bias,
                    add: match call.finish.add {
                        Add::Nothing => std::ptr::null(),
                        Add::Output => y,
                        Add::Rows(rows) => rows.as_ptr().add(offset),
                    },
                    y,
                });
                let (pixels, o) = (strip.starts.len(), spec.out_channels);
                call.finish.complete(ctx, y, (pixels, o), o);
            }
        });
    }
}

struct Dots<'a> {
    starts: &'a [u32],
    a: *const f32,
    run: usize,
    runs: usize,
    run_stride: usize,
    weights: *const f32,
    o: usize,
    bias: Option<&'a [f32]>,
    add: *const f32,
    y: *mut f32,
}

impl Op for Dots<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut o = 0;
        while o < self.o {
            // SAFETY: o stays within the weights.
            unsafe {
                match self.o - o {
                    1 => self.columns::<S, 8, 8, 1>(o),
                    2 => self.columns::<S, 4, 6, 2>(o),
                    3 => self.columns::<S, 4, 4, 3>(o),
                    _ => self.columns::<S, 4, 3, 4>(o),
                }
            }
            o += 4;
        }
    }
}

impl Dots<'_> {
    /// `N` channels of all pixels, as many pixels at once as keep their sums in registers: `MANY` with 32 of them, `FEW` with 16. Twice as many as `MANY` would fit, and
    /// took twice as long.
    #[inline(always)]
    unsafe fn columns<S: Simd, const MANY: usize, const FEW: usize, const N: usize>(&self, o: usize) {
        // SAFETY: handed on to the caller.
        unsafe { if S::LANES == 16 { self.pixels::<S, MANY, N>(o) } else { self.pixels::<S, FEW, N>(o) } }
    }

    #[inline(always)]
    unsafe fn pixels<S: Simd, const R: usize, const N: usize>(&self, o: usize) {
        let mut pixel = 0;
        // SAFETY: pixels stay within the strip.
        unsafe {
            while pixel + R <= self.starts.len() {
                self.dots::<S, R, N>(pixel, o);
                pixel += R;
            }
            while pixel < self.starts.len() {
                self.dots::<S, 1, N>(pixel, o);
                pixel += 1;
            }
        }
    }

    #[inline(always)]
    unsafe fn dots<S: Simd, const R: usize, const N: usize>(&self, pixel: usize, o: usize) {
        // SAFETY: whole vectors are read only where a run has them.
        unsafe {
            let mut acc = [[S::splat(0.0); N]; R];
            let kernel = self.run * self.runs;
            for run in 0..self.runs {
                let weights = self.weights.add(o * kernel + run * self.run);
                let mut a = [self.a; R];
                for i in 0..R {
                    a[i] = self.a.add(self.starts[pixel + i] as usize + run * self.run_stride);
                }
                let mut k = 0;
                while k + S::LANES <= self.run {
                    for j in 0..N {
                        let w = S::load(weights.add(j * kernel + k));
                        for i in 0..R {
                            acc[i][j] = S::fma(S::load(a[i].add(k)), w, acc[i][j]);
                        }
                    }
                    k += S::LANES;
                }
                let rest = self.run - k;
                if rest > 0 {
                    for j in 0..N {
                        let w = S::load_part(weights.add(j * kernel + k), rest);
                        for i in 0..R {
                            acc[i][j] = S::fma(S::load_part(a[i].add(k), rest), w, acc[i][j]);
                        }
                    }
                }
            }
            for i in 0..R {
                for j in 0..N {
                    let at = (pixel + i) * self.o + o + j;
                    let mut sum = S::sum(acc[i][j]);
                    if let Some(bias) = self.bias {
                        sum += bias[o + j];
                    }
                    if !self.add.is_null() {
                        sum += *self.add.add(at);
                    }
                    *self.y.add(at) = sum;
                }
            }
        }
    }
}
