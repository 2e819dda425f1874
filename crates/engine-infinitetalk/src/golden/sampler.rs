//! `sampler`: noise levels for several shifts, both kinds of guidance, and a step.

use candle_core::{Device, Tensor};
use golden::{Case, CaseError, Given, Outputs};
use serde::Deserialize;

use crate::sampler::guidance::{Guidance, Guide, Projection};
use crate::sampler::schedule::{Schedule, Spacing};

#[derive(Deserialize)]
struct Config {
    text_scale: f64,
    audio_scale: f64,
    lora2_audio_scale: f64,
    apg_norm_threshold: f64,
    apg_momentum: f64,
    euler_step: String,
}

pub struct Formulas;

impl Case for Formulas {
    fn components(&self) -> &[&str] {
        &["sampler formulas"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: Config = given.config()?;
        let mut outputs = Outputs::new();
        for (name, _) in given.file.stored("out.ts_") {
            let name = name.trim_start_matches("out.");
            let [_, shift, steps] = name.split('_').collect::<Vec<_>>()[..] else {
                return Err(format!("`{name}` does not name a shift and a number of steps").into());
            };
            let schedule = Schedule::new(
                Spacing::DownToOne,
                steps.trim_start_matches("steps").parse()?,
                shift.trim_start_matches("shift").parse()?,
            )?;
            outputs.out(name, Tensor::new(schedule.timesteps(), &Device::Cpu)?);
        }
        let answers = |prefix: &str, passes: &[&str]| -> Result<Vec<Tensor>, CaseError> {
            passes.iter().map(|pass| given.float_input(&format!("in.{prefix}{pass}"))).collect()
        };
        let three = ["cond", "drop_text", "uncond"];
        let both = Guidance::new(cfg.text_scale, cfg.audio_scale)?;
        let velocity = Guide::new(both).velocity(&answers("", &three)?)?;
        let (schedule, step) = euler(&cfg.euler_step)?;
        outputs.out("cfg3_next", schedule.next(step, &given.float_input("in.latent")?, &velocity)?);
        outputs.out("cfg3_v", velocity);
        let audio = Guidance::new(1.0, cfg.lora2_audio_scale)?;
        outputs.out("lora2_v", Guide::new(audio).velocity(&answers("", &["cond", "uncond"])?)?);
        let projection = Projection { momentum: cfg.apg_momentum, norm_threshold: cfg.apg_norm_threshold };
        let mut guide = Guide::new(both.with_projection(projection)?);
        for call in 0.. {
            let name = format!("apg{call}_v");
            if !given.file.stored("out.apg").any(|(stored, _)| stored.ends_with(&name)) {
                break;
            }
            outputs.out(&name, guide.velocity(&answers(&format!("apg{call}_"), &three)?)?);
        }
        Ok(outputs)
    }
}

/// `shift 7, 8 steps, index 2 -> 3`
fn euler(text: &str) -> Result<(Schedule, usize), CaseError> {
    let numbers: Vec<usize> =
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [shift, steps, from, to] if to == from + 1 => {
            Ok((Schedule::new(Spacing::DownToOne, steps, shift as f64)?, from))
        }
        _ => Err(format!("`{text}` is no step").into()),
    }
}
