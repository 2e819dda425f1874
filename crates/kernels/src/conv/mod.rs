//! Convolution, NHWC: a layer holds packed weights of the one variant that was picked for it.
//! Weights come in PyTorch's order (out, in / groups, kh, kw). A causal 3D convolution is kt of these, the later ones
//! with `Finish::accumulate()`.

mod depthwise;
mod direct;
pub mod geometry;
mod narrow;
pub mod pick;
mod tiled;
mod winograd;

use crate::amx::{DEPTH, Target, TileWeights, multiply_rows};
use crate::context::{Booking, Choice, Context};
use crate::error::{Error, Result, check_len, check_positive};
use crate::finish::Finish;
use crate::gemm::panels::{FromF32, Layout, Panels};
use crate::gemm::product::{Plain, Product, multiply};
use crate::memory::Shared;
use depthwise::Depthwise;
use direct::{Call, Direct};
use geometry::{ConvSpec, Size};
use narrow::Narrow;
use pick::{Key, Variant};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use tiled::Tiled;
use winograd::{F2, Winograd};
pub(crate) use winograd::{F4, Filter};

/// Runs of a candidate beside the first, which fills caches and scratch memory. The shortest counts.
const TIMED_RUNS: usize = 3;
/// After so much time in runs of one candidate there are no more: runs that long differ little.
const TIMED_ENOUGH: Duration = Duration::from_millis(30);

/// A convolution layer.
pub struct Conv2d {
    ctx: Context,
    spec: ConvSpec,
    bias: Option<Vec<f32>>,
    weights: RwLock<Weights>,
}

enum Weights {
    /// as they came, until the first use picks
    Original(Vec<f32>),
    Picked(Picked),
}

struct Picked {
    variant: Variant,
    packed: Packed,
    _booking: Booking,
}

enum Packed {
    PointwiseF32(Panels<f32>),
    PointwiseBf16(Panels<u16>),
    Depthwise(Depthwise),
    Narrow(Narrow),
    DirectF32(Direct<f32>),
    DirectBf16(Direct<u16>),
    PointwiseAmx(TileWeights),
    TiledAmx(Tiled),
    Winograd2(Winograd<F2, 4, 2>),
    Winograd4(Winograd<F4, 6, 4>),
}

impl Conv2d {
    /// weights: (out, in / groups, kh, kw), bias: (out). The variant is picked at the first use, or by `prepare`.
    pub fn new(ctx: &Context, spec: ConvSpec, weights: Vec<f32>, bias: Option<Vec<f32>>) -> Result<Self> {
        check(&spec, &weights, bias.as_deref())?;
        Ok(Self { ctx: ctx.clone(), spec, bias, weights: RwLock::new(Weights::Original(weights)) })
    }

    /// A layer whose variant is given, whatever the profile, the clock and the budget say.
    pub fn forced(
        ctx: &Context,
        spec: ConvSpec,
        weights: &[f32],
        bias: Option<Vec<f32>>,
        variant: Variant,
    ) -> Result<Self> {
        check(&spec, weights, bias.as_deref())?;
        if let Some(why) = variant.refuses(ctx.isa(), &spec) {
            let able: Vec<_> = Variant::ALL
                .into_iter()
                .filter(|v| v.refuses(ctx.isa(), &spec).is_none())
                .map(Variant::name)
                .collect();
            return Err(Error::Variant { asked: variant.name(), why, able: able.join(", ") });
        }
        let packed = Packed::pack(ctx, &spec, weights, variant);
        let picked = Picked { variant, packed, _booking: ctx.book_anyway(extra(ctx, &spec, variant)) };
        Ok(Self { ctx: ctx.clone(), spec, bias, weights: RwLock::new(Weights::Picked(picked)) })
    }

    pub fn spec(&self) -> &ConvSpec {
        &self.spec
    }

    /// What was picked; `None` before the first use.
    pub fn variant(&self) -> Option<Variant> {
        match &*self.weights.read().unwrap_or_else(PoisonError::into_inner) {
            Weights::Original(_) => None,
            Weights::Picked(picked) => Some(picked.variant),
        }
    }

