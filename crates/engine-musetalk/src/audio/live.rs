//! The profile `default` for a voice that is being spoken. Every `chunk` of sound the encoder hears the last seconds anew: fewer positions than
//! Whisper's 1500, the sound first and silence after it, as in its training. The beginning of that buffer stands still while the
//! buffer fills, so that a moment keeps its position from chunk to chunk; then it moves on by half, and the frames of that chunk go over from
//! the one buffer to the other. A window is taken whole from the first encoding that heard enough.
//!
//! Algorithmic latency: a frame is ready when the sound was heard that its window ends with, and `margin` rows more, rounded up to a chunk. With
//! `Pace::default()` and paddings of 2 that is at most 0.35 s after the frame's time: 0.12 s of window, 0.02 s margin, 0.20 s
//! chunk, 0.01 s rounding. With that margin all that the encoder's convolutions see of a window was heard; `docs/musetalk-ear.md` has
//! what more would change, and what the encoder costs.
//!
//! The ceiling of the log-mel cannot be that of 30 s still to come: it is the loudest band so far, fading, and before a voice was heard that
//! of usual speech, so that its first word does not raise the floor under everything.

use candle_core::{Result, Tensor};

use super::features::{Bounds, Cutter, Encoder, Seam, Stretch, mixed};
use super::listener::Listener;
use super::mel::{Frame, MelStream, WINDOW, ceiling};
use super::windows::{Centred, MAX_PADDING};
use super::{RATE_HZ, ROW, SEGMENT_ROWS, silence};

/// log10 of the loudest band of speech at -20 dB RMS; recordings measured had 1.1 to 1.6.
const GUESS: f32 = 1.0;
/// What a ceiling loses a frame: 1.5 in 30 s.
const FADE: f32 = 0.0005;

/// How often a live voice is encoded, and how much of it. All in rows of 20 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    positions: usize,
    chunk: usize,
    margin: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { positions: 300, chunk: 10, margin: 1 }
    }
}

impl Pace {
    /// `positions`: rows the encoder hears, a multiple of twice `chunk`; half of them are past sound once there is that much. `chunk`: rows
    /// between two encodings. `margin`: rows heard beyond a window before it is taken. None where half a buffer does not hold a chunk's windows.
    pub fn new(positions: usize, chunk: usize, margin: usize) -> Option<Self> {
        let held = 2 * (2 * MAX_PADDING + 1) + margin + chunk;
        let whole = chunk > 0 && positions.is_multiple_of(2 * chunk);
        (whole && held <= positions / 2 && positions <= SEGMENT_ROWS).then_some(Self {
            positions,
            chunk,
            margin,
        })
    }

    /// Seconds from a frame's time to the sound that makes it ready, at most. Half a row is the distance to the nearest one.
    pub fn latency(self, windows: Centred) -> f64 {
        let row = ROW as f64 / f64::from(RATE_HZ);
        let window = ((windows.padding().after() + self.margin) as f64 + 0.5) * row;
        window.max(silence::REACH) + self.chunk as f64 * row
    }
}

pub struct Live {
    encoder: Encoder,
    cutter: Cutter,
    windows: Centred,
    pace: Pace,
    mel: MelStream,
    /// From the first frame of the buffer on.
    frames: Vec<Frame>,
    /// First row of the buffer.
    first: u64,
    samples: u64,
    ceiling: Ceiling,
    /// What frames are taken of: one, or two while the buffer moves on.
    stretches: Vec<Stretch>,
    /// Where the two hand over.
    seam: Seam,
    ended: bool,
}

impl Live {
    pub fn new(encoder: Encoder, windows: Centred, pace: Pace) -> Result<Self> {
        Ok(Self {
            cutter: Cutter::new(&encoder, windows.padding().rows())?,
            encoder,
            windows,
            pace,
            mel: MelStream::new(),
            frames: Vec::with_capacity(2 * pace.positions),
            first: 0,
            samples: 0,
            ceiling: Ceiling(GUESS),
            stretches: Vec::with_capacity(2),
            seam: Seam { from: 0, rows: 1 },
            ended: false,
        })
    }

    /// Whole rows heard.
    fn rows(&self) -> u64 {
        self.samples / ROW as u64
    }

    fn hear(&mut self, add: impl FnOnce(&mut MelStream, &mut Vec<Frame>)) {
        let before = self.frames.len();
        add(&mut self.mel, &mut self.frames);
        for frame in &self.frames[before..] {
            self.ceiling.hear(frame);
        }
    }

    fn encode(&self) -> Result<Stretch> {
        let frames = &self.frames[..self.frames.len().min(2 * self.pace.positions)];
        self.encoder.padded(frames, self.ceiling.0, (self.first, self.pace.positions))
    }

