//! How loud the voice is: the gain that brings it to the level VisNet was trained at, and what tells speech from the room.
//! Memory is bounded: a few seconds of history, whatever the length of the voice.

use std::collections::VecDeque;

/// Mean RMS of the active pieces after the gain; -22 dBFS.
const TARGET: f64 = 0.08;
const HOPS_IN_PIECE: u32 = 10; // 100 ms
/// A piece counts as voice within 20 dB of the loudest, ...
const ACTIVE: f64 = 0.1;
/// ... and above -60 dBFS, which is the noise of a sound card.
const QUIETEST: f64 = 1e-3;
/// Active pieces that make up the level: 10 s of voice.
const MEMORY: usize = 100;
/// The guess before any voice (the target itself) is worth this many pieces, and nothing once that many were heard.
const PRIOR: usize = 10;
/// The loudest piece halves in 30 s, so that one bang does not deafen for good.
const LOUDEST_DECAY: f64 = 0.997_692; // 0.5^(1/300)
const GAIN_RANGE: (f64, f64) = (0.05, 40.0);
/// `Latency::File` waits for this many active pieces (3 s of voice), or for this many of any kind (10 s).
const SETTLED_ACTIVE: u64 = 30;
const SETTLED_ANY: u64 = 100;

pub struct Level {
    /// Power and hops of the piece being filled.
    filling: (f64, u32),
    active: VecDeque<f64>,
    loudest: f64,
    heard_active: u64,
    heard: u64,
    gain: f32,
}

impl Level {
    pub fn new() -> Self {
        let active = VecDeque::with_capacity(MEMORY + 1);
        Self { filling: (0.0, 0), active, loudest: 0.0, heard_active: 0, heard: 0, gain: 1.0 }
    }

    /// Mean square of the next 10 ms.
    pub fn push(&mut self, power: f64) {
        self.filling.0 += power;
        self.filling.1 += 1;
        if self.filling.1 == HOPS_IN_PIECE {
            let rms = (self.filling.0 / f64::from(HOPS_IN_PIECE)).sqrt();
            self.filling = (0.0, 0);
            self.piece(rms);
        }
    }

    pub fn gain(&self) -> f32 {
        self.gain
    }

    /// Enough was heard for the gain to stay about where it is.
    pub fn settled(&self) -> bool {
        self.heard_active >= SETTLED_ACTIVE || self.heard >= SETTLED_ANY
    }

    fn piece(&mut self, rms: f64) {
        self.heard += 1;
        self.loudest = rms.max(self.loudest * LOUDEST_DECAY);
        if rms < QUIETEST || rms <= self.loudest * ACTIVE {
            return;
        }
        self.heard_active += 1;
        self.active.push_back(rms);
        if self.active.len() > MEMORY {
            self.active.pop_front();
        }
        // pieces from before the first loud one may have been noise after all
        let voice = self.active.iter().filter(|&&x| x > self.loudest * ACTIVE);
        let (sum, count) = voice.fold((0.0, 0usize), |(sum, count), x| (sum + x, count + 1));
        let prior = PRIOR.saturating_sub(count) as f64;
        let level = (sum + prior * TARGET) / (count as f64 + prior);
        self.gain = (TARGET / level).clamp(GAIN_RANGE.0, GAIN_RANGE.1) as f32;
    }
}

const SPAN_FRAMES: usize = 1000; // 10 s
const QUIETEST_DB: f32 = -100.0;
const BINS_PER_DB: f32 = 2.0;
const BINS: usize = 220;

/// The levels of the last 10 s.
struct Recent {
    frames: VecDeque<u8>,
    histogram: [u32; BINS],
}

impl Recent {
    fn new() -> Self {
        Self { frames: VecDeque::with_capacity(SPAN_FRAMES + 1), histogram: [0; BINS] }
    }

