//! From voices to what the net hears of them: resampled, brought to one loudness, laid side by side for two persons, and heard by wav2vec 2.0.
//! Voices are never normalised to zero mean and unit variance: the checkpoint's preprocessor says `do_normalize: false`.

mod hearing;
mod loudness;
mod resample;
mod speakers;
mod track;

use contract::SourceError;
use thiserror::Error;

pub use hearing::{Hearing, Limits};
pub use loudness::{Biquad, Meter};
pub use resample::{Resampler, length, resampled};
pub use speakers::Speakers;
pub use track::{Track, frames};

/// What the nets hear.
pub const RATE_HZ: u32 = 16_000;
/// Frames of video in a second, of which each has its sound.
pub const FPS: usize = 25;

#[derive(Debug, Error)]
pub enum AudioError {
    #[error("a voice at {0} Hz cannot be resampled; send one at 2000 to 384000 Hz")]
    Rate(u32),
    #[error("a voice without a sample cannot be heard")]
    Empty,
    #[error(transparent)]
    Source(#[from] SourceError),
}
