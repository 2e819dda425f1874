//! Every kernel against its definition in f64, on the CPU: the same source, names, geometry and argument bytes as on a card, run by
//! `emulator/` (which a C++ compiler builds here). What it cannot show is speed, and copies that are used
//! before they have arrived.

use std::ffi::{CString, c_void};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use cuda_kernels::{
    Act, Address, AttentionParams, ColumnsParams, Dtype, FinishParams, GatedParams, GegluParams, Launch,
    RopeParams, RowNormParams, attention, columns, finish, gated, geglu, group_norm, rope, row_norm,
};
use half::{bf16, f16};
use libloading::{Library, Symbol};

type Start = unsafe extern "C" fn(*const std::ffi::c_char, *const u32, *const u32, *mut *mut c_void) -> i32;

struct Card(Library);

impl Card {
    fn new() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (sources, emulator) = (here.join("src/cu"), here.join("tests/emulator"));
        let mut hasher = DefaultHasher::new();
        let mut files: Vec<PathBuf> = [&sources, &emulator]
            .into_iter()
            .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
            .collect();
        files.sort();
        files.iter().for_each(|file| std::fs::read(file).unwrap().hash(&mut hasher));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let library = folder.join(format!("card-{:x}.so", hasher.finish()));
        if !library.exists() {
            // tests that begin at the same time may each build it; the last one's stays
            let thread = std::thread::current().id();
            let own = folder.join(format!("card-{}-{thread:?}.so", std::process::id()));
            let built = Command::new("c++")
                .args(["-std=c++17", "-O2", "-Wall", "-Wno-unknown-pragmas", "-shared", "-fPIC"])
                .arg(format!("-I{}", emulator.display()))
                .arg(format!("-I{}", sources.display()))
                .arg(emulator.join("driver.cpp"))
                .arg("-o")
                .arg(&own)
                .status()
                .unwrap();
            assert!(built.success(), "c++ could not build the emulator: {built}");
            std::fs::rename(own, &library).unwrap();
        }
        // SAFETY: built from the sources beside this test; loading it runs nothing
        Self(unsafe { Library::new(library) }.unwrap())
    }

    fn run<P>(&self, launch: &Launch, params: &P) {
        let name = CString::new(launch.kernel.as_str()).unwrap();
        let mut args = [(params as *const P).cast_mut().cast::<c_void>()];
        // SAFETY: the driver's own signature; the parameters live through the call and hold addresses of values that do
        let outcome = unsafe {
            let start: Symbol<Start> = self.0.get(b"launch").unwrap();
            start(name.as_ptr(), launch.grid.as_ptr(), launch.block.as_ptr(), args.as_mut_ptr())
        };
        assert_eq!(outcome, 0, "{launch:?}: 1 is a barrier that not all threads reach, 2 an unknown name");
    }
}

/// Values in memory as the kernels of a dtype read them.
struct Values {
    dtype: Dtype,
    bytes: Vec<u8>,
}

impl Values {
    fn of(dtype: Dtype, values: &[f32]) -> Self {
        let bytes = match dtype {
            Dtype::F32 => values.iter().flat_map(|v| v.to_ne_bytes()).collect(),
            Dtype::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_ne_bytes()).collect(),
            Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_ne_bytes()).collect(),
        };
        Self { dtype, bytes }
    }

    /// Room that shows where nothing was written.
    fn room(dtype: Dtype, n: usize) -> Self {
        Self::of(dtype, &vec![f32::NAN; n])
    }

    fn at(&self) -> Address {
        self.bytes.as_ptr() as Address
    }

    fn wide(&self) -> Vec<f64> {
        match self.dtype {
            Dtype::F32 => {
                self.bytes.chunks(4).map(|b| f64::from(f32::from_ne_bytes(b.try_into().unwrap()))).collect()
            }
            Dtype::Bf16 => self
                .bytes
                .chunks(2)
                .map(|b| f64::from(bf16::from_ne_bytes(b.try_into().unwrap()).to_f32()))
                .collect(),
            Dtype::F16 => self
                .bytes
                .chunks(2)
                .map(|b| f64::from(f16::from_ne_bytes(b.try_into().unwrap()).to_f32()))
                .collect(),
        }
    }
}

