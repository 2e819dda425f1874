//! Every kernel on every instruction set of this machine, against sums in f64. One `check` a kernel, many rows of shapes.

mod truth;

use kernels::*;
use truth::{contexts, noise, relative_rms};

fn act64(act: Act, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match act {
        Act::Identity => x,
        Act::Relu => x.max(0.0),
        Act::Silu => x * sigmoid(x),
        Act::Gelu => x * 0.5 * erfc64(-x / std::f64::consts::SQRT_2),
        Act::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
        }
        Act::QuickGelu => x * sigmoid(1.702 * x),
    }
}

/// erfc by its series and, far out, its continued fraction.
fn erfc64(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc64(-x);
    }
    if x < 2.5 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while f64::abs(term) > 1e-18 {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        return 1.0 - sum * 2.0 / std::f64::consts::PI.sqrt();
    }
    let mut fraction = 0.0;
    for n in (1..=80).rev() {
        fraction = f64::from(n) / 2.0 / (x + fraction);
    }
    (-x * x).exp() / (std::f64::consts::PI.sqrt() * (x + fraction))
}

fn conv64(spec: &ConvSpec, input: Size, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f64> {
    let out = spec.output(input).unwrap();
    let (c, cg, og) = (spec.in_channels, spec.in_channels / spec.groups, spec.out_channels / spec.groups);
    let mut y = Vec::with_capacity(out.pixels() * spec.out_channels);
    for n in 0..out.n {
        for oy in 0..out.h {
            for ox in 0..out.w {
                for o in 0..spec.out_channels {
                    let mut sum = bias.map_or(0.0, |b| f64::from(b[o]));
                    for ky in 0..spec.kernel[0] {
                        let iy = oy * spec.stride[0] + ky * spec.dilation[0];
                        let Some(iy) = iy.checked_sub(spec.padding.top).filter(|y| *y < input.h) else {
                            continue;
                        };
                        for kx in 0..spec.kernel[1] {
                            let ix = ox * spec.stride[1] + kx * spec.dilation[1];
                            let Some(ix) = ix.checked_sub(spec.padding.left).filter(|x| *x < input.w) else {
                                continue;
                            };
                            for ci in 0..cg {
                                let a = x[((n * input.h + iy) * input.w + ix) * c + o / og * cg + ci];
                                let b = w[((o * cg + ci) * spec.kernel[0] + ky) * spec.kernel[1] + kx];
                                sum += f64::from(a) * f64::from(b);
                            }
                        }
                    }
                    y.push(sum);
                }
            }
        }
    }
    y
}

/// Every variant that can compute the layer, on every instruction set, plain and with all that a finish can hold.
fn check_conv(spec: ConvSpec, size: (usize, usize, usize)) {
    let input = Size::new(size.0, size.1, size.2);
    let out = spec.output(input).unwrap();
    let x = noise(input.pixels() * spec.in_channels, 1);
    let w = noise(spec.out_channels * spec.in_channels / spec.groups * spec.kernel[0] * spec.kernel[1], 2);
    let bias = noise(spec.out_channels, 3);
    let residual = noise(out.pixels() * spec.out_channels, 4);
    let plain = conv64(&spec, input, &x, &w, None);
    let biased = conv64(&spec, input, &x, &w, Some(&bias));
    let finished: Vec<f64> =
        biased.iter().zip(&residual).map(|(y, r)| act64(Act::Silu, y + f64::from(*r))).collect();
    let added: Vec<f64> = biased.iter().zip(&residual).map(|(y, r)| y + f64::from(*r)).collect();
    let mut seen = 0;
    for ctx in contexts(Profile::Strict) {
        for variant in Variant::ALL {
            let Ok(layer) = Conv2d::forced(&ctx, spec, &w, None, variant) else { continue };
            seen += 1;
            let at = |what: &str| {
                format!(
                    "{} on {} x{} {what}: {spec:?} {input:?}",
                    variant.name(),
                    ctx.isa().name(),
                    ctx.threads()
                )
            };
            let mut y = vec![f32::NAN; plain.len()];
            layer.forward(&x, input, &mut y, Finish::default()).unwrap();
            let error = relative_rms(&y, &plain);
            assert!(error <= variant.bound(), "{}: {error:e}", at("plain"));
            let layer = Conv2d::forced(&ctx, spec, &w, Some(bias.clone()), variant).unwrap();
            y.fill(f32::NAN);
            layer.forward(&x, input, &mut y, Finish { add: Add::Rows(&residual), act: Act::Silu }).unwrap();
            let error = relative_rms(&y, &finished);
            assert!(error <= variant.bound(), "{}: {error:e}", at("finished"));
            y.copy_from_slice(&residual);
            layer.forward(&x, input, &mut y, Finish::accumulate()).unwrap();
            let error = relative_rms(&y, &added);
            assert!(error <= variant.bound(), "{}: {error:e}", at("accumulated"));
        }
    }
    assert!(seen > 0);
}

#[test]
fn convolutions_of_3x3_at_stride_1() {
    for (n, c, h, w, o) in [
        (1, 64, 8, 8, 64),
        (2, 48, 5, 7, 66),
        (1, 66, 9, 4, 96),
        (1, 96, 13, 11, 48),
        (4, 32, 4, 4, 128),
        (1, 3, 10, 9, 16),
        (1, 4, 8, 6, 20),
        (1, 8, 8, 8, 32),
        (1, 64, 6, 10, 3),
        (2, 40, 7, 5, 4),
        (1, 330, 6, 5, 70),
        (1, 1, 1, 1, 1),
        (3, 17, 2, 3, 19),
    ] {
        check_conv(ConvSpec::new(c, o, [3, 3]).padding(Padding::all(1)), (n, h, w));
    }
    check_conv(ConvSpec::new(20, 24, [3, 3]), (1, 9, 12));
    check_conv(
        ConvSpec::new(20, 24, [3, 3]).padding(Padding { top: 2, bottom: 0, left: 0, right: 3 }),
        (1, 9, 12),
    );
}

#[test]
fn convolutions_of_other_kernels() {
    for (spec, size) in [
        (ConvSpec::new(32, 48, [1, 1]), (2, 5, 7)),
        (ConvSpec::new(323, 70, [1, 1]), (1, 14, 15)),
        (ConvSpec::new(33, 5, [1, 1]).stride([2, 2]), (1, 9, 8)),
        (ConvSpec::new(48, 40, [3, 3]).stride([2, 2]).padding(Padding::all(1)), (2, 9, 8)),
        (ConvSpec::new(24, 24, [3, 3]).stride([2, 2]).padding(Padding::right_and_bottom(1)), (1, 8, 10)),
        (ConvSpec::new(3, 64, [7, 7]).stride([2, 2]).padding(Padding::all(3)), (1, 21, 18)),
        (ConvSpec::new(3, 40, [14, 14]).stride([14, 14]), (1, 42, 28)),
        (ConvSpec::new(36, 40, [2, 2]).stride([2, 2]), (3, 6, 4)),
        (ConvSpec::new(16, 20, [3, 3]).padding(Padding::all(3)), (1, 6, 6)),
        (ConvSpec::new(16, 20, [3, 3]).dilation([2, 3]).padding(Padding::all(3)), (1, 9, 11)),
        (ConvSpec::new(130, 30, [3, 3]).dilation([2, 2]).padding(Padding::all(2)), (1, 9, 11)),
        (ConvSpec::new(60, 19, [7, 7]).padding(Padding::all(3)), (1, 12, 9)),
        // one line
        (ConvSpec::new(80, 64, [1, 3]).padding(Padding::sides(1)), (2, 1, 50)),
        (ConvSpec::new(64, 64, [1, 3]).stride([1, 2]).padding(Padding::sides(1)), (1, 1, 51)),
        (ConvSpec::new(1, 33, [1, 10]).stride([1, 5]), (1, 1, 103)),
        (ConvSpec::new(64, 32, [1, 2]).stride([1, 2]), (1, 1, 31)),
        // lines that are longer than what is done at a time
        (ConvSpec::new(64, 12, [1, 3]).stride([1, 2]).padding(Padding::sides(1)), (1, 1, 12_001)),
        (ConvSpec::new(64, 5, [1, 3]).padding(Padding::sides(1)), (2, 1, 6_000)),
        (
            ConvSpec::new(64, 16, [1, 5]).dilation([1, 3]).padding(Padding::sides(500)).groups(2),
            (1, 1, 12_000),
        ),
        (ConvSpec::new(40, 12, [3, 3]).padding(Padding::all(1)), (1, 2, 6_001)),
        // groups
        (ConvSpec::new(48, 48, [1, 128]).padding(Padding::sides(64)).groups(4), (1, 1, 40)),
        (ConvSpec::new(24, 36, [3, 3]).padding(Padding::all(1)).groups(3), (2, 6, 5)),
        (ConvSpec::new(12, 24, [3, 3]).padding(Padding::all(1)).groups(12), (1, 6, 5)),
        // one filter a channel
        (ConvSpec::new(37, 37, [5, 5]).padding(Padding::all(2)).groups(37), (2, 9, 8)),
        (ConvSpec::new(32, 32, [3, 3]).stride([2, 2]).padding(Padding::all(1)).groups(32), (1, 9, 8)),
        (ConvSpec::new(18, 18, [3, 3]).dilation([2, 2]).padding(Padding::all(4)).groups(18), (1, 7, 6)),
        (ConvSpec::new(16, 16, [3, 3]).padding(Padding::all(5)).groups(16), (1, 4, 4)),
    ] {
        check_conv(spec, size);
    }
}

#[test]
fn a_picked_variant_computes_the_layer_and_replaces_its_weights() {
    let spec = ConvSpec::new(64, 64, [3, 3]).padding(Padding::all(1));
    let input = Size::new(1, 24, 24);
    let (x, w) = (noise(input.pixels() * 64, 1), noise(64 * 64 * 9, 2));
    let truth = conv64(&spec, input, &x, &w, None);
    for choice in [Choice::Timed, Choice::Counted] {
        for profile in [Profile::Strict, Profile::Fast] {
            let ctx = Context::new(Config { profile, choice, ..Config::default() }).unwrap();
            let layer = Conv2d::new(&ctx, spec, w.clone(), None).unwrap();
            assert_eq!((layer.variant(), layer.weight_bytes()), (None, w.len() * 4));
            layer.prepare(input).unwrap();
            let variant = layer.variant().expect("prepared");
            let mut y = vec![0f32; truth.len()];
            layer.forward(&x, input, &mut y, Finish::default()).unwrap();
            assert!(relative_rms(&y, &truth) <= variant.bound());
            let factor = match variant {
                Variant::Winograd4 => 36.0 / 9.0,
                Variant::Winograd2 => 16.0 / 9.0,
                Variant::DirectBf16 | Variant::TiledAmx => 0.5,
                _ => 1.0,
            };
            assert_eq!(layer.weight_bytes(), (w.len() as f64 * 4.0 * factor) as usize, "{}", variant.name());
            assert_eq!(ctx.transformed_bytes(), layer.weight_bytes().saturating_sub(w.len() * 4));
            // an equal layer shares the decision
            let second = Conv2d::new(&ctx, spec, w.clone(), None).unwrap();
            second.forward(&x, input, &mut y, Finish::default()).unwrap();
            assert_eq!(second.variant(), Some(variant));
            drop((layer, second));
            assert_eq!(ctx.transformed_bytes(), 0);
        }
    }
}

/// What tells no variant from another picks none: by it, all would be exact.
#[test]
fn a_first_picture_of_nothing_lets_no_variant_pass() {
    let (c, o, size) = (16, 32, Size::new(1, 16, 16));
    let spec = ConvSpec::new(c, o, [3, 3]).padding(Padding::all(1));
    // beside the large weight, a transform's rounding drowns what the small ones say
    let mut weights: Vec<f32> = noise(spec.weights(), 1).iter().map(|w| w * 1e-6).collect();
    weights.iter_mut().step_by(9).for_each(|w| *w = 1.0);
    let x = noise(size.pixels() * c, 2);
    let truth = conv64(&spec, size, &x, &weights, None);
    for first in [0.0, f32::NAN, f32::INFINITY] {
        for ctx in contexts(Profile::Fast) {
            let conv = Conv2d::new(&ctx, spec, weights.clone(), None).unwrap();
            let mut y = vec![0f32; size.pixels() * o];
            conv.forward(&vec![first; x.len()], size, &mut y, Finish::default()).unwrap();
            conv.forward(&x, size, &mut y, Finish::default()).unwrap();
            let (error, variant) = (relative_rms(&y, &truth), conv.variant().unwrap());
            assert!(error <= 2.0 * variant.bound(), "{first} {}: {error:e}", variant.name());
        }
    }
}

#[test]
fn the_weight_budget_bounds_transformed_weights() {
    let spec = ConvSpec::new(64, 64, [3, 3]).padding(Padding::all(1));
    let input = Size::new(1, 32, 32);
    let plain = 64 * 64 * 9 * 4;
    for (budget, allowed) in [
        (0, vec![Variant::DirectF32]),
        (plain, vec![Variant::DirectF32, Variant::Winograd2]),
        (4 * plain, vec![Variant::DirectF32, Variant::Winograd2, Variant::Winograd4]),
    ] {
        let config = Config { weight_budget: budget, choice: Choice::Counted, ..Config::default() };
        let ctx = Context::new(config).unwrap();
        let layers: Vec<_> = (0..3)
            .map(|i| {
                let layer = Conv2d::new(&ctx, spec, noise(64 * 64 * 9, i), None).unwrap();
                layer.prepare(input).unwrap();
                layer
            })
            .collect();
        assert!(ctx.transformed_bytes() <= budget, "{} of {budget}", ctx.transformed_bytes());
        assert_eq!(layers[0].variant(), allowed.last().copied());
        for layer in &layers {
            assert!(allowed.contains(&layer.variant().unwrap()));
        }
    }
}

fn check_linear(rows: usize, inputs: usize, outputs: usize) {
    let (x, bias) = (noise(rows * inputs, 1), noise(outputs, 3));
    let w = noise(outputs * inputs, 2);
    let bf16: Vec<u16> = w.iter().map(|w| bf16::from_f32(*w)).collect();
    let widened: Vec<f32> = bf16.iter().map(|w| bf16::to_f32(*w)).collect();
    let q8 = inputs.is_multiple_of(32).then(|| q8_0::quantize(&w).unwrap());
    let truth = |w: &[f32]| -> Vec<f64> {
        (0..rows * outputs)
            .map(|i| {
                let (row, o) = (i / outputs, i % outputs);
                let sum: f64 =
                    (0..inputs).map(|k| f64::from(x[row * inputs + k]) * f64::from(w[o * inputs + k])).sum();
                act64(Act::Gelu, sum + f64::from(bias[o]))
            })
            .collect()
    };
    let mut cases = vec![(Weight::F32(&w), truth(&w)), (Weight::Bf16(&bf16), truth(&widened))];
    let steps: Vec<i8> = w.iter().map(|w| (w * 127.0).round() as i8).collect();
    let scales: Vec<f32> = (0..outputs).map(|o| 1e-7 * (1 + o) as f32).collect(); // too small for the f16 of q8_0
    let of_rows: Vec<f32> =
        steps.iter().enumerate().map(|(i, q)| f32::from(*q) * scales[i / inputs]).collect();
    cases.push((Weight::Int8 { values: &steps, scales: &scales }, truth(&of_rows)));
    if let Some(q8) = &q8 {
        cases.push((Weight::Q8_0(q8), truth(&q8_0::dequantize(q8, w.len()).unwrap())));
    }
    for profile in [Profile::Strict, Profile::Fast] {
        for ctx in contexts(profile) {
            for (weight, truth) in &cases {
                let layer = Linear::new(&ctx, [outputs, inputs], *weight, Some(bias.clone())).unwrap();
                let mut y = vec![f32::NAN; rows * outputs];
                layer.forward(&x, &mut y, Finish::act(Act::Gelu)).unwrap();
                let error = relative_rms(&y, truth);
                let rounds = matches!(layer.variant(), "linear-bf16" | "linear-amx");
                let bound = if rounds { 5e-3 } else { 3e-6 };
                assert!(
                    error <= bound,
                    "{} on {}: {rows} x {inputs} -> {outputs}: {error:e}",
                    layer.variant(),
                    ctx.isa().name()
                );
            }
        }
    }
}

#[test]
fn linear_layers_in_every_format() {
    for (rows, inputs, outputs) in [
        (1, 32, 1),
        (7, 64, 48),
        (13, 96, 67),
        (200, 320, 64),
        (5, 33, 21),
        (3, 1, 3),
        (2, 704, 130),
        (31, 641, 18),
    ] {
        check_linear(rows, inputs, outputs);
    }
}

#[test]
fn products_of_activations() {
    for (batch, m, k, n) in [(1, 1, 1, 1), (2, 7, 33, 19), (3, 50, 65, 100), (1, 13, 700, 5)] {
        let (a, b) = (noise(batch * m * k, 1), noise(batch * k * n, 2));
        for right in [Right::Plain, Right::Transposed] {
            let truth: Vec<f64> = (0..batch * m * n)
                .map(|i| {
                    let (item, row, column) = (i / (m * n), i / n % m, i % n);
                    (0..k)
                        .map(|p| {
                            let b = match right {
                                Right::Plain => b[(item * k + p) * n + column],
                                Right::Transposed => b[(item * n + column) * k + p],
                            };
                            f64::from(a[(item * m + row) * k + p]) * f64::from(b)
                        })
                        .sum()
                })
                .collect();
            for ctx in contexts(Profile::Strict).into_iter().chain(contexts(Profile::Fast)) {
                let rounds = ctx.isa() == Isa::Amx && ctx.profile() == Profile::Fast;
                let mut c = vec![f32::NAN; truth.len()];
                Matmul { batch, m, k, n, right }.run(&ctx, &a, &b, &mut c).unwrap();
                assert!(
                    relative_rms(&c, &truth) <= if rounds { 5e-3 } else { 3e-6 },
                    "{batch} {m} {k} {n} on {}",
                    ctx.isa().name()
                );
            }
        }
    }
}

/// How a row of the attention table masks.
#[derive(Debug, Clone, Copy)]
enum Masking {
    All,
    Additive,
    Lengths,
}

fn check_attention(shape: Shape, masking: Masking) {
    let Shape { batch, heads, queries, keys, dim } = shape;
    let (q, k, v) = (
        noise(batch * queries * heads * dim, 1),
        noise(batch * keys * heads * dim, 2),
        noise(batch * keys * heads * dim, 3),
    );
    // large scores, so that the peak moves
    let scale = 8.0 / (dim as f32).sqrt();
    // a third of the keys hidden
    let additive: Vec<f32> = noise(heads * queries * keys, 4)
        .into_iter()
        .map(|x| if x < -0.15 { f32::NEG_INFINITY } else { x })
        .collect();
    let lengths: Vec<usize> = (0..batch).map(|b| (keys - b * keys / batch).max(1)).collect();
    let mut truth = Vec::with_capacity(q.len());
    for b in 0..batch {
        for i in 0..queries {
            for n in 0..heads {
                let scores: Vec<f64> = (0..keys)
                    .map(|j| {
                        let dot: f64 = (0..dim)
                            .map(|d| {
                                f64::from(q[((b * queries + i) * heads + n) * dim + d])
                                    * f64::from(k[((b * keys + j) * heads + n) * dim + d])
                            })
                            .sum();
                        let score = dot * f64::from(scale);
                        match masking {
                            Masking::All => score,
                            Masking::Additive => score + f64::from(additive[(n * queries + i) * keys + j]),
                            Masking::Lengths if j < lengths[b] => score,
                            Masking::Lengths => f64::NEG_INFINITY,
                        }
                    })
                    .collect();
                let peak = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores
                    .iter()
                    .map(|s| if *s == f64::NEG_INFINITY { 0.0 } else { (s - peak).exp() })
                    .collect();
                let sum: f64 = weights.iter().sum();
                for d in 0..dim {
                    let y: f64 = (0..keys)
                        .map(|j| weights[j] * f64::from(v[((b * keys + j) * heads + n) * dim + d]))
                        .sum();
                    truth.push(if sum > 0.0 { y / sum } else { 0.0 });
                }
            }
        }
    }
    for ctx in contexts(Profile::Strict).into_iter().chain(contexts(Profile::Fast)) {
        let (many, few) = (Strides::blnd(queries, heads, dim), Strides::blnd(keys, heads, dim));
        let mut out = vec![f32::NAN; q.len()];
        let attention = Attention {
            shape,
            q: View { data: &q, strides: many },
            k: View { data: &k, strides: few },
            v: View { data: &v, strides: few },
            scale,
            mask: match masking {
                Masking::Additive => {
                    Mask::Additive { data: &additive, batch: 0, head: queries * keys, query: keys }
                }
                Masking::All | Masking::Lengths => Mask::All,
            },
            lengths: matches!(masking, Masking::Lengths).then_some(lengths.as_slice()),
        };
        attention.run(&ctx, &mut out, many).unwrap();
        let error = relative_rms(&out, &truth);
        // scores are large here: what rounding does to them the weights show twice
        let rounds = ctx.isa() == Isa::Amx && ctx.profile() == Profile::Fast;
        let bound = if rounds { 1e-2 } else { 3e-6 };
        assert!(error <= bound, "{shape:?} {masking:?} on {}: {error:e}", ctx.isa().name());
    }
}

#[test]
fn attention_of_every_kind() {
    for (batch, heads, queries, keys, dim) in [
        (1, 1, 1, 1, 16),
        (2, 3, 50, 130, 40),
        (1, 2, 100, 50, 64),
        (2, 1, 17, 257, 80),
        (1, 1, 64, 300, 128),
        (1, 2, 33, 129, 160),
        (1, 1, 20, 40, 512),
        (2, 2, 100, 700, 24),
        (3, 2, 7, 9, 17),
        (70, 5, 8, 8, 64),
        (9, 3, 25, 25, 40),
        (2, 1, 33, 32, 256),
    ] {
        for masking in [Masking::All, Masking::Additive, Masking::Lengths] {
            check_attention(Shape { batch, heads, queries, keys, dim }, masking);
        }
    }
}

#[test]
fn a_query_that_sees_nothing_gets_zeros() {
    let shape = Shape { batch: 1, heads: 1, queries: 2, keys: 3, dim: 8 };
    let x = noise(24, 1);
    let hidden = f32::NEG_INFINITY;
    let added = [0.0, 0.0, 0.0, hidden, hidden, hidden];
    for ctx in contexts(Profile::Strict) {
        let strides = Strides::blnd(3, 1, 8);
        let view = View { data: &x, strides };
        let mask = Mask::Additive { data: &added, batch: 0, head: 0, query: 3 };
        let mut out = [f32::NAN; 16];
        Attention { shape, q: view, k: view, v: view, scale: 1.0, mask, lengths: None }
            .run(&ctx, &mut out, strides)
            .unwrap();
        assert!(out[..8].iter().all(|v| v.is_finite() && *v != 0.0));
        assert_eq!(out[8..], [0.0; 8]);
        // left over in borrowed memory, the sums of the run before must not show
        Attention { shape, q: view, k: view, v: view, scale: 1.0, mask, lengths: Some(&[0]) }
            .run(&ctx, &mut out, strides)
            .unwrap();
        assert_eq!(out, [0.0; 16]);
    }
}

#[test]
fn attention_reads_heads_where_they_lie() {
    // q, k and v in one tensor (b, l, 3, n, d), as a fused projection writes them
    let (l, n, d) = (37, 3, 24);
    let fused = noise(2 * l * 3 * n * d, 1);
    let strides = Strides { batch: l * 3 * n * d, position: 3 * n * d, head: d };
    let part = |i: usize| -> Vec<f32> {
        (0..2 * l).flat_map(|p| fused[(p * 3 + i) * n * d..][..n * d].to_vec()).collect()
    };
    let (q, k, v) = (part(0), part(1), part(2));
    let shape = Shape { batch: 2, heads: n, queries: l, keys: l, dim: d };
    let plain = Strides::blnd(l, n, d);
    for ctx in contexts(Profile::Strict) {
        let run = |q: View, k: View, v: View| {
            let mut out = vec![0f32; 2 * l * n * d];
            let attention = Attention { shape, q, k, v, scale: 0.2, mask: Mask::All, lengths: None };
            attention.run(&ctx, &mut out, plain).unwrap();
            out
        };
        let packed = |data| View { data, strides: plain };
        let within = |i: usize| View { data: &fused[i * n * d..], strides };
        assert_eq!(run(packed(&q), packed(&k), packed(&v)), run(within(0), within(1), within(2)));
    }
}

fn check_group_norm(n: usize, pixels: usize, c: usize, groups: usize, offset: f32) {
    let x: Vec<f32> = noise(n * pixels * c, 1).iter().map(|x| x + offset).collect();
    let (gamma, beta) = (noise(c, 2), noise(c, 3));
    let (wide, eps) = (c / groups, 1e-5f32);
    for act in [Act::Identity, Act::Silu] {
        let mut truth = vec![0f64; x.len()];
        for picture in 0..n {
            for group in 0..groups {
                let at = |p: usize, i: usize| (picture * pixels + p) * c + group * wide + i;
                let all = || (0..pixels).flat_map(|p| (0..wide).map(move |i| (p, i)));
                let count = (pixels * wide) as f64;
                let mean = all().map(|(p, i)| f64::from(x[at(p, i)])).sum::<f64>() / count;
                let variance =
                    all().map(|(p, i)| (f64::from(x[at(p, i)]) - mean).powi(2)).sum::<f64>() / count;
                for (p, i) in all() {
                    let channel = group * wide + i;
                    let y = (f64::from(x[at(p, i)]) - mean) / (variance + f64::from(eps)).sqrt();
                    truth[at(p, i)] = act64(act, y * f64::from(gamma[channel]) + f64::from(beta[channel]));
                }
            }
        }
        for ctx in contexts(Profile::Strict) {
            let norm = GroupNorm::new(groups, eps, gamma.clone(), beta.clone()).unwrap();
            let mut y = vec![f32::NAN; x.len()];
            norm.forward(&ctx, (n, act), &x, &mut y).unwrap();
            let error = relative_rms(&y, &truth);
            // the input's own rounding, in units of its spread
            let bound = 1e-6 * f64::from(1.0 + offset.abs());
            assert!(error <= bound, "{n} {pixels} {c} {groups} +{offset} on {}: {error:e}", ctx.isa().name());
        }
    }
}

#[test]
fn group_norms() {
    for (n, pixels, c, groups, offset) in [
        (1, 64, 64, 32, 0.0),
        (2, 77, 96, 32, 0.0),
        (1, 1000, 66, 3, 0.0),
        (3, 5, 512, 512, 0.0),
        (1, 20_000, 32, 8, 0.0),
        (1, 4097, 48, 1, 100.0),
    ] {
        check_group_norm(n, pixels, c, groups, offset);
    }
}

#[test]
fn a_group_norm_keeps_its_eps() {
    // variance near eps: a wrong eps shows
    let x: Vec<f32> = noise(64 * 32, 1).iter().map(|x| x * 0.01).collect();
    let run = |eps| {
        let norm = GroupNorm::new(4, eps, vec![1.0; 32], vec![0.0; 32]).unwrap();
        let mut y = vec![0f32; x.len()];
        norm.forward(&contexts(Profile::Strict)[0], (1, Act::Identity), &x, &mut y).unwrap();
        y
    };
    let (a, b) = (run(1e-5), run(1e-6));
    assert!(a.iter().zip(&b).any(|(a, b)| (a - b).abs() > 0.1));
}

#[test]
fn row_norms() {
    for (rows, c, offset) in
        [(1, 1, 0.0), (5, 40, 0.0), (9, 321, 0.0), (3, 5120, 0.0), (2, 1280, 50.0), (700, 66, 0.0)]
    {
        let x: Vec<f32> = noise(rows * c, 1).iter().map(|x| x + offset).collect();
        let (gamma, beta) = (noise(c, 2), noise(c, 3));
        for kind in [RowKind::Layer, RowKind::Rms] {
            let truth: Vec<f64> = x
                .chunks_exact(c)
                .flat_map(|row| {
                    let mean = match kind {
                        RowKind::Layer => row.iter().map(|x| f64::from(*x)).sum::<f64>() / c as f64,
                        RowKind::Rms => 0.0,
                    };
                    let square = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / c as f64;
                    let inverse = 1.0 / (square + f64::from(1e-5f32)).sqrt();
                    let (gamma, beta) = (&gamma, &beta);
                    row.iter().enumerate().map(move |(i, x)| {
                        (f64::from(*x) - mean) * inverse * f64::from(gamma[i]) + f64::from(beta[i])
                    })
                })
                .collect();
            for (ctx, act) in
                contexts(Profile::Strict).iter().flat_map(|ctx| [(ctx, Act::Identity), (ctx, Act::Silu)])
            {
                let truth: Vec<f64> = truth.iter().map(|v| act64(act, *v)).collect();
                let norm = RowNorm { kind, eps: 1e-5, gamma: Some(&gamma), beta: Some(&beta), act };
                let mut y = vec![f32::NAN; x.len()];
                norm.forward(ctx, c, &x, &mut y).unwrap();
                let error = relative_rms(&y, &truth);
                let bound = 1e-6 * f64::from(1.0 + offset);
                assert!(error <= bound, "{kind:?} {rows} {c} on {}: {error:e}", ctx.isa().name());
            }
        }
    }
}

#[test]
fn activations_over_the_whole_range() {
    let x: Vec<f32> =
        (-4000..=4000).map(|i| i as f32 * 0.005).chain([-1000.0, -100.0, 100.0, 1000.0, 0.0]).collect();
    for act in [Act::Identity, Act::Relu, Act::Silu, Act::Gelu, Act::GeluTanh, Act::QuickGelu] {
        for ctx in contexts(Profile::Strict) {
            let mut y = x.clone();
            activate(&ctx, act, &mut y);
            for (x, y) in x.iter().zip(&y) {
                let truth = act64(act, f64::from(*x));
                let bound = 4e-7 * (1.0 + truth.abs());
                assert!(
                    (f64::from(*y) - truth).abs() <= bound,
                    "{act:?}({x}) on {}: {y}, not {truth}",
                    ctx.isa().name()
                );
            }
        }
    }
}

#[test]
fn gated_activations() {
    let (rows, c) = (5, 37);
    let x = noise(rows * 2 * c, 1);
    let truth: Vec<f64> = x
        .chunks_exact(2 * c)
        .flat_map(|row| {
            (0..c).map(|i| f64::from(row[i]) * act64(Act::Gelu, f64::from(row[c + i]))).collect::<Vec<_>>()
        })
        .collect();
    for ctx in contexts(Profile::Strict) {
        let mut y = vec![f32::NAN; rows * c];
        gated(&ctx, Act::Gelu, c, &x, &mut y).unwrap();
        assert!(relative_rms(&y, &truth) <= 2e-6);
    }
}

#[test]
fn upsampling_repeats_pixels() {
    let (size, c) = (Size::new(2, 3, 5), 7);
    let x = noise(size.pixels() * c, 1);
    for ctx in contexts(Profile::Strict) {
        let mut y = vec![f32::NAN; 4 * x.len()];
        upsample2(&ctx, (size, c), &x, &mut y).unwrap();
        for (i, y) in y.iter().enumerate() {
            let (channel, column, row) = (i % c, i / c % 10, i / c / 10);
            assert_eq!(*y, x[(row / 2 * 5 + column / 2) * c + channel]);
        }
    }
}

#[test]
fn wrong_lengths_and_shapes_are_refused() {
    let ctx = Context::new(Config::default()).unwrap();
    let spec = ConvSpec::new(8, 16, [3, 3]).padding(Padding::all(1));
    let (size, finish) = (Size::new(1, 4, 4), Finish::default());
    let weights = || noise(8 * 16 * 9, 1);
    let conv = Conv2d::new(&ctx, spec, weights(), None).unwrap();
    let linear = Linear::new(&ctx, [16, 8], Weight::F32(&noise(128, 1)), None).unwrap();
    let (x, mut y) = (noise(1 << 12, 1), vec![0f32; 1 << 12]);
    let short = vec![0f32; 7];
    let strides = Strides::blnd(4, 2, 8);
    let view = View { data: &x[..64], strides };
    let attention = Attention {
        shape: Shape { batch: 1, heads: 2, queries: 4, keys: 4, dim: 8 },
        q: view,
        k: view,
        v: view,
        scale: 1.0,
        mask: Mask::All,
        lengths: None,
    };
    let norm =
        RowNorm { kind: RowKind::Layer, eps: 1e-5, gamma: Some(&short), beta: None, act: Act::Identity };
    let refused: Vec<(Result<()>, &str)> = vec![
        (
            Conv2d::new(&ctx, spec, short.clone(), None).map(drop),
            "convolution weights holds 7 values, its shape needs 1152",
        ),
        (
            Conv2d::new(&ctx, spec, weights(), Some(short.clone())).map(drop),
            "convolution bias holds 7 values",
        ),
        (Conv2d::new(&ctx, spec.groups(3), weights(), None).map(drop), "a multiple of the groups"),
        (Conv2d::new(&ctx, spec.stride([0, 1]), weights(), None).map(drop), "vertical stride is 0"),
        (
            Conv2d::forced(&ctx, spec, &weights(), None, Variant::Depthwise).map(drop),
            "take one of direct-f32",
        ),
        (conv.forward(&x[..127], size, &mut y[..256], finish), "convolution input holds 127 values"),
        (conv.forward(&x[..128], size, &mut y[..255], finish), "convolution output holds 255 values"),
        (conv.forward(&x[..128], size, &mut y[..256], Finish::residual(&short)), "residual holds 7 values"),
        (ConvSpec::new(1, 1, [9, 1]).output(size).map(drop), "picture height is 4"),
        (Linear::new(&ctx, [16, 8], Weight::F32(&short), None).map(drop), "linear weights holds 7 values"),
        (
            Linear::new(&ctx, [2, 1], Weight::Int8 { values: &[1, 2], scales: &[1.0] }, None).map(drop),
            "scales of a linear layer's rows holds 1 values",
        ),
        (Linear::new(&ctx, [2, 33], Weight::Q8_0(&[]), None).map(drop), "inputs of a q8_0 layer is 33"),
        (linear.forward(&x[..9], &mut y[..16], finish), "linear input holds 9 values"),
        (linear.forward(&x[..8], &mut y[..17], finish), "linear output holds 17 values"),
        (attention.run(&ctx, &mut y[..63], strides), "attention output reaches value 64 of a slice of 63"),
        (
            Attention { k: View { data: &x[..63], strides }, ..attention }.run(&ctx, &mut y, strides),
            "keys reaches value 64 of a slice of 63",
        ),
        (
            Attention { mask: Mask::Additive { data: &short, batch: 0, head: 0, query: 4 }, ..attention }
                .run(&ctx, &mut y, strides),
            "mask reaches value 16 of a slice of 7",
        ),
        (
            attention.run(&ctx, &mut y, Strides { position: 8, ..strides }),
            "the strides of the attention output put two values in one place",
        ),
        (conv.prepare(Size::new(0, 4, 4)), "pictures to pick for is 0"),
        (Attention { lengths: Some(&[5]), ..attention }.run(&ctx, &mut y, strides), "key length is 5"),
        (norm.forward(&ctx, 8, &x[..16], &mut y[..16]), "gamma holds 7 values, its shape needs 8"),
        (GroupNorm::new(3, 1e-5, vec![1.0; 8], vec![0.0; 8]).map(drop), "channels of a norm is 8"),
        (upsample2(&ctx, (size, 2), &x[..32], &mut y[..127]), "upsampling output holds 127 values"),
        (Context::new(Config { threads: 0, ..Config::default() }).map(drop), "number of threads is 0"),
    ];
    for (result, words) in refused {
        let message = result.expect_err(words).to_string();
        assert!(message.contains(words), "{message}, not {words}");
    }
}