    /// The row up to which windows may reach.
    fn reach(&self) -> i64 {
        if self.ended { i64::MAX } else { self.rows() as i64 - self.pace.margin as i64 }
    }

    fn step(&mut self) -> Result<()> {
        self.stretches.clear();
        self.stretches.push(self.encode()?);
        if !self.ended && self.rows() - self.first == self.pace.positions as u64 {
            let half = self.pace.positions / 2;
            self.frames.drain(..2 * half);
            self.first += half as u64;
            self.stretches.push(self.encode()?);
            // the windows that this chunk completes
            let end = self.reach() - self.windows.padding().after() as i64;
            let rows = self.pace.chunk as u64;
            self.seam = Seam { from: (end + 1).max(0) as u64 - rows, rows };
        }
        Ok(())
    }
}

impl Listener for Live {
    fn piece(&self) -> usize {
        self.pace.chunk * ROW
    }

    fn push(&mut self, samples: &[f32]) -> Result<()> {
        self.samples += samples.len() as u64;
        self.hear(|mel, frames| mel.push(samples, frames));
        if samples.len() == self.piece() { self.step() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        self.ended = true;
        let end = self.samples + WINDOW as u64; // the frames that see the last samples
        self.hear(|mel, frames| mel.pad_to(end, frames));
        self.step()
    }

    fn window(&mut self, frame: u64) -> Result<Option<Tensor>> {
        let span = self.windows.span(frame);
        if span.end() > self.reach() {
            return Ok(None);
        }
        let bounds = Bounds::zeros(self.ended.then(|| self.rows()));
        let cut = |stretch: &Stretch| self.cutter.window(std::slice::from_ref(stretch), span, bounds);
        match self.stretches.as_slice() {
            [] => Ok(None),
            [only] => cut(only),
            [old, new, ..] => match (cut(old)?, cut(new)?) {
                (Some(old), Some(new)) => {
                    let later = self.seam.later(self.windows.centre(frame));
                    Ok(Some(mixed(&old, &new, later)?))
                }
                _ => Ok(None),
            },
        }
    }

    fn frames(&self, samples: u64) -> u64 {
        if samples == 0 && !self.ended { 0 } else { self.windows.frames(samples) }
    }
}

/// What the loudest band of a voice is, as far as was heard.
struct Ceiling(f32);

impl Ceiling {
    fn hear(&mut self, frame: &Frame) {
        self.0 = (self.0 - FADE).max(ceiling(std::slice::from_ref(frame)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::features::probe;
    use crate::audio::mel::{BANDS, SILENT};
    use crate::audio::windows::Padding;

    #[test]
    fn a_ceiling_rises_at_once_and_fades() {
        let mut ceiling = Ceiling(GUESS);
        let mut hear = |value: f32, frames: usize| {
            for _ in 0..frames {
                ceiling.hear(&[value; BANDS]);
            }
            ceiling.0
        };
        assert!((hear(SILENT, 1000) - (GUESS - 0.5)).abs() < 1e-3, "10 s");
        assert_eq!(hear(1.5, 1), 1.5);
        assert!((hear(SILENT, 3000) - 0.0).abs() < 2e-3);
        assert_eq!(hear(-1.0, 3000), -1.0);
    }

    #[test]
    fn a_pace_holds_a_chunks_windows() {
        assert_eq!(Pace::new(300, 10, 1), Some(Pace::default()));
        for (positions, chunk, margin) in [(250, 10, 2), (300, 0, 2), (100, 10, 2), (3000, 10, 2)] {
            assert_eq!(Pace::new(positions, chunk, margin), None);
        }
    }

    #[test]
    fn little_is_kept_of_a_long_voice_and_every_frame_comes() {
        let windows =
            Centred::new("25".parse().unwrap(), Padding::new(MAX_PADDING, MAX_PADDING).unwrap()).unwrap();
        let mut listener = Live::new(probe::encoder(), windows, Pace::default()).unwrap();
        let (mut frame, piece) = (0, vec![0.1; listener.piece()]);
        for chunks in 1..=300u64 {
            listener.push(&piece).unwrap();
            while listener.window(frame).unwrap().is_some() {
                frame += 1;
            }
            // 10 rows a chunk, less the window's 22 and the margin; a frame every 2
            assert_eq!(frame, (chunks * 10 + 2).saturating_sub(22 + 1) / 2, "after {chunks} chunks");
            assert!(listener.frames.len() <= 600);
        }
        listener.finish().unwrap();
        let all = listener.frames(300 * 3_200);
        assert!((frame..all).all(|frame| listener.window(frame).unwrap().is_some()));
    }
}
