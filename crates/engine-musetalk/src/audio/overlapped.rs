//! The profile `default` for a voice in a file: windows of 30 s that begin every 20 s, so that every row is taken from the middle of one, with at
//! least 5 s of sound on both sides where there is any. Where two hand over, the windows of half a second of frames are mixed. A voice of
//! 30 s or less is encoded once, with the official numbers. Memory: two encoded windows and 30 s of log-mel, whatever the length.

use candle_core::{Result, Tensor};

use super::features::{Bounds, Cutter, Encoder, Seam, Stretch, mixed};
use super::listener::Listener;
use super::mel::{Frame, MelStream, WINDOW, ceiling};
use super::windows::Centred;
use super::{RATE_HZ, ROW, SEGMENT_ROWS};

/// Rows from one encoded window to the next: 20 s.
pub const STRIDE: usize = 1000;
/// Rows over which they hand over: 0.5 s.
const SEAM: usize = 25;

pub struct Overlapped {
    encoder: Encoder,
    cutter: Cutter,
    windows: Centred,
    mel: MelStream,
    samples: u64,
    /// From the first frame of the next window on.
    frames: Vec<Frame>,
    /// First row of the next window.
    next: u64,
    /// The one that frames are taken of, and the one that follows it.
    stretches: Vec<Stretch>,
    ended: bool,
}

impl Overlapped {
    pub fn new(encoder: Encoder, windows: Centred) -> Result<Self> {
        Ok(Self {
            cutter: Cutter::new(&encoder, windows.padding().rows())?,
            encoder,
            windows,
            mel: MelStream::new(),
            samples: 0,
            frames: Vec::with_capacity(2 * SEGMENT_ROWS),
            next: 0,
            stretches: Vec::new(),
            ended: false,
        })
    }

    fn encode(&mut self) -> Result<()> {
        let window = &self.frames[..self.frames.len().min(2 * SEGMENT_ROWS)];
        self.stretches.push(self.encoder.padded(window, ceiling(window), (self.next, SEGMENT_ROWS))?);
        self.frames.drain(..self.frames.len().min(2 * STRIDE));
        self.next += STRIDE as u64;
        Ok(())
    }

    fn rows(&self) -> u64 {
        self.samples / ROW as u64
    }

    /// In the middle of what the first two windows share.
    fn seam(&self) -> Seam {
        let middle = (STRIDE + SEGMENT_ROWS) / 2;
        Seam { from: self.stretches[0].first + (middle - SEAM / 2) as u64, rows: SEAM as u64 }
    }
}

impl Listener for Overlapped {
    fn piece(&self) -> usize {
        RATE_HZ as usize
    }

    fn push(&mut self, samples: &[f32]) -> Result<()> {
        self.samples += samples.len() as u64;
        self.mel.push(samples, &mut self.frames);
        while self.frames.len() >= 2 * SEGMENT_ROWS {
            self.encode()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.ended = true;
        let end = self.samples + WINDOW as u64; // the frames that see the last samples
        self.mel.pad_to(end, &mut self.frames);
        if self.stretches.last().is_none_or(|last| last.end() < self.rows()) {
            self.encode()?;
        }
        Ok(())
    }

    fn window(&mut self, frame: u64) -> Result<Option<Tensor>> {
        let (span, centre) = (self.windows.span(frame), self.windows.centre(frame));
        let bounds = Bounds::zeros(self.ended.then(|| self.rows()));
        let [first, rest @ ..] = self.stretches.as_slice() else { return Ok(None) };
        let later = self.seam().later(centre);
        let last = first.end() >= self.rows() && self.ended;
        if last || later == 0.0 {
            return self.cutter.window(std::slice::from_ref(first), span, bounds);
        }
        let [second, ..] = rest else { return Ok(None) };
        let new = self.cutter.window(std::slice::from_ref(second), span, bounds)?;
        if later == 1.0 {
            self.stretches.remove(0);
            return Ok(new);
        }
        let old = self.cutter.window(std::slice::from_ref(&self.stretches[0]), span, bounds)?;
        match (old, new) {
            (Some(old), Some(new)) => Ok(Some(mixed(&old, &new, later)?)),
            _ => Ok(None),
        }
    }

    fn frames(&self, samples: u64) -> u64 {
        if samples == 0 && !self.ended { 0 } else { self.windows.frames(samples) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::features::probe;
    use crate::audio::windows::Padding;

    #[test]
    fn little_is_kept_of_a_long_voice() {
        let windows = Centred::new("25".parse().unwrap(), Padding::default()).unwrap();
        let mut listener = Overlapped::new(probe::encoder(), windows).unwrap();
        let (mut frame, piece) = (0, vec![0.1; listener.piece()]);
        for _ in 0..150 {
            listener.push(&piece).unwrap();
            while listener.window(frame).unwrap().is_some() {
                frame += 1;
            }
            assert!(listener.stretches.len() <= 2 && listener.frames.len() <= 3_200);
        }
        assert!(frame > 120 * 25);
    }
}