    /// Bytes the weights take now.
    pub fn weight_bytes(&self) -> usize {
        match &*self.weights.read().unwrap_or_else(PoisonError::into_inner) {
            Weights::Original(weights) => weights.len() * size_of::<f32>(),
            Weights::Picked(picked) => picked.packed.held(),
        }
    }

    /// Picks for pictures of this size now, on noise, so that weights are packed while they are loaded.
    /// Later sizes use the same variant.
    pub fn prepare(&self, input: Size) -> Result<()> {
        let output = self.spec.output(input)?;
        check_positive("pictures to pick for", output.pixels())?;
        if self.variant().is_none() {
            self.pick(input, output, &noise(input.pixels() * self.spec.in_channels));
        }
        Ok(())
    }

    /// x: (n, h, w, in) -> y: (n, h', w', out)
    pub fn forward(&self, x: &[f32], input: Size, y: &mut [f32], finish: Finish) -> Result<()> {
        let output = self.spec.output(input)?;
        check_len("convolution input", x.len(), input.pixels() * self.spec.in_channels)?;
        check_len("convolution output", y.len(), output.pixels() * self.spec.out_channels)?;
        finish.check(y.len())?;
        if y.is_empty() {
            return Ok(());
        }
        if self.variant().is_none() {
            // by silence or by what is no number no variant can be told from another
            if x.iter().all(|v| v.is_finite()) && x.iter().any(|v| *v != 0.0) {
                self.pick(input, output, x);
            } else {
                self.pick(input, output, &noise(x.len()));
            }
        }
        let y = Shared::new(y);
        let call = Call { spec: &self.spec, input, output, x, y, bias: self.bias.as_deref(), finish };
        match &*self.weights.read().unwrap_or_else(PoisonError::into_inner) {
            // SAFETY: all lengths were checked above.
            Weights::Picked(picked) => unsafe { picked.packed.run(&self.ctx, &call) },
            Weights::Original(_) => unreachable!("picked above, and a pick is never undone"),
        }
        Ok(())
    }

    /// Replaces the original weights by those of the best variant for this input.
    fn pick(&self, input: Size, output: Size, x: &[f32]) {
        let mut weights = self.weights.write().unwrap_or_else(PoisonError::into_inner);
        let Weights::Original(original) = &*weights else { return };
        let ctx = &self.ctx;
        let key = Key { spec: self.spec, input, profile: ctx.profile() };
        // what another process wrote down is not trusted to fit
        let fits = |variant: &Variant| pick::candidates(ctx, &self.spec, output).contains(variant);
        let remembered = ctx.picks().get(&key).filter(fits);
        let remembered = remembered.and_then(|variant| self.packed(original, variant));
        let picked = remembered.unwrap_or_else(|| {
            let picked = self.best(original, input, output, x);
            ctx.picks().set(key, picked.variant);
            picked
        });
        *weights = Weights::Picked(picked);
        // the weights as they came and as other candidates had them: several times as much as what stays
        allocator::give_back();
    }

    /// Packs, if the budget allows it.
    fn packed(&self, original: &[f32], variant: Variant) -> Option<Picked> {
        let booking = self.ctx.book(extra(&self.ctx, &self.spec, variant))?;
        Some(Picked {
            variant,
            packed: Packed::pack(&self.ctx, &self.spec, original, variant),
            _booking: booking,
        })
    }

