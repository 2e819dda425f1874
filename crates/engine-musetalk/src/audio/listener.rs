//! What the ways of hearing have in common: sound goes in, in pieces of their own size, and windows come out when enough was heard.

use candle_core::{Result, Tensor};

pub trait Listener: Send {
    /// Samples it takes at a time; only the last piece of a voice may be shorter.
    fn piece(&self) -> usize;

    fn push(&mut self, samples: &[f32]) -> Result<()>;

    /// The voice is over.
    fn finish(&mut self) -> Result<()>;

    /// What frame `frame` hears: (rows * states, c). None: it needs more sound. Frames are asked for in order.
    fn window(&mut self, frame: u64) -> Result<Option<Tensor>>;

    /// Frames of so many samples, at the beginning of a longer voice or in all.
    fn frames(&self, samples: u64) -> u64;
}
