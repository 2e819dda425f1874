//! The golden cases that are not those of a single net.

mod audio_io;
mod colour_match;
mod resample;
mod resize_buckets;
mod text_clean;
mod tokenizer;

use golden::{Case, Registry};

pub fn register(registry: &mut Registry) {
    registry.cases.extend([
        &audio_io::Loudness as &dyn Case,
        &colour_match::Colours,
        &resample::Resampling,
        &resize_buckets::Resize,
        &text_clean::Cleaning,
        &tokenizer::Tokenizer,
    ]);
}
