//! Sinusoidal embedding of a time or another number, as in diffusers' `get_timestep_embedding`: c / 2 sines, then c / 2 cosines, or the other way.

use candle_core::{DType, Result, Tensor, bail};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimestepConfig {
    /// Width of the embedding.
    pub channels: usize,
    /// Cosines first.
    pub flip_sin_to_cos: bool,
    /// Taken off c / 2 in the exponent.
    pub freq_shift: f64,
    pub max_period: f64,
}

impl TimestepConfig {
    /// What every SD-like UNet uses: cosines first, no shift, a period of 10000.
    pub const fn flipped(channels: usize) -> Self {
        Self { channels, flip_sin_to_cos: true, freq_shift: 0.0, max_period: 10000.0 }
    }
}

/// t: (b,) -> (b, channels), f32
pub fn timestep_embedding(t: &Tensor, cfg: &TimestepConfig) -> Result<Tensor> {
    let half = cfg.channels / 2;
    if !cfg.channels.is_multiple_of(2) || half as f64 <= cfg.freq_shift {
        bail!("an embedding of {} channels cannot be made with a shift of {}", cfg.channels, cfg.freq_shift);
    }
    let exponent = |i: usize| (-cfg.max_period.ln() * i as f64 / (half as f64 - cfg.freq_shift)).exp() as f32;
    let frequencies = Tensor::from_vec((0..half).map(exponent).collect(), (1, half), t.device())?;
    let angles = t.to_dtype(DType::F32)?.unsqueeze(1)?.broadcast_mul(&frequencies)?; // (b, c / 2)
    let (sin, cos) = (angles.sin()?, angles.cos()?);
    if cfg.flip_sin_to_cos { Tensor::cat(&[cos, sin], 1) } else { Tensor::cat(&[sin, cos], 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn cosines_and_sines_in_the_order_asked_for() {
        let t = Tensor::new(&[0f32, 3.0], &Device::Cpu).unwrap();
        let rows: Vec<Vec<f32>> =
            timestep_embedding(&t, &TimestepConfig::flipped(4)).unwrap().to_vec2().unwrap();
        assert_eq!(rows[0], [1.0, 1.0, 0.0, 0.0]);
        let want = [3f64.cos(), 0.03f64.cos(), 3f64.sin(), 0.03f64.sin()];
        assert!(
            rows[1].iter().zip(want).all(|(&got, want)| (f64::from(got) - want).abs() < 1e-6),
            "{rows:?}"
        );
        let plain = TimestepConfig { flip_sin_to_cos: false, freq_shift: 1.0, ..TimestepConfig::flipped(4) };
        let rows: Vec<Vec<f32>> = timestep_embedding(&t, &plain).unwrap().to_vec2().unwrap();
        let want = [3f64.sin(), 3e-4f64.sin(), 3f64.cos(), 3e-4f64.cos()];
        assert!(
            rows[1].iter().zip(want).all(|(&got, want)| (f64::from(got) - want).abs() < 1e-6),
            "{rows:?}"
        );
    }
}