/// Values without a trend on [-1, 1].
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

const ALL: [(Dtype, f64); 3] = [(Dtype::F32, 1e-6), (Dtype::Bf16, 4e-3), (Dtype::F16, 6e-4)];

/// Relative L2.
fn check(what: &str, got: &Values, want: &[f64], bound: f64) {
    let got = got.wide();
    assert_eq!(got.len(), want.len(), "{what}");
    let power: f64 = want.iter().map(|w| w * w).sum();
    let error: f64 = got.iter().zip(want).map(|(g, w)| (g - w).powi(2)).sum();
    assert!(error.sqrt() <= bound * power.sqrt(), "{what}: {:e}", (error / power).sqrt());
}

/// The error function by its series (small x) and continued fraction; 1e-12.
fn erf(x: f64) -> f64 {
    let t = x.abs();
    let value = if t < 3.0 {
        let (mut term, mut sum) = (t, t);
        for n in 1..200 {
            term *= -t * t / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let fraction = (1..60).rev().fold(t, |below, k| t + f64::from(k) / 2.0 / below);
        1.0 - (-t * t).exp() / fraction / std::f64::consts::PI.sqrt()
    };
    value.copysign(x)
}

fn activated(v: f64, act: Act) -> f64 {
    match act {
        Act::Identity => v,
        Act::Silu => v / (1.0 + (-v).exp()),
        Act::Gelu => 0.5 * v * (1.0 + erf(v / std::f64::consts::SQRT_2)),
        Act::GeluTanh => {
            0.5 * v * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v.powi(3))).tanh())
        }
        Act::QuickGelu => v / (1.0 + (-1.702 * v).exp()),
        Act::Relu => v.max(0.0),
    }
}

#[test]
fn group_norm_with_activation() {
    let card = Card::new();
    for (batch, pixels, channels, groups, act) in [
        (2, 300, 64, 32, Act::Silu),
        (1, 1, 32, 32, Act::Identity), // a group of one value
        (1, 37, 6, 3, Act::Identity),  // no multiple of four
        (3, 16, 320, 32, Act::Silu),   // more channels than threads
        (1, 20_000, 4, 2, Act::Identity),
    ] {
        for (dtype, bound) in ALL {
            for centre in [0.0, 30.0] {
                let values: Vec<f32> =
                    noise(batch * pixels * channels, 1).iter().map(|v| v + centre).collect();
                let (gain, shift) = (noise(channels, 2), noise(channels, 3));
                let (x, gain, shift) =
                    (Values::of(dtype, &values), Values::of(dtype, &gain), Values::of(dtype, &shift));
                let y = Values::room(dtype, values.len());
                let plan = group_norm(dtype, (batch, pixels, channels), groups, (1e-5, act)).unwrap();
                let (pieces, stats) =
                    (Values::room(Dtype::F32, plan.pieces), Values::room(Dtype::F32, plan.stats));
                let params = cuda_kernels::GroupNormParams {
                    x: x.at(),
                    gain: gain.at(),
                    shift: shift.at(),
                    y: y.at(),
                    pieces: pieces.at(),
                    stats: stats.at(),
                    ..plan.params
                };
                plan.launches.iter().for_each(|launch| card.run(launch, &params));

                let (x, gain, shift) = (x.wide(), gain.wide(), shift.wide());
                let width = channels / groups;
                let mut want = vec![0.0; x.len()];
                for b in 0..batch {
                    for g in 0..groups {
                        let of_group = |i: usize| (b * pixels + i / width) * channels + g * width + i % width;
                        let n = pixels * width;
                        let mean = (0..n).map(|i| x[of_group(i)]).sum::<f64>() / n as f64;
                        let variance =
                            (0..n).map(|i| (x[of_group(i)] - mean).powi(2)).sum::<f64>() / n as f64;
                        for i in 0..n {
                            let ch = g * width + i % width;
                            let normed = (x[of_group(i)] - mean) / (variance + 1e-5).sqrt();
                            want[of_group(i)] = activated(normed * gain[ch] + shift[ch], act);
                        }
                    }
                }
                let what = format!("{dtype:?} {batch} x {pixels} x {channels} around {centre}");
                // around 30 the values themselves have five bits less
                check(&what, &y, &want, if centre == 0.0 { bound } else { bound * 16.0 });
            }
        }
    }
    let wide = group_norm(Dtype::F32, (1, 8, 8192), 32, (1e-5, Act::Silu)).unwrap_err();
    assert!(wide.to_string().contains("8192 is more than the 4096"), "{wide}");
}

