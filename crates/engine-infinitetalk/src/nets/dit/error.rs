//! Why a forward gave no velocity.

use thiserror::Error;

#[derive(Debug, Error)]
pub enum DitError {
    /// whoever asked for it no longer wants it
    #[error("stopped before block {block} of {blocks}")]
    Stopped { block: usize, blocks: usize },
    #[error(
        "{part} gave values that are not finite: its weights are broken; check the checkpoint and fetch it again"
    )]
    NotFinite { part: String },
    #[error("block {block} could not be loaded: {source}")]
    Load { block: usize, source: candle_core::Error },
    #[error(transparent)]
    Net(#[from] candle_core::Error),
}

pub type Outcome<T> = std::result::Result<T, DitError>;
