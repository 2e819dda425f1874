//! TeaCache (Liu et al. 2024): steps at which the net's blocks are not run again, but change the tokens as they did the last time. Which ones
//! depends only on how much the time embedding changes from step to step, so the pattern is known before the first step and is the same for
//! every pass and chunk. Reference: InfiniteTalk 0107cd9, `wan/modules/multitalk_model.py` (`use_ret_steps`). Deviation: each pass keeps its
//! own change, also where a step has two of them (the reference counts in threes and mixes them).

use candle_core::{DType, Result, Tensor};

use super::SamplerError;

/// Steps at the beginning that are always computed.
const ALWAYS: usize = 5;

/// By what the change of the time embedding foretells that of the tokens: a polynomial, highest power first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Around 640x640 pixels.
    P480,
    /// Around 960x960 pixels.
    P720,
}

impl Fit {
    fn coefficients(self) -> [f64; 5] {
        match self {
            Fit::P480 => [2.571_514_96e5, -3.542_299_17e4, 1.402_868_49e3, -13.589_033_4, 0.132_517_977],
            Fit::P720 => [8.107_054_60e3, 2.133_938_92e3, -3.729_346_72e2, 16.620_307_3, -0.041_776_940_1],
        }
    }

    fn foretold(self, change: f64) -> f64 {
        self.coefficients().into_iter().fold(0.0, |sum, coefficient| sum * change + coefficient)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TeaCache {
    threshold: f64,
    fit: Fit,
}

impl TeaCache {
    /// Steps are skipped until their foretold changes add up to `threshold` (the reference's is 0.2).
    pub fn new(threshold: f64, fit: Fit) -> std::result::Result<Self, SamplerError> {
        if !(threshold.is_finite() && threshold > 0.0) {
            return Err(SamplerError::Threshold(threshold));
        }
        Ok(Self { threshold, fit })
    }

    /// For each step whether its blocks are run. `changes`: of the time embedding from each step to the next.
    pub fn pattern(&self, changes: &[f64]) -> Vec<bool> {
        let compared = self.sums(changes).into_iter().map(|sum| sum >= self.threshold);
        std::iter::repeat_n(true, ALWAYS.min(changes.len() + 1)).chain(compared).collect()
    }

    /// What is compared with the threshold at each step that may be skipped: the foretold changes since the last one that was not.
    pub fn sums(&self, changes: &[f64]) -> Vec<f64> {
        let mut sum = 0.0;
        let later = changes.iter().skip(ALWAYS - 1);
        later
            .map(|&change| {
                let before = if sum >= self.threshold { 0.0 } else { sum };
                sum = before + self.fit.foretold(change);
                sum
            })
            .collect()
    }
}

/// Mean absolute change of the time embedding from one step to the next, relative to its mean before.
pub fn relative_change(before: &Tensor, after: &Tensor) -> Result<f64> {
    let mean = |x: Tensor| -> Result<f64> {
        Ok(f64::from(x.to_dtype(DType::F32)?.abs()?.mean_all()?.to_scalar::<f32>()?))
    };
    Ok(mean((after - before)?)? / mean(before.clone())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(threshold: f64, changes: &[f64]) -> String {
        let tea = TeaCache::new(threshold, Fit::P480).unwrap();
        tea.pattern(changes).into_iter().map(|computed| if computed { '#' } else { '.' }).collect()
    }

    #[test]
    fn skips_until_the_changes_add_up() {
        // nothing changes: 0.1325 is foretold of each step
        assert_eq!(pattern(0.2, &[0.0; 10]), "#####.#.#.#");
        assert_eq!(pattern(0.5, &[0.0; 10]), "#####...#..");
        assert_eq!(pattern(0.1, &[0.0; 7]), "########");
        assert_eq!(pattern(9.0, &[0.0; 10]), "#####......");
        assert_eq!(pattern(0.2, &[]), "#");
        // the first steps count for nothing
        assert_eq!(pattern(0.2, &[9.0, 9.0, 9.0, 9.0, 0.0, 0.0]), "#####.#");
    }

    #[test]
    fn refuses_what_is_no_threshold() {
        for threshold in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let said = TeaCache::new(threshold, Fit::P720).unwrap_err().to_string();
            assert!(said.contains(&threshold.to_string()), "{said}");
        }
    }
}
