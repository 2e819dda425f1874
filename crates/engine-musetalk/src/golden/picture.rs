//! Between the kit's pictures and the nets': the kit stores tensors channels-first and thinned out.

use candle_core::{DType, Device, Result, Tensor};
use golden::CaseError;

use pictures::{Picture, Rect};

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

/// Bytes (h, w, 3) or, for one channel, (h, w)
pub fn pixels<const C: usize>(bytes: &Tensor) -> std::result::Result<Picture<C>, CaseError> {
    let (h, w) = (bytes.dim(0)?, bytes.dim(1)?);
    Ok(Picture::new(bytes.flatten_all()?.to_vec1()?, (w, h))?)
}

/// The other way round.
pub fn bytes<const C: usize>(picture: &Picture<C>) -> Result<Tensor> {
    let (w, h) = picture.size();
    let shape: &[usize] = if C == 1 { &[h, w] } else { &[h, w, C] };
    Tensor::from_slice(picture.bytes(), shape, &Device::Cpu)
}

/// Four numbers: left, top, and where right and bottom end.
pub fn rect(numbers: &Tensor) -> std::result::Result<Rect, CaseError> {
    let numbers: Vec<i64> = numbers.flatten_all()?.to_vec1()?;
    let [x1, y1, x2, y2] = numbers[..] else { return Err("a box has four numbers".into()) };
    Ok(Rect::new(i32::try_from(x1)?, i32::try_from(y1)?, i32::try_from(x2)?, i32::try_from(y2)?))
}

/// The other way round.
pub fn numbers(rect: Rect) -> [i64; 4] {
    [rect.x1, rect.y1, rect.x2, rect.y2].map(i64::from)
}
