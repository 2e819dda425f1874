//! The golden cases of this crate that are not of one net.

mod pipeline;
mod preprocess;
mod schedule;

use golden::{Case, Registry};

/// Adds them to what can be verified.
pub fn register(registry: &mut Registry) {
    registry.cases.extend([&pipeline::Pipeline as &dyn Case, &preprocess::Preprocess, &schedule::Levels]);
}
