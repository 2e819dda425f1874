//! `schedule`: the noise levels of 5 and 25 steps, and the first step of each.

use candle_core::{Device, Tensor};
use golden::{Case, CaseError, Given, Outputs};

use serde::Deserialize;

use crate::sampler::schedule::Schedule;
use crate::weights::SigmaRange;

#[derive(Deserialize)]
struct Config {
    sigma_min: f64,
    sigma_max: f64,
}

pub struct Levels;

impl Case for Levels {
    fn components(&self) -> &[&str] {
        &["Euler / EDM schedule"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let Config { sigma_min, sigma_max } = given.config()?;
        let mut outputs = Outputs::new();
        for (name, _) in given.file.stored("in.x_") {
            let steps = name.trim_start_matches("in.x_");
            let schedule = Schedule::new(SigmaRange { sigma_min, sigma_max }, steps.parse()?);
            let (x, v) = (given.float_input(name)?, given.float_input(&format!("in.v_{steps}"))?);
            let timesteps: Vec<f32> = (0..schedule.steps()).map(|step| schedule.timestep(step)).collect();
            let of = |values: &[f32]| Tensor::new(values, &Device::Cpu);
            outputs.out(&format!("sigmas_{steps}"), of(schedule.sigmas())?);
            outputs.out(&format!("timesteps_{steps}"), of(&timesteps)?);
            outputs.out(&format!("init_noise_sigma_{steps}"), of(&[schedule.initial_scale()])?);
            outputs.out(&format!("scaled_{steps}"), schedule.scaled(0, &x)?);
            outputs.out(&format!("step_{steps}"), schedule.step(0, &x, &v)?);
            outputs.out(&format!("x0_{steps}"), schedule.clean(0, &x, &v)?);
        }
        Ok(outputs)
    }
}
