//! The profile `classic`: MuseTalk before 1.5 (058f7dd). One log-mel of the whole voice with one ceiling, cut into 30 s that are padded in the log
//! domain; the last state lacks the final norm. The whole voice must be heard before the first frame and its spectrogram is kept,
//! 32 kB a second of sound: nothing less gives the reference's numbers.

use candle_core::{Result, Tensor, bail};

use super::features::{Beyond, Bounds, Cutter, Encoder, Stretch};
use super::listener::Listener;
use super::mel::{BANDS, Frame, MelStream, ceiling, scaled};
use super::windows::Classic;
use super::{RATE_HZ, SEGMENT_ROWS};

pub struct Whole {
    encoder: Encoder,
    cutter: Cutter,
    windows: Classic,
    mel: MelStream,
    frames: Vec<Frame>,
    ceiling: f32,
    /// Next to be encoded, a segment of 1500 rows.
    next: usize,
    /// The segment before the newest and the newest.
    stretches: Vec<Stretch>,
    ended: bool,
}

/// Rows of so many frames: each 30 s give half as many.
pub fn rows(frames: usize) -> u64 {
    (frames / 2) as u64
}

/// The scaled values of segment `index` of a whole voice's frames, (3000, 80), zeros after its end.
pub fn values(frames: &[Frame], ceiling: f32, index: usize) -> Vec<f32> {
    let from = (index * 2 * SEGMENT_ROWS).min(frames.len());
    let to = (from + 2 * SEGMENT_ROWS).min(frames.len());
    let mut values = scaled(&frames[from..to], ceiling);
    values.resize(2 * SEGMENT_ROWS * BANDS, 0.0);
    values
}

impl Whole {
    pub fn new(encoder: Encoder, windows: Classic) -> Result<Self> {
        Ok(Self {
            cutter: Cutter::new(&encoder, windows.span(0).rows)?,
            encoder,
            windows,
            mel: MelStream::new(),
            frames: Vec::new(),
            ceiling: 0.0,
            next: 0,
            stretches: Vec::new(),
            ended: false,
        })
    }
}

impl Listener for Whole {
    fn piece(&self) -> usize {
        RATE_HZ as usize
    }

    fn push(&mut self, samples: &[f32]) -> Result<()> {
        self.mel.push(samples, &mut self.frames);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.ended = true;
        std::mem::take(&mut self.mel).mirror_end(&mut self.frames);
        self.ceiling = ceiling(&self.frames);
        Ok(())
    }

    fn window(&mut self, frame: u64) -> Result<Option<Tensor>> {
        if !self.ended {
            return Ok(None);
        }
        let rows = rows(self.frames.len());
        let bounds = Bounds { rows: Some(rows), beyond: Beyond::Repeated };
        loop {
            let window = self.cutter.window(&self.stretches, self.windows.span(frame), bounds)?;
            if window.is_some() {
                return Ok(window);
            }
            if self.next * 2 * SEGMENT_ROWS >= self.frames.len() {
                bail!("frame {frame} hears none of the {rows} rows");
            }
            let first = (self.next * SEGMENT_ROWS) as u64;
            let stretch = self.encoder.stretch(values(&self.frames, self.ceiling, self.next), first)?;
            self.next += 1;
            if self.stretches.len() == 2 {
                self.stretches.remove(0);
            }
            self.stretches.push(stretch);
        }
    }

    /// None before the end: how many rows there are is known then.
    fn frames(&self, _: u64) -> u64 {
        if self.ended { self.windows.frames(rows(self.frames.len())) } else { 0 }
    }
}
