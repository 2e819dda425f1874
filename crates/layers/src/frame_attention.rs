//! Attention over the frames of a clip, within each pixel: many small problems at once.

use candle_core::{Error, Result, Tensor, bail};

use crate::attention::{Mask, attention, view};
use crate::cpu;

/// q, k, v: (b, f, p, n, d), where they lie -> (b, f, p, n, d): each pixel sees itself in all frames of its clip; softmax of `scale` * q k, in f32.
pub fn frame_attention(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Result<Tensor> {
    let (b, f, p, n, d) = q.dims5()?;
    if k.dims() != q.dims() || v.dims() != q.dims() || q.elem_count() == 0 {
        bail!("attention over frames needs three of one shape, not {q:?}, {k:?}, {v:?}");
    }
    let parts = [q, k, v];
    if !parts.into_iter().all(|x| cpu::takes(x) && x.stride()[4] == 1) {
        let pixels = |x: &Tensor| x.transpose(1, 2)?.reshape((b * p, f, n, d));
        let y = attention(&pixels(q)?, &pixels(k)?, &pixels(v)?, &Mask::Full, scale)?; // (b * p, f, n, d)
        return y.reshape((b, p, f, n, d))?.transpose(1, 2)?.contiguous();
    }
    cpu::make(&[b, f, p, n, d], |y| {
        for (clip, y) in y.chunks_exact_mut(f * p * n * d).enumerate() {
            let pixels = |x: &Tensor| x.get(clip)?.transpose(0, 1); // (p, f, n, d)
            let [q, k, v] = [pixels(q)?, pixels(k)?, pixels(v)?];
            let [q, k, v] = [&q, &k, &v].map(Tensor::storage_and_layout);
            let attention = kernels::Attention {
                shape: kernels::Shape { batch: p, heads: n, queries: f, keys: f, dim: d },
                q: view(&q.0, q.1)?,
                k: view(&k.0, k.1)?,
                v: view(&v.0, v.1)?,
                scale: scale as f32,
                mask: kernels::Mask::All,
                lengths: None,
            };
            let out = kernels::Strides { batch: n * d, position: p * n * d, head: d };
            attention.run(cpu::context()?, y, out).map_err(Error::wrap)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn is_attention_of_each_pixel() {
        let (b, f, p, n, d) = (2, 5, 7, 3, 8);
        let values: Vec<f32> = (0..b * f * p * 3 * n * d).map(|i| (i as f32 * 0.37).sin()).collect();
        let qkv = Tensor::from_vec(values, (b, f, p, 3, n * d), &Device::Cpu).unwrap();
        let part = |i: usize| qkv.narrow(3, i, 1).unwrap().reshape((b, f, p, n, d)).unwrap();
        let within = |i: usize| {
            let part = qkv.reshape((b, f, p, 3, n, d)).unwrap().narrow(3, i, 1).unwrap();
            part.squeeze(3).unwrap()
        };
        let y = frame_attention(&within(0), &within(1), &within(2), 0.4).unwrap();
        assert_eq!(y.dims(), [b, f, p, n, d]);
        for clip in 0..b {
            for pixel in 0..p {
                let of = |x: &Tensor| x.get(clip).unwrap().narrow(1, pixel, 1).unwrap().squeeze(1).unwrap();
                let [q, k, v] = [0, 1, 2].map(|i| of(&part(i)).unsqueeze(0).unwrap());
                let want = attention(&q, &k, &v, &Mask::Full, 0.4).unwrap().squeeze(0).unwrap();
                let far = (of(&y) - want).unwrap().abs().unwrap().max_all().unwrap();
                assert!(far.to_scalar::<f32>().unwrap() < 1e-6, "{far}");
            }
        }
        let half = |i: usize| within(i).to_dtype(DType::BF16).unwrap();
        let halves =
            frame_attention(&half(0), &half(1), &half(2), 0.4).unwrap().to_dtype(DType::F32).unwrap();
        let far = (halves - y).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(far < 0.02, "{far}");
        assert!(frame_attention(&part(0), &part(1), &part(2).narrow(1, 0, 2).unwrap(), 1.0).is_err());
    }
}
