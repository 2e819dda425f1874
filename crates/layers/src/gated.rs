//! What a block of a diffusion transformer made, added to what it was given under a gate.

use candle_core::{DType, Result, Tensor, bail};

use crate::card::Card;
use crate::cpu;

/// x, a: (…, c), gate: (c,) in f32 -> x + a * gate, made in f32 and rounded once
pub fn add_gated(x: &Tensor, a: &Tensor, gate: &Tensor) -> Result<Tensor> {
    if x.dims() != a.dims() || x.dims().last() != Some(&gate.dims1()?) {
        bail!("{:?} cannot be added to {:?} under a gate of {:?}", a.dims(), x.dims(), gate.dims());
    }
    if [x, a, gate].into_iter().all(cpu::takes) {
        let (ctx, gate) = (cpu::context()?, cpu::owned(gate)?);
        return cpu::make(x.dims(), |y| {
            cpu::lend(x, |x| cpu::read(a, |a| kernels::add_gated(ctx, [x, a], &gate, y)))
        });
    }
    if let Some(card) = Card::of(&[x, a])
        && Card::of(&[gate]).is_some()
        && gate.dtype() == DType::F32
    {
        return card.add_gated(x, a, gate);
    }
    let wide = |x: &Tensor| x.to_dtype(DType::F32);
    (wide(x)? + wide(a)?.broadcast_mul(gate)?)?.to_dtype(x.dtype())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn in_f32_and_in_bf16() {
        let tensor = |values: [f32; 4]| Tensor::from_vec(values.to_vec(), (1, 2, 2), &Device::Cpu).unwrap();
        let (x, a) = (tensor([1.0, 2.0, 3.0, 256.0]), tensor([4.0, 8.0, 16.0, 1.0]));
        let gate = Tensor::new(&[0.5f32, -1.0], &Device::Cpu).unwrap();
        let flat =
            |t: Tensor| t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(add_gated(&x, &a, &gate).unwrap()), [3.0, -6.0, 11.0, 255.0]);
        let half = |t: &Tensor| t.to_dtype(DType::BF16).unwrap();
        let got = add_gated(&half(&x), &half(&a), &gate).unwrap();
        assert_eq!((got.dtype(), flat(got)), (DType::BF16, vec![3.0, -6.0, 11.0, 255.0]));
        assert!(add_gated(&x, &a, &gate.narrow(0, 0, 1).unwrap()).is_err());
    }
}