#[test]
fn row_norms() {
    let card = Card::new();
    for (rows, channels) in [(3, 40), (2, 7), (5, 1280), (1, 1)] {
        for (dtype, bound) in ALL {
            for (rms, with_gain, with_shift) in
                [(0, true, true), (0, false, false), (1, true, false), (0, true, false)]
            {
                let x = Values::of(dtype, &noise(rows * channels, 1));
                let (gain, shift) =
                    (Values::of(dtype, &noise(channels, 2)), Values::of(dtype, &noise(channels, 3)));
                let y = Values::room(dtype, rows * channels);
                let params = RowNormParams {
                    x: x.at(),
                    gain: if with_gain { gain.at() } else { 0 },
                    shift: if with_shift { shift.at() } else { 0 },
                    y: y.at(),
                    channels: channels as u32,
                    rms,
                    act: Act::Silu as u32,
                    eps: 1e-6,
                    modulated: 0,
                };
                card.run(&row_norm(dtype, rows, channels).unwrap(), &params);
                let (x, gain, shift) = (x.wide(), gain.wide(), shift.wide());
                let want: Vec<f64> = x
                    .chunks(channels)
                    .flat_map(|row| {
                        let mean = if rms == 1 { 0.0 } else { row.iter().sum::<f64>() / channels as f64 };
                        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / channels as f64;
                        let scale = (variance + 1e-6).sqrt();
                        let (gain, shift) = (&gain, &shift);
                        row.iter().enumerate().map(move |(i, v)| {
                            let gained = (v - mean) / scale * if with_gain { gain[i] } else { 1.0 };
                            activated(gained + if with_shift { shift[i] } else { 0.0 }, Act::Silu)
                        })
                    })
                    .collect();
                let what = format!("{dtype:?} {rows} x {channels}, rms {rms}");
                check(&what, &y, &want, 3.0 * bound); // the RMS norm rounds three times
            }
        }
    }
}

#[test]
fn what_the_blocks_of_a_diffusion_transformer_are_told() {
    let card = Card::new();
    for (rows, channels) in [(3, 40), (2, 7), (3, 1280)] {
        let (shift, scale) = (noise(channels, 2), noise(channels, 3));
        let (shift, scale) = (Values::of(Dtype::F32, &shift), Values::of(Dtype::F32, &scale));
        for (dtype, bound) in ALL {
            let (x, a) = (
                Values::of(dtype, &noise(rows * channels, 1)),
                Values::of(dtype, &noise(rows * channels, 4)),
            );
            let y = Values::room(dtype, rows * channels);
            let params = RowNormParams {
                x: x.at(),
                gain: scale.at(),
                shift: shift.at(),
                y: y.at(),
                channels: channels as u32,
                eps: 1e-6,
                modulated: 1,
                ..RowNormParams::default()
            };
            card.run(&row_norm(dtype, rows, channels).unwrap(), &params);
            let (x_wide, a_wide, shift, scale) = (x.wide(), a.wide(), shift.wide(), scale.wide());
            let mut want = Vec::new();
            for row in x_wide.chunks(channels) {
                let mean = row.iter().sum::<f64>() / channels as f64;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / channels as f64;
                let normed = row.iter().map(|v| (v - mean) / (variance + 1e-6).sqrt());
                want.extend(normed.enumerate().map(|(i, v)| v * (1.0 + scale[i]) + shift[i]));
            }
            let what = format!("{dtype:?} {rows} x {channels}");
            check(&format!("modulated {what}"), &y, &want, 2.0 * bound);

            let y = Values::room(dtype, rows * channels);
            let (count, channels_u32) = ((rows * channels) as u64, channels as u32);
            let gate = Values::of(Dtype::F32, &noise(channels, 5));
            let params = GatedParams {
                x: x.at(),
                a: a.at(),
                gate: gate.at(),
                y: y.at(),
                count,
                channels: channels_u32,
            };
            card.run(&gated(dtype, rows * channels, channels), &params);
            let gate = gate.wide();
            let want: Vec<f64> =
                (0..x_wide.len()).map(|i| x_wide[i] + a_wide[i] * gate[i % channels]).collect();
            check(&format!("gated {what}"), &y, &want, bound);
        }
    }
}

