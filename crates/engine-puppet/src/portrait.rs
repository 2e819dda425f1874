//! `Portrait`: one measured face on one plate, ready to be posed.

use face::Face;
use speech::MouthPose;

use crate::head::HeadField;
use crate::level::Level;
use crate::lids::Lids;
use crate::mouth::Mouth;
use crate::plate::Plate;
use crate::pose::Pose;
use crate::tone::Tone;
use crate::warp::{Rows, Warp};

pub struct Portrait {
    plate: Plate,
    face: Face,
    tone: Tone,
    lids: Option<Lids>,
    level: Level,
    rows: Rows,
}

impl Portrait {
    /// `face` is measured in the plate's pixels.
    pub fn new(plate: Plate, face: Face, level: Level) -> Self {
        let tone = Tone::measure(&plate, &face);
        let lids = face.gates.eyes_ok.then(|| Lids::new(&plate, &face));
        Self { plate, face, tone, lids, level, rows: Rows::default() }
    }

    /// Draws one frame as I420 into `out`. A pose of zeros is the picture itself.
    pub fn draw(&mut self, pose: &Pose, out: &mut Vec<u8>) {
        if let Some(lids) = &mut self.lids {
            lids.close(&mut self.plate, pose.blink);
        }
        self.plate.copy_to(out);
        let head = HeadField::new(self.face.canon, pose);
        let speaks = pose.mouth != MouthPose { stress: pose.mouth.stress, ..MouthPose::default() };
        let warp = Warp {
            level: self.level,
            canon: self.face.canon,
            plate: &self.plate,
            tone: &self.tone,
            head: (!head.is_still()).then_some(head),
            mouth: speaks.then(|| Mouth::new(&self.face.mouth, &pose.mouth)),
        };
        if warp.head.is_some() || warp.mouth.is_some() {
            warp.draw(&mut self.rows, out);
        }
    }
}
