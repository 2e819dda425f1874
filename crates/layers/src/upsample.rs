//! Nearest-neighbour upsampling of channels-last pictures.

use candle_core::{Result, Tensor, bail};

use crate::{cpu, reference};

/// x: (b, h, w, c) -> (b, h * factor, w * factor, c)
pub fn upsample_nearest(x: &Tensor, factor: usize) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    if factor != 2 || !cpu::takes(x) {
        return reference::upsample_nearest(x, factor);
    }
    let (ctx, size) = (cpu::context()?, kernels::Size::new(b, h, w));
    cpu::make(&[b, 2 * h, 2 * w, c], |y| cpu::read(x, |x| kernels::upsample2(ctx, (size, c), x, y)))
}

/// x: (b, h, w, c) -> (b, height, width, c); source index = floor(i * in / out), PyTorch's `nearest`.
pub fn upsample_nearest_to(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (_, h, w, _) = x.dims4()?;
    if height == 0 || width == 0 {
        bail!("a picture cannot be resized to {height}x{width}");
    }
    let rows = |from: usize, to: usize| {
        let indices: Vec<u32> = (0..to).map(|i| (i * from / to) as u32).collect();
        Tensor::new(indices, x.device())
    };
    x.index_select(&rows(h, height)?, 1)?.index_select(&rows(w, width)?, 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn each_pixel_becomes_a_block() {
        let x = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((1, 2, 3, 2)).unwrap();
        let y = upsample_nearest(&x, 2).unwrap();
        assert_eq!(y.dims(), [1, 4, 6, 2]);
        for (i, j) in [(0, 0), (1, 1), (3, 5), (2, 3)] {
            let got: Vec<f32> = y.get(0).unwrap().get(i).unwrap().get(j).unwrap().to_vec1().unwrap();
            let want: Vec<f32> = x.get(0).unwrap().get(i / 2).unwrap().get(j / 2).unwrap().to_vec1().unwrap();
            assert_eq!(got, want, "at {i}, {j}");
        }
        let same: Vec<f32> = upsample_nearest_to(&x, 4, 6).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(same, y.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    }

    #[test]
    fn to_a_size_that_is_no_multiple() {
        let x = Tensor::arange(0f32, 3.0, &Device::Cpu).unwrap().reshape((1, 1, 3, 1)).unwrap();
        let y: Vec<f32> = upsample_nearest_to(&x, 1, 5).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(y, [0.0, 0.0, 1.0, 1.0, 2.0]);
    }
}
