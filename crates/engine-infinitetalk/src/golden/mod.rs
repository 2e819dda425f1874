//! The golden cases of this crate that are not of one net.

mod chunk_plan;
mod lora;
mod sampler;

use golden::{Case, Registry};

/// Adds them to what can be verified.
pub fn register(registry: &mut Registry) {
    registry.cases.extend([
        &chunk_plan::Chunks as &dyn Case,
        &lora::Merge,
        &lora::MergeAsWritten,
        &sampler::Formulas,
    ]);
}
