//! From samples to what was heard, 100 times a second: level, mel bands, normalisation, VisNet.
//! Works in hops of 10 ms whatever the size of the pieces pushed, so the answer does not depend on them.

use std::collections::VecDeque;

use crate::level::{Level, Modulation, Reference};
use crate::mel::{self, HOP, Mel, Powers, WINDOW};
use crate::norm::{Lesson, Norm};
use crate::viseme::Visemes;
use crate::visnet::{LOOK_AHEAD, VisNet};

/// How the first answers are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// The sound comes faster than it plays: the first 3 s of voice (at most 10 s of sound) are heard before the first answer,
    /// so that a quiet or loud voice is at its right level from the start.
    File,
    /// Answers come 95 ms after the sound; the level is a guess that settles within a second or two of voice.
    Live,
}

/// One moment, frame i at i · 10 ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    pub visemes: Visemes,
    /// RMS of the 20 ms around, dB of full scale.
    pub db: f32,
    /// What loud means for this speaker at this time, in the same dB.
    pub reference_db: f32,
    /// How much the sound around comes and goes, dB.
    pub modulation_db: f32,
}

/// dB of digital silence.
const SILENT_DB: f32 = -100.0;
/// Samples of a recording are in -1..1; whatever comes beyond is an accident of a file.
const LOUDEST_SAMPLE: f32 = 2.0;
/// This far under the speaker's level and for this long: a pause that the normalisation does not learn from.
const PAUSE_DB: f32 = 30.0;
const PAUSE_FRAMES: u32 = 150;
/// Samples kept: the window of the frame that ended one hop ago starts 360 samples before the newest hop.
const RECENT: usize = WINDOW + HOP - 40;

pub struct Hearing {
    mel: Mel,
    norm: Norm,
    net: VisNet,
    level: Level,
    reference: Reference,
    modulation: Modulation,
    recent: [f32; RECENT],
    /// Samples of the hop being filled; they lie at the end of `recent`.
    filled: usize,
    hops: u64,
    samples: u64,
    /// Mean squares of the two hops before the newest.
    powers: [f64; 2],
    peak: f32,
    /// Frames that wait for the level to settle.
    waiting: VecDeque<(Powers, f32)>,
    started: bool,
    quiet_frames: u32,
    /// Levels of frames that the network has not answered yet.
    unanswered: VecDeque<Loudness>,
    /// Steps of the network, counted until its first answer.
    steps: usize,
}

impl Hearing {
    pub fn new(latency: Latency) -> Self {
        Self {
            mel: Mel::new(),
            norm: Norm::new(),
            net: VisNet::embedded(),
            level: Level::new(),
            reference: Reference::new(),
            modulation: Modulation::new(),
            recent: [0.0; RECENT],
            filled: 0,
            hops: 0,
            samples: 0,
            powers: [0.0; 2],
            peak: 0.0,
            waiting: VecDeque::new(),
            started: latency == Latency::Live,
            quiet_frames: 0,
            unanswered: VecDeque::with_capacity(LOOK_AHEAD + 1),
            steps: 0,
        }
    }

    /// Samples pushed so far.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The largest sample so far, dB of full scale.
    pub fn peak_db(&self) -> f32 {
        (20.0 * self.peak.log10()).max(SILENT_DB)
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.waiting.len() + self.unanswered.len()
    }

    /// Mono samples at 16 kHz.
    pub fn push(&mut self, samples: &[f32], out: &mut impl FnMut(Moment)) {
        self.samples += samples.len() as u64;
        let mut rest = samples;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(HOP - self.filled));
            for (kept, &sample) in self.recent[RECENT - HOP + self.filled..].iter_mut().zip(now) {
                *kept = if sample.is_finite() { sample.clamp(-LOUDEST_SAMPLE, LOUDEST_SAMPLE) } else { 0.0 };
                self.peak = self.peak.max(kept.abs());
            }
            self.filled += now.len();
            if self.filled == HOP {
                self.hop(Ending::Sound, out);
            }
            rest = later;
        }
    }

    /// The voice is over: gives every answer still owed, `samples / 160 + 1` in all (none for no samples).
    pub fn finish(&mut self, out: &mut impl FnMut(Moment)) {
        if self.samples == 0 {
            return;
        }
        let owed = self.samples / HOP as u64 + 1;
        while self.hops <= owed {
            self.recent[RECENT - HOP + self.filled..].fill(0.0);
            self.hop(Ending::Padding, out);
        }
        self.start(out);
        for _ in 0..LOOK_AHEAD {
            self.answer(&[0.0; mel::BANDS], out);
        }
    }

    fn hop(&mut self, ending: Ending, out: &mut impl FnMut(Moment)) {
        let newest = &self.recent[RECENT - HOP..];
        let power = newest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / HOP as f64;
        if ending == Ending::Sound {
            self.level.push(power);
        }
        if self.hops > 0 {
            // the frame centred where the hop before began
            let mut window = [0.0; WINDOW];
            window.copy_from_slice(&self.recent[..WINDOW]);
            let powers = self.mel.powers(&window);
            let mean = (self.powers[0] + self.powers[1]) / 2.0;
            let db = ((10.0 * mean.max(1e-10).log10()) as f32).max(SILENT_DB);
            self.reference.push(db);
            self.modulation.push(mel::mean_db(&powers));
            self.waiting.push_back((powers, db));
        }
        self.powers = [self.powers[1], power];
        self.recent.copy_within(HOP.., 0);
        self.filled = 0;
        self.hops += 1;
        if self.started || self.level.settled() {
            self.start(out);
        }
    }

    /// Hands on what waited for the level.
    fn start(&mut self, out: &mut impl FnMut(Moment)) {
        self.started = true;
        while let Some((powers, db)) = self.waiting.pop_front() {
            let x = mel::log(&powers, self.level.gain());
            let (reference_db, modulation_db) = (self.reference.db(), self.modulation.range_db());
            let quiet = db < reference_db - PAUSE_DB;
            self.quiet_frames = if quiet { self.quiet_frames + 1 } else { 0 };
            let lesson = if self.quiet_frames > PAUSE_FRAMES { Lesson::Ignore } else { Lesson::Learn };
            let x = self.norm.apply(&x, lesson);
            self.unanswered.push_back(Loudness { db, reference_db, modulation_db });
            self.answer(&x, out);
        }
    }

    fn answer(&mut self, x: &[f32; mel::BANDS], out: &mut impl FnMut(Moment)) {
        let logits = self.net.step(x);
        self.steps = (self.steps + 1).min(LOOK_AHEAD + 1);
        if self.steps <= LOOK_AHEAD {
            return; // answers for frames before the first one
        }
        if let Some(loudness) = self.unanswered.pop_front() {
            let Loudness { db, reference_db, modulation_db } = loudness;
            out(Moment { visemes: Visemes::of_logits(&logits), db, reference_db, modulation_db });
        }
    }
}

/// Of a moment whose visemes are still to come.
struct Loudness {
    db: f32,
    reference_db: f32,
    modulation_db: f32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Sound,
    Padding,
}
