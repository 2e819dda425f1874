//! The noise levels a chunk is denoised over, and the step from one to the next: flow matching (Lipman et al. 2022) by Euler's method, with
//! the shift to high noise of Esser et al. 2024 (equation 23). Reference: InfiniteTalk 0107cd9, `wan/multitalk.py`; Wan2.1 9737cba,
//! `wan/utils/fm_solvers.py`. Refused: no steps, shifts that are not positive.

use candle_core::{Result, Tensor};

use super::SamplerError;

/// Noise levels are counted from 0, a clean latent, to this, nothing but noise.
const LEVELS: f32 = 1000.0;

/// How the levels lie before the shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// From 1000 to 1 in equal steps, then 0: InfiniteTalk's own. Its last step is a tiny one.
    DownToOne,
    /// From 1000 to 0 in equal steps: Wan's own, and what step-distilled weights were trained on (1000, 750, 500, 250 for four).
    Even,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    timesteps: Vec<f32>,
}

impl Schedule {
    pub fn new(spacing: Spacing, steps: usize, shift: f64) -> std::result::Result<Self, SamplerError> {
        if !(1..=1000).contains(&steps) {
            return Err(SamplerError::Steps(steps));
        }
        if !(shift.is_finite() && shift > 0.0) {
            return Err(SamplerError::Shift(shift));
        }
        let level = |i: usize| match spacing {
            Spacing::DownToOne if steps == 1 => f64::from(LEVELS),
            Spacing::DownToOne => {
                f64::from(LEVELS) + i as f64 * ((1.0 - f64::from(LEVELS)) / (steps - 1) as f64)
            }
            Spacing::Even => f64::from(LEVELS) * (1.0 - i as f64 / steps as f64),
        };
        let shifted = |t: f32| {
            let t = t / LEVELS;
            shift as f32 * t / (1.0 + (shift - 1.0) as f32 * t) * LEVELS
        };
        let levels = (0..steps).map(|i| shifted(level(i) as f32));
        Ok(Self { timesteps: levels.chain([0.0]).collect() })
    }

    /// Falling from 1000 to 0, one more than there are steps.
    pub fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    pub fn steps(&self) -> usize {
        self.timesteps.len() - 1
    }

    /// The timestep at which step `step` asks the net.
    pub fn timestep(&self, step: usize) -> f32 {
        self.timesteps[step]
    }

    /// Latents at the next level. `velocity` points from the clean latents to the noise.
    pub fn next(&self, step: usize, latents: &Tensor, velocity: &Tensor) -> Result<Tensor> {
        let fall = (self.timesteps[step] - self.timesteps[step + 1]) / LEVELS;
        latents - (velocity * f64::from(fall))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(spacing: Spacing, steps: usize, shift: f64) -> Vec<f32> {
        Schedule::new(spacing, steps, shift).unwrap().timesteps().to_vec()
    }

    #[test]
    fn levels_of_distilled_weights() {
        assert_eq!(levels(Spacing::Even, 4, 1.0), [1000.0, 750.0, 500.0, 250.0, 0.0]);
        let shifted = levels(Spacing::Even, 4, 5.0);
        for (got, want) in shifted.iter().zip([1000.0, 937.5, 833.333_3, 625.0, 0.0]) {
            assert!((got - want).abs() < 1e-3, "{shifted:?}");
        }
        assert_eq!(levels(Spacing::DownToOne, 4, 1.0), [1000.0, 667.0, 334.0, 1.0, 0.0]);
        assert_eq!(levels(Spacing::DownToOne, 1, 7.0), [1000.0, 0.0]);
    }

    #[test]
    fn refuses_what_is_no_schedule() {
        let said = |steps, shift| Schedule::new(Spacing::Even, steps, shift).unwrap_err().to_string();
        assert!(said(0, 7.0).contains("not 0"));
        assert!(said(1001, 7.0).contains("1001"));
        assert!(said(4, 0.0).contains("0"));
        assert!(said(4, f64::NAN).contains("NaN"));
    }
}