    fn best(&self, original: &[f32], input: Size, output: Size, x: &[f32]) -> Picked {
        let ctx = &self.ctx;
        let reference = pick::reference(&self.spec);
        let exact = Picked {
            variant: reference,
            packed: Packed::pack(ctx, &self.spec, original, reference),
            _booking: ctx.book_anyway(extra(ctx, &self.spec, reference)),
        };
        let candidates = pick::candidates(ctx, &self.spec, output);
        if candidates == [reference] {
            return exact;
        }
        let mut truth = vec![0f32; output.pixels() * self.spec.out_channels];
        let run = |picked: &Picked, y: &mut [f32]| {
            let y = Shared::new(y);
            let call = Call {
                spec: &self.spec,
                input,
                output,
                x,
                y,
                bias: self.bias.as_deref(),
                finish: Finish::default(),
            };
            let start = pick::now(ctx);
            // SAFETY: the caller checked x, and y is of the output's length.
            unsafe { picked.packed.run(ctx, &call) };
            pick::now(ctx).saturating_sub(start)
        };
        let again = |picked: &Picked, y: &mut [f32]| {
            let mut shortest = Duration::MAX;
            let mut spent = Duration::ZERO;
            for _ in 0..TIMED_RUNS {
                let time = run(picked, y);
                (shortest, spent) = (shortest.min(time), spent + time);
                if spent > TIMED_ENOUGH {
                    break;
                }
            }
            shortest
        };
        let timed = ctx.choice() == Choice::Timed;
        let mut y = vec![0f32; truth.len()];
        let mut best_time = run(&exact, &mut truth);
        let mut best = exact;
        for variant in candidates {
            if variant == reference {
                // by count, the rest costs more
                if timed { continue } else { break }
            }
            let Some(candidate) = self.packed(original, variant) else { continue };
            let first = run(&candidate, &mut y);
            let error = relative_rms(&y, &truth);
            if error.is_nan() || error > variant.bound() {
                continue;
            }
            if !timed {
                return candidate;
            }
            if first > 2 * best_time {
                continue;
            }
            let time = again(&candidate, &mut y);
            if best.variant == reference && (best_time < 2 * time || best_time < TIMED_ENOUGH) {
                // close, or so short that fresh memory was most of it: its first run alone would do it injustice
                best_time = best_time.min(again(&best, &mut y));
            }
            if time < best_time {
                (best_time, best) = (time, candidate);
            }
        }
        best
    }
}

fn check(spec: &ConvSpec, weights: &[f32], bias: Option<&[f32]>) -> Result<()> {
    spec.check()?;
    check_len("convolution weights", weights.len(), spec.weights())?;
    bias.map_or(Ok(()), |bias| check_len("convolution bias", bias.len(), spec.out_channels))
}

/// Bytes a variant takes beyond the original weights.
fn extra(ctx: &Context, spec: &ConvSpec, variant: Variant) -> usize {
    let bytes = match variant {
        Variant::PointwiseF32 => Layout::new(ctx.isa(), spec.in_channels, spec.out_channels).len() * 4,
        Variant::PointwiseBf16 => {
            Layout::new(ctx.isa(), spec.in_channels.next_multiple_of(2), spec.out_channels).len() * 2
        }
        Variant::Depthwise => Depthwise::bytes(spec),
        Variant::Narrow => Narrow::bytes(spec),
        Variant::DirectF32 => Direct::<f32>::bytes(ctx, spec),
        Variant::DirectBf16 => Direct::<u16>::bytes(ctx, spec),
        Variant::PointwiseAmx => TileWeights::bytes_of(spec.in_channels.div_ceil(DEPTH), spec.out_channels),
        Variant::TiledAmx => Tiled::bytes(spec),
        Variant::Winograd2 => Winograd::<F2, 4, 2>::bytes(ctx, spec),
        Variant::Winograd4 => Winograd::<F4, 6, 4>::bytes(ctx, spec),
    };
    bytes.saturating_sub(spec.weights() * size_of::<f32>())
}