    fn push(&mut self, db: f32) {
        let bin = ((db - QUIETEST_DB) * BINS_PER_DB).clamp(0.0, (BINS - 1) as f32) as u8;
        self.frames.push_back(bin);
        self.histogram[usize::from(bin)] += 1;
        if self.frames.len() > SPAN_FRAMES
            && let Some(old) = self.frames.pop_front()
        {
            self.histogram[usize::from(old)] -= 1;
        }
    }

    /// The level that this share of the frames exceeds.
    fn exceeded_by(&self, share: f64) -> f32 {
        let louder = (share * self.frames.len() as f64) as u32;
        let mut above = 0;
        for (bin, &count) in self.histogram.iter().enumerate().rev() {
            above += count;
            if above > louder {
                return QUIETEST_DB + (bin as f32 + 0.5) / BINS_PER_DB;
            }
        }
        QUIETEST_DB
    }
}

/// The level that one frame in ten exceeds, in the last 10 s; sinks slowly.
pub struct Reference {
    recent: Recent,
    held_db: f32,
}

impl Reference {
    const SHARE: f64 = 0.1;
    /// dB a frame (0.5 dB a second): through a long pause the speaker is remembered.
    const DECAY_DB: f32 = 0.005;

    pub fn new() -> Self {
        Self { recent: Recent::new(), held_db: QUIETEST_DB }
    }

    pub fn push(&mut self, db: f32) {
        self.recent.push(db);
        self.held_db = (self.held_db - Self::DECAY_DB).max(self.recent.exceeded_by(Self::SHARE));
    }

    pub fn db(&self) -> f32 {
        self.held_db
    }
}

/// How much the sound comes and goes: a voice by 15 dB and more, a fan or a hum by 3 at most.
pub struct Modulation {
    recent: Recent,
}

impl Modulation {
    /// The loudest and the quietest share of frames do not count.
    const SHARE: f64 = 0.05;
    /// Before 1 s was heard nothing can be said; a voice is given the benefit of the doubt.
    const LEAST_FRAMES: usize = 100;
    const UNKNOWN_DB: f32 = 20.0;

    pub fn new() -> Self {
        Self { recent: Recent::new() }
    }

    /// Mean of the logarithmic mel bands, dB: it wavers less than the power does, for noise.
    pub fn push(&mut self, db: f32) {
        self.recent.push(db);
    }

    pub fn range_db(&self) -> f32 {
        if self.recent.frames.len() < Self::LEAST_FRAMES {
            return Self::UNKNOWN_DB;
        }
        self.recent.exceeded_by(Self::SHARE) - self.recent.exceeded_by(1.0 - Self::SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gain_brings_any_voice_to_the_target() {
        for loudness in [0.004, 0.02, 0.08, 0.5] {
            let mut level = Level::new();
            for hop in 0..600 {
                let speaks = hop % 100 < 60;
                let rms: f64 = if speaks { loudness } else { loudness * 0.01 };
                level.push(rms * rms);
            }
            assert!(level.settled());
            let reached = f64::from(level.gain()) * loudness;
            assert!((reached - TARGET).abs() < 0.01 * TARGET, "{loudness}: {reached}");
        }
    }

    #[test]
    fn silence_and_hiss_are_not_turned_up() {
        for rms in [0.0, 1e-5, 5e-4] {
            let mut level = Level::new();
            (0..2000).for_each(|_| level.push(rms * rms));
            assert_eq!(level.gain(), 1.0, "{rms}");
        }
    }

    #[test]
    fn the_reference_outlives_a_pause_but_not_a_new_speaker() {
        let mut reference = Reference::new();
        (0..1000).for_each(|_| reference.push(-20.0));
        assert!((reference.db() + 20.0).abs() < 0.5);
        (0..2000).for_each(|_| reference.push(-70.0));
        assert!((reference.db() + 30.0).abs() < 6.0, "{}", reference.db());
        (0..8000).for_each(|_| reference.push(-50.0));
        assert!((reference.db() + 50.0).abs() < 1.0, "{}", reference.db());
    }
}
