//! What is measured of a video, by name, and how it stands against the limits of the spec.

use crate::meter::Measured;
use crate::mouth::{Openings, normalised, range};
use crate::picture::roughness;
use crate::series::percentile;
use crate::sync::{Control, REFERENCE_HZ, Reference, Synchrony, Timed, Voice, closures, silence};

/// A mouth whose opening ranges over less than this, in eye distances, does not move.
const STILL: f32 = 0.004;
/// The share of frames in which the face may be lost without a note.
const FEW_LOST: f32 = 0.02;

/// Where the opening that the mouth is compared with comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncReference {
    /// Phonemes with their times.
    Truth,
    /// This program's own net on the sound: circular for an engine that uses it.
    Visnet,
}

/// Which measure of the mouth followed best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncSeries {
    /// Height of the dark pixels between the lips.
    Dark,
    /// Height of what the resting mouth does not show.
    Interior,
    /// Drop of the chin.
    Chin,
}

/// `None` where the input for it is missing or it cannot be measured; `notes` say why.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    pub frames: u64,
    pub fps: f64,
    /// Highest correlation of mouth and reference over +-400 ms.
    pub sync_r: Option<f32>,
    /// The same against shifted voices: the chance level.
    pub sync_r_shifted: Option<Control>,
    /// Lag of that correlation; positive: the picture is late. `None` where the correlation is no better than chance.
    pub sync_offset_ms: Option<f32>,
    pub sync_reference: Option<SyncReference>,
    pub sync_series: Option<SyncSeries>,
    /// Share of p, b, m in which the lips meet.
    pub closure_hit: Option<f32>,
    /// The same at shifted times.
    pub closure_control: Option<f32>,
    /// How many p, b, m.
    pub closures: Option<usize>,
    /// Median over the frames, against the portrait where one is given, else against the first frame; turn, scale and shift
    /// of the whole upper face are undone first: the likeness without the motion.
    pub upper_face_psnr_db: Option<f32>,
    /// The same with the face held by its nose alone, so that a head that turns loses decibels on every sharp edge.
    pub upper_face_nose_psnr_db: Option<f32>,
    /// Median over the frames, against the first frame.
    pub background_psnr_db: Option<f32>,
    /// Mean absolute second difference of the upper face's mean luma, grey levels.
    pub flicker: Option<f32>,
    /// Mean absolute second difference of the opening / its P95.
    pub jerk: Option<f32>,
    /// Mean opening while nobody speaks, of its range.
    pub silence_aperture: Option<f32>,
    pub notes: Vec<String>,
}

impl SyncReference {
    pub fn name(self) -> &'static str {
        match self {
            Self::Truth => "truth",
            Self::Visnet => "visnet",
        }
    }
}

impl SyncSeries {
    pub fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Interior => "interior",
            Self::Chin => "chin",
        }
    }
}

/// The reference with its name.
pub struct Heard {
    pub reference: Reference,
    pub source: SyncReference,
}

impl Heard {
    pub fn seconds(&self) -> f64 {
        self.reference.opening.len() as f64 / REFERENCE_HZ
    }
}

impl Scores {
    pub fn of(measured: &Measured, fps: f64, heard: Option<&Heard>) -> Self {
        let frames = measured.upper_psnr.len() as u64;
        let mut scores = Self::picture(measured, fps, frames);
        let lost = measured.lost as f32 / frames.max(1) as f32;
        if lost > FEW_LOST {
            scores.note(format!("the face was lost in {:.0} % of the frames", lost * 100.0));
        }
        let Some(heard) = heard else {
            scores.note("there is neither sound nor truth: nothing to follow");
            return scores;
        };
        scores.sync_reference = Some(heard.source);
        scores.synchrony(measured, heard);
        scores
    }

