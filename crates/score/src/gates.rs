//! The limits that a video has to keep (spec, section 5).

use crate::scores::Scores;

/// Whose limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// The built-in engine: everything but the mouth and a slight sway stands still.
    Puppet,
    /// The built-in engine on held-out speech whose phonemes are known.
    PuppetHeldOut,
    /// Engines that draw every pixel anew.
    Generative,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    AtLeast(f32),
    AtMost(f32),
    Between(f32, f32),
}

/// One limit and how the video stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    pub name: &'static str,
    /// `None`: not measured.
    pub value: Option<f32>,
    pub limit: Limit,
    /// What was not measured has not passed.
    pub passed: bool,
}

impl Limit {
    fn keeps(self, value: f32) -> bool {
        match self {
            Limit::AtLeast(least) => value >= least,
            Limit::AtMost(most) => value <= most,
            Limit::Between(least, most) => (least..=most).contains(&value),
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Limit::AtLeast(least) => write!(f, "at least {least}"),
            Limit::AtMost(most) => write!(f, "at most {most}"),
            Limit::Between(least, most) => write!(f, "{least} to {most}"),
        }
    }
}

/// Numbers of one bar.
struct Marks {
    sync_r: f32,
    offset_ms: f32,
    closure_hit: f32,
    closure_gain: f32,
    upper_face_psnr_db: f32,
    /// `None`: reported only.
    background_psnr_db: Option<f32>,
}

impl Bar {
    fn marks(self) -> Marks {
        let puppet = Marks {
            sync_r: 0.35,
            offset_ms: 45.0,
            closure_hit: 0.70,
            closure_gain: 0.30,
            upper_face_psnr_db: 30.0,
            background_psnr_db: Some(40.0),
        };
        match self {
            Bar::Puppet => puppet,
            Bar::PuppetHeldOut => Marks {
                sync_r: 0.70,
                offset_ms: 20.0,
                closure_hit: 0.80,
                closure_gain: 0.40,
                upper_face_psnr_db: 33.0,
                background_psnr_db: Some(48.0),
            },
            Bar::Generative => Marks { upper_face_psnr_db: 24.0, background_psnr_db: None, ..puppet },
        }
    }
}

impl Scores {
    /// Every limit of `bar`.
    pub fn gates(&self, bar: Bar) -> Vec<Gate> {
        let marks = bar.marks();
        let gate = |name, value: Option<f32>, limit: Limit| Gate {
            name,
            value,
            limit,
            passed: value.is_some_and(|value| limit.keeps(value)),
        };
        let chance = self.sync_r_shifted.map_or(0.0, |chance| chance.mean + 3.0 * chance.sd);
        let gain = self.closure_hit.zip(self.closure_control).map(|(hit, control)| hit - control);
        let mut gates = vec![
            gate("sync_r", self.sync_r, Limit::AtLeast(marks.sync_r.max(chance))),
            gate("sync_offset_ms", self.sync_offset_ms.map(f32::abs), Limit::AtMost(marks.offset_ms)),
            gate("closure_hit", self.closure_hit, Limit::AtLeast(marks.closure_hit)),
            gate("closure_gain", gain, Limit::AtLeast(marks.closure_gain)),
            gate("upper_face_psnr_db", self.upper_face_psnr_db, Limit::AtLeast(marks.upper_face_psnr_db)),
            gate("flicker", self.flicker, Limit::AtMost(0.8)),
            gate("jerk", self.jerk, Limit::Between(0.05, 0.35)),
            gate("silence_aperture", self.silence_aperture, Limit::AtMost(0.15)),
        ];
        if let Some(least) = marks.background_psnr_db {
            gates.push(gate("background_psnr_db", self.background_psnr_db, Limit::AtLeast(least)));
        }
        gates
    }
}
