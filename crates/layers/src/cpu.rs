//! The CPU's kernels behind the operations, for f32 (and linear layers in bf16). Tensors are lent to them as slices, and a layer's
//! weights are handed over when it is loaded: what the kernels packed is all that remains of them. What the kernels must
//! answer to is `reference`. One context serves the whole process: its threads, its borrowed memory and what it has
//! measured are worth nothing when there are two. The program configures it; nothing here reads the environment.

use std::cell::Cell;
use std::sync::OnceLock;

use candle_core::{DType, Device, Error, Result, Storage, Tensor, WithDType, bail};
use kernels::{Config, Context, KeptFree};

use crate::weights::is_outline;

static CONTEXT: OnceLock<Context> = OnceLock::new();

/// How this process computes on its CPU: once, before the first net is loaded. Without it there is one thread and the strict profile.
pub fn configure(config: Config) -> Result<()> {
    let context = Context::new(config).map_err(Error::wrap)?;
    if CONTEXT.set(context).is_err() {
        bail!(
            "the kernels are configured once, before the first net is loaded, and they are running already"
        );
    }
    Ok(())
}

/// What the kernels have found out about this machine, for a later process: to be handed to its `learn`.
pub fn learned() -> String {
    CONTEXT.get().map(Context::learned).unwrap_or_default()
}

/// After `configure`, before the first net is loaded.
pub fn learn(lines: &str) {
    if let Some(context) = CONTEXT.get() {
        context.learn(lines);
    }
}

/// Of the instructions that are used; None before `configure`.
pub fn instruction_set() -> Option<&'static str> {
    CONTEXT.get().map(|context| context.isa().name())
}

/// Until the guard is dropped, transformed weights leave so many bytes free: for work that is about to need them.
pub fn keep_free(bytes: u64) -> Result<KeptFree> {
    Ok(context()?.keep_free(bytes))
}

/// Runs `task` for each of `parts` on the kernels' threads: for work on pictures and sound between the nets.
pub fn each<T: Send>(parts: Vec<T>, task: impl Fn(T) + Send + Sync) -> Result<()> {
    context()?.each(parts, task);
    Ok(())
}

/// Gives back the memory that calls have borrowed from, and all that is free; nets that come later borrow anew.
pub(crate) fn release_memory() {
    if let Some(context) = CONTEXT.get() {
        context.release_scratch();
    }
    allocator::give_back();
}

pub(crate) fn context() -> Result<&'static Context> {
    if let Some(context) = CONTEXT.get() {
        return Ok(context);
    }
    let context = Context::new(Config::default()).map_err(Error::wrap)?;
    Ok(CONTEXT.get_or_init(|| context))
}

thread_local! {
    static STRICT: Cell<bool> = const { Cell::new(false) };
}

/// Loads a net that has to be exact whatever the profile: one that chooses between values which may be almost equal.
pub fn strictly<T>(load: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            STRICT.set(self.0);
        }
    }
    let _before = Before(STRICT.replace(true));
    load()
}

/// For a layer that is being loaded.
pub(crate) fn context_of_layer() -> Result<Context> {
    let context = context()?;
    Ok(if STRICT.get() { context.strict() } else { context.clone() })
}

/// Whether the kernels compute on it.
pub(crate) fn takes(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && matches!(x.device(), Device::Cpu)
}

/// Whether a layer hands this weight over to the kernels.
pub(crate) fn packs(weight: &Tensor) -> bool {
    takes(weight) && !is_outline(weight)
}

/// Lends the values of a tensor on the CPU, in their order, to a kernel.
pub(crate) fn read<T: WithDType, R>(
    x: &Tensor,
    kernel: impl FnOnce(&[T]) -> kernels::Result<R>,
) -> Result<R> {
    lend(x, |values| kernel(values).map_err(Error::wrap))
}

/// Lends the values of a tensor on the CPU, in their order.
pub(crate) fn lend<T: WithDType, R>(x: &Tensor, with: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("{:?} is not on the CPU", x.device().location()) };
    let from = layout.start_offset();
    with(&storage.as_slice::<T>()?[from..from + x.elem_count()])
}

/// The values in their order, as the kernels' own.
pub(crate) fn owned(x: &Tensor) -> Result<Vec<f32>> {
    read(&x.to_dtype(DType::F32)?, |values: &[f32]| Ok(values.to_vec()))
}

