//! GroupNorm (with the activation that follows it), LayerNorm, RMSNorm; channels last. Sums of short runs are f32, of
//! values less the first pixel's; everything beyond is f64.

use crate::activation::{Act, apply};
use crate::context::Context;
use crate::error::{Error, Result, check_len, check_positive};
use crate::isa::Op;
use crate::memory::{Shared, is_streamed};
use crate::simd::Simd;

/// Pixels whose f32 sums are added up before they go into f64.
const RUN: usize = 32;
/// Values a task takes, about.
const TASK: usize = 1 << 16;

/// Normalises groups of channels over all pixels of a picture.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    groups: usize,
    eps: f32,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl GroupNorm {
    /// gamma, beta: (c)
    pub fn new(groups: usize, eps: f32, gamma: Vec<f32>, beta: Vec<f32>) -> Result<Self> {
        check_positive("groups of a norm", groups)?;
        check_positive("channels of a norm", gamma.len())?;
        check_len("beta", beta.len(), gamma.len())?;
        if !gamma.len().is_multiple_of(groups) {
            return Err(Error::Shape {
                what: "channels of a norm",
                got: gamma.len(),
                limit: "a multiple of its groups",
                remedy: "check the configuration",
            });
        }
        Ok(Self { groups, eps, gamma, beta })
    }

    /// x: (n, pixels, c) -> y: (n, pixels, c); statistics over the pixels of each of the n.
    pub fn forward(&self, ctx: &Context, (n, act): (usize, Act), x: &[f32], y: &mut [f32]) -> Result<()> {
        self.forward_of(ctx, Pictures { n, act, added: None }, x, y)
    }

    /// The same of pictures to which something is added first, a value a channel, without a pass over them.
    pub fn forward_of(&self, ctx: &Context, pictures: Pictures, x: &[f32], y: &mut [f32]) -> Result<()> {
        let Pictures { n, act, added } = pictures;
        let c = self.gamma.len();
        check_positive("batch of a norm", n)?;
        let pixels = x.len() / n / c;
        check_len("norm input", x.len(), n * pixels * c)?;
        check_len("norm output", y.len(), x.len())?;
        if let Some(added) = added {
            let groups = added.len() / c;
            check_positive("what is added before a norm", groups)?;
            check_len("what is added before a norm", added.len(), groups * c)?;
            if !n.is_multiple_of(groups) {
                return Err(Error::Shape {
                    what: "pictures of a norm",
                    got: n,
                    limit: "a multiple of the rows that are added to them",
                    remedy: "add as many rows as there are clips",
                });
            }
        }
        if x.is_empty() {
            return Ok(());
        }
        let (scale, shift) = self.coefficients(ctx, &pictures, x);
        let streams = is_streamed(y.len(), y.as_ptr()) && c.is_multiple_of(16);
        let y = Shared::new(y);
        let part = TASK.div_ceil(c);
        let parts = pixels.div_ceil(part);
        ctx.parallel(n * parts, |task| {
            let (picture, part_index) = (task / parts, task % parts);
            let first = part_index * part;
            let offset = (picture * pixels + first) * c;
            // SAFETY: each task has its own pixels, all within x and y.
            unsafe {
                ctx.isa().run(Affine {
                    x: x.as_ptr().add(offset),
                    y: y.ptr().add(offset),
                    pixels: part.min(pixels - first),
                    scale: &scale[picture * c..][..c],
                    shift: &shift[picture * c..][..c],
                    act,
                    streams,
                });
            }
        });
        Ok(())
    }

    /// y = x * scale + shift for each picture and channel.
    fn coefficients(&self, ctx: &Context, pictures: &Pictures, x: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (c, n) = (self.gamma.len(), pictures.n);
        let pixels = x.len() / n / c;
        let part = TASK.div_ceil(c);
        let parts = pixels.div_ceil(part);
        let mut sums = vec![0f64; n * parts * 2 * c];
        let shared = Shared::new(&mut sums);
        ctx.parallel(n * parts, |task| {
            let (picture, part_index) = (task / parts, task % parts);
            let first = part_index * part;
            // SAFETY: each task has its own sums and reads its pixels of x.
            unsafe {
                let picture = x.as_ptr().add(picture * pixels * c);
                ctx.isa().run(Sums {
                    x: picture.add(first * c),
                    pixels: part.min(pixels - first),
                    origin: picture,
                    sums: std::slice::from_raw_parts_mut(shared.ptr().add(task * 2 * c), 2 * c),
                });
            }
        });
        let (mut scale, mut shift) = (vec![0f32; n * c], vec![0f32; n * c]);
        let (wide, count) = (c / self.groups, pixels as f64);
        for picture in 0..n {
            let added = |channel: usize| pictures.added_to(picture, channel, c);
            // mean and mean square distance of each channel, about its own mean
            let moments: Vec<(f64, f64)> = (0..c)
                .map(|channel| {
                    let total = |which: usize| -> f64 {
                        (0..parts).map(|p| sums[((picture * parts + p) * 2 + which) * c + channel]).sum()
                    };
                    let (mean, square) = (total(0) / count, total(1) / count);
                    let origin = f64::from(x[picture * pixels * c + channel]) + added(channel);
                    (mean + origin, (square - mean * mean).max(0.0))
                })
                .collect();
            for (group, moments) in moments.chunks_exact(wide).enumerate() {
                let mean = moments.iter().map(|m| m.0).sum::<f64>() / wide as f64;
                let variance = moments.iter().map(|m| m.1 + (m.0 - mean).powi(2)).sum::<f64>() / wide as f64;
                let inverse = 1.0 / (variance + f64::from(self.eps)).sqrt();
                for channel in group * wide..(group + 1) * wide {
                    let factor = f64::from(self.gamma[channel]) * inverse;
                    scale[picture * c + channel] = factor as f32;
                    shift[picture * c + channel] =
                        (f64::from(self.beta[channel]) + (added(channel) - mean) * factor) as f32;
                }
            }
        }
        (scale, shift)
    }
}

