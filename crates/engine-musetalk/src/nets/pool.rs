//! Max pooling and bilinear resizing of channels-last pictures, as the face nets use them.

use candle_core::{DType, Result, Tensor, bail};

/// The largest value of each kernel x kernel window around a pixel, for an odd kernel. x: (b, h, w, c) -> (b, h', w', c), h' = (h - 1) / stride + 1
pub fn max_pool_around(x: &Tensor, kernel: usize, stride: usize) -> Result<Tensor> {
    if kernel.is_multiple_of(2) || stride == 0 {
        bail!("a window of {kernel} with stride {stride} has no pixel in its middle");
    }
    // a window that crosses the edge holds the edge pixel, so repeating it is as good as a border of minus infinity
    let side = kernel / 2;
    let x = x.permute((0, 3, 1, 2))?.pad_with_same(2, side, side)?.pad_with_same(3, side, side)?; // (b, c, h, w)
    x.contiguous()?.max_pool2d_with_stride(kernel, stride)?.permute((0, 2, 3, 1))?.contiguous()
}

/// The largest value of each block of four pixels; an odd last row or column is dropped. x: (b, h, w, c) -> (b, h/2, w/2, c)
pub fn max_pool_halving(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()?.max_pool2d(2)?.permute((0, 2, 3, 1))?.contiguous()
}

/// Bilinear, the corner pixels' middles staying in the corners (PyTorch's `align_corners=True`). x: (b, h, w, c) -> (b, height, width, c)
pub fn resize_aligned(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    stretch(&stretch(x, 1, height)?, 2, width)
}

/// One axis of a picture to `length` steps.
fn stretch(x: &Tensor, axis: usize, length: usize) -> Result<Tensor> {
    let from = x.dim(axis)?;
    if length == 0 || from == 0 {
        bail!("a picture of {:?} cannot be resized to {length} along axis {axis}", x.dims());
    }
    let scale = if length > 1 { (from - 1) as f32 / (length - 1) as f32 } else { 0.0 };
    let places: Vec<f32> = (0..length).map(|i| i as f32 * scale).collect();
    let before: Vec<u32> = places.iter().map(|&p| (p as u32).min(from as u32 - 1)).collect();
    let after: Vec<u32> = before.iter().map(|&i| (i + 1).min(from as u32 - 1)).collect();
    let shares: Vec<f32> = places.iter().zip(&before).map(|(p, &i)| p - i as f32).collect();
    let mut shape = [1; 4];
    shape[axis] = length;
    let share = Tensor::from_vec(shares, &shape, x.device())?.to_dtype(x.dtype())?;
    let rows = |indices: Vec<u32>| x.index_select(&Tensor::new(indices, x.device())?, axis);
    let (before, after) = (rows(before)?, rows(after)?);
    before.broadcast_mul(&share.affine(-1.0, 1.0)?)? + after.broadcast_mul(&share)?
}

/// The mean of every channel. x: (b, h, w, c) -> (b, 1, 1, c)
pub fn global_mean(x: &Tensor) -> Result<Tensor> {
    // row by row: so many pixels summed one after the other in f32 would lose the last digits
    x.to_dtype(DType::F32)?.mean_keepdim(2)?.mean_keepdim(1)?.to_dtype(x.dtype())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn picture(values: &[f32], h: usize, w: usize) -> Tensor {
        Tensor::from_slice(values, (1, h, w, 1), &Device::Cpu).unwrap()
    }

    fn flat(x: &Tensor) -> Vec<f32> {
        x.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn windows_at_the_edge_see_only_the_picture() {
        let x = picture(&[-1.0, -5.0, -3.0, -9.0, -8.0, -7.0, -2.0, -6.0, -4.0], 3, 3);
        assert_eq!(
            flat(&max_pool_around(&x, 3, 1).unwrap()),
            [-1.0, -1.0, -3.0, -1.0, -1.0, -3.0, -2.0, -2.0, -4.0]
        );
        assert_eq!(flat(&max_pool_around(&x, 3, 2).unwrap()), [-1.0, -3.0, -2.0, -4.0]);
        assert_eq!(flat(&max_pool_around(&x, 13, 1).unwrap()), [-1.0; 9]);
        assert_eq!(flat(&max_pool_halving(&x).unwrap()), [-1.0]);
        assert!(max_pool_around(&x, 2, 1).is_err());
    }

    #[test]
    fn corners_stay_in_the_corners() {
        let x = picture(&[0.0, 3.0, 6.0, 9.0], 2, 2);
        let y = resize_aligned(&x, 3, 4).unwrap();
        assert_eq!(y.dims(), [1, 3, 4, 1]);
        let want = [0.0, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 6.0, 6.0, 7.0, 8.0, 9.0];
        assert!(flat(&y).iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-5), "{y}");
        assert_eq!(flat(&resize_aligned(&x, 1, 1).unwrap()), [0.0]);
    }
}
