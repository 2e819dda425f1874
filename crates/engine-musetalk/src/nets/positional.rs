//! The sinusoidal positions MuseTalk adds to the audio features of a frame (Vaswani et al. 2017, section 3.5): even channels are sines, odd
//! channels cosines. It has no weights.

use candle_core::{Device, Result, Tensor, bail};

/// (length, channels), f32
pub fn positional_encoding(length: usize, channels: usize, device: &Device) -> Result<Tensor> {
    if channels == 0 || !channels.is_multiple_of(2) {
        bail!("positions need an even number of channels, not {channels}");
    }
    // in f32 step by step, as the reference does: at position 63 an angle carries an error of 4e-6
    let step = (-(10000f64.ln()) / channels as f64) as f32;
    let frequencies: Vec<f32> = (0..channels / 2).map(|k| ((2 * k) as f32 * step).exp()).collect();
    let values: Vec<f32> = (0..length)
        .flat_map(|p| frequencies.iter().map(move |f| p as f32 * f))
        .flat_map(|angle| [angle.sin(), angle.cos()])
        .collect();
    Tensor::from_vec(values, (length, channels), device)
}

/// chunks: (b, l, c), the audio features of each frame -> the same with positions, added in their dtype
pub fn with_positions(chunks: &Tensor) -> Result<Tensor> {
    let (_, l, c) = chunks.dims3()?;
    let table = positional_encoding(l, c, chunks.device())?;
    let table = table.to_dtype(chunks.dtype())?; // the reference keeps its table in the dtype of the UNet
    chunks.broadcast_add(&table)
}
