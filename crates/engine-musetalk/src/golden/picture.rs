//! Between the kit's pictures and the nets': the kit stores tensors channels-first and thinned out.

use candle_core::{DType, Result, Tensor};

/// (b, c, h, w) -> (b, h, w, c)
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 2, 3, 1))?.contiguous()
}

/// (b, h, w, c) -> (b, c, h, w)
pub fn channels_first(x: &Tensor) -> Result<Tensor> {
    x.permute((0, 3, 1, 2))?.contiguous()
}

/// Every `stride`-th entry of an axis.
pub fn every(x: &Tensor, stride: usize, axis: usize) -> Result<Tensor> {
    let indices = (0..x.dim(axis)?).step_by(stride).map(|i| i as u32);
    x.index_select(&Tensor::from_iter(indices, x.device())?, axis)
}

/// Bytes (h, w, 3), blue first or red first -> (1, h, w, 3) with the order turned, f32
pub fn turned(bytes: &Tensor) -> Result<Tensor> {
    bytes.flip(&[2])?.to_dtype(DType::F32)?.unsqueeze(0)
}
