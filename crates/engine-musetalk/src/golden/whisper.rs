//! `whisper_encoder`: a spectrogram to some rows of every hidden state.

use candle_core::DType;
use golden::{Case, CaseError, Given, Net, Outputs};
use layers::weights::Outline;

use crate::nets::whisper::{LastState, UNUSED, WhisperConfig, WhisperEncoder};

pub struct Whisper;

impl Case for Whisper {
    fn components(&self) -> &[&str] {
        &["whisper encoder"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: WhisperConfig = given.config()?;
        let encoder = WhisperEncoder::load(&cfg, given.weights()?)?;
        let mel = given.float_input("in.mel")?.transpose(1, 2)?.contiguous()?; // (1, frames, mels)
        let rows = given.input("in.rows")?.to_dtype(DType::U32)?;
        let mut outputs = Outputs::new();
        for (i, state) in encoder.forward(&mel, LastState::Normed)?.iter().enumerate() {
            outputs.out(&format!("h{i}"), state.get(0)?.index_select(&rows, 0)?);
        }
        Ok(outputs)
    }
}

/// whisper-tiny's pytorch_model.bin
pub fn net() -> Net {
    Net {
        inventory: "whisper_tiny",
        unused: UNUSED,
        outline: || {
            let outline = Outline::new();
            WhisperEncoder::load(&WhisperConfig::tiny(), outline.builder())?;
            Ok(outline.inventory())
        },
    }
}
