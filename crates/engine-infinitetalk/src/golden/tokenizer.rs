//! `tokenizer`: prompts, not cleaned, by the `tokenizer.json` in the case's folder.

use candle_core::{Device, Tensor};
use golden::{Case, CaseError, Given, Outputs};
use serde::Deserialize;

use crate::text::Prompts;

pub struct Tokenizer;

#[derive(Deserialize)]
struct Config {
    max_length: usize,
    pad_id: i32,
    prompts: Vec<String>,
}

impl Case for Tokenizer {
    fn components(&self) -> &[&str] {
        &["umT5-style tokenizer"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let Config { max_length, pad_id, prompts } = given.config()?;
        let tokenizer = Prompts::open(&given.file.folder().join("tokenizer.json"), max_length)?;
        let (mut ids, mut lengths, mut masks) = (Vec::new(), Vec::new(), Vec::new());
        for prompt in &prompts {
            let tokens = tokenizer.tokens(prompt)?.ids;
            ids.extend((0..max_length).map(|i| tokens.get(i).map_or(pad_id, |&id| id as i32)));
            masks.extend((0..max_length).map(|i| i32::from(i < tokens.len())));
            lengths.push(tokens.len() as i32);
        }
        let shape = (prompts.len(), max_length);
        let mut outputs = Outputs::new();
        outputs.out("ids", Tensor::from_vec(ids, shape, &Device::Cpu)?);
        outputs.out("mask", Tensor::from_vec(masks, shape, &Device::Cpu)?);
        outputs.out("length", Tensor::from_vec(lengths, prompts.len(), &Device::Cpu)?);
        Ok(outputs)
    }
}