/// What a norm is given beside the values.
#[derive(Debug, Clone, Copy)]
pub struct Pictures<'a> {
    /// how many
    pub n: usize,
    pub act: Act,
    /// (clips, c): added to every pixel of a clip's pictures before the norm; n is a multiple of the clips
    pub added: Option<&'a [f32]>,
}

impl Pictures<'_> {
    fn added_to(&self, picture: usize, channel: usize, c: usize) -> f64 {
        self.added.map_or(0.0, |added| {
            let clips = added.len() / c;
            f64::from(added[picture * clips / self.n * c + channel])
        })
    }
}

struct Sums<'a> {
    x: *const f32,
    pixels: usize,
    /// a pixel near the mean, c values
    origin: *const f32,
    /// sums, then sums of squares
    sums: &'a mut [f64],
}

impl Op for Sums<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.sums.len() / 2;
        let (sums, squares) = self.sums.split_at_mut(c);
        let mut first = 0;
        while first < self.pixels {
            let run = RUN.min(self.pixels - first);
            let mut channel = 0;
            while channel < c {
                let n = S::LANES.min(c - channel);
                // SAFETY: pixels of the run and n channels exist.
                unsafe {
                    let origin = S::load_part(self.origin.add(channel), n);
                    let (mut sum, mut square) = (S::splat(0.0), S::splat(0.0));
                    for pixel in first..first + run {
                        let d = S::sub(S::load_part(self.x.add(pixel * c + channel), n), origin);
                        sum = S::add(sum, d);
                        square = S::fma(d, d, square);
                    }
                    let (mut a, mut b) = ([0f32; 16], [0f32; 16]);
                    S::store(a.as_mut_ptr(), sum);
                    S::store(b.as_mut_ptr(), square);
                    for lane in 0..n {
                        sums[channel + lane] += f64::from(a[lane]);
                        squares[channel + lane] += f64::from(b[lane]);
                    }
                }
                channel += n;
            }
            first += run;
        }
    }
}

struct Affine<'a> {
    x: *const f32,
    y: *mut f32,
    pixels: usize,
    scale: &'a [f32],
    shift: &'a [f32],
    act: Act,
    /// past the caches
    streams: bool,
}

impl Op for Affine<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.scale.len();
        for pixel in 0..self.pixels {
            // SAFETY: the pixel exists in x and y; channel + n <= c.
            unsafe {
                let (x, y) = (self.x.add(pixel * c), self.y.add(pixel * c));
                let mut channel = 0;
                while channel + S::LANES <= c {
                    let scale = S::load(self.scale.as_ptr().add(channel));
                    let shift = S::load(self.shift.as_ptr().add(channel));
                    let v = apply::<S>(self.act, S::fma(S::load(x.add(channel)), scale, shift));
                    if self.streams {
                        S::stream(y.add(channel), v)
                    } else {
                        S::store(y.add(channel), v)
                    }
                    channel += S::LANES;
                }
                let n = c - channel;
                if n > 0 {
                    let scale = S::load_part(self.scale.as_ptr().add(channel), n);
                    let shift = S::load_part(self.shift.as_ptr().add(channel), n);
                    let v = S::fma(S::load_part(x.add(channel), n), scale, shift);
                    S::store_part(y.add(channel), apply::<S>(self.act, v), n);
                }
            }
        }
        if self.streams {
            // SAFETY: a fence.
            unsafe { S::fence() }
        }
    }
}

