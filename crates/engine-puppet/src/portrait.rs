//! `Portrait`: one measured face on one plate, ready to be posed. A clip shows it a new plate and face every frame.

use contract::Planes;
use face::Face;
use speech::MouthPose;

use crate::cavity::Cavity;
use crate::field::Movers;
use crate::head::HeadField;
use crate::level::Level;
use crate::lids::Lids;
use crate::mouth::{Gum, Mouth, Opening};
use crate::plate::Plate;
use crate::pose::Pose;
use crate::tone::Tone;
use crate::warp::Warp;

/// Share of an open mouth that stays open in a still when speech shuts it: a smile is part of the person.
const STILL_REST: f32 = 0.25;
/// Share of a clip's new colours and gum line in each frame.
const TONE_RATE: f32 = 0.06;

pub struct Portrait {
    plate: Plate,
    face: Face,
    tone: Tone,
    gum: Gum,
    /// Made when the eyes first blink; a new plate needs new ones.
    lids: Option<Lids>,
    rest: f32,
    level: Level,
    warp: Warp,
}

impl Portrait {
    /// `face` is measured in the plate's pixels.
    pub fn new(plate: Plate, face: Face, level: Level) -> Self {
        let tone = Tone::measure(&plate, &face);
        let gum = Gum::of(&face.mouth);
        Self { plate, face, tone, gum, lids: None, rest: STILL_REST, level, warp: Warp::default() }
    }

    /// The next picture of a clip, of the same size.
    pub fn show(&mut self, planes: Planes<'_>, face: Face) {
        self.plate.fill(planes);
        self.face = face;
        self.tone = self.tone.toward(&Tone::measure(&self.plate, &self.face), TONE_RATE);
        self.gum = self.gum.toward(&Gum::of(&self.face.mouth), TONE_RATE);
        self.lids = None;
        self.rest = 0.0;
    }

    /// Draws one frame as I420. A pose of zeros is the picture itself.
    pub fn draw(&mut self, pose: &Pose) -> Vec<u8> {
        self.blink(pose.blink);
        let mut out = Vec::new();
        self.plate.copy_to(&mut out);
        let head = HeadField::new(self.face.canon, pose);
        let opening =
            Opening { hold: pose.hold, rest: self.rest, parts: self.face.gates.mouth_ok, gum: self.gum };
        let moves = pose.mouth != MouthPose { stress: pose.mouth.stress, ..MouthPose::default() };
        let shuts =
            pose.hold > 0.0 && self.face.mouth.upper.iter().zip(&self.face.mouth.lower).any(|(u, l)| l > u);
        let mouth = (moves || shuts).then(|| Mouth::new(&self.face.mouth, &pose.mouth, opening));
        let movers = Movers {
            level: self.level,
            canon: self.face.canon,
            size: (self.plate.y.width, self.plate.y.height),
            head: (!head.is_still()).then_some(&head),
            cavity: mouth.as_ref().map(|mouth| Cavity {
                mouth,
                tone: &self.tone,
                pixel: self.face.canon.scale(),
            }),
        };
        if movers.head.is_some() || movers.cavity.is_some() {
            self.warp.draw(&movers, &self.plate, &mut out);
        }
        out
    }

    fn blink(&mut self, blink: f32) {
        if !self.face.gates.eyes_ok || (blink <= 0.0 && self.lids.is_none()) {
            return;
        }
        let lids = self.lids.get_or_insert_with(|| Lids::new(&self.plate, &self.face));
        lids.close(&mut self.plate, blink);
    }
}
