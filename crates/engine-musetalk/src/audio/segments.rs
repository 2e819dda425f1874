//! The profile `strict`: every 30 s are encoded alone, the last padded with silence, as MuseTalk 0a89dec does. A frame waits for the end of the
//! segment its window ends in, so it is not for voices that are being spoken.

use candle_core::{Result, Tensor};

use super::features::{Bounds, Cutter, Encoder, Stretch};
use super::listener::Listener;
use super::mel::{ceiling, segment};
use super::windows::Strict;
use super::{RATE_HZ, ROW, SEGMENT_ROWS};

const SEGMENT: usize = SEGMENT_ROWS * ROW;

pub struct Segments {
    encoder: Encoder,
    cutter: Cutter,
    windows: Strict,
    /// Of the segment that is being heard.
    sound: Vec<f32>,
    samples: u64,
    /// The segment before the newest and the newest: a window touches no third.
    stretches: Vec<Stretch>,
    ended: bool,
}

impl Segments {
    pub fn new(encoder: Encoder, windows: Strict) -> Result<Self> {
        let cutter = Cutter::new(&encoder, windows.span(0).rows)?;
        let sound = Vec::with_capacity(SEGMENT);
        Ok(Self { encoder, cutter, windows, sound, samples: 0, stretches: Vec::new(), ended: false })
    }

    fn encode(&mut self) -> Result<()> {
        let frames = segment(&self.sound, 2 * SEGMENT_ROWS);
        self.sound.clear();
        let first = self.stretches.last().map_or(0, Stretch::end);
        let stretch = self.encoder.padded(&frames, ceiling(&frames), (first, SEGMENT_ROWS))?;
        if self.stretches.len() == 2 {
            self.stretches.remove(0);
        }
        self.stretches.push(stretch);
        Ok(())
    }
}

impl Listener for Segments {
    fn piece(&self) -> usize {
        RATE_HZ as usize
    }

    fn push(&mut self, samples: &[f32]) -> Result<()> {
        self.samples += samples.len() as u64;
        let mut rest = samples;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(SEGMENT - self.sound.len()));
            self.sound.extend_from_slice(now);
            if self.sound.len() == SEGMENT {
                self.encode()?;
            }
            rest = later;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.ended = true;
        if self.sound.is_empty() { Ok(()) } else { self.encode() }
    }

    fn window(&mut self, frame: u64) -> Result<Option<Tensor>> {
        let rows = self.ended.then(|| Strict::rows(self.samples));
        self.cutter.window(&self.stretches, self.windows.span(frame), Bounds::zeros(rows))
    }

    fn frames(&self, samples: u64) -> u64 {
        self.windows.frames(samples)
    }
}
