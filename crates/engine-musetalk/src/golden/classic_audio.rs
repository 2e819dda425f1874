//! `classic_v1_audio`: the audio path before 1.5: windows, the spectrogram of a whole file, and the state without the final norm.

use candle_core::{DType, Device, Tensor};
use golden::{Case, CaseError, Given, Outputs, every};
use serde::Deserialize;

use super::chunks::fps;
use super::mel::{of_values, seeded};
use crate::audio::features::{Beyond, Bounds, Cutter, Stretch};
use crate::audio::mel::{MelStream, ceiling};
use crate::audio::whole::{rows, values};
use crate::audio::windows::Classic;
use crate::nets::whisper::{LastState, WhisperConfig, WhisperEncoder};

#[derive(Deserialize)]
struct Config {
    mel_first_stride: usize,
    second_kept: usize,
    whisper: WhisperConfig,
}

pub struct ClassicAudio;

impl Case for ClassicAudio {
    fn components(&self) -> &[&str] {
        &["pre-1.5 audio path"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: Config = given.config()?;
        let mut outputs = Outputs::new();
        let names = given.file.stored("out.window_").map(|(name, _)| name.to_owned());
        for name in names.collect::<Vec<_>>() {
            let name = name.trim_start_matches("out.");
            outputs.out(name, windows(name)?);
        }

        let sound = seeded(given)?;
        let mut frames = Vec::new();
        let mut stream = MelStream::new();
        stream.push(&sound, &mut frames);
        stream.mirror_end(&mut frames);
        let ceiling = ceiling(&frames);
        let segment = |index: usize| of_values(values(&frames, ceiling, index)); // (80, 3000)
        outputs.out("mel_first", every(cfg.mel_first_stride, &segment(0)?, 1)?);
        outputs.out("mel_second", segment(1)?.narrow(1, 0, cfg.second_kept)?);
        let table = given.input("out.rows_table")?.to_dtype(DType::I64)?.to_vec2::<i64>()?;
        let counted = table.iter().flat_map(|row| {
            let mut frames = Vec::new();
            let mut stream = MelStream::new();
            stream.push(&vec![0.0; row[0] as usize], &mut frames);
            stream.mirror_end(&mut frames);
            [row[0], frames.len() as i64, rows(frames.len()) as i64]
        });
        outputs.out("rows_table", integers(counted.collect(), (table.len(), 3))?);

        let encoder = WhisperEncoder::load(&cfg.whisper, given.weights()?)?;
        let mel = given.float_input("in.mel")?.transpose(1, 2)?.contiguous()?; // (1, frames, mels)
        let kept = given.input("in.rows")?.to_dtype(DType::U32)?;
        if let Some(last) = encoder.forward(&mel, LastState::Raw)?.last() {
            outputs.out("h4_no_ln_post", last.get(0)?.index_select(&kept, 0)?);
        }
        Ok(outputs)
    }
}

fn integers(values: Vec<i64>, shape: (usize, usize)) -> candle_core::Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(DType::I32)
}

/// `window_n<rows>_fps<rate>`, perhaps with `_frames`, `_head` or `_tail`: (frames, 10), the row in each place of each window.
fn windows(name: &str) -> Result<Tensor, CaseError> {
    let unknown = || CaseError::from(format!("`{name}` names no windows"));
    let (n, rest) = name.strip_prefix("window_n").and_then(|s| s.split_once("_fps")).ok_or_else(unknown)?;
    let part = ["_frames", "_head", "_tail"].into_iter().find(|part| rest.ends_with(part));
    let rate = part.map_or(rest, |part| rest.trim_end_matches(part)).replace('_', ".");
    let (n, windows) = (n.parse::<usize>()?, Classic::new(fps(&rate)?));
    let frames = windows.frames(n as u64);
    let kept = 20.min(frames);
    let range = match part {
        Some("_frames") => return Ok(Tensor::new(&[frames as i64], &Device::Cpu)?.to_dtype(DType::I32)?),
        Some("_head") => 0..kept,
        Some("_tail") => frames - kept..frames,
        _ => 0..frames,
    };
    let rows = Stretch::new(0, Tensor::arange(0, n as i64, &Device::Cpu)?.unsqueeze(1)?, 1);
    let cutter = Cutter::with_zeros(1, Tensor::zeros((10, 1), DType::I64, &Device::Cpu)?);
    let bounds = Bounds { rows: Some(n as u64), beyond: Beyond::Repeated };
    let cut = |frame| -> Result<Tensor, CaseError> {
        let window = cutter.window(std::slice::from_ref(&rows), windows.span(frame), bounds)?;
        Ok(window.ok_or_else(unknown)?.flatten_all()?)
    };
    let all = range.map(cut).collect::<Result<Vec<_>, CaseError>>()?;
    Ok(Tensor::stack(&all, 0)?.to_dtype(DType::I32)?)
}