/// What `fill` writes, all of it, as a tensor of this shape.
pub(crate) fn make(shape: &[usize], fill: impl FnOnce(&mut [f32]) -> Result<()>) -> Result<Tensor> {
    let mut values = kernels::room(shape.iter().product());
    fill(&mut values)?;
    Tensor::from_vec(values, shape, &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    use candle_nn::VarBuilder;

    use crate::conv::{Bias, ConvConfig, Padding};
    use crate::noise::noise;
    use crate::{
        Activation, CausalConv3d, Conv1d, Conv2d, Conv3dConfig, GroupNorm, LayerNorm, Linear, Mask, RmsNorm,
        attention, geglu, reference, upsample_nearest,
    };

    fn builder(tensors: &[(&str, &Tensor)]) -> VarBuilder<'static> {
        let tensors: HashMap<_, _> = tensors.iter().map(|(n, t)| ((*n).to_owned(), (*t).clone())).collect();
        VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)
    }

    /// Relative L2.
    fn check(what: &str, got: &Tensor, want: &Tensor, bound: f64) {
        assert_eq!(got.dims(), want.dims(), "{what}");
        let wide = |t: &Tensor| -> Vec<f64> {
            t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let (got, want) = (wide(got), wide(want));
        let power: f64 = want.iter().map(|w| w * w).sum();
        let error: f64 = got.iter().zip(&want).map(|(g, w)| (g - w).powi(2)).sum();
        assert!(error.sqrt() <= bound * power.sqrt(), "{what}: {:e}", (error / power).sqrt());
    }

    #[test]
    fn what_is_loaded_strictly_stays_so() {
        let before = context_of_layer().unwrap().profile();
        let inner = strictly(|| {
            let caught = std::panic::catch_unwind(|| strictly(|| panic!("a load that breaks off")));
            assert!(caught.is_err());
            // the usual context is strict already
            assert!(STRICT.get());
            context_of_layer().unwrap().profile()
        });
        assert_eq!(inner, kernels::Profile::Strict);
        assert_eq!(context_of_layer().unwrap().profile(), before);
        assert!(!STRICT.get());
    }

    #[test]
    fn convolutions_are_those_of_the_reference() {
        let lopsided = Padding { top: 2, bottom: 0, left: 1, right: 3 };
        for (inputs, outputs, cfg) in [
            (4, 320, ConvConfig::square(3)),
            (64, 48, ConvConfig::square(3)),
            (128, 3, ConvConfig::square(3)),
            (96, 96, ConvConfig::square(1)),
            (96, 20, ConvConfig::square(1).without_bias()),
            (3, 32, ConvConfig::square(7).stride(2)),
            (32, 64, ConvConfig::square(3).stride(2).padding(Padding::behind(1))),
            (24, 24, ConvConfig::square(3).dilation(2)),
            (24, 24, ConvConfig::square(5).groups(24)),
            (24, 48, ConvConfig::square(3).groups(4).stride(2)),
            (7, 9, ConvConfig { kernel: (2, 3), ..ConvConfig::square(3) }.padding(lopsided)),
        ] {
            let weight = noise(&[outputs, inputs / cfg.groups, cfg.kernel.0, cfg.kernel.1], 1);
            let bias = (cfg.bias == Bias::Yes).then(|| noise(&[outputs], 2));
            let conv = Conv2d::new(weight.clone(), bias.clone(), cfg).unwrap();
            for (b, h, w) in [(1, 32, 32), (2, 9, 14), (3, 5, 4)] {
                let x = noise(&[b, h, w, inputs], 3);
                let what = format!("{cfg:?} of {:?}", x.dims());
                let want = reference::conv2d(&x, &weight, bias.as_ref(), &cfg).unwrap();
                check(&what, &conv.forward(&x).unwrap(), &want, 2e-5);
                let addend = noise(want.dims(), 4);
                let plus = (&want + &addend).unwrap();
                check(&what, &conv.forward_plus(&x, &addend).unwrap(), &plus, 2e-5);
                let relu = reference::activation(&want, Activation::Relu).unwrap();
                check(&what, &conv.forward_then(&x, Activation::Relu).unwrap(), &relu, 2e-5);
                // a part of a larger picture
                let part = noise(&[b, h, w, 2 * inputs], 5).narrow(3, inputs, inputs).unwrap();
                let want = reference::conv2d(&part, &weight, bias.as_ref(), &cfg).unwrap();
                check(&what, &conv.forward(&part).unwrap(), &want, 2e-5);
            }
        }
    }

    #[test]
    fn convolutions_over_lines_and_clips_are_those_of_the_reference() {
        for (inputs, outputs, k, stride, groups) in
            [(80, 384, 3, 1, 1), (48, 48, 128, 1, 16), (1, 64, 10, 5, 1)]
        {
            let cfg = ConvConfig { kernel: (1, k), ..ConvConfig::square(k) }.stride(stride).groups(groups);
            let (weight, bias) = (noise(&[outputs, inputs / groups, k], 1), noise(&[outputs], 2));
            let conv = Conv1d::new(weight.clone(), Some(bias.clone()), cfg).unwrap();
            for (b, l) in [(1, 100), (2, 37)] {
                let x = noise(&[b, l, inputs], 3);
                let want = reference::conv1d(&x, &weight, Some(&bias), &cfg).unwrap();
                check(&format!("{cfg:?} of {:?}", x.dims()), &conv.forward(&x).unwrap(), &want, 2e-5);
            }
        }
        let (weight, bias) = (noise(&[20, 12, 3, 3, 3], 1), noise(&[20], 2));
        let vb = builder(&[("weight", &weight), ("bias", &bias)]);
        let conv = CausalConv3d::load(12, 20, Conv3dConfig::cube(3, 3), vb).unwrap();
        for (b, t) in [(1, 5), (2, 4)] {
            let x = noise(&[b, t, 8, 10, 12], 3);
            let got = conv.valid(&x).unwrap();
            for i in 0..t - 2 {
                let taps: Vec<Tensor> = (0..3)
                    .map(|tap| {
                        let frame = x.narrow(1, i + tap, 1).unwrap().squeeze(1).unwrap();
                        let weight = weight.narrow(2, tap, 1).unwrap().squeeze(2).unwrap();
                        reference::conv2d(&frame, &weight, None, &ConvConfig::square(3)).unwrap()
                    })
                    .collect();
                let sum = ((&taps[0] + &taps[1]).unwrap() + &taps[2]).unwrap();
                let want = sum.broadcast_add(&bias).unwrap();
                let frame = got.narrow(1, i, 1).unwrap().squeeze(1).unwrap();
                check(&format!("{b} clips of {t} frames"), &frame, &want, 2e-5);
            }
        }
    }

    #[test]
    fn linear_layers_are_those_of_the_reference() {
        for (rows, inputs, outputs) in [(1, 320, 1280), (4, 33, 7), (257, 64, 96), (1, 1, 5)] {
            for dtype in [DType::F32, DType::BF16] {
                let weight = noise(&[outputs, inputs], 1).to_dtype(dtype).unwrap();
                let bias = noise(&[outputs], 2).to_dtype(dtype).unwrap();
                let layer = Linear::new(weight.clone(), Some(bias.clone())).unwrap();
                let x = noise(&[2, rows, inputs], 3);
                let what = format!("{dtype:?} {inputs} to {outputs} of {rows}");
                let want = reference::linear(&x, &weight, Some(&bias)).unwrap();
                check(&what, &layer.forward(&x).unwrap(), &want, 2e-6);
                let addend = noise(want.dims(), 4);
                check(&what, &layer.forward_plus(&x, &addend).unwrap(), &(&want + &addend).unwrap(), 2e-6);
                let silu = reference::activation(&want, Activation::Silu).unwrap();
                check(&what, &layer.forward_then(&x, Activation::Silu).unwrap(), &silu, 2e-6);
                let half = x.to_dtype(DType::BF16).unwrap();
                let (got, want) =
                    (layer.forward(&half).unwrap(), reference::linear(&half, &weight, Some(&bias)).unwrap());
                assert_eq!(got.dtype(), DType::BF16);
                check(&what, &got, &want, 2e-3); // a step of bf16 where the sums round apart
            }
        }
    }

    #[test]
    fn norms_are_those_of_the_reference() {
        for (shape, groups) in
            [(&[2, 9, 7, 64][..], 32), (&[1, 3, 4, 4, 24], 8), (&[3, 5, 20], 4), (&[2, 6], 2)]
        {
            let x = noise(shape, 1);
            let c = *shape.last().unwrap();
            let (weight, bias) = (noise(&[c], 2), noise(&[c], 3));
            let vb = builder(&[("weight", &weight), ("bias", &bias)]);
            let what = format!("{shape:?}");
            for eps in [1e-5, 1e-6] {
                let norm = GroupNorm::load(groups, c, eps, vb.clone()).unwrap();
                let want = reference::group_norm(&x, groups, (&weight, &bias), eps).unwrap();
                check(&what, &norm.forward(&x).unwrap(), &want, 2e-6);
                let silu = reference::activation(&want, Activation::Silu).unwrap();
                check(&what, &norm.forward_silu(&x).unwrap(), &silu, 2e-6);
                let norm = LayerNorm::load(c, eps, Bias::Yes, vb.clone()).unwrap();
                let want = reference::layer_norm(&x, Some((&weight, Some(&bias))), eps).unwrap();
                check(&what, &norm.forward(&x).unwrap(), &want, 2e-6);
                let want = reference::layer_norm(&x, None, eps).unwrap();
                check(&what, &LayerNorm::plain(eps).forward(&x).unwrap(), &want, 2e-6);
                let norm = RmsNorm::new(weight.clone(), eps);
                let want = reference::rms_norm(&x, &weight, eps).unwrap();
                check(&what, &norm.forward(&x).unwrap(), &want, 2e-6);
                let silu = reference::activation(&want, Activation::Silu).unwrap();
                check(&what, &norm.forward_silu(&x).unwrap(), &silu, 2e-6);
            }
        }
    }

    #[test]
    fn attention_is_that_of_the_reference() {
        for (b, lq, lk, n, d) in
            [(1, 1024, 1024, 2, 40), (2, 65, 50, 8, 80), (2, 64, 64, 3, 160), (1, 300, 1, 1, 512)]
        {
            let (q, k, v) = (noise(&[b, lq, n, d], 1), noise(&[b, lk, n, d], 2), noise(&[b, lk, n, d], 3));
            let hidden = noise(&[b, 1, lq, lk], 4);
            let far = Tensor::full(f32::NEG_INFINITY, hidden.shape(), &Device::Cpu).unwrap();
            let bias = hidden.ge(-0.5).unwrap().where_cond(&hidden, &far).unwrap();
            // no row without a key: nothing would be left to average
            let first = Tensor::zeros((b, 1, lq, 1), DType::F32, &Device::Cpu).unwrap();
            let bias = Tensor::cat(&[&first, &bias.narrow(3, 1, lk - 1).unwrap()], 3).unwrap();
            let row = noise(&[1, n, 1, lk], 5);
            let lengths: Vec<usize> = (0..b).map(|i| (lk / (i + 1)).max(1)).collect();
            for mask in [Mask::Full, Mask::Bias(&bias), Mask::Bias(&row), Mask::KeyLengths(&lengths)] {
                let want = reference::attention(&q, &k, &v, &mask, 0.3).unwrap();
                let got = attention(&q, &k, &v, &mask, 0.3).unwrap();
                check(&format!("{:?} over {lk}", q.dims()), &got, &want, 5e-6);
            }
        }
        // three parts of one projection, where they lie
        let qkv = noise(&[2, 30, 3, 4, 20], 6);
        let part = |i: usize| qkv.narrow(2, i, 1).unwrap().squeeze(2).unwrap();
        let want = reference::attention(&part(0), &part(1), &part(2), &Mask::Full, 0.3).unwrap();
        check("parts", &attention(&part(0), &part(1), &part(2), &Mask::Full, 0.3).unwrap(), &want, 5e-6);
        let narrow = noise(&[1, 1, 1, 7], 7);
        assert!(attention(&part(0), &part(1), &part(2), &Mask::Bias(&narrow), 1.0).is_err());
    }

    #[test]
    fn what_has_no_weights_is_that_of_the_reference() {
        for shape in [&[2, 5, 3, 8][..], &[1, 33, 64], &[7, 2]] {
            let x = (noise(shape, 1) * 6.0).unwrap();
            let what = format!("{shape:?}");
            for act in [
                Activation::Silu,
                Activation::Gelu,
                Activation::GeluTanh,
                Activation::QuickGelu,
                Activation::Relu,
            ] {
                check(&what, &act.forward(&x).unwrap(), &reference::activation(&x, act).unwrap(), 2e-6);
            }
            check(&what, &geglu(&x).unwrap(), &reference::geglu(&x).unwrap(), 2e-6);
        }
        let x = noise(&[2, 5, 3, 8], 1);
        check("up", &upsample_nearest(&x, 2).unwrap(), &reference::upsample_nearest(&x, 2).unwrap(), 0.0);
    }

    #[test]
    fn a_running_context_is_not_configured_again() {
        context().unwrap();
        let said = configure(Config { threads: 2, ..Config::default() }).unwrap_err().to_string();
        assert!(said.contains("before the first net"), "{said}");
    }

    #[test]
    fn an_outline_is_not_packed() {
        let weight =
            Tensor::zeros((1, 1), DType::F32, &Device::Cpu).unwrap().broadcast_as((1 << 20, 1 << 20));
        assert!(Linear::new(weight.unwrap(), None).unwrap().is_outline()); // 4 TiB
    }
}
