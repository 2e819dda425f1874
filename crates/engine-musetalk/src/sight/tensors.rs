//! Pictures of bytes to what nets take.

use candle_core::{DType, Device, Result, Tensor};

use crate::nets::bisenet;
use pictures::{Plane, Rgb, View};

/// (1, h, w, 3) on 0..255
pub fn tensor(picture: View<3>, device: &Device) -> Result<Tensor> {
    let (w, h) = picture.size();
    let mut values = Vec::with_capacity(w * h * 3);
    picture.rows().for_each(|row| values.extend(row.iter().map(|&byte| f32::from(byte))));
    Tensor::from_vec(values, (1, h, w, 3), device)
}

pub fn of_picture(picture: &Rgb, device: &Device) -> Result<Tensor> {
    tensor(picture.view(), device)
}

/// The likeliest class of each pixel of `input`, at its size.
pub fn classes(parser: &bisenet::Bisenet, input: View<3>, device: &Device) -> Result<Plane> {
    let (w, h) = input.size();
    let logits = parser.forward(&bisenet::normalise(&tensor(input, device)?)?, &layers::Probe::off())?; // (1, h, w, 19)
    let classes: Vec<u8> = logits.argmax(3)?.to_dtype(DType::U8)?.flatten_all()?.to_vec1()?;
    Plane::new(classes, (w, h)).map_err(candle_core::Error::wrap)
}
