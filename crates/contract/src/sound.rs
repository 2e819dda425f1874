//! Sound as engines take it: mono, 32-bit float, one sample rate for a whole voice.

use crate::SourceError;

/// Mono samples in -1..1 at `rate_hz`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pcm {
    pub rate_hz: u32,
    pub samples: Vec<f32>,
}

impl Pcm {
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate_hz)
    }
}

/// How the voices of several persons lie in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Turns {
    /// All begin with the take.
    #[default]
    Together,
    /// Each begins when the one before has ended.
    InTurn,
}

/// A voice that is pulled while it may still be arriving.
pub trait VoiceSource: Send {
    fn rate_hz(&self) -> u32;
    /// Fills the front of `out` and returns how many samples came; blocks until at least one is there; 0 is the end.
    fn read(&mut self, out: &mut [f32]) -> Result<usize, SourceError>;
    /// Samples it will have given in all, as far as its container tells: for progress, not for lengths.
    fn expected(&self) -> Option<u64>;
    /// It is being spoken now: whoever waits for more of it makes its listeners wait.
    fn arrives(&self) -> bool {
        false
    }
}

impl VoiceSource for std::io::Cursor<Pcm> {
    fn rate_hz(&self) -> u32 {
        self.get_ref().rate_hz
    }

    fn read(&mut self, out: &mut [f32]) -> Result<usize, SourceError> {
        let at = self.position() as usize;
        let rest = &self.get_ref().samples[at..];
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        self.set_position((at + n) as u64);
        Ok(n)
    }

    fn expected(&self) -> Option<u64> {
        Some(self.get_ref().samples.len() as u64)
    }
}