#[test]
fn finishing_and_gating() {
    let card = Card::new();
    for (rows, channels) in [(9, 24), (5, 7)] {
        for (dtype, bound) in ALL {
            let n = rows * channels;
            let loud: Vec<f32> = noise(n, 1).iter().map(|v| 4.0 * v).collect();
            let (x, bias) = (Values::of(dtype, &loud), Values::of(dtype, &noise(channels, 2)));
            let addend = Values::of(dtype, &noise(n, 3));
            for act in [Act::Identity, Act::Silu, Act::Gelu, Act::GeluTanh, Act::QuickGelu, Act::Relu] {
                for (with_bias, with_addend) in [(true, true), (true, false), (false, true), (false, false)] {
                    let y = Values::room(dtype, n);
                    let params = FinishParams {
                        x: x.at(),
                        bias: if with_bias { bias.at() } else { 0 },
                        addend: if with_addend { addend.at() } else { 0 },
                        y: y.at(),
                        count: n as u64,
                        channels: channels as u32,
                        act: act as u32,
                    };
                    card.run(&finish(dtype, n, channels), &params);
                    let (x, bias, addend) = (x.wide(), bias.wide(), addend.wide());
                    let want: Vec<f64> = (0..n)
                        .map(|i| {
                            let v = x[i] + if with_bias { bias[i % channels] } else { 0.0 };
                            activated(v, act) + if with_addend { addend[i] } else { 0.0 }
                        })
                        .collect();
                    check(&format!("{dtype:?} {act:?} of {channels}"), &y, &want, bound);
                }
            }
            let both = Values::of(dtype, &noise(2 * n, 4));
            let y = Values::room(dtype, n);
            let params = GegluParams { x: both.at(), y: y.at(), count: n as u64, channels: channels as u32 };
            card.run(&geglu(dtype, n), &params);
            let want: Vec<f64> = both
                .wide()
                .chunks(2 * channels)
                .flat_map(|row| {
                    let (value, gate) = row.split_at(channels);
                    let gated = value.iter().zip(gate).map(|(v, g)| v * activated(*g, Act::Gelu));
                    gated.collect::<Vec<_>>()
                })
                .collect();
            check(&format!("{dtype:?} gate of {channels}"), &y, &want, 2.0 * bound);
        }
    }
}

