//! A clip as an endless source at the take's frame rate: forwards, and where it is shorter than its voice, backwards
//! and forwards again. What fits into a bounded memory is kept; of a longer clip, backward stretches are decoded anew,
//! a bounded chunk at a time, the next decoder warming up meanwhile.

use std::path::Path;

use contract::{Fps, Frame, FrameSource, Layout, SourceError, SourceFormat, Stop, Warning};

use crate::child::Child;
use crate::frames::{FALLBACK_FPS, Once, Range, Reel, moving_picture, too_long, usual};
use crate::input::{Input, Kind};
use crate::probe::examine;
use crate::{Limits, MediaError, Tools};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClipSpec {
    pub layout: Layout,
    /// The longer side is scaled down to this, never up.
    pub longest: u32,
    /// Frame rate of the take; `None` is the clip's own.
    pub fps: Option<Fps>,
}

pub struct Clip {
    /// Never ends: after the last frame it goes backwards, and so on.
    pub source: Box<dyn FrameSource>,
    /// Frame rate at which `source` delivers.
    pub fps: Fps,
    /// Its length, where the container tells it.
    pub seconds: Option<f64>,
    pub warnings: Vec<Warning>,
}

/// Opens a clip. The first frame is decoded before this returns, so that a broken clip is refused at once.
pub fn clip(
    tools: &Tools,
    path: &Path,
    spec: ClipSpec,
    limits: &Limits,
    stop: &Stop,
) -> Result<Clip, MediaError> {
    let Opened { reel, frames, fps, seconds, warnings } = open(tools, path, spec, limits, stop)?;
    let mut source = Bouncing::new(reel, frames)?;
    source.peek()?;
    Ok(Clip { source: Box::new(source), fps, seconds, warnings })
}

/// The same frames, but once: the source ends where that of `clip` turns back.
pub fn clip_once(
    tools: &Tools,
    path: &Path,
    spec: ClipSpec,
    limits: &Limits,
    stop: &Stop,
) -> Result<Clip, MediaError> {
    let Opened { reel, frames, fps, seconds, warnings } = open(tools, path, spec, limits, stop)?;
    let child = reel.open(Range { first: 0, count: Some(frames) })?;
    Ok(Clip { source: Box::new(Once::new(reel, child)), fps, seconds, warnings })
}

struct Opened {
    reel: Reel,
    /// So many are read at most.
    frames: u64,
    fps: Fps,
    seconds: Option<f64>,
    warnings: Vec<Warning>,
}

fn open(
    tools: &Tools,
    path: &Path,
    spec: ClipSpec,
    limits: &Limits,
    stop: &Stop,
) -> Result<Opened, MediaError> {
    let input = Input::open(path, Kind::Clip, limits)?;
    let probe = examine(tools, &input, limits, stop)?;
    let video = moving_picture(&probe)?;
    let seconds = video.seconds.or(probe.seconds);
    if let Some(seconds) = seconds.filter(|&s| s > limits.clip_seconds) {
        return Err(too_long(format!("is {seconds:.1} s long"), limits));
    }
    let fps = spec.fps.or(video.fps.map(usual)).unwrap_or(FALLBACK_FPS);
    let frames_in = |seconds: f64| (seconds * fps.as_f64()).round().max(1.0) as u64;
    let most = frames_in(limits.clip_seconds);
    // one more than the limit, so that a file which says nothing of its length is caught and not cut
    let frames = seconds.map_or(most + 1, frames_in);
    let mut warnings = Vec::new();
    if video.hdr {
        warnings
            .push(Warning::new("clip_hdr", "the clip has a high dynamic range: its colours may look pale"));
    }
    if video.alpha {
        let message = "the clip may be transparent: what is, was laid on white";
        warnings.push(Warning::new("clip_alpha", message));
    }
    let reel = Reel::new((tools, input, video), (spec.layout, spec.longest, Some(fps)), limits, stop);
    Ok(Opened { reel: reel.of_at_most(most), frames, fps, seconds, warnings })
}

/// Bytes of frames that may be held: the whole clip, or a chunk of it going backwards.
const HELD_BYTES: usize = 48 << 20;

struct Bouncing {
    reel: Reel,
    /// Frames of one chunk.
    chunk: u64,
    peeked: Option<Frame>,
    leg: Leg,
}

enum Leg {
    /// The first time through; `kept` until it grows too large.
    First {
        child: Option<Child>,
        at: u64,
        kept: Option<Vec<Frame>>,
    },
    /// All of it is in memory.
    Kept {
        frames: Vec<Frame>,
        step: usize,
    },
    Forward {
        child: Option<Child>,
        length: u64,
        delivered: u64,
    },
    /// Frames below `below` are still to come; `held` are the next ones, last first.
    Backward {
        held: Vec<Frame>,
        below: u64,
        ahead: Option<Child>,
        length: u64,
    },
}