/// From -0.5 to 0.5, the same each time.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9u32;
    let mut next = || {
        // xorshift32; sums of such values have no trend
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

/// sqrt(sum (y - truth)^2 / sum truth^2); 0 where both are silent.
fn relative_rms(y: &[f32], truth: &[f32]) -> f64 {
    let (mut error, mut power) = (0f64, 0f64);
    for (y, t) in y.iter().zip(truth) {
        error += f64::from(y - t).powi(2);
        power += f64::from(*t).powi(2);
    }
    if error == 0.0 { 0.0 } else { (error / power).sqrt() }
}

fn pointwise<E: crate::gemm::tile::Element + FromF32>(
    ctx: &Context,
    spec: &ConvSpec,
    weights: &[f32],
) -> Panels<E> {
    let c = spec.in_channels;
    let layout = Layout::new(ctx.isa(), c.next_multiple_of(E::STEP), spec.out_channels);
    Panels::pack(ctx, 1, layout, |_, k, o| if k < c { E::from_f32(weights[o * c + k]) } else { E::default() })
}

impl Packed {
    fn pack(ctx: &Context, spec: &ConvSpec, weights: &[f32], variant: Variant) -> Self {
        match variant {
            Variant::PointwiseF32 => Packed::PointwiseF32(pointwise(ctx, spec, weights)),
            Variant::PointwiseBf16 => Packed::PointwiseBf16(pointwise(ctx, spec, weights)),
            Variant::Depthwise => Packed::Depthwise(Depthwise::pack(spec, weights)),
            Variant::Narrow => Packed::Narrow(Narrow::pack(spec, weights)),
            Variant::DirectF32 => Packed::DirectF32(Direct::pack(ctx, spec, weights)),
            Variant::DirectBf16 => Packed::DirectBf16(Direct::pack(ctx, spec, weights)),
            Variant::PointwiseAmx => Packed::PointwiseAmx(TileWeights::of_columns(
                ctx,
                spec.in_channels,
                spec.out_channels,
                weights,
            )),
            Variant::TiledAmx => Packed::TiledAmx(Tiled::pack(ctx, spec, weights)),
            Variant::Winograd2 => Packed::Winograd2(Winograd::pack(ctx, spec, weights)),
            Variant::Winograd4 => Packed::Winograd4(Winograd::pack(ctx, spec, weights)),
        }
    }

    fn held(&self) -> usize {
        match self {
            Packed::PointwiseF32(p) => p.bytes(),
            Packed::PointwiseBf16(p) => p.bytes(),
            Packed::Depthwise(p) => p.held(),
            Packed::Narrow(p) => p.held(),
            Packed::DirectF32(p) => p.held(),
            Packed::DirectBf16(p) => p.held(),
            Packed::PointwiseAmx(p) => p.bytes(),
            Packed::TiledAmx(p) => p.held(),
            Packed::Winograd2(p) => p.held(),
            Packed::Winograd4(p) => p.held(),
        }
    }

    /// # Safety
    /// All lengths of the call agree with its sizes.
    unsafe fn run(&self, ctx: &Context, call: &Call) {
        // SAFETY: handed on to the caller.
        unsafe {
            match self {
                Packed::PointwiseF32(panels) => run_pointwise(ctx, call, panels, call.x),
                Packed::PointwiseBf16(panels) => {
                    let rounded = crate::linear::rounded(ctx, call.x, call.spec.in_channels);
                    run_pointwise(ctx, call, panels, &rounded);
                }
                Packed::Depthwise(p) => p.run(ctx, call),
                Packed::Narrow(p) => p.run(ctx, call),
                Packed::DirectF32(p) => p.run(ctx, call),
                Packed::DirectBf16(p) => p.run(ctx, call),
                Packed::PointwiseAmx(weights) => {
                    let target = Target { c: call.y, bias: call.bias, finish: call.finish };
                    multiply_rows(ctx, (call.x, call.spec.in_channels), weights, target);
                }
                Packed::TiledAmx(p) => p.run(ctx, call),
                Packed::Winograd2(p) => p.run(ctx, call),
                Packed::Winograd4(p) => p.run(ctx, call),
            }
        }
    }
}

unsafe fn run_pointwise<E: crate::gemm::tile::Element>(
    ctx: &Context,
    call: &Call,
    panels: &Panels<E>,
    a: &[E],
) {
    let product = Product {
        rows: call.output.pixels(),
        a,
        a_stride: panels.layout().k,
        c: call.y,
        c_stride: call.spec.out_channels,
        bias: call.bias,
        finish: call.finish,
    };
    // SAFETY: the call's lengths agree; a row of A holds layout.k values.
    unsafe { multiply(ctx, product, &Plain { panels, matrix: 0 }) }
}
