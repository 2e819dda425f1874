//! Whether the person speaks, for each video frame: 1 while the voice is there, 0 in silence, and a slope between, so that a mouth can be
//! cross-faded to rest. From the level alone, which knows no words: music and noise as loud as the voice count as voice.
//!
//! The level (RMS of 40 ms, in steps of 10 ms) opens the gate 25 dB under the speaker's own level and shuts it 35 dB under; between, it stays
//! as it was. It is open from 0.1 s before voice until 0.2 s after, and the slopes come on top, both within the sound that a frame's
//! window needs anyway. The answers depend on the samples alone, not on the pieces they come in.

use std::collections::VecDeque;

use contract::Fps;

/// Samples of a hop, 10 ms.
const HOP: usize = 160;
const HOP_HZ: u64 = 100;
/// Hops whose mean is the level, 40 ms.
const LEVEL_HOPS: usize = 4;
/// Hops whose mean is the speaker's level when it is the loudest, 0.1 s: a click is shorter.
const SPEAKER_HOPS: usize = 10;
/// The speaker's level before anything was heard, dB of full scale. The loudest moments of recordings measured were -11 to -16, rooms below -48.
const GUESS_DB: f64 = -20.0;
/// No speaker is quieter than this.
const QUIETEST_DB: f64 = -50.0;
/// A loud moment is forgotten by this much a second, so that it does not deafen for good.
const FORGET_DB: f64 = 0.2;
/// Under the speaker's level.
const OPEN_DB: f64 = 25.0;
const SHUT_DB: f64 = 35.0;
/// Hops the gate is open before voice and after it.
const AHEAD: u64 = 10;
const HOLD: u64 = 20;
/// Seconds of sound from a frame's time on that its gate needs.
pub const REACH: f64 = (AHEAD + 1) as f64 / HOP_HZ as f64;
/// Seconds from shut to open and back.
const ATTACK: f64 = 0.08;
const RELEASE: f64 = 0.2;
/// Hops of a file that are heard before its first answer, 10 s: then the speaker's level is known from the start.
const SETTLE: u64 = 1000;

/// What sums of steps may be off by.
const ROUNDING: f32 = 1e-4;

/// How the speaker's level is found at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// By hearing the first 10 s before the first answer.
    Settled,
    /// From a guess, at once: the voice is being spoken.
    Guess,
}

pub struct Gate {
    fps: Fps,
    /// What a frame opens and shuts by.
    attack: f32,
    release: f32,
    speaker: Speaker,
    /// Of the hop that is being filled: sum of squares and samples.
    filling: (f64, usize),
    /// Powers of the last `SPEAKER_HOPS` hops.
    powers: VecDeque<f64>,
    /// Levels that wait for the speaker's to settle.
    waiting: VecDeque<f64>,
    settled: bool,
    open: bool,
    /// From hop `first` on: whether there is voice.
    voiced: VecDeque<bool>,
    first: u64,
    hops: u64,
    frame: u64,
    gate: f32,
    ended: bool,
}

/// The loudest tenth of a second, fading.
#[derive(Clone, Copy)]
struct Speaker(f64);

impl Speaker {
    fn hear(&mut self, db: f64) {
        self.0 = (self.0 - FORGET_DB / HOP_HZ as f64).max(db).max(QUIETEST_DB);
    }
}

fn db(power: f64) -> f64 {
    10.0 * power.max(1e-12).log10()
}

impl Gate {
    pub fn new(fps: Fps, start: Start) -> Self {
        let step = |seconds: f64| (1.0 / (seconds * fps.as_f64()).round().max(1.0)) as f32;
        Self {
            fps,
            attack: step(ATTACK),
            release: step(RELEASE),
            speaker: Speaker(match start {
                Start::Settled => QUIETEST_DB,
                Start::Guess => GUESS_DB,
            }),
            filling: (0.0, 0),
            powers: VecDeque::with_capacity(SPEAKER_HOPS + 1),
            waiting: VecDeque::new(),
            settled: start == Start::Guess,
            open: false,
            voiced: VecDeque::new(),
            first: 0,
            hops: 0,
            frame: 0,
            gate: 0.0,
            ended: false,
        }
    }

    /// Mono samples at 16 kHz.
    pub fn push(&mut self, samples: &[f32]) {
        for &sample in samples {
            self.filling.0 += f64::from(sample) * f64::from(sample);
            self.filling.1 += 1;
            if self.filling.1 == HOP {
                self.hop();
            }
        }
    }

    /// The voice is over: what follows is silence.
    pub fn finish(&mut self) {
        if self.filling.1 > 0 {
            self.hop();
        }
        self.settle();
        self.ended = true;
    }

    /// The next frame's gate; None: it needs more sound.
    pub fn answer(&mut self) -> Option<f32> {
        let at = u128::from(self.frame) * u128::from(HOP_HZ) * u128::from(self.fps.den());
        let at = (at / u128::from(self.fps.num())) as u64; // the hop that the frame begins in
        if !self.ended && self.first + (self.voiced.len() as u64) <= at + AHEAD {
            return None;
        }
        let from = at.saturating_sub(HOLD).max(self.first) - self.first;
        self.voiced.drain(..(from as usize).min(self.voiced.len()));
        self.first += from;
        let near = (at + AHEAD + 1).saturating_sub(self.first) as usize;
        let voice = self.voiced.iter().take(near).any(|&voiced| voiced);
        let change = if voice { self.attack } else { -self.release };
        self.gate = match self.gate + change {
            shut if shut < ROUNDING => 0.0,
            open if open > 1.0 - ROUNDING => 1.0,
            between => between,
        };
        self.frame += 1;
        Some(self.gate)
    }

