//! The golden cases of this crate that are not of one net.

mod audio_io;
mod chunk_plan;
mod colour_match;
mod loops;
mod lora;
mod quanto;
mod resample;
mod resize_buckets;
mod sampler;
mod teacache;
mod text_clean;
mod tokenizer;

use golden::{Case, Registry};

/// Adds them to what can be verified.
pub fn register(registry: &mut Registry) {
    registry.cases.extend([
        &audio_io::Loudness as &dyn Case,
        &chunk_plan::Chunks,
        &colour_match::Colours,
        &loops::Loops,
        &lora::Merge,
        &lora::MergeAsWritten,
        &quanto::Quantisation,
        &resample::Resampling,
        &resize_buckets::Resize,
        &sampler::Formulas,
        &teacache::SkipPattern,
        &text_clean::Cleaning,
        &tokenizer::Tokenizer,
    ]);
}
