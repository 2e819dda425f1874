//! One chunk from noise to latents: the loop over steps and their passes. Its first latent frames are those of the frames before it (or of the
//! picture), clean at every step. Reference: InfiniteTalk 0107cd9, `wan/multitalk.py`, which besides adds noise to them and throws that away.

use candle_core::Tensor;
use layers::Probe;

use super::condition::{Condition, Prompt};
use super::guidance::{Branch, Guide};
use super::sampling::Sampling;
use super::{Progress, SamplerError, Watcher};
use crate::nets::dit::{Dit, Pass, Persons, Step, Watch};

/// Everything that one chunk is made of.
pub(super) struct Denoiser<'a> {
    pub dit: &'a Dit,
    pub sampling: &'a Sampling,
    /// For each step whether its blocks are run.
    pub computed: &'a [bool],
    pub prompt: &'a Prompt,
    pub condition: &'a Condition,
    pub speech: Option<Heard<'a>>,
    /// (c, m, h, w), clean; None: the chunk is all noise at first
    pub motion: Option<&'a Tensor>,
}

/// Of `embed_audio`.
pub(super) struct Heard<'a> {
    pub speech: Tensor,
    pub silence: &'a Tensor,
    pub persons: Option<&'a Persons>,
}

impl Denoiser<'_> {
    /// noise: (c, t, h, w), f32 -> latents, the same. `at` names the chunk.
    pub fn run(
        &self,
        noise: Tensor,
        at: Progress,
        watcher: &mut dyn Watcher,
    ) -> Result<Tensor, SamplerError> {
        let Sampling { schedule, guidance, .. } = self.sampling;
        let branches = guidance.branches();
        let mut guide = Guide::new(*guidance);
        let mut residuals: Vec<Option<Tensor>> = vec![None; branches.len()];
        let mut latents = self.with_motion(noise)?;
        for step in 0..schedule.steps() {
            let mut answers = Vec::with_capacity(branches.len());
            for (pass, (branch, residual)) in branches.iter().zip(&mut residuals).enumerate() {
                let (steps, passes) = (schedule.steps(), branches.len());
                watcher.progress(Progress { step, steps, pass, passes, ..at })?;
                let how = match (self.computed[step], &*residual) {
                    (false, Some(residual)) => Pass::Reused(residual),
                    _ if self.computed.get(step + 1) == Some(&false) => Pass::Remembered,
                    _ => Pass::Whole,
                };
                let reused = matches!(how, Pass::Reused(_));
                let asked = self.step(*branch, &latents, f64::from(schedule.timestep(step)))?;
                let stop = || watcher.stopped();
                let watch = Watch { stop: &stop, probe: &Probe::off() };
                let answer = self.dit.forward(&asked, how, &watch)?;
                if !reused {
                    *residual = answer.residual;
                }
                answers.push(answer.velocity);
            }
            let velocity = guide.velocity(&answers)?;
            latents = self.with_motion(schedule.next(step, &latents, &velocity)?)?;
        }
        Ok(latents)
    }

    fn step<'a>(
        &'a self,
        branch: Branch,
        latents: &'a Tensor,
        timestep: f64,
    ) -> Result<Step<'a>, SamplerError> {
        let (with_text, with_audio) = match branch {
            Branch::Conditioned => (true, true),
            Branch::DropAudio => (true, false),
            Branch::DropText => (false, true),
            Branch::Unconditioned => (false, false),
        };
        let negative = || self.prompt.negative.as_ref().ok_or(SamplerError::NoNegative);
        let speech = self.speech.as_ref();
        Ok(Step {
            latents,
            condition: &self.condition.latents,
            timestep,
            text: if with_text { &self.prompt.text } else { negative()? },
            picture: &self.condition.picture,
            audio: speech.map(|heard| if with_audio { &heard.speech } else { heard.silence }),
            persons: speech.and_then(|heard| heard.persons),
        })
    }

    /// latents: (c, t, h, w) -> the same
    fn with_motion(&self, latents: Tensor) -> Result<Tensor, SamplerError> {
        let Some(motion) = self.motion else { return Ok(latents) };
        let (m, t) = (motion.dim(1)?, latents.dim(1)?);
        Ok(Tensor::cat(&[motion, &latents.narrow(1, m, t - m)?], 1)?)
    }
}
