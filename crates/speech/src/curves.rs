//! The network's answers become the motion of a mouth: gate against the room, smoothing, effort, stress; sampled at any frame
//! rate without losing a closure between two frames. The constants were tuned by eye and ear on the prototype of the puppet.

use std::collections::VecDeque;

use contract::Fps;

use crate::hearing::Moment;
use crate::pose::MouthPose;
use crate::viseme::Viseme;

/// Moments (10 ms) that smoothing looks ahead, and back: loudness is slow, and past loudness is free.
const AHEAD: usize = 8;
const BACK: usize = 36;
/// How far from a video frame a closure is looked for: half the distance to the next one, within these bounds, in moments.
const LOOK: (f64, f64) = (1.0, 6.0);
const ROWS_KEPT: usize = 2 * LOOK.1 as usize + 4;

/// The mouth opens from here to there: below the speaker's level, and in dB of full scale.
const GATE_UNDER_REFERENCE_DB: (f32, f32) = (38.0, 26.0);
const GATE_DB: (f32, f32) = (-62.0, -54.0);
/// A sound that does not come and go is a machine.
const GATE_MODULATION_DB: (f32, f32) = (3.0, 6.0);
/// The network hedges: its answers stop short of the targets.
const JAW_GAIN: f32 = 1.25;
const LIPS_GAIN: f32 = 1.3;
/// From doubtful to certain.
const CLOSE: (f32, f32) = (0.25, 0.65);
const LABIODENTAL: (f32, f32) = (0.3, 0.7);
/// A loud voice opens the jaw wider: quiet, loud.
const EFFORT: (f32, f32) = (0.85, 1.05);
/// Speech within this many dB of the speaker's level is at full effort.
const EFFORT_SPAN_DB: f32 = 12.0;
const STRESS_SPAN_DB: f32 = 25.0;
/// What is usual before anything was heard, and the share of a moment in it: 1 s of voice.
const FIRST_USUAL: f32 = 0.7;
const USUAL: f32 = 0.01;
const STRESS_GAIN: f32 = 2.0;

/// Moments that must sound like speech, 200 ms in all, before the voice counts as one.
const SPEECH_MOMENTS: u32 = 20;

pub struct Curves {
    moments: VecDeque<Moment>,
    /// Index of `moments[0]` in the voice.
    moments_first: u64,
    rows: VecDeque<MouthPose>,
    rows_first: u64,
    /// No more moments will come: the last row stands for all later ones.
    ended: bool,
    speech_moments: u32,
    usual_stress: f32,
    kernels: Kernels,
}

struct Kernels {
    jaw: Kernel,
    tongue: Kernel,
    lips: Kernel,
    effort: Kernel,
}

impl Curves {
    pub fn new() -> Self {
        Self {
            moments: VecDeque::with_capacity(BACK + AHEAD + 2),
            moments_first: 0,
            rows: VecDeque::with_capacity(ROWS_KEPT + 1),
            rows_first: 0,
            ended: false,
            speech_moments: 0,
            usual_stress: FIRST_USUAL,
            kernels: Kernels {
                jaw: Kernel::new(1.6),
                tongue: Kernel::new(2.0),
                lips: Kernel::new(3.0),
                effort: Kernel::new(12.0),
            },
        }
    }

    pub fn heard_speech(&self) -> bool {
        self.speech_moments >= SPEECH_MOMENTS
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.moments.len() + self.rows.len()
    }

    pub fn push(&mut self, moment: Moment) {
        let open = gate(&moment);
        if open > 0.5 && moment.visemes.probability(Viseme::Sil) < 0.5 {
            self.speech_moments = self.speech_moments.saturating_add(1);
        }
        self.moments.push_back(moment);
        let next = self.rows_first + self.rows.len() as u64;
        if self.moments_first + self.moments.len() as u64 > next + AHEAD as u64 {
            self.add_row(next);
        }
    }

    /// Makes the rows that waited for what comes after them.
    pub fn finish(&mut self) {
        self.ended = true;
        loop {
            let next = self.rows_first + self.rows.len() as u64;
            if next >= self.moments_first + self.moments.len() as u64 {
                return;
            }
            self.add_row(next);
        }
    }

    /// The pose of video frame `frame`, at its own time; `None` until enough was heard.
    /// To be asked for frames in order: what lies before is forgotten.
    pub fn at_frame(&mut self, frame: u64, fps: Fps) -> Option<MouthPose> {
        let moments = u128::from(frame) * 100 * u128::from(fps.den());
        let (before, rest) = (moments / u128::from(fps.num()), moments % u128::from(fps.num()));
        let (before, part) = (before as u64, rest as f32 / fps.num() as f32);
        let look = (50.0 / fps.as_f64()).clamp(LOOK.0, LOOK.1);
        let at = before as f64 + f64::from(part);
        let (from, to) = ((at - look).ceil().max(0.0) as u64, (at + look).floor() as u64);
        let known = self.rows_first + self.rows.len() as u64;
        if known == 0 || (!self.ended && to.max(before + 1) >= known) {
            return None;
        }
        let row = |index: u64| self.rows[(index.min(known - 1) - self.rows_first) as usize];
        let (a, b) = (row(before), row(before + 1));
        let mix = |a: f32, b: f32| a + part * (b - a);
        let mut pose = MouthPose {
            jaw: mix(a.jaw, b.jaw),
            wide: mix(a.wide, b.wide),
            round: mix(a.round, b.round),
            close: 0.0,
            labiodental: 0.0,
            tongue: mix(a.tongue, b.tongue),
            stress: mix(a.stress, b.stress),
        };
        // a /p/ of 40 ms must not fall between two frames
        for near in from..=to {
            let near = row(near);
            pose.close = pose.close.max(near.close);
            pose.labiodental = pose.labiodental.max(near.labiodental);
        }
        let keep_from = before.saturating_sub(LOOK.1 as u64 + 1);
        while self.rows_first < keep_from && self.rows.len() > 1 {
            self.rows.pop_front();
            self.rows_first += 1;
        }
        Some(pose)
    }

