//! `audio_io`: filters, loudness and normalised voices, and two voices side by side.

use std::io::Cursor;

use candle_core::{DType, Device, Result, Tensor};
use contract::{Pcm, Turns};
use golden::{Case, CaseError, Given, Outputs};
use serde::Deserialize;

use crate::audio::{Biquad, RATE_HZ, Speakers, Track};

pub struct Loudness;

/// Every how many samples are kept.
#[derive(Deserialize)]
struct Config {
    norm_stride: usize,
    multi_stride: usize,
}

/// 16 bits as values on [-1, 1), in their order.
pub fn pcm(sound: &Tensor) -> Result<Vec<f32>> {
    let values: Vec<f32> = sound.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    Ok(values.into_iter().map(|v| v / 32_768.0).collect())
}

fn every(stride: usize, samples: &[f32]) -> Result<Tensor> {
    Tensor::from_iter(samples.iter().copied().step_by(stride), &Device::Cpu)
}

fn loudest(samples: &[f32]) -> Result<Tensor> {
    Tensor::new(&[samples.iter().fold(0f32, |most, v| most.max(v.abs()))], &Device::Cpu)
}

impl Case for Loudness {
    fn components(&self) -> &[&str] {
        &["loudness"]
    }

    fn run(&self, given: &Given) -> std::result::Result<Outputs, CaseError> {
        let Config { norm_stride, multi_stride } = given.config()?;
        let track = |samples: Vec<f32>| Track::read(Box::new(Cursor::new(Pcm { rate_hz: RATE_HZ, samples })));
        let mut outputs = Outputs::new();
        for (name, filter) in [("high_shelf", Biquad::high_shelf()), ("high_pass", Biquad::high_pass())] {
            outputs.out(&format!("{name}_a_f64"), Tensor::new(&filter.a, &Device::Cpu)?);
            outputs.out(&format!("{name}_b_f64"), Tensor::new(&filter.b, &Device::Cpu)?);
        }
        let mut voices = Vec::new();
        for name in ["tone", "gated", "quiet", "short"] {
            let voice = track(pcm(&given.input(&format!("in.{name}_i16"))?)?)?;
            let lufs = voice.lufs().ok_or("nothing was loud enough")?;
            outputs.out(&format!("{name}_lufs_f64"), Tensor::new(&[lufs], &Device::Cpu)?);
            outputs.out(&format!("{name}_norm"), every(norm_stride, voice.samples())?);
            voices.push(voice);
        }
        outputs.out("silence_max", loudest(track(vec![0.0; voices[0].samples().len()])?.samples())?);
        let [first, second, ..] = voices.as_slice() else { unreachable!("four were pushed") };
        for (name, turns) in [("para", Turns::Together), ("add", Turns::InTurn)] {
            let speakers = Speakers::two(first, second, turns);
            let [p1, p2] = speakers.persons() else { unreachable!("there are two") };
            for (part, samples) in [("p1", p1), ("p2", p2), ("sum", &mixed(&speakers))] {
                let length = Tensor::new(&[samples.len() as i64], &Device::Cpu)?;
                outputs.out(&format!("multi_{name}_{part}_len"), length);
                outputs.out(&format!("multi_{name}_{part}"), every(multi_stride, samples)?);
            }
        }
        let alone = Speakers::one_of_two(second, 1);
        outputs.out("multi_none_p1_absmax", loudest(&alone.persons()[0])?);
        outputs.out("multi_none_sum", every(multi_stride, &mixed(&alone))?);
        Ok(outputs)
    }
}

/// All voices at once, as the official program hands them to the encoder; a take's sound track is mixed by `media`.
fn mixed(speakers: &Speakers) -> Vec<f32> {
    let mut mix = vec![0.0; speakers.persons()[0].len()];
    for voice in speakers.persons() {
        mix.iter_mut().zip(voice).for_each(|(sum, sample)| *sum += sample);
    }
    mix
}