impl Bouncing {
    /// `frames`: read at most.
    fn new(reel: Reel, frames: u64) -> Result<Self, MediaError> {
        let bytes = reel.format.layout.bytes(reel.format.size);
        let child = reel.open(Range { first: 0, count: Some(frames) })?;
        let leg = Leg::First { child: Some(child), at: 0, kept: Some(Vec::new()) };
        Ok(Self { reel, chunk: (HELD_BYTES / bytes).max(2) as u64, peeked: None, leg })
    }

    fn peek(&mut self) -> Result<(), MediaError> {
        self.peeked = Some(self.pull()?);
        Ok(())
    }

    fn pull(&mut self) -> Result<Frame, MediaError> {
        loop {
            match &mut self.leg {
                Leg::First { child, at, kept } => {
                    if let Some(frame) = self.reel.next(child)? {
                        *at += 1;
                        self.reel.holds(*at)?;
                        *kept = kept.take().filter(|_| *at <= self.chunk);
                        if let Some(kept) = kept {
                            kept.push(frame.clone());
                        }
                        return Ok(frame);
                    }
                    let (length, kept) = (*at, kept.take());
                    if length == 0 {
                        return Err(self.reel.empty());
                    }
                    self.leg = match kept {
                        Some(frames) => Leg::Kept { step: frames.len(), frames },
                        None => Leg::Backward { held: Vec::new(), below: length - 1, ahead: None, length },
                    };
                }
                Leg::Kept { frames, step } => {
                    let frame = frames[bounce(*step, frames.len())].clone();
                    *step += 1;
                    return Ok(frame);
                }
                Leg::Forward { child, length, delivered } => {
                    if let Some(frame) = self.reel.next(child)? {
                        *delivered += 1;
                        return Ok(frame);
                    }
                    if *delivered == 0 {
                        return Err(self.reel.empty());
                    }
                    let length = *length;
                    self.leg = Leg::Backward { held: Vec::new(), below: length - 1, ahead: None, length };
                }
                Leg::Backward { held, below, ahead, length } => {
                    if let Some(frame) = held.pop() {
                        return Ok(frame);
                    }
                    let (length, end) = (*length, *below);
                    if end == 0 {
                        let child = ahead.take().map_or_else(|| self.reel.open(self.forward(length)), Ok)?;
                        self.leg = Leg::Forward { child: Some(child), length, delivered: 0 };
                        continue;
                    }
                    let ready = ahead.take();
                    let (range, next) = (self.back(end), end.saturating_sub(self.chunk));
                    let mut child = Some(ready.map_or_else(|| self.reel.open(range), Ok)?);
                    let mut frames = Vec::new();
                    while let Some(frame) = self.reel.next(&mut child)? {
                        frames.push(frame);
                    }
                    let after = if next == 0 { self.forward(length) } else { self.back(next) };
                    let ahead = Some(self.reel.open(after)?);
                    self.leg = Leg::Backward { held: frames, below: next, ahead, length };
                }
            }
        }
    }

    /// The chunk that ends below frame `below`.
    fn back(&self, below: u64) -> Range {
        let first = below.saturating_sub(self.chunk);
        Range { first, count: Some(below - first) }
    }

    /// From the second frame to the end.
    fn forward(&self, length: u64) -> Range {
        Range { first: 1, count: Some(length - 1) }
    }
}

/// 0 1 2 3 2 1 0 1 …: the place of step `step` in a clip of `length` frames.
pub(crate) fn bounce(step: usize, length: usize) -> usize {
    if length < 2 {
        return 0;
    }
    let at = step % (2 * length - 2);
    if at < length { at } else { 2 * length - 2 - at }
}

impl FrameSource for Bouncing {
    fn format(&self) -> SourceFormat {
        self.reel.format
    }

    fn next(&mut self) -> Result<Option<Frame>, SourceError> {
        match self.peeked.take() {
            Some(frame) => Ok(Some(frame)),
            None => Ok(Some(self.pull()?)),
        }
    }

    fn turns_after(&self) -> Option<u64> {
        match &self.leg {
            Leg::First { .. } => None,
            Leg::Kept { frames, .. } => Some(frames.len() as u64),
            Leg::Forward { length, .. } | Leg::Backward { length, .. } => Some(*length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounce_repeats_neither_end() {
        let walk = |length: usize| (0..8).map(|step| bounce(step, length)).collect::<Vec<_>>();
        assert_eq!(walk(4), [0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(walk(2), [0, 1, 0, 1, 0, 1, 0, 1]);
        assert_eq!(walk(1), [0; 8]);
    }
}
