//! Reference values are stored thinned out, to keep the kit small: `_sub4` is every fourth row, column or whatever the notes of the case say.

use candle_core::{Result, Tensor};

/// Every `n`th slice of `x` along `axis`, the first one included.
pub fn every(n: usize, x: &Tensor, axis: usize) -> Result<Tensor> {
    let indices: Vec<u32> = (0..x.dim(axis)? as u32).step_by(n).collect();
    x.contiguous()?.index_select(&Tensor::new(indices, x.device())?, axis)
}
