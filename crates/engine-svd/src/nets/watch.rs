//! What a forward heeds while it runs, and why it gave nothing: nobody wants it any more, or a part of the net gives what is no number.

use candle_core::Tensor;
use layers::{Probe, is_finite};
use thiserror::Error;

pub struct Watch<'a> {
    /// Asked before every block; `true` ends the forward there.
    pub stop: &'a dyn Fn() -> bool,
    pub probe: &'a Probe,
}

#[derive(Debug, Error)]
pub enum NetError {
    /// whoever asked for it no longer wants it
    #[error("stopped before {part}")]
    Stopped { part: String },
    #[error(
        "{part} gave values that are not finite: its weights are broken, or they overflow in this dtype; check the files, or run in bf16 or f32"
    )]
    NotFinite { part: String },
    #[error(transparent)]
    Net(#[from] candle_core::Error),
}

pub type Outcome<T> = std::result::Result<T, NetError>;

impl Watch<'_> {
    /// A part of a net, unless it is too late for it; its values are looked at.
    pub(super) fn part(
        &self,
        name: impl Fn() -> String,
        run: impl FnOnce() -> candle_core::Result<Tensor>,
    ) -> Outcome<Tensor> {
        if (self.stop)() {
            return Err(NetError::Stopped { part: name() });
        }
        let y = run()?;
        if is_finite(&y)? { Ok(y) } else { Err(NetError::NotFinite { part: name() }) }
    }
}
