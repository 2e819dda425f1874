//! How a chunk is sampled, as one value, and the ways that are known to work. A function for each, with its source.

use super::SamplerError;
use super::guidance::Guidance;
use super::schedule::{Schedule, Spacing};
use super::teacache::{Fit, TeaCache};

#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    pub schedule: Schedule,
    pub guidance: Guidance,
    /// None: every step is computed.
    pub teacache: Option<TeaCache>,
}

impl Sampling {
    /// The official command line's: 40 steps of three passes, with the shift of the size.
    pub fn infinitetalk(size: Fit) -> Result<Self, SamplerError> {
        let shift = match size {
            Fit::P480 => 7.0,
            Fit::P720 => 11.0,
        };
        Self::of(Schedule::new(Spacing::DownToOne, 40, shift)?, Guidance::new(5.0, 4.0)?)
    }

    /// The official README's for few steps with a LoRA that distils text guidance (FusionX: 8, lightx2v: 4): two passes a step.
    pub fn with_distilling_lora(steps: usize) -> Result<Self, SamplerError> {
        Self::of(Schedule::new(Spacing::DownToOne, steps, 2.0)?, Guidance::new(1.0, 2.0)?)
    }

    /// Of weights distilled to few steps (4 or 8), guidance with them: one pass a step, with the levels they were trained on. The shift is that
    /// of LightX2V's InfiniteTalk configurations.
    pub fn step_distilled(steps: usize) -> Result<Self, SamplerError> {
        Self::of(Schedule::new(Spacing::Even, steps, 7.0)?, Guidance::none())
    }

    /// Of Wan's base at 480p (Wan2.1 README: 40 steps, shift 3, scale 5). Deviation: Euler's method where Wan has UniPC.
    pub fn wan_i2v() -> Result<Self, SamplerError> {
        Self::of(Schedule::new(Spacing::Even, 40, 3.0)?, Guidance::new(5.0, 1.0)?)
    }

    fn of(schedule: Schedule, guidance: Guidance) -> Result<Self, SamplerError> {
        Ok(Self { schedule, guidance, teacache: None })
    }

    /// Forwards of the net for one chunk, skipped ones among them.
    pub fn forwards(&self) -> usize {
        self.schedule.steps() * self.guidance.branches().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_of_the_known_ways() {
        for (sampling, forwards, second) in [
            (Sampling::infinitetalk(Fit::P480), 120, 996.26),
            (Sampling::infinitetalk(Fit::P720), 120, 997.62),
            (Sampling::with_distilling_lora(8), 16, 923.16),
            (Sampling::with_distilling_lora(4), 8, 800.24),
            (Sampling::step_distilled(4), 4, 954.55),
            (Sampling::step_distilled(8), 8, 980.0),
            (Sampling::wan_i2v(), 80, 991.53),
        ] {
            let sampling = sampling.unwrap();
            assert_eq!(sampling.forwards(), forwards);
            assert!((sampling.schedule.timestep(1) - second).abs() < 0.01, "{sampling:?}");
        }
    }
}
