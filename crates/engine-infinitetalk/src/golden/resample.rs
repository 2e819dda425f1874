//! `resample`: files of several rates to 16 kHz mono, and how long such files become.

use candle_core::{DType, Device, Tensor};
use golden::{Case, CaseError, Given, Outputs};
use serde::Deserialize;

use super::audio_io::pcm;
use crate::audio::{Resampler, length};

pub struct Resampling;

#[derive(Deserialize)]
struct Config {
    cases: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    name: String,
    sr: u32,
}

impl Case for Resampling {
    fn components(&self) -> &[&str] {
        &["resampling to 16 kHz mono"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let mut outputs = Outputs::new();
        for File { name, sr } in given.config::<Config>()?.cases {
            let sound = given.input(&format!("in.{name}_i16"))?;
            let channels = if sound.rank() == 2 { sound.dim(1)? } else { 1 };
            let samples = pcm(&sound)?;
            let mono: Vec<f32> = samples
                .chunks_exact(channels)
                .map(|frame| frame.iter().sum::<f32>() / channels as f32)
                .collect();
            let (mut resampler, mut made) = (Resampler::new(sr)?, Vec::new());
            for piece in mono.chunks(1000) {
                resampler.push(piece, &mut made);
            }
            resampler.finish(&mut made);
            let n = made.len();
            outputs.out(&name, Tensor::from_vec(made, n, &Device::Cpu)?);
        }
        let table: Vec<Vec<i64>> = given.file.tensor("out.length_table")?.to_dtype(DType::I64)?.to_vec2()?;
        let lengths =
            table.iter().flat_map(|row| [row[0], row[1], length(row[0] as u64, row[1] as u32) as i64]);
        outputs.out("length_table", Tensor::from_iter(lengths, &Device::Cpu)?.reshape((table.len(), 3))?);
        Ok(outputs)
    }
}
