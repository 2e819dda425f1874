//! Every operation on a card against the reference on the CPU. They run where there is a card: `cargo test … -- --ignored`, which
//! `scripts/cuda.sh test` does. Without one, the kernels' arithmetic is held against its definition by `cuda-kernels`' own tests.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;

use crate::activation::Activation;
use crate::conv::{Bias, ConvConfig, Padding};
use crate::noise::noise;
use crate::{
    CausalConv3d, Conv1d, Conv2d, Conv3dConfig, GroupNorm, LayerNorm, Linear, Mask, Pairing, RmsNorm,
    RopeTable, Sequences, add_gated, attention, attention_of, geglu, is_finite, open_card, reference,
};

/// Bounds on the relative L2: f32 sums in another order, one or two roundings of the others.
const DTYPES: [(DType, f64); 3] = [(DType::F32, 2e-5), (DType::BF16, 8e-3), (DType::F16, 1e-3)];

/// A card, and tensors that lie on it and on the CPU with the same bits.
struct Bench {
    card: Device,
    dtype: DType,
}

impl Bench {
    fn new(dtype: DType) -> Self {
        Self { card: open_card(0).unwrap(), dtype }
    }

    /// Values without a trend on [-1, 1].
    fn noise(&self, shape: &[usize], seed: u32) -> Pair {
        let here = noise(shape, seed).to_dtype(self.dtype).unwrap();
        // the CPU computes in f32 from the rounded values
        Pair { there: here.to_device(&self.card).unwrap(), here: here.to_dtype(DType::F32).unwrap() }
    }

    fn builder(&self, tensors: &[(&str, &Pair)]) -> VarBuilder<'static> {
        let tensors: HashMap<_, _> =
            tensors.iter().map(|(name, pair)| ((*name).to_owned(), pair.there.clone())).collect();
        VarBuilder::from_tensors(tensors, self.dtype, &self.card)
    }
}

struct Pair {
    there: Tensor,
    here: Tensor,
}

fn check(what: &str, got: &Tensor, want: &Tensor, bound: f64) {
    assert!(matches!(got.device(), Device::Cuda(_)), "{what} left the card");
    assert_eq!(got.dims(), want.dims(), "{what}");
    let wide = |t: &Tensor| -> Vec<f64> {
        let t = t.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        t.flatten_all().unwrap().to_vec1().unwrap()
    };
    let (got, want) = (wide(got), wide(want));
    let power: f64 = want.iter().map(|w| w * w).sum();
    let error: f64 = got.iter().zip(&want).map(|(g, w)| (g - w).powi(2)).sum();
    assert!(error.sqrt() <= bound * power.sqrt(), "{what}: {:e}", (error / power).sqrt());
}

