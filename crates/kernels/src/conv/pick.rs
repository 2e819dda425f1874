//! Which variant computes a layer: the candidates, their cost, and what was decided for equal layers.

use super::geometry::{ConvSpec, Size};
use super::narrow::Narrow;
use super::tiled::Tiled;
use crate::context::{Context, Profile};
use crate::isa::Isa;
use rustix::time::{ClockId, clock_gettime};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// The ways to compute a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    PointwiseF32,
    PointwiseBf16,
    Depthwise,
    Narrow,
    DirectF32,
    DirectBf16,
    /// 1x1 by AMX's tiles
    PointwiseAmx,
    /// any kernel by AMX's tiles
    TiledAmx,
    /// F(2x2, 3x3)
    Winograd2,
    /// F(4x4, 3x3)
    Winograd4,
}

impl Variant {
    pub const ALL: [Variant; 10] = [
        Variant::PointwiseF32,
        Variant::PointwiseBf16,
        Variant::Depthwise,
        Variant::Narrow,
        Variant::DirectF32,
        Variant::DirectBf16,
        Variant::PointwiseAmx,
        Variant::TiledAmx,
        Variant::Winograd2,
        Variant::Winograd4,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Variant::PointwiseF32 => "pointwise-f32",
            Variant::PointwiseBf16 => "pointwise-bf16",
            Variant::Depthwise => "depthwise-f32",
            Variant::Narrow => "narrow-f32",
            Variant::DirectF32 => "direct-f32",
            Variant::DirectBf16 => "direct-bf16",
            Variant::PointwiseAmx => "pointwise-amx",
            Variant::TiledAmx => "tiled-amx",
            Variant::Winograd2 => "winograd-2x2-f32",
            Variant::Winograd4 => "winograd-4x4-f32",
        }
    }

    /// Why a layer cannot be computed this way.
    pub(crate) fn refuses(self, isa: Isa, spec: &ConvSpec) -> Option<&'static str> {
        let (able, why) = match self {
            Variant::PointwiseF32 | Variant::PointwiseBf16 => {
                (spec.is_pointwise(), "it takes 1x1 kernels at stride 1 without padding and groups")
            }
            Variant::PointwiseAmx | Variant::TiledAmx if isa != Isa::Amx => {
                (false, "it takes AMX, which this instruction set does not have")
            }
            Variant::PointwiseAmx => {
                (spec.is_pointwise(), "it takes 1x1 kernels at stride 1 without padding and groups")
            }
            Variant::TiledAmx => (Tiled::able(spec), "it takes one group"),
            Variant::Depthwise => (spec.is_depthwise(), "it takes one filter a channel"),
            Variant::Narrow => (
                Narrow::able(spec),
                "it takes up to 8 output channels in one group, and many values a kernel row",
            ),
            Variant::DirectF32 | Variant::DirectBf16 => (true, ""),
            Variant::Winograd2 | Variant::Winograd4 => {
                (spec.is_winograd(), "it takes 3x3 kernels at stride 1 in one group")
            }
        };
        (!able).then_some(why)
    }

    /// The farthest a variant may be from the exact result, as relative RMS over a layer: held against it on the layer that picks. What was picked
    /// is taken over by layers of the same geometry, whose weights may be worse conditioned; whole nets are held by the golden cases.
    pub fn bound(self) -> f64 {
        match self {
            Variant::PointwiseF32 | Variant::Depthwise | Variant::Narrow | Variant::DirectF32 => 3e-6,
            Variant::Winograd2 => 5e-6,
            Variant::Winograd4 => 2e-5,
            Variant::PointwiseBf16 | Variant::DirectBf16 | Variant::PointwiseAmx | Variant::TiledAmx => 5e-3,
        }
    }

    fn is_bf16(self) -> bool {
        matches!(
            self,
            Variant::PointwiseBf16 | Variant::DirectBf16 | Variant::PointwiseAmx | Variant::TiledAmx
        )
    }

    /// Estimated time in multiplications, for a choice without a clock.
    fn cost(self, isa: Isa, spec: &ConvSpec, output: Size) -> f64 {
        let (c, o) = (spec.in_channels as f64, spec.out_channels as f64);
        let weights = spec.weights() as f64;
        let macs = output.pixels() as f64 * weights;
        // a core multiplies about 75e9 times a second and fetches about 10e9 bytes from memory
        const MACS_A_BYTE: f64 = 7.5;
        let winograd = |m: usize| {
            let t = (m + 2) as f64;
            let tiles = (output.n * output.h.div_ceil(m) * output.w.div_ceil(m)) as f64;
            t * t * (tiles * (c * o + 16.0 * (c + o)) + c * o * 4.0 * MACS_A_BYTE)
        };
        let lanes = isa.lanes() as f64;
        match self {
            Variant::PointwiseF32 | Variant::DirectF32 => {
                macs * (o / lanes).ceil() * lanes / o + weights * 4.0 * MACS_A_BYTE
            }
            Variant::PointwiseBf16 | Variant::DirectBf16 => {
                let speed = if isa.multiplies_bf16() { 0.55 } else { 2.0 };
                macs * speed + weights * 2.0 * MACS_A_BYTE
            }
            Variant::PointwiseAmx | Variant::TiledAmx => {
                macs * 0.1 * Tiled::padding(spec) + weights * 2.0 * MACS_A_BYTE
            }
            Variant::Depthwise => macs * lanes / 4.0,
            Variant::Narrow => macs * 1.5,
            Variant::Winograd2 => winograd(2),
            Variant::Winograd4 => winograd(4),
        }
    }
}