    fn picture(measured: &Measured, fps: f64, frames: u64) -> Self {
        let median = |series: &[f32]| (!series.is_empty()).then(|| percentile(series, 0.5));
        // of the dark pixels: the limits were measured on them, and a mouth that never opens shows its constant line here
        let dark = &measured.openings.dark;
        let widest = percentile(dark, 0.95);
        let jerk = roughness(dark, fps).map(|bends| if widest < 1e-4 { 0.0 } else { bends / widest });
        let background_psnr_db = median(&measured.background_psnr);
        let mut scores = Self {
            frames,
            fps,
            sync_r: None,
            sync_r_shifted: None,
            sync_offset_ms: None,
            sync_reference: None,
            sync_series: None,
            closure_hit: None,
            closure_control: None,
            closures: None,
            upper_face_psnr_db: median(&measured.aligned_psnr),
            upper_face_nose_psnr_db: median(&measured.upper_psnr),
            background_psnr_db,
            flicker: roughness(&measured.upper_luma, fps),
            jerk,
            silence_aperture: None,
            notes: Vec::new(),
        };
        if background_psnr_db.is_none() {
            scores.note("the head fills the picture: there is no background");
        }
        scores
    }

    fn synchrony(&mut self, measured: &Measured, heard: &Heard) {
        let openings = &measured.openings;
        let fps = self.fps;
        let timed = |values| Timed { values, fps };
        if openings.chin.is_empty() {
            self.note("the chin is too smooth to be followed");
        }
        let mouths: Vec<(SyncSeries, Timed)> = [
            (SyncSeries::Dark, &openings.dark),
            (SyncSeries::Interior, &openings.interior),
            (SyncSeries::Chin, &openings.chin),
        ]
        .into_iter()
        .filter(|(_, values)| !values.is_empty())
        .map(|(series, values)| (series, timed(values)))
        .collect();
        if mouths.iter().all(|(_, mouth)| range(mouth.values) < STILL) {
            self.note("the mouth does not move");
        }
        let voice = Voice::new(&heard.reference);
        let mut found: Vec<(SyncSeries, Synchrony)> =
            mouths.iter().filter_map(|(series, mouth)| Some((*series, voice.synchrony(*mouth)?))).collect();
        found.sort_by(|a, b| b.1.r.total_cmp(&a.1.r));
        let Some(&(series, best)) = found.first() else {
            self.note(format!("{:.1} s are too short to be correlated", self.frames as f64 / fps));
            return;
        };
        self.sync_r = Some(best.r);
        self.sync_series = Some(series);
        let all: Vec<Timed> = mouths.iter().map(|(_, mouth)| *mouth).collect();
        self.sync_r_shifted = voice.control(&all);
        match self.sync_r_shifted {
            Some(chance) if best.r < chance.mean + 3.0 * chance.sd => {
                self.note(
                    "the mouth follows the voice no better than a shifted one: its offset means nothing",
                );
            }
            _ => self.sync_offset_ms = Some(best.lag * 1000.0),
        }
        let r_of = |wanted| found.iter().find(|(series, _)| *series == wanted).map_or(0.0, |(_, s)| s.r);
        let lips = between_lips(openings, (r_of(SyncSeries::Dark), r_of(SyncSeries::Interior)));
        let lips = timed(lips.as_slice());
        match closures(&heard.reference, lips) {
            Some(shut) => {
                self.closures = Some(shut.count);
                self.closure_hit = Some(shut.hit);
                self.closure_control = Some(shut.control);
            }
            None => self.note("there is no p, b or m"),
        }
        self.silence_aperture = silence(&heard.reference, lips);
        if self.silence_aperture.is_none() {
            self.note("there is no silence");
        }
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// One opening of two measures of it, each weighted by how much of the voice it explains (r squared): each has frames in
/// which pressed or rounded lips deceive it, bright teeth may blind the darkness, and they seldom err together.
/// Never the chin: lips may meet while the jaw stays low.
fn between_lips(openings: &Openings, (dark_r, interior_r): (f32, f32)) -> Vec<f32> {
    let [dark_weight, interior_weight] = [dark_r, interior_r].map(|r| r.max(0.01).powi(2));
    let share = dark_weight / (dark_weight + interior_weight);
    let pairs = normalised(&openings.dark).into_iter().zip(normalised(&openings.interior));
    pairs.map(|(dark, interior)| share * dark + (1.0 - share) * interior).collect()
}
