//! `pe`: the table at the width of the released model, with a stride over its columns, and at the width of the tiny ones.

use candle_core::Device;
use golden::{Case, CaseError, Given, Outputs};
use serde::Deserialize;

use super::picture::every;
use crate::nets::positional::positional_encoding;

#[derive(Deserialize)]
struct Config {
    d_model: [usize; 2],
    column_stride_384: usize,
}

pub struct Positions;

impl Case for Positions {
    fn components(&self) -> &[&str] {
        &["PositionalEncoding"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let cfg: Config = given.config()?;
        let [wide, tiny] = cfg.d_model;
        // the config does not say how many positions were kept
        let rows = |name: &str| -> Result<usize, CaseError> { Ok(given.file.tensor(name)?.dim(0)?) };
        let mut outputs = Outputs::new();
        let table = positional_encoding(rows("out.pe384")?, wide, &Device::Cpu)?;
        outputs.out("pe384", every(&table, cfg.column_stride_384, 1)?);
        outputs.out("pe_tiny", positional_encoding(rows("out.pe_tiny")?, tiny, &Device::Cpu)?);
        Ok(outputs)
    }
}