#[test]
fn turning_pairs() {
    let card = Card::new();
    let (b, l, n, d) = (2, 5, 3, 8);
    for (dtype, bound) in ALL {
        for halves in [0, 1] {
            let x = Values::of(dtype, &noise(b * l * n * d, 1));
            let angles: Vec<f32> = noise(l * d / 2, 2).iter().map(|v| 3.0 * v).collect();
            let cos = Values::of(Dtype::F32, &angles.iter().map(|a| a.cos()).collect::<Vec<_>>());
            let sin = Values::of(Dtype::F32, &angles.iter().map(|a| a.sin()).collect::<Vec<_>>());
            let y = Values::room(dtype, b * l * n * d);
            let pairs = b * l * n * d / 2;
            let params = RopeParams {
                x: x.at(),
                cos: cos.at(),
                sin: sin.at(),
                y: y.at(),
                pairs: pairs as u64,
                positions: l as u32,
                heads: n as u32,
                half: d as u32 / 2,
                halves,
            };
            card.run(&rope(dtype, pairs), &params);
            let x = x.wide();
            let mut want = vec![0.0; x.len()];
            for head in 0..b * l * n {
                for pair in 0..d / 2 {
                    let (sin, cos) = f64::from(angles[head / n % l * (d / 2) + pair]).sin_cos();
                    let (i, j) = if halves == 1 { (pair, pair + d / 2) } else { (2 * pair, 2 * pair + 1) };
                    let (even, odd) = (x[head * d + i], x[head * d + j]);
                    want[head * d + i] = even * cos - odd * sin;
                    want[head * d + j] = even * sin + odd * cos;
                }
            }
            check(&format!("{dtype:?} halves {halves}"), &y, &want, bound);
        }
    }
}