#[test]
#[ignore = "needs an NVIDIA card"]
fn norms() {
    for (dtype, bound) in DTYPES {
        let bench = Bench::new(dtype);
        for (shape, groups) in
            [(&[2, 9, 7, 64][..], 32), (&[1, 64, 64, 320], 32), (&[1, 3, 4, 4, 24], 8), (&[3, 5, 21], 7)]
        {
            let c = *shape.last().unwrap();
            let (x, weight, bias) = (bench.noise(shape, 1), bench.noise(&[c], 2), bench.noise(&[c], 3));
            let vb = bench.builder(&[("weight", &weight), ("bias", &bias)]);
            let what = format!("{dtype:?} {shape:?}");
            let norm = GroupNorm::load(groups, c, 1e-6, vb.clone()).unwrap();
            let want = reference::group_norm(&x.here, groups, (&weight.here, &bias.here), 1e-6).unwrap();
            check(&what, &norm.forward(&x.there).unwrap(), &want, bound);
            let silu = reference::activation(&want, Activation::Silu).unwrap();
            check(&what, &norm.forward_silu(&x.there).unwrap(), &silu, bound);
            let norm = LayerNorm::load(c, 1e-6, Bias::Yes, vb).unwrap();
            let want = reference::layer_norm(&x.here, Some((&weight.here, Some(&bias.here))), 1e-6).unwrap();
            check(&what, &norm.forward(&x.there).unwrap(), &want, bound);
            let want = reference::layer_norm(&x.here, None, 1e-6).unwrap();
            check(&what, &LayerNorm::plain(1e-6).forward(&x.there).unwrap(), &want, bound);
            let norm = RmsNorm::new(weight.there.clone(), 1e-6);
            let want = reference::rms_norm(&x.here, &weight.here, 1e-6).unwrap();
            check(&what, &norm.forward(&x.there).unwrap(), &want, 2.0 * bound);
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA card"]
fn convolutions() {
    for (dtype, bound) in DTYPES {
        let bench = Bench::new(dtype);
        for (inputs, outputs, cfg) in [
            (4, 320, ConvConfig::square(3)),
            (64, 48, ConvConfig::square(3)),
            (96, 20, ConvConfig::square(1).without_bias()),
            (3, 32, ConvConfig::square(7).stride(2)),
            (32, 64, ConvConfig::square(3).stride(2).padding(Padding::behind(1))), // by windows
            (24, 24, ConvConfig::square(3).dilation(2)),
            (24, 48, ConvConfig::square(3).groups(4).stride(2)),
        ] {
            let weight = bench.noise(&[outputs, inputs / cfg.groups, cfg.kernel.0, cfg.kernel.1], 1);
            let bias = (cfg.bias == Bias::Yes).then(|| bench.noise(&[outputs], 2));
            let there = bias.as_ref().map(|b| b.there.clone());
            let conv = Conv2d::new(weight.there.clone(), there, cfg).unwrap();
            let x = bench.noise(&[2, 17, 14, inputs], 3);
            let here = bias.as_ref().map(|b| &b.here);
            let want = reference::conv2d(&x.here, &weight.here, here, &cfg).unwrap();
            let what = format!("{dtype:?} {cfg:?}");
            check(&what, &conv.forward(&x.there).unwrap(), &want, bound);
            let addend = bench.noise(want.dims(), 4);
            let plus = (&want + &addend.here).unwrap();
            check(&what, &conv.forward_plus(&x.there, &addend.there).unwrap(), &plus, bound);
            let silu = reference::activation(&want, Activation::Silu).unwrap();
            check(&what, &conv.forward_then(&x.there, Activation::Silu).unwrap(), &silu, bound);
        }
        let cfg = ConvConfig { kernel: (1, 10), ..ConvConfig::square(10) }.stride(5);
        let (weight, bias, x) =
            (bench.noise(&[64, 3, 10], 1), bench.noise(&[64], 2), bench.noise(&[2, 100, 3], 3));
        let conv = Conv1d::new(weight.there.clone(), Some(bias.there.clone()), cfg).unwrap();
        let want = reference::conv1d(&x.here, &weight.here, Some(&bias.here), &cfg).unwrap();
        check("a line", &conv.forward(&x.there).unwrap(), &want, bound);
    }
}

#[test]
#[ignore = "needs an NVIDIA card"]
fn convolutions_over_clips() {
    for (dtype, bound) in DTYPES {
        let bench = Bench::new(dtype);
        let (weight, bias) = (bench.noise(&[20, 12, 3, 3, 3], 1), bench.noise(&[20], 2));
        for time_stride in [1, 2] {
            let cfg = Conv3dConfig::cube(3, 3).time_stride(time_stride);
            let vb = bench.builder(&[("weight", &weight), ("bias", &bias)]);
            let there = CausalConv3d::load(12, 20, cfg, vb).unwrap();
            let tensors = [("weight", &weight.here), ("bias", &bias.here)];
            let tensors = tensors.map(|(name, t)| (name.to_owned(), t.clone())).into_iter().collect();
            let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
            let here = CausalConv3d::load(12, 20, cfg, vb).unwrap();
            let x = bench.noise(&[2, 6, 8, 10, 12], 3);
            let want = here.valid(&x.here).unwrap();
            check(&format!("{dtype:?} {cfg:?}"), &there.valid(&x.there).unwrap(), &want, bound);
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA card"]
fn linear_layers_and_gates() {
    for (dtype, bound) in DTYPES {
        let bench = Bench::new(dtype);
        for (rows, inputs, outputs) in [(1, 320, 1280), (257, 64, 96), (4, 33, 7)] {
            let (weight, bias, x) = (
                bench.noise(&[outputs, inputs], 1),
                bench.noise(&[outputs], 2),
                bench.noise(&[2, rows, inputs], 3),
            );
            let layer = Linear::new(weight.there.clone(), Some(bias.there.clone())).unwrap();
            let want = reference::linear(&x.here, &weight.here, Some(&bias.here)).unwrap();
            let what = format!("{dtype:?} {inputs} to {outputs}");
            check(&what, &layer.forward(&x.there).unwrap(), &want, bound);
            let gelu = reference::activation(&want, Activation::GeluTanh).unwrap();
            check(&what, &layer.forward_then(&x.there, Activation::GeluTanh).unwrap(), &gelu, bound);
        }
        let x = bench.noise(&[3, 5, 64], 4);
        check("gate", &geglu(&x.there).unwrap(), &reference::geglu(&x.here).unwrap(), bound);
    }
}

#[test]
#[ignore = "needs an NVIDIA card"]
fn attention_and_rotation() {
    for (dtype, bound) in DTYPES {
        let bench = Bench::new(dtype);
        for (b, lq, lk, n, d) in [
            (1, 1024, 1024, 2, 40),
            (2, 65, 50, 8, 80),
            (2, 64, 64, 3, 160),
            (1, 300, 77, 1, 128),
            (1, 40, 40, 1, 512),
        ] {
            let (q, k, v) = (
                bench.noise(&[b, lq, n, d], 1),
                bench.noise(&[b, lk, n, d], 2),
                bench.noise(&[b, lk, n, d], 3),
            );
            let bias = bench.noise(&[1, n, lq, lk], 4);
            let lengths: Vec<usize> = (0..b).map(|i| lk / (i + 1)).collect();
            let both = [
                (Mask::Full, Mask::Full),
                (Mask::Bias(&bias.there), Mask::Bias(&bias.here)),
                (Mask::KeyLengths(&lengths), Mask::KeyLengths(&lengths)),
            ];
            for (there, here) in both {
                let want = reference::attention(&q.here, &k.here, &v.here, &here, 0.3).unwrap();
                let got = attention(&q.there, &k.there, &v.there, &there, 0.3).unwrap();
                check(&format!("{dtype:?} {lq} over {lk}, {n} heads of {d}"), &got, &want, 2.0 * bound);
            }
        }
        let (q, k, v) =
            (bench.noise(&[138, 2, 40], 1), bench.noise(&[141, 2, 40], 2), bench.noise(&[141, 2, 40], 3));
        let sequences = Sequences { queries: &[70, 3, 1, 64], keys: &[33, 3, 40, 65] };
        let want = attention_of(&q.here, &k.here, &v.here, &sequences, 0.3).unwrap();
        let got = attention_of(&q.there, &k.there, &v.there, &sequences, 0.3).unwrap();
        check(&format!("{dtype:?} sequences"), &got, &want, 2.0 * bound);
        let x = bench.noise(&[2, 24, 3, 64], 5);
        for pairing in [Pairing::Neighbours, Pairing::Halves] {
            let positions: Vec<f64> = (0..24).map(f64::from).collect();
            let table = |device| RopeTable::line(&positions, 64, 10000.0, pairing, device).unwrap();
            let want = table(&Device::Cpu).apply(&x.here).unwrap();
            check("rope", &table(&bench.card).apply(&x.there).unwrap(), &want, bound);
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA card"]
fn what_the_blocks_of_a_diffusion_transformer_are_told() {
    for (dtype, bound) in DTYPES {
        let (bench, wide) = (Bench::new(dtype), Bench::new(DType::F32));
        for c in [1280, 21] {
            let (x, a) = (bench.noise(&[1, 70, c], 1), bench.noise(&[1, 70, c], 2));
            let (shift, scale) = (wide.noise(&[c], 3), wide.noise(&[c], 4));
            let norm = LayerNorm::plain(1e-6);
            let want = norm.forward_modulated(&x.here, &shift.here, &scale.here).unwrap();
            let got = norm.forward_modulated(&x.there, &shift.there, &scale.there).unwrap();
            check("modulated norm", &got, &want, bound);
            let want = add_gated(&x.here, &a.here, &shift.here).unwrap();
            check("gated sum", &add_gated(&x.there, &a.there, &shift.there).unwrap(), &want, bound);
            let broken = (&x.there * f64::INFINITY).unwrap();
            assert!(is_finite(&x.there).unwrap() && !is_finite(&broken).unwrap());
        }
    }
}

#[test]
fn a_machine_without_a_card_is_told_what_it_lacks() {
    if std::path::Path::new("/dev/nvidia0").exists() {
        return open_card(0).map(drop).unwrap();
    }
    let error = open_card(0).unwrap_err();
    assert!(!error.remedy().is_empty() && error.to_string().contains("driver"), "{error}");
}

/// A session asks before it has computed anything, in a thread of its own.
#[test]
#[ignore = "needs a card"]
fn free_memory_is_told_to_any_thread() {
    let card = open_card(0).unwrap();
    let told = std::thread::spawn(move || crate::free_memory::of(&card)).join().unwrap();
    assert!(told.is_some_and(|bytes| bytes > 1 << 20), "{told:?}");
}
