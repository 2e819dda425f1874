//! Who a take is made for.

use contract::Stopped;

/// Which forward of the net comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub chunk: u64,
    pub chunks: u64,
    pub step: usize,
    pub steps: usize,
    /// Of the step.
    pub pass: usize,
    pub passes: usize,
}

impl Progress {
    /// Forwards that are done.
    pub fn done(&self) -> u64 {
        (self.chunk * self.steps as u64 + self.step as u64) * self.passes as u64 + self.pass as u64
    }

    /// Forwards of the whole video.
    pub fn of(&self) -> u64 {
        self.chunks * (self.steps * self.passes) as u64
    }
}

pub trait Watcher {
    /// Asked before every block of the net, every piece that is encoded and with every frame: whether the video is no longer wanted.
    fn stopped(&self) -> bool;

    /// Told before every forward.
    fn progress(&mut self, at: Progress) -> Result<(), Stopped>;

    /// Frame `index` of the video, each once and in order: interleaved RGB on [-1, 1], finite.
    fn frame(&mut self, index: u64, frame: &[f32]) -> Result<(), Stopped>;
}
