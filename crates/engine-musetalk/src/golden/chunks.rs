//! `whisper_chunks`: which rows the strict windows take. The encoder is replaced by a probe: state s of row t holds 1 + 5 t + s, so 0 tells padding.

use candle_core::{DType, Device, Tensor};
use contract::Fps;
use golden::{Case, CaseError, Given, Outputs, every};
use serde::Deserialize;

use crate::audio::features::{Bounds, Cutter, Stretch};
use crate::audio::windows::{Padding, Strict};

const STATES: usize = 5;

#[derive(Deserialize)]
struct Config {
    n_samples_a: u64,
    n_samples_b: u64,
    fps: Vec<f64>,
}

pub struct Chunks;

impl Case for Chunks {
    fn components(&self) -> &[&str] {
        &["audio windowing"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: Config = given.config()?;
        let mut outputs = Outputs::new();
        for rate in &cfg.fps {
            let rate = rate.to_string();
            let windows = Strict::new(fps(&rate)?, Padding::default())?;
            let name = rate.replace('.', "_");
            let all = chunks(windows, cfg.n_samples_a)?; // (frames, 50)
            outputs.out(&format!("a_fps{name}"), every(STATES, &all, 1)?);
            let all = chunks(windows, cfg.n_samples_b)?;
            let frames = all.dim(0)?;
            outputs.out(
                &format!("b_fps{name}_frames"),
                Tensor::new(&[frames as i64], &Device::Cpu)?.to_dtype(DType::I32)?,
            );
            outputs.out(&format!("b_fps{name}_head"), all.narrow(0, 0, 3)?);
            outputs.out(&format!("b_fps{name}_tail"), all.narrow(0, frames - 3, 3)?);
        }
        Ok(outputs)
    }
}

/// A decimal number as it stands, `29.97` being 2997/100.
pub fn fps(decimal: &str) -> Result<Fps, CaseError> {
    let (whole, part) = decimal.split_once('.').unwrap_or((decimal, ""));
    let den = 10u32.pow(part.len() as u32);
    Fps::new(format!("{whole}{part}").parse()?, den)
        .ok_or_else(|| format!("{decimal} is no frame rate").into())
}

/// Rows of a probe from `first` on.
fn probe(first: u64, rows: usize) -> candle_core::Result<Stretch> {
    let from = 1 + first as i64 * STATES as i64;
    let tokens = Tensor::arange(from, from + (rows * STATES) as i64, &Device::Cpu)?.unsqueeze(1)?;
    Ok(Stretch::new(first, tokens, STATES))
}

/// (frames, 50)
fn chunks(windows: Strict, samples: u64) -> Result<Tensor, CaseError> {
    let rows = windows.span(0).rows;
    let cutter = Cutter::with_zeros(STATES, Tensor::zeros((rows * STATES, 1), DType::I64, &Device::Cpu)?);
    let stretches = [probe(0, 1500)?, probe(1500, 1500)?];
    let bounds = Bounds::zeros(Some(Strict::rows(samples)));
    let frames = (0..windows.frames(samples)).map(|frame| {
        let window = cutter.window(&stretches, windows.span(frame), bounds)?;
        Ok(window.ok_or_else(|| format!("frame {frame} hears what no segment covers"))?.flatten_all()?)
    });
    let frames = frames.collect::<Result<Vec<_>, CaseError>>()?;
    Ok(Tensor::stack(&frames, 0)?.to_dtype(DType::I32)?)
}