    fn add_row(&mut self, index: u64) {
        let at = (index - self.moments_first) as usize;
        let smooth = |kernel: &Kernel, value: &dyn Fn(&Moment) -> f32| kernel.at(&self.moments, at, value);
        let Moment { visemes, reference_db, .. } = self.moments[at];
        // the lips of a /p/ are shut in silence: what counts is whether somebody speaks just before or after
        let around = at.saturating_sub(AHEAD)..(at + AHEAD + 1).min(self.moments.len());
        let open = self.moments.range(around).map(gate).fold(0.0, f32::max);
        let loud = smooth(&self.kernels.effort, &|moment| moment.db);
        let effort =
            EFFORT.0 + (EFFORT.1 - EFFORT.0) * ramp(loud, reference_db - EFFORT_SPAN_DB, reference_db);
        let jaw = smooth(&self.kernels.jaw, &|moment| moment.visemes.jaw) * open;
        let wide = smooth(&self.kernels.lips, &|moment| moment.visemes.wide);
        let round = smooth(&self.kernels.lips, &|moment| moment.visemes.round);
        let tongue = smooth(&self.kernels.tongue, &|moment| {
            let said = moment.visemes;
            said.probability(Viseme::TH) + 0.8 * said.probability(Viseme::DD)
        });
        let effect = ramp(loud, reference_db - STRESS_SPAN_DB, reference_db);
        let stress = (STRESS_GAIN * (effect - self.usual_stress)).clamp(0.0, 1.0);
        self.usual_stress += USUAL * open * (effect - self.usual_stress);
        let close = visemes.close.max(visemes.probability(Viseme::PP));
        let labiodental = visemes.labiodental.max(visemes.probability(Viseme::FF));
        self.rows.push_back(MouthPose {
            jaw: (JAW_GAIN * jaw * effort).clamp(0.0, 1.0),
            wide: (LIPS_GAIN * wide * open).clamp(0.0, 1.0),
            round: (LIPS_GAIN * round * open).clamp(0.0, 1.0),
            close: ramp(close, CLOSE.0, CLOSE.1) * open,
            labiodental: ramp(labiodental, LABIODENTAL.0, LABIODENTAL.1) * open,
            tongue: tongue.clamp(0.0, 1.0) * open,
            stress: stress * open,
        });
        while at > BACK && self.moments.len() > BACK + AHEAD + 1 {
            self.moments.pop_front();
            self.moments_first += 1;
        }
    }
}

/// 0: the room; 1: the voice.
fn gate(moment: &Moment) -> f32 {
    let db = moment.db;
    let (shut, open) = GATE_UNDER_REFERENCE_DB;
    let heard =
        ramp(db, moment.reference_db - shut, moment.reference_db - open) * ramp(db, GATE_DB.0, GATE_DB.1);
    heard * ramp(moment.modulation_db, GATE_MODULATION_DB.0, GATE_MODULATION_DB.1)
}

fn ramp(x: f32, from: f32, to: f32) -> f32 {
    ((x - from) / (to - from)).clamp(0.0, 1.0)
}

/// Gaussian, cut at 3 sigma and at what is known; its weights always sum to 1.
struct Kernel {
    back: usize,
    /// From `back` moments ago to `AHEAD` moments ahead.
    weights: Vec<f32>,
}

impl Kernel {
    /// sigma in moments of 10 ms.
    fn new(sigma: f64) -> Self {
        let reach = (3.0 * sigma).ceil() as usize;
        let (back, ahead) = (reach.min(BACK), reach.min(AHEAD));
        let weight = |k: usize| (-0.5 * ((k as f64 - back as f64) / sigma).powi(2)).exp() as f32;
        Self { back, weights: (0..=back + ahead).map(weight).collect() }
    }

    fn at(&self, moments: &VecDeque<Moment>, at: usize, value: impl Fn(&Moment) -> f32) -> f32 {
        let first = at.saturating_sub(self.back);
        let skipped = self.back - (at - first);
        let (mut sum, mut weight) = (0.0, 0.0);
        for (moment, w) in moments.range(first..).zip(&self.weights[skipped..]) {
            sum += w * value(moment);
            weight += w;
        }
        sum / weight
    }
}
