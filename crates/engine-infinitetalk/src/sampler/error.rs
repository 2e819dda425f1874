//! What can be wrong with how a video is to be sampled, and what stops it.

use contract::Stopped;
use thiserror::Error;

use super::guidance::Projection;
use super::state::StateError;
use crate::nets::dit::DitError;
use crate::picture::PictureError;

#[derive(Debug, Error)]
pub enum SamplerError {
    #[error("stopped")]
    Stopped,
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
    #[error("one or two persons can speak, not {0}")]
    Voices(usize),
    #[error("two persons speak for {} and {} frames: give both one length, silence where one says nothing", .0[0], .0[1])]
    Lengths(Vec<usize>),
    #[error("chunks were planned for {planned} frames of sound, but there are {frames}")]
    Sound { planned: u64, frames: u64 },
    #[error("two persons speak, but where they are is not known: give each a region")]
    NoPersons,
    #[error("text is guided, but there is no negative prompt: give one, or set the scale of the text to 1")]
    NoNegative,
    #[error(
        "without speech a chunk goes on from one frame of the one before, its anchor, and this is none of {frames} frames by {most}"
    )]
    Deaf { frames: u64, most: usize },
    #[error("a chunk can fade over its {motion} motion frames, not over {frames}")]
    CrossFade { frames: usize, motion: usize },
    #[error(
        "{part} gave values that are not finite: its weights are broken; check the checkpoint and fetch it again"
    )]
    NotFinite { part: String },
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Of whoever hands in conditions.
    #[error(transparent)]
    Scene(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Dit(DitError),
    #[error(transparent)]
    Net(#[from] candle_core::Error),
}

impl From<Stopped> for SamplerError {
    fn from(_: Stopped) -> Self {
        SamplerError::Stopped
    }
}

impl From<DitError> for SamplerError {
    fn from(error: DitError) -> Self {
        match error {
            DitError::Stopped { .. } => SamplerError::Stopped,
            other => SamplerError::Dit(other),
        }
    }
}
