//! The noise levels of a take and the step from one to the next: Karras et al. 2022 (EDM), as diffusers 0.42.1's `EulerDiscreteScheduler` has it with SVD's
//! configuration. Levels fall (from 700 to 0.002 in every published model) on Karras' curve, the net is told a quarter of their logarithm, and what it
//! predicts is v (Salimans and Ho 2022). No noise is added on the way.

use candle_core::{Result, Tensor};

use crate::weights::SigmaRange;

/// How much of the curve lies at small levels.
const RHO: f64 = 7.0;

#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// One more than steps: the last is 0.
    sigmas: Vec<f32>,
}

impl Schedule {
    /// `steps`: at least 1
    pub fn new(range: SigmaRange, steps: usize) -> Self {
        let (high, low) = (range.sigma_max.powf(1.0 / RHO), range.sigma_min.powf(1.0 / RHO));
        let level = |i: usize| {
            let along = if steps > 1 { i as f64 / (steps - 1) as f64 } else { 0.0 };
            (high + along * (low - high)).powf(RHO) as f32
        };
        Self { sigmas: (0..steps).map(level).chain([0.0]).collect() }
    }

    pub fn steps(&self) -> usize {
        self.sigmas.len() - 1
    }

    pub fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    /// What the net is told instead of a time.
    pub fn timestep(&self, step: usize) -> f32 {
        0.25 * self.sigmas[step].ln()
    }

    /// How large noise of variance 1 is to be at the beginning.
    pub fn initial_scale(&self) -> f32 {
        (self.sigmas[0] * self.sigmas[0] + 1.0).sqrt()
    }

    /// x as the net takes it.
    pub fn scaled(&self, step: usize, x: &Tensor) -> Result<Tensor> {
        let sigma = self.sigmas[step];
        x / f64::from((sigma * sigma + 1.0).sqrt())
    }

    /// The picture behind the noise, as the net sees it.
    pub fn clean(&self, step: usize, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        let sigma = self.sigmas[step];
        let whole = sigma * sigma + 1.0;
        (v * f64::from(-sigma / whole.sqrt()))? + (x / f64::from(whole))?
    }

    /// x of the next level (Euler).
    pub fn step(&self, step: usize, x: &Tensor, v: &Tensor) -> Result<Tensor> {
        let (sigma, next) = (self.sigmas[step], self.sigmas[step + 1]);
        let slope = ((x - self.clean(step, x, v)?)? / f64::from(sigma))?;
        x + (slope * f64::from(next - sigma))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_karras() {
        let schedule = Schedule::new(SigmaRange::SVD, 25);
        let near = |at: usize, sigma: f32| {
            assert!((schedule.sigmas()[at] / sigma - 1.0).abs() < 1e-5, "{:?}", schedule.sigmas());
        };
        for (at, sigma) in [(0, 700.0), (1, 545.7292), (12, 15.58997), (23, 0.007_882_495), (24, 0.002)] {
            near(at, sigma);
        }
        assert_eq!((schedule.steps(), schedule.sigmas()[25]), (25, 0.0));
        assert!((schedule.timestep(0) - 1.63777).abs() < 1e-5);
        assert!((schedule.timestep(24) + 1.553_652).abs() < 1e-5);
        assert_eq!(Schedule::new(SigmaRange::SVD, 1).sigmas(), [700.0, 0.0]);
    }
}
