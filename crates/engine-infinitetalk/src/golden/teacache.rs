//! `teacache`: which steps are computed for given timesteps, and the last velocity of such a run, whose skipped steps stand on earlier ones.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use golden::{Case, CaseError, CaseFile, Given, Outputs};
use layers::Probe;

use crate::nets::dit::{Dit, DitConfig, Loading, Pass, Step, Watch};
use crate::sampler::teacache::{Fit, TeaCache, relative_change};

pub struct SkipPattern;

impl Case for SkipPattern {
    fn components(&self) -> &[&str] {
        &["TeaCache skip pattern"]
    }

    /// A velocity is that of one forward, whose bound in the kit is one of f32.
    fn under_bf16(&self, output: &str) -> Option<f64> {
        output.ends_with("_last_pred").then_some(0.05)
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: DitConfig = given.config()?;
        let dit = Dit::load(&cfg, &Loading::of(given.dtype()), given.weights()?)?;
        let mut outputs = Outputs::new();
        let mut patterns = BTreeMap::new();
        for (name, _) in given.file.stored("out.") {
            let name = name.trim_start_matches("out.");
            let Some((size, list, threshold)) = pattern_of(name) else { continue };
            let timesteps = timesteps(given, list)?;
            let embedded = timesteps.iter().map(|&t| dit.time_embedding(t));
            let embedded = embedded.collect::<candle_core::Result<Vec<_>>>()?;
            let changes = embedded.windows(2).map(|pair| relative_change(&pair[0], &pair[1]));
            let changes = changes.collect::<candle_core::Result<Vec<_>>>()?;
            let fit = if size == "720" { Fit::P720 } else { Fit::P480 };
            let pattern = TeaCache::new(threshold.parse()?, fit)?.pattern(&changes);
            let bytes: Vec<u8> = pattern.iter().map(|&computed| u8::from(computed)).collect();
            outputs.out(name, Tensor::new(bytes, &Device::Cpu)?);
            let floats: Vec<f32> = changes.iter().map(|&change| change as f32).collect();
            outputs.probe(&format!("e0_rel_l1_{list}"), Tensor::new(floats, &Device::Cpu)?);
            patterns.insert((size, list, threshold), (timesteps, pattern));
        }
        for (name, _) in given.file.stored("out.") {
            let name = name.trim_start_matches("out.");
            let run = name.strip_suffix("_last_pred").and_then(|run| run.split_once('_'));
            let Some((size, list)) = run else { continue };
            // the notes: of the run at 0.2
            let found = patterns.get(&(size, list, "0.2"));
            let (timesteps, pattern) = found.ok_or_else(|| format!("`{name}` has no pattern at 0.2"))?;
            outputs.out(name, last_velocity(&dit, given, timesteps, pattern)?);
        }
        Ok(outputs)
    }
}

/// `480_mixed_thr0.2` -> (480, mixed, 0.2)
fn pattern_of(name: &str) -> Option<(&str, &str, &str)> {
    let (run, threshold) = name.split_once("_thr")?;
    let (size, list) = run.split_once('_')?;
    Some((size, list, threshold))
}

fn timesteps(given: &Given, list: &str) -> Result<Vec<f64>, CaseError> {
    let timesteps: Vec<f32> = given.file.tensor(&format!("in.t_{list}"))?.to_vec1()?;
    Ok(timesteps.into_iter().map(f64::from).collect())
}

/// The inputs are those of `dit_p1`, cut to a corner: two latent frames of 4x4, five frames of sound. They stay the same from step to step.
fn last_velocity(dit: &Dit, given: &Given, timesteps: &[f64], pattern: &[bool]) -> Result<Tensor, CaseError> {
    let whole = CaseFile::open(&given.file.path().with_file_name("dit_p1.safetensors"))?;
    let whole = Given::new(&whole, given.device);
    let corner = |x: Tensor| x.narrow(1, 0, 2)?.narrow(2, 0, 4)?.narrow(3, 0, 4)?.contiguous();
    let latents = corner(whole.input("in.x")?)?;
    let condition = corner(whole.input("in.y")?.squeeze(0)?)?;
    let text = dit.embed_text(&whole.input("in.context")?)?;
    let picture = dit.embed_picture(&whole.input("in.clip_fea")?)?;
    let audio = dit.embed_audio(&whole.input("in.audio")?.narrow(1, 0, 5)?.contiguous()?)?;
    let watch = Watch { stop: &|| false, probe: &Probe::off() };
    let mut residual: Option<Tensor> = None;
    let mut velocity = None;
    for (&timestep, &computed) in timesteps.iter().zip(pattern) {
        let step = Step {
            latents: &latents,
            condition: &condition,
            timestep,
            text: &text,
            picture: &picture,
            audio: Some(&audio),
            persons: None,
        };
        let answer = match (computed, &residual) {
            (false, Some(residual)) => dit.forward(&step, Pass::Reused(residual), &watch)?,
            _ => dit.forward(&step, Pass::Remembered, &watch)?,
        };
        if computed {
            residual = answer.residual;
        }
        velocity = Some(answer.velocity);
    }
    velocity.ok_or_else(|| "a run without timesteps".into())
}
