//! What a net hands in to be verified: how to run the cases of its component, and how to list its keys at full size. Both live beside the
//! net; the program collects them in a `Registry`.

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use layers::Probe;
use layers::weights::Inventory;
use serde::de::DeserializeOwned;

use crate::kit::{CaseFile, KitError};
use crate::seeded::Seeded;

/// Whatever goes wrong inside a case; it becomes a line of the report.
pub type CaseError = Box<dyn std::error::Error + Send + Sync>;

pub trait Case: Sync {
    /// The `component` strings of the kit that it answers to.
    fn components(&self) -> &[&str];

    /// Computes every `out.*` of the file, and whatever it can of `probe.*`.
    fn run(&self, given: &Given) -> Result<Outputs, CaseError>;

    /// How far `out.<output>` may be from the f32 result where products are made of bf16 values, if not as far as one forward may: what guidance
    /// exaggerates and loops feed back into untrained nets grows.
    fn under_bf16(&self, output: &str) -> Option<f64> {
        let _ = output;
        None
    }

    /// What a file's notes allow beyond its tolerance, for `out.<output>`.
    fn allowance(&self, output: &str) -> Allowance {
        let _ = output;
        Allowance::None
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Allowance {
    None,
    /// That many rows of the first axis may differ in any way, as where two scores tie within the noise.
    Rows(usize),
    /// Two rows of the first axis that lie side by side may have changed places, as where a list is sorted by scores that tie within the noise.
    Neighbours,
    /// Values at `index` of `axis` may be farther off than the others, as where the reference divides by a rounding error.
    Entry {
        axis: usize,
        index: usize,
        max_abs: f64,
    },
}

/// A case file together with where and how it is to be computed.
pub struct Given<'a> {
    pub file: &'a CaseFile,
    pub device: &'a Device,
}

impl<'a> Given<'a> {
    pub fn new(file: &'a CaseFile, device: &'a Device) -> Self {
        Self { file, device }
    }

    pub fn config<T: DeserializeOwned>(&self) -> Result<T, KitError> {
        self.file.config()
    }

    /// What weights and activations are to be.
    pub fn dtype(&self) -> DType {
        self.file.dtype()
    }

    /// The case's seeded weights, under the keys of the released file.
    pub fn weights(&self) -> Result<VarBuilder<'static>, KitError> {
        self.weights_as(|seeded| seeded)
    }

    /// The same after `change`, such as `|seeded| seeded.without("to_q")`.
    pub fn weights_as(&self, change: impl FnOnce(Seeded) -> Seeded) -> Result<VarBuilder<'static>, KitError> {
        let salt = self.file.meta.salt.as_deref().ok_or_else(|| KitError::NotGolden {
            path: self.file.path().to_owned(),
            why: "it has no salt, so it has no weights".into(),
        })?;
        Ok(change(Seeded::new(salt)).builder(self.dtype(), self.device))
    }

    /// `in.*` as it is stored; seeded inputs are f32.
    pub fn input(&self, name: &str) -> Result<Tensor, CaseError> {
        Ok(self.file.tensor(name)?.to_device(self.device)?)
    }

    /// `in.*` in the dtype the case computes in.
    pub fn float_input(&self, name: &str) -> Result<Tensor, CaseError> {
        Ok(self.input(name)?.to_dtype(self.dtype())?)
    }
}

/// What a case computed, in the order it was computed, under the names of the file (`out.pred`, `probe.mid`).
#[derive(Debug, Default)]
pub struct Outputs {
    tensors: Vec<(String, Tensor)>,
    texts: Vec<(String, Vec<String>)>,
}

impl Outputs {
    pub fn new() -> Self {
        Self::default()
    }

    /// `out.<name>`
    pub fn out(&mut self, name: &str, value: Tensor) {
        self.tensors.push((format!("out.{name}"), value));
    }

    /// `probe.<name>`
    pub fn probe(&mut self, name: &str, value: Tensor) {
        self.tensors.push((format!("probe.{name}"), value));
    }

    /// What stands under `name` in the rows of a case of texts, one for each row.
    pub fn texts(&mut self, name: &str, values: Vec<String>) {
        self.texts.push((name.to_owned(), values));
    }

    /// Everything a net noted, each value cut as `cut` says (probes are stored thinned out).
    pub fn probes(
        &mut self,
        probe: Probe,
        cut: impl Fn(&str, &Tensor) -> candle_core::Result<Tensor>,
    ) -> candle_core::Result<()> {
        for (name, value) in probe.into_taken() {
            let value = cut(&name, &value)?;
            self.probe(&name, value);
        }
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.texts.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }
}

/// A net at full size, for the comparison of its keys with those of the released file.
pub struct Net {
    /// Of the file in `keys/`, without `.json`.
    pub inventory: &'static str,
    /// Keys of the released file the net has no use for: a whole key, a beginning that ends with a dot, or an end that begins with one.
    pub unused: &'static [&'static str],
    /// Loads the net at full size from an `Outline` and returns what it asked for.
    pub outline: fn() -> candle_core::Result<Inventory>,
}

/// Everything that can be verified.
#[derive(Default)]
pub struct Registry {
    pub cases: Vec<&'static dyn Case>,
    pub nets: Vec<Net>,
}

impl Registry {
    pub fn case(&self, component: &str) -> Option<&'static dyn Case> {
        self.cases.iter().copied().find(|case| case.components().contains(&component))
    }

    pub fn net(&self, inventory: &str) -> Option<&Net> {
        self.nets.iter().find(|net| net.inventory == inventory)
    }
}
