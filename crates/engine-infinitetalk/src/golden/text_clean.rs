//! `text_clean`: texts as they come and as they are to be.

use golden::{Case, CaseError, Given, Outputs};

use crate::text::clean;

pub struct Cleaning;

impl Case for Cleaning {
    fn components(&self) -> &[&str] {
        &["prompt cleaning"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let mut outputs = Outputs::new();
        outputs.texts("clean", given.file.texts("raw")?.into_iter().map(clean).collect());
        Ok(outputs)
    }
}