#[test]
fn windows_of_a_convolution() {
    let card = Card::new();
    let (frames, height, width, channels) = (4, 5, 6, 6);
    let base = ColumnsParams {
        frames,
        height,
        width,
        channels,
        taps: 1,
        kernel_h: 3,
        kernel_w: 3,
        time_stride: 1,
        stride: 1,
        dilation: 1,
        top: 1,
        left: 1,
        count: channels,
        out_frames: frames,
        out_height: height,
        out_width: width,
        ..ColumnsParams::default()
    };
    let cases = [
        base,
        ColumnsParams { taps: 3, out_frames: 2, ..base },
        ColumnsParams { taps: 3, time_stride: 2, out_frames: 1, ..base },
        ColumnsParams { stride: 2, top: 0, left: 0, out_height: 2, out_width: 3, ..base }, // padded behind
        ColumnsParams { dilation: 2, top: 2, left: 2, from: 2, count: 2, ..base },
        ColumnsParams { kernel_h: 1, top: 0, kernel_w: 4, left: 3, ..base },
    ];
    for (dtype, _) in ALL {
        for case in cases {
            let batch = 2;
            let x = Values::of(dtype, &noise((batch * frames * height * width * channels) as usize, 1));
            let all = batch * case.out_frames * case.out_height * case.out_width;
            let (first, rows) = (all / 3, all - all / 3); // a part, from the middle on
            let length = case.row_length();
            let y = Values::room(dtype, rows as usize * length);
            let params = ColumnsParams {
                x: x.at(),
                y: y.at(),
                first: u64::from(first),
                rows: u64::from(rows),
                ..case
            };
            card.run(&columns(dtype, &params), &params);
            let (x, y) = (x.wide(), y.wide());
            for row in first..all {
                let (ow, rest) = (row % case.out_width, row / case.out_width);
                let (oh, rest) = (rest % case.out_height, rest / case.out_height);
                let (ot, b) = (rest % case.out_frames, rest / case.out_frames);
                let mut at = (row - first) as usize * length;
                for kt in 0..case.taps {
                    for kh in 0..case.kernel_h {
                        for kw in 0..case.kernel_w {
                            for c in case.from..case.from + case.count {
                                let t = ot * case.time_stride + kt;
                                let h =
                                    i64::from(oh * case.stride + kh * case.dilation) - i64::from(case.top);
                                let w =
                                    i64::from(ow * case.stride + kw * case.dilation) - i64::from(case.left);
                                let inside =
                                    (0..i64::from(height)).contains(&h) && (0..i64::from(width)).contains(&w);
                                let want = if inside {
                                    let frame = (b * frames + t) as usize;
                                    let pixel =
                                        (frame * height as usize + h as usize) * width as usize + w as usize;
                                    x[pixel * channels as usize + c as usize]
                                } else {
                                    0.0
                                };
                                assert_eq!(y[at], want, "{dtype:?} row {row} of {case:?}");
                                at += 1;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What a query may look at.
#[test]
fn attention_of_sequences_one_behind_the_other() {
    let card = Card::new();
    let (queries, keys) = ([70, 3, 1, 64], [33, 3, 40, 65]);
    let (heads, dim) = (2, 40);
    let starts = |lengths: &[usize]| -> Vec<u32> {
        let ends = lengths.iter().scan(0, |end, length| {
            *end += *length as u32;
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    };
    let (q_starts, k_starts) = (starts(&queries), starts(&keys));
    let all: Vec<u32> = [q_starts.clone(), k_starts.clone()].concat();
    let total = |starts: &[u32]| starts[starts.len() - 1] as usize;
    for (dtype, bound) in [ALL[1], ALL[2]] {
        let q = Values::of(dtype, &noise(total(&q_starts) * heads * dim, 1));
        let k = Values::of(dtype, &noise(total(&k_starts) * heads * dim, 2));
        let v = Values::of(dtype, &noise(total(&k_starts) * heads * dim, 3));
        let y = Values::room(dtype, total(&q_starts) * heads * dim);
        let (row, head) = ((heads * dim) as u64, dim as u64);
        let params = AttentionParams {
            q: q.at(),
            k: k.at(),
            v: v.at(),
            y: y.at(),
            starts: all.as_ptr() as Address,
            q_row: row,
            q_head: head,
            k_row: row,
            k_head: head,
            v_row: row,
            v_head: head,
            queries: 70,
            keys: 65,
            heads: heads as u32,
            dim: dim as u32,
            scale: 0.4,
            ..AttentionParams::default()
        };
        card.run(&attention(dtype, (4, 70, 65), (heads, dim)).unwrap(), &params.packs());
        let (q, k, v) = (q.wide(), k.wide(), v.wide());
        let mut want = Vec::new();
        for i in 0..4 {
            for query in q_starts[i] as usize..q_starts[i + 1] as usize {
                for h in 0..heads {
                    let at = |row: usize| (row * heads + h) * dim;
                    let seen = k_starts[i] as usize..k_starts[i + 1] as usize;
                    let logits: Vec<f64> = seen
                        .clone()
                        .map(|j| {
                            (0..dim).map(|c| q[at(query) + c] * k[at(j) + c]).sum::<f64>() * f64::from(0.4f32)
                        })
                        .collect();
                    let high = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let weights: Vec<f64> = logits.iter().map(|l| (l - high).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    want.extend((0..dim).map(|c| {
                        weights.iter().zip(seen.clone()).map(|(w, j)| w / sum * v[at(j) + c]).sum::<f64>()
                    }));
                }
            }
        }
        check(&format!("{dtype:?} sequences"), &y, &want, 2.0 * bound);
    }
}

#[derive(Clone, Copy, Debug)]
enum Mask {
    Full,
    Bias,
    Lengths,
}

#[test]
fn attention_in_one_pass() {
    let card = Card::new();
    for (batch, lq, lk, heads, dim, mask) in [
        (1, 70, 70, 2, 40, Mask::Full),
        (2, 5, 33, 1, 64, Mask::Lengths),
        (1, 64, 96, 1, 80, Mask::Bias),
        (1, 17, 20, 2, 128, Mask::Full),
        (2, 16, 31, 1, 160, Mask::Bias),
        (1, 3, 1, 1, 7, Mask::Full), // an odd head, one key
    ] {
        for ((dtype, bound), at_once) in [(ALL[1], true), (ALL[2], true), (ALL[1], false)] {
            // keys and values are parts of one tensor: (b, lk, 2, n, d)
            let q = Values::of(dtype, &noise(batch * lq * heads * dim, 1));
            let kv = Values::of(dtype, &noise(batch * lk * 2 * heads * dim, 2));
            let mut bias = noise(batch * lq * lk, 3);
            // hidden keys, but never all of a query's
            bias.iter_mut()
                .enumerate()
                .filter(|(i, _)| i % lk > 2 && i % 3 == 0)
                .for_each(|(_, v)| *v = f32::NEG_INFINITY);
            let bias = Values::of(Dtype::F32, &bias);
            let lengths: Vec<u32> = (0..batch).map(|b| (lk - 20 * b.min(1)) as u32).collect();
            let y = Values::room(dtype, batch * lq * heads * dim);
            let (row, head) = ((heads * dim) as u64, dim as u64);
            let params = AttentionParams {
                q: q.at(),
                k: kv.at(),
                v: kv.at() + (heads * dim * 2) as u64,
                y: y.at(),
                bias: if matches!(mask, Mask::Bias) { bias.at() } else { 0 },
                lengths: if matches!(mask, Mask::Lengths) { lengths.as_ptr() as Address } else { 0 },
                starts: 0,
                bias_batch: (lq * lk) as u64,
                bias_head: 0,
                bias_query: lk as u64,
                q_batch: lq as u64 * row,
                q_row: row,
                q_head: head,
                k_batch: lk as u64 * 2 * row,
                k_row: 2 * row,
                k_head: head,
                v_batch: lk as u64 * 2 * row,
                v_row: 2 * row,
                v_head: head,
                queries: lq as u32,
                keys: lk as u32,
                heads: heads as u32,
                dim: dim as u32,
                packed: 0,
                scale: 0.4,
            };
            let params = if at_once { params.packs() } else { params };
            // a heap gives at least 16 bytes, and all heads here but one are multiples of eight
            assert_eq!(params.packed, u32::from(at_once && dim % 8 == 0), "{dim}");
            card.run(&attention(dtype, (batch, lq, lk), (heads, dim)).unwrap(), &params);
            let (q, kv, bias) = (q.wide(), kv.wide(), bias.wide());
            let mut want = Vec::new();
            for b in 0..batch {
                for i in 0..lq {
                    for h in 0..heads {
                        let seen = if matches!(mask, Mask::Lengths) { lengths[b] as usize } else { lk };
                        let key = |j: usize, value: usize| (((b * lk + j) * 2 + value) * heads + h) * dim;
                        let logits: Vec<f64> = (0..seen)
                            .map(|j| {
                                let at = ((b * lq + i) * heads + h) * dim;
                                let dot: f64 = (0..dim).map(|c| q[at + c] * kv[key(j, 0) + c]).sum();
                                let plus = if matches!(mask, Mask::Bias) {
                                    bias[(b * lq + i) * lk + j]
                                } else {
                                    0.0
                                };
                                dot * f64::from(0.4f32) + plus
                            })
                            .collect();
                        let high = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                        let weights: Vec<f64> = logits.iter().map(|l| (l - high).exp()).collect();
                        let sum: f64 = weights.iter().sum();
                        want.extend(
                            (0..dim).map(|c| {
                                (0..seen).map(|j| weights[j] / sum * kv[key(j, 1) + c]).sum::<f64>()
                            }),
                        );
                    }
                }
            }
            let what = format!("{dtype:?} {lq} over {lk}, {heads} heads of {dim}, {mask:?}");
            check(&what, &y, &want, 2.0 * bound); // the weights are rounded, and so is the sum
        }
    }
    for (dtype, dim) in [(Dtype::Bf16, 512), (Dtype::F32, 64)] {
        assert!(attention(dtype, (1, 8, 8), (1, dim)).is_err(), "{dtype:?} {dim}");
    }
}

#[test]
fn a_barrier_that_not_all_threads_reach_is_an_error() {
    let card = Card::new();
    let launch = Launch { kernel: "lopsided".into(), grid: [1, 1, 1], block: [32, 1, 1] };
    let wrong = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| card.run(&launch, &0u32)));
    assert!(wrong.is_err());
}
