//! What can be wrong with how a video is to be sampled, and what stops it.

use thiserror::Error;

use super::guidance::Projection;

#[derive(Debug, Error)]
pub enum SamplerError {
    #[error("a chunk is sampled in 1 to 1000 steps, not {0}")]
    Steps(usize),
    #[error("the shift of the noise levels is a positive number, not {0}")]
    Shift(f64),
    #[error("the guidance scale of the {name} is a number, not {scale}")]
    Scale { name: &'static str, scale: f64 },
    #[error("projected guidance has a momentum and a positive threshold of the norm, not {} and {}", .0.momentum, .0.norm_threshold)]
    Projection(Projection),
    #[error("TeaCache skips below a positive threshold, not {0}")]
    Threshold(f64),
    #[error("the frames of a {name} are 4 k + 1 (81, 9), not {count}")]
    FrameCount { name: &'static str, count: usize },
    #[error("a chunk of {frames} frames cannot begin with {motion} of the one before: it would add nothing")]
    Motion { frames: usize, motion: usize },
    #[error("there is nothing to make: the sound, or the limit of the video's length, has no frames")]
    Nothing,
    #[error(transparent)]
    Net(#[from] candle_core::Error),
}
