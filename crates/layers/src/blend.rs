//! What nets over clips do to activations without weights: something is added to each clip or frame, and two are mixed.

use candle_core::{Result, Tensor, bail};

use crate::cpu;

/// x: (b, …, c), added: (g, c), where each row is for b / g entries of x that follow each other -> as x
pub fn add_each(x: &Tensor, added: &Tensor) -> Result<Tensor> {
    let (g, c) = added.dims2()?;
    let b = x.dim(0)?;
    if x.rank() < 2 || g == 0 || !b.is_multiple_of(g) || x.dims().last() != Some(&c) {
        bail!("{:?} cannot be added to {:?}", added.dims(), x.dims());
    }
    if cpu::takes(x) && cpu::takes(added) {
        let (ctx, added) = (cpu::context()?, cpu::owned(added)?);
        return cpu::make(x.dims(), |y| cpu::read(x, |x| kernels::add_each(ctx, x, (&added, c), y)));
    }
    let sum = x.reshape((g, (), c))?.broadcast_add(&added.unsqueeze(1)?)?;
    sum.reshape(x.dims())
}

/// x, z: any shape -> x * share + z * (1 - share)
pub fn mix(x: &Tensor, z: &Tensor, share: f32) -> Result<Tensor> {
    if x.dims() != z.dims() {
        bail!("{:?} cannot be mixed with {:?}", x.dims(), z.dims());
    }
    if cpu::takes(x) && cpu::takes(z) {
        let ctx = cpu::context()?;
        return cpu::make(x.dims(), |y| {
            cpu::lend(x, |x| cpu::read(z, |z| kernels::mix(ctx, [x, z], share, y)))
        });
    }
    let (share, rest) = (f64::from(share), f64::from(1.0 - share));
    x.affine(share, 0.0)? + z.affine(rest, 0.0)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn wave(shape: &[usize], step: f32) -> Tensor {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * step + 0.3).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn far(a: &Tensor, b: &Tensor) -> f32 {
        let wide = |x: &Tensor| x.to_dtype(DType::F32).unwrap();
        (wide(a) - wide(b)).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn the_kernels_and_the_definition_agree() {
        let half = |x: &Tensor| x.to_dtype(DType::BF16).unwrap();
        let (x, z, added) = (wave(&[6, 5, 3, 8], 0.37), wave(&[6, 5, 3, 8], 0.71), wave(&[2, 8], 1.9));
        let sum = add_each(&x, &added).unwrap();
        let rows = added.reshape((2, 1, 1, 1, 8)).unwrap();
        let want = x.reshape((2, 3, 5, 3, 8)).unwrap().broadcast_add(&rows).unwrap();
        assert_eq!(far(&sum, &want.reshape((6, 5, 3, 8)).unwrap()), 0.0);
        assert!(far(&add_each(&half(&x), &half(&added)).unwrap(), &sum) < 0.02);
        let mixed = mix(&x, &z, 0.25).unwrap();
        assert!(far(&mixed, &((&x * 0.25).unwrap() + (&z * 0.75).unwrap()).unwrap()) < 1e-6);
        assert!(far(&mix(&half(&x), &half(&z), 0.25).unwrap(), &mixed) < 0.02);
        assert!(add_each(&x, &wave(&[4, 8], 0.1)).is_err());
        assert!(add_each(&x, &wave(&[2, 7], 0.1)).is_err());
        assert!(mix(&x, &added, 0.5).is_err());
    }

    #[test]
    fn norms_and_layers_that_add_for_each_clip() {
        let (x, added) = (wave(&[6, 5, 3, 8], 0.37), wave(&[2, 8], 1.9));
        let tensors = std::collections::HashMap::from([
            ("weight".to_owned(), wave(&[8], 0.3)),
            ("bias".to_owned(), wave(&[8], 0.6)),
        ]);
        let vb = candle_nn::VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let norm = crate::GroupNorm::load(4, 8, 1e-5, vb).unwrap();
        let got = norm.forward_silu_of_sum(&x, &added).unwrap();
        assert!(far(&got, &norm.forward_silu(&add_each(&x, &added).unwrap()).unwrap()) < 1e-5);
        assert!(norm.forward_silu_of_sum(&x, &wave(&[4, 8], 0.1)).is_err());
        for bias in [None, Some(wave(&[8], 0.9))] {
            let layer = crate::Linear::new(wave(&[8, 8], 0.11), bias).unwrap();
            let x = x.reshape((2, 45, 8)).unwrap();
            let addend = wave(&[2, 45, 8], 0.53);
            let want = add_each(&layer.forward_plus(&x, &addend).unwrap(), &added).unwrap();
            assert!(far(&layer.forward_plus_each(&x, &addend, &added).unwrap(), &want) < 1e-5);
            assert!(layer.forward_plus_each(&x, &addend, &wave(&[1, 8], 0.1)).is_err());
        }
    }
}
