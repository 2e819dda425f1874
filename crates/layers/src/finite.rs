//! Whether a net still gives numbers: one pass over its values.

use candle_core::{D, DType, Result, Tensor};

use crate::cpu;

/// Whether no value is infinite or NaN. Waits for the card where x lies on one.
pub fn is_finite(x: &Tensor) -> Result<bool> {
    if x.elem_count() == 0 {
        return Ok(true);
    }
    if cpu::takes(x) {
        let ctx = cpu::context()?;
        return cpu::read(x, |x| Ok(kernels::is_finite(ctx, x)));
    }
    // times zero, which leaves what is not finite and cannot leave the range of f16 when it is added up;
    // row by row first, so that a card has something to do for all of its parts
    let zeros = x.contiguous()?.affine(0.0, 0.0)?;
    let rows = if x.rank() > 1 { zeros.sum(D::Minus1)? } else { zeros };
    Ok(rows.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn one_bad_value_among_many_is_found() {
        for n in [1, 15, 16, 33, 300_000] {
            for dtype in [DType::F32, DType::BF16] {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    for at in [0, n / 2, n - 1] {
                        let mut values = vec![3e4f32; n];
                        let tensor = |values: &[f32]| {
                            Tensor::from_slice(values, (1, n), &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
                        };
                        assert!(is_finite(&tensor(&values)).unwrap());
                        values[at] = bad;
                        assert!(!is_finite(&tensor(&values)).unwrap(), "{bad} at {at} of {n} in {dtype:?}");
                    }
                }
            }
        }
        // two that cancel
        let x = Tensor::new(&[[f32::INFINITY, f32::NEG_INFINITY]], &Device::Cpu).unwrap();
        assert!(!is_finite(&x).unwrap());
    }
}
