//! The sinusoids that MuseTalk adds to its audio tokens (Vaswani et al. 2017, section 3.5): sines in even channels, cosines in odd ones.
//! Reference: musetalk/models/unet.py of TMElyralab/MuseTalk at 0a89dec. Computed in f32 as there: the exponential, then position times it.

use candle_core::{Device, Result, Tensor, bail};

/// (positions, channels), f32
pub fn positional_encoding(positions: usize, channels: usize, device: &Device) -> Result<Tensor> {
    if !channels.is_multiple_of(2) {
        bail!("sines and cosines alternate, so {channels} channels are one too many");
    }
    let step = (-(10000f64.ln()) / channels as f64) as f32;
    let mut table = Vec::with_capacity(positions * channels);
    for position in 0..positions {
        for pair in 0..channels / 2 {
            let angle = position as f32 * ((2 * pair) as f32 * step).exp();
            table.extend([angle.sin(), angle.cos()]);
        }
    }
    Tensor::from_vec(table, (positions, channels), device)
}
