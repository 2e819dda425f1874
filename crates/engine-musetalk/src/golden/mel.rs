//! `mel` and `mel_two_segments`: sound to the spectrograms of 30 s segments, each with its own ceiling.

use candle_core::{DType, Device, Tensor};
use golden::{Case, CaseError, Given, Outputs, every};
use serde::Deserialize;

use crate::audio::mel::{BANDS, Frame, LogMel as Mel, ceiling, scaled, segment};
use crate::audio::{ROW, SEGMENT_ROWS};

#[derive(Deserialize)]
struct Config {
    frames_kept: Option<usize>,
    filter_row_stride: Option<usize>,
    frame_stride: Option<usize>,
}

pub struct LogMel;

impl Case for LogMel {
    fn components(&self) -> &[&str] {
        &["whisper log-mel"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: Config = given.config()?;
        let mut outputs = Outputs::new();
        if let Some(stride) = cfg.filter_row_stride {
            let rows = Mel::new().filters();
            let n = rows.len();
            let filters =
                Tensor::from_vec(rows.into_iter().flatten().collect::<Vec<f64>>(), (n, BANDS), &Device::Cpu)?;
            outputs.out("mel_filters_f64", every(stride, &filters, 0)?);
        }
        // one stored segment is the second of its clip; a seeded clip has all of its segments
        let (sound, first) = match given.file.tensor("in.pcm_i16") {
            Ok(pcm) => (from_i16(&pcm)?, 1),
            Err(_) => (seeded(given)?, 0),
        };
        for (index, sound) in sound.chunks(SEGMENT_ROWS * ROW).enumerate() {
            let frames = segment(sound, 2 * SEGMENT_ROWS);
            let x = of_frames(&frames)?.narrow(1, 0, cfg.frames_kept.unwrap_or(frames.len()))?;
            outputs.out(&format!("seg{}", first + index), every(cfg.frame_stride.unwrap_or(1), &x, 1)?);
        }
        Ok(outputs)
    }
}

fn from_i16(pcm: &Tensor) -> candle_core::Result<Vec<f32>> {
    Ok(pcm.to_dtype(DType::F32)?.to_vec1::<f32>()?.into_iter().map(|v| v / 32768.0).collect())
}

/// The noise of the notes: five loudnesses, a quarter of a second each, rounded to 16 bits.
pub fn seeded(given: &Given) -> Result<Vec<f32>, CaseError> {
    let noise = given.file.tensor("val")?.to_vec1::<f32>()?;
    let loud = |(k, v): (usize, f32)| {
        let pcm = (f64::from(v) * 3000.0 * (1 + (k / 4000) % 5) as f64).round_ties_even();
        (pcm / 32768.0) as f32
    };
    Ok(noise.into_iter().enumerate().map(loud).collect())
}

/// Scaled under their own ceiling: (80, frames)
pub fn of_frames(frames: &[Frame]) -> candle_core::Result<Tensor> {
    of_values(scaled(frames, ceiling(frames)))
}

/// (frames, 80) in a row -> (80, frames)
pub fn of_values(values: Vec<f32>) -> candle_core::Result<Tensor> {
    let frames = values.len() / BANDS;
    Tensor::from_vec(values, (frames, BANDS), &Device::Cpu)?.t()?.contiguous()
}
