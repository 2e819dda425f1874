//! The golden cases of this crate that are no plain cases of a net.

mod lora;
mod quanto;

use golden::{Case, Registry};

pub fn register(registry: &mut Registry) {
    registry.cases.extend([&lora::Merge as &dyn Case, &lora::MergeAsWritten, &quanto::Quantisation]);
}