/// What makes two layers equal to the picker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub spec: ConvSpec,
    pub input: Size,
    pub profile: Profile,
}

/// Decisions so far, of this process and of those before it.
#[derive(Default)]
pub(crate) struct Picks {
    decided: Mutex<HashMap<Key, Variant>>,
    /// By `written`.
    learned: Mutex<HashMap<String, Variant>>,
}

/// A key as a line of text; whoever reads another program's lines finds none of its own in them.
fn written(key: &Key) -> String {
    format!("{key:?}")
}

impl Picks {
    pub fn get(&self, key: &Key) -> Option<Variant> {
        if let Some(variant) = self.lock().get(key) {
            return Some(*variant);
        }
        let learned = self.learned.lock().unwrap_or_else(|poison| poison.into_inner());
        learned.get(&written(key)).copied()
    }

    /// A line each: the variant, a blank, the layer.
    pub fn lines(&self) -> String {
        let mut all = self.learned.lock().unwrap_or_else(|poison| poison.into_inner()).clone();
        all.extend(self.lock().iter().map(|(key, variant)| (written(key), *variant)));
        let mut lines: Vec<String> =
            all.into_iter().map(|(key, variant)| format!("{} {key}\n", variant.name())).collect();
        lines.sort_unstable();
        lines.concat()
    }

    /// What `lines` wrote; lines that mean nothing are passed over.
    pub fn learn(&self, lines: &str) {
        let parsed = lines.lines().filter_map(|line| {
            let (name, key) = line.split_once(' ')?;
            let variant = Variant::ALL.into_iter().find(|variant| variant.name() == name)?;
            Some((key.to_owned(), variant))
        });
        self.learned.lock().unwrap_or_else(|poison| poison.into_inner()).extend(parsed);
    }

    pub fn set(&self, key: Key, variant: Variant) {
        self.lock().insert(key, variant);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Variant>> {
        // a panic elsewhere cannot leave the map half-changed
        self.decided.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

/// What candidates are timed with. One thread is timed by its own processor time, so that whatever else the machine does
/// changes no pick; several threads only have the wall clock in common.
pub(crate) fn now(ctx: &Context) -> Duration {
    let clock = if ctx.threads() == 1 { ClockId::ThreadCPUTime } else { ClockId::Monotonic };
    Duration::try_from(clock_gettime(clock)).expect("neither clock runs before zero")
}

/// The exact f32 variant every layer has, and which the others are measured against.
pub(crate) fn reference(spec: &ConvSpec) -> Variant {
    if spec.is_pointwise() { Variant::PointwiseF32 } else { Variant::DirectF32 }
}

/// What the profile allows for a layer, cheapest first by count.
pub(crate) fn candidates(ctx: &Context, spec: &ConvSpec, output: Size) -> Vec<Variant> {
    let mut able: Vec<Variant> = Variant::ALL
        .into_iter()
        .filter(|v| v.refuses(ctx.isa(), spec).is_none())
        .filter(|v| ctx.profile() == Profile::Fast || !v.is_bf16())
        // a 1x1 product by strips would only copy the picture
        .filter(|v| {
            !spec.is_pointwise() || {
                !matches!(v, Variant::DirectF32 | Variant::DirectBf16 | Variant::TiledAmx)
            }
        })
        .collect();
    let cost = |v: &Variant| v.cost(ctx.isa(), spec, output);
    able.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    able
}
