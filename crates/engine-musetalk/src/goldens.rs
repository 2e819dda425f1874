//! How the golden cases of MuseTalk's nets are run, and what they ask of the released files.

use candle_core::{DType, Result};
use golden::{Case, CaseError, Given, Net, Outputs};
use layers::weights::{Inventory, Outline};
use serde::Deserialize;

use crate::nets::positional_encoding::positional_encoding;
use crate::nets::whisper_encoder::{Config as WhisperConfig, WhisperEncoder};

pub fn cases() -> Vec<&'static dyn Case> {
    vec![&Positions, &Whisper]
}

pub fn nets() -> Vec<Net> {
    vec![Net { inventory: "whisper_tiny", unused: &["model.decoder."], outline: whisper_outline }]
}

struct Positions;

#[derive(Deserialize)]
struct PositionsConfig {
    d_model: [usize; 2],
    column_stride_384: usize,
}

impl Case for Positions {
    fn components(&self) -> &[&str] {
        &["PositionalEncoding"]
    }

    fn run(&self, given: &Given) -> std::result::Result<Outputs, CaseError> {
        let config: PositionsConfig = given.config()?;
        let rows =
            |name: &str| -> std::result::Result<usize, CaseError> { Ok(given.file.tensor(name)?.dim(0)?) };
        let [full, tiny] = config.d_model;
        let mut outputs = Outputs::new();
        let table = positional_encoding(rows("out.pe384")?, full, given.device)?;
        let columns: Vec<u32> = (0..full as u32).step_by(config.column_stride_384).collect();
        outputs.out("pe384", table.index_select(&candle_core::Tensor::new(columns, given.device)?, 1)?);
        outputs.out("pe_tiny", positional_encoding(rows("out.pe_tiny")?, tiny, given.device)?);
        Ok(outputs)
    }
}

struct Whisper;

impl Case for Whisper {
    fn components(&self) -> &[&str] {
        &["whisper encoder"]
    }

    fn run(&self, given: &Given) -> std::result::Result<Outputs, CaseError> {
        let config: WhisperConfig = given.config()?;
        let net = WhisperEncoder::load(&config, given.weights()?.pp("model.encoder"))?;
        let mel = given.float_input("in.mel")?.transpose(1, 2)?; // (b, frames, mel bins)
        let rows = given.input("in.rows")?.to_dtype(DType::U32)?;
        let mut outputs = Outputs::new();
        for (i, state) in net.forward(&mel)?.iter().enumerate() {
            outputs.out(&format!("h{i}"), state.get(0)?.index_select(&rows, 0)?);
        }
        Ok(outputs)
    }
}

fn whisper_outline() -> Result<Inventory> {
    let outline = Outline::new();
    WhisperEncoder::load(&WhisperConfig::tiny(), outline.builder().pp("model.encoder"))?;
    Ok(outline.inventory())
}