/// Normalises each row over its channels.
#[derive(Debug, Clone, Copy)]
pub struct RowNorm<'a> {
    pub kind: RowKind,
    pub eps: f32,
    /// (c); without one: 1
    pub gamma: Option<&'a [f32]>,
    /// (c); without one: 0
    pub beta: Option<&'a [f32]>,
    pub act: Act,
}

/// What a row norm divides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// (x - mean) / sqrt(variance + eps)
    Layer,
    /// x / sqrt(mean square + eps)
    Rms,
}

impl RowNorm<'_> {
    /// x: (rows, c) -> y: (rows, c)
    pub fn forward(&self, ctx: &Context, c: usize, x: &[f32], y: &mut [f32]) -> Result<()> {
        check_positive("channels of a norm", c)?;
        let rows = x.len() / c;
        check_len("norm input", x.len(), rows * c)?;
        check_len("norm output", y.len(), x.len())?;
        for (what, values) in [("gamma", self.gamma), ("beta", self.beta)] {
            values.map_or(Ok(()), |v| check_len(what, v.len(), c))?;
        }
        let y = Shared::new(y);
        let part = TASK.div_ceil(c);
        ctx.parallel(rows.div_ceil(part), |task| {
            let first = task * part;
            // SAFETY: each task has its own rows, all within x and y.
            unsafe {
                ctx.isa().run(Rows {
                    norm: self,
                    c,
                    rows: part.min(rows - first),
                    x: x.as_ptr().add(first * c),
                    y: y.ptr().add(first * c),
                });
            }
        });
        Ok(())
    }
}

struct Rows<'a> {
    norm: &'a RowNorm<'a>,
    c: usize,
    rows: usize,
    x: *const f32,
    y: *mut f32,
}

impl Op for Rows<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (c, norm) = (self.c, self.norm);
        for row in 0..self.rows {
            // SAFETY: the row exists in x and y; gamma and beta hold c values.
            unsafe {
                let (x, y) = (self.x.add(row * c), self.y.add(row * c));
                let mean = match norm.kind {
                    RowKind::Layer => total::<S, false>(x, c, 0.0) / c as f64,
                    RowKind::Rms => 0.0,
                } as f32;
                let square = total::<S, true>(x, c, mean) / c as f64;
                let inverse = (1.0 / (square + f64::from(norm.eps)).sqrt()) as f32;
                let (mean, inverse) = (S::splat(mean), S::splat(inverse));
                let mut i = 0;
                while i < c {
                    let n = S::LANES.min(c - i);
                    let mut v = S::mul(S::sub(S::load_part(x.add(i), n), mean), inverse);
                    if let Some(gamma) = norm.gamma {
                        v = S::mul(v, S::load_part(gamma.as_ptr().add(i), n));
                    }
                    if let Some(beta) = norm.beta {
                        v = S::add(v, S::load_part(beta.as_ptr().add(i), n));
                    }
                    S::store_part(y.add(i), apply::<S>(norm.act, v), n);
                    i += n;
                }
            }
        }
    }
}

/// Sum of x - origin, or of its square: four f32 sums a lane over runs of `64 LANES` values, f64 beyond.
#[inline(always)]
pub(crate) unsafe fn total<S: Simd, const SQUARE: bool>(x: *const f32, c: usize, origin: f32) -> f64 {
    let mut whole = 0f64;
    let mut i = 0;
    // SAFETY: i stays below c.
    unsafe {
        let origin = S::splat(origin);
        while i + 4 * S::LANES <= c {
            let mut acc = [S::splat(0.0); 4];
            let end = (i + 64 * S::LANES).min(c);
            while i + 4 * S::LANES <= end {
                for (j, acc) in acc.iter_mut().enumerate() {
                    let d = S::sub(S::load(x.add(i + j * S::LANES)), origin);
                    *acc = if SQUARE { S::fma(d, d, *acc) } else { S::add(*acc, d) };
                }
                i += 4 * S::LANES;
            }
            whole += f64::from(S::sum(S::add(S::add(acc[0], acc[1]), S::add(acc[2], acc[3]))));
        }
        let mut origin_lane = [0f32; 16];
        S::store(origin_lane.as_mut_ptr(), origin);
        while i < c {
            let d = f64::from(*x.add(i)) - f64::from(origin_lane[0]);
            whole += if SQUARE { d * d } else { d };
            i += 1;
        }
    }
    whole
}