    fn hop(&mut self) {
        self.powers.push_back(self.filling.0 / HOP as f64);
        self.filling = (0.0, 0);
        if self.powers.len() > SPEAKER_HOPS {
            self.powers.pop_front();
        }
        let mean = |hops: usize| {
            let last = self.powers.iter().rev().take(hops);
            last.sum::<f64>() / hops as f64
        };
        let level = db(mean(LEVEL_HOPS));
        self.speaker.hear(db(mean(SPEAKER_HOPS)));
        self.hops += 1;
        self.waiting.push_back(level);
        if self.settled || self.hops == SETTLE {
            self.settle();
        }
    }

    /// Judges the levels that waited.
    fn settle(&mut self) {
        self.settled = true;
        while let Some(level) = self.waiting.pop_front() {
            let under = self.speaker.0 - level;
            self.open = under < if self.open { SHUT_DB } else { OPEN_DB };
            self.voiced.push_back(self.open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: usize = 16_000;

    /// A buzz of a loudness in dB (RMS).
    fn buzz(seconds: f64, db: f64) -> Vec<f32> {
        let amplitude = 10f64.powf(db / 20.0);
        let samples = (seconds * SECOND as f64) as usize;
        (0..samples).map(|i| (if i / 60 % 2 == 0 { amplitude } else { -amplitude }) as f32).collect()
    }

    fn gates(sound: &[f32], piece: usize, fps: Fps, start: Start) -> Vec<f32> {
        let mut gate = Gate::new(fps, start);
        let mut out = Vec::new();
        for piece in sound.chunks(piece) {
            gate.push(piece);
            while let Some(value) = gate.answer() {
                out.push(value);
            }
        }
        gate.finish();
        while (out.len() as u64) < fps.frames_in(sound.len() as u64, 16_000) {
            out.push(gate.answer().unwrap());
        }
        out
    }

    #[test]
    fn opens_for_a_voice_and_shuts_after_it() {
        for loudness in [-15.0, -30.0, -43.0] {
            let sound = [buzz(1.0, -90.0), buzz(1.0, loudness), buzz(2.0, -90.0)].concat();
            for start in [Start::Settled, Start::Guess] {
                let got = gates(&sound, 1234, Fps::whole(25), start);
                assert!(got[..22].iter().all(|&g| g == 0.0), "{loudness} {start:?} {got:?}");
                assert!(
                    got[25..50].iter().all(|&g| g == 1.0),
                    "open before it begins: {loudness} {start:?} {got:?}"
                );
                assert!(got[62..].iter().all(|&g| g == 0.0), "{loudness} {start:?} {got:?}");
                let falling: Vec<f32> =
                    got.iter().copied().skip(50).filter(|&g| g > 0.0 && g < 1.0).collect();
                assert!(falling.windows(2).all(|w| w[1] < w[0]) && falling.len() == 4, "{falling:?}");
            }
        }
    }

    #[test]
    fn short_pauses_and_quiet_words_stay_open() {
        // a stop consonant of 0.15 s, then a word 20 dB under the rest
        let sound =
            [buzz(1.0, -20.0), buzz(0.15, -80.0), buzz(0.5, -20.0), buzz(0.5, -40.0), buzz(0.5, -20.0)]
                .concat();
        let got = gates(&sound, 999, Fps::whole(25), Start::Settled);
        assert!(got[1..].iter().all(|&g| g == 1.0), "{got:?}");
    }

    #[test]
    fn the_level_between_keeps_what_was() {
        let between = |before: f64| [buzz(1.0, -20.0), buzz(2.0, before), buzz(2.0, -50.0)].concat();
        let open = gates(&between(-40.0), 999, Fps::whole(25), Start::Settled);
        assert!(open[60..].iter().all(|&g| g == 1.0), "{open:?}");
        let shut = gates(&between(-80.0), 999, Fps::whole(25), Start::Settled);
        assert!(shut[60..].iter().all(|&g| g == 0.0), "{shut:?}");
    }

    #[test]
    fn slopes_take_the_same_time_at_every_rate() {
        let sound = [buzz(1.0, -20.0), buzz(1.0, -90.0)].concat();
        for (fps, frames) in [(12, 2), (25, 5), (50, 10), (60, 12)] {
            let got = gates(&sound, 160, Fps::whole(fps), Start::Guess);
            let falling = got.iter().filter(|&&g| g > 0.001 && g < 0.999).count();
            assert!((frames - 1..=frames + frames / 2).contains(&falling), "{fps}: {got:?}");
        }
    }

    #[test]
    fn pieces_do_not_matter_and_little_is_kept() {
        let sound = [buzz(3.0, -25.0), buzz(1.0, -70.0), buzz(9.0, -28.0), buzz(2.0, -90.0)].concat();
        for start in [Start::Settled, Start::Guess] {
            let fps = "29.97".parse().unwrap();
            let want = gates(&sound, 1, fps, start);
            for piece in [7, 160, 4096, sound.len()] {
                assert_eq!(gates(&sound, piece, fps, start), want, "{piece}");
            }
        }
        let mut gate = Gate::new(Fps::whole(25), Start::Settled);
        for _ in 0..60 {
            gate.push(&buzz(1.0, -20.0));
            while gate.answer().is_some() {}
        }
        assert!(gate.voiced.len() <= (AHEAD + HOLD + 8) as usize && gate.waiting.is_empty());
    }

    #[test]
    fn a_live_frame_needs_no_more_than_110_ms() {
        let mut gate = Gate::new(Fps::whole(25), Start::Guess);
        gate.push(&buzz(1.0, -20.0));
        let frames = std::iter::from_fn(|| gate.answer()).count();
        assert_eq!(frames, 23, "the frame at 0.88 s is the last that has 0.11 s ahead");
    }
}
