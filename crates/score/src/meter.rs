//! One face through one video: follows the nose, hands the stabilised picture to the mouth and picture measurements, keeps
//! nothing of a frame but numbers.

use contract::Frame;
use face::Similarity;

use crate::geometry::{Geometry, NOSE};
use crate::mouth::{Colour, MouthMeter, Openings};
use crate::patch::Plane;
use crate::picture::{Background, UpperFace};
use crate::track::{Reach, Template};

/// Below this likeness the nose is looked for further away ...
const UNSURE: f32 = 0.75;
/// ... and below this one the face counts as lost.
const LOST: f32 = 0.45;

const NEAR: Reach = Reach { x: 4, up: 4, down: 4 };
const FAR: Reach = Reach { x: 28, up: 24, down: 24 };

pub struct Meter {
    to_picture: Similarity,
    nose: Template,
    at: (f32, f32),
    mouth: MouthMeter,
    background: Background,
    upper: UpperFace,
    /// Canonical px of the reference -> px of this video.
    upper_map: Similarity,
    measured: Measured,
}

/// Aligning the upper face takes longer than all else: every so many frames will do.
const ALIGN_EVERY: usize = 5;

/// One value a frame each, but `background_psnr`, which is empty where the head fills the picture, and `aligned_psnr`.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub openings: Openings,
    pub upper_psnr: Vec<f32>,
    /// Of every fifth frame, after turn, scale and shift of the head were undone.
    pub aligned_psnr: Vec<f32>,
    pub upper_luma: Vec<f32>,
    pub background_psnr: Vec<f32>,
    /// Frames in which the face was not found again.
    pub lost: usize,
}

/// The portrait that the upper face is compared with, and the map from its own canonical px to its pixels.
pub struct Original<'a> {
    pub luma: Plane<'a>,
    pub to_picture: Similarity,
}

impl Meter {
    /// `first` is the frame in which `geometry` was measured.
    pub fn new(first: &Frame, geometry: Geometry, original: Option<Original>) -> Self {
        let colour = colour(first);
        let to_picture = geometry.canon.inverse();
        let (upper, upper_map) = match original {
            Some(original) => {
                let upper = UpperFace::new(&original.luma, &original.to_picture);
                let map = upper.registered(&colour.luma, to_picture);
                (upper, map)
            }
            None => (UpperFace::new(&colour.luma, &to_picture), to_picture),
        };
        Self {
            to_picture,
            nose: Template::new(&colour.luma, &to_picture, NOSE),
            at: (0.0, 0.0),
            mouth: MouthMeter::new(geometry, &to_picture, &colour),
            background: Background::new(&colour.luma, &geometry.canon),
            upper,
            upper_map,
            measured: Measured::default(),
        }
    }

    pub fn take(&mut self, frame: &Frame) {
        let colour = colour(frame);
        self.measured.background_psnr.extend(self.background.psnr(&colour.luma));
        if !self.follow(&colour.luma) {
            self.skip();
            return;
        }
        self.mouth.take(&self.to_picture, &colour, self.at);
        let look = self.upper.look(&colour.luma, &self.upper_map, self.at);
        if self.measured.upper_psnr.len().is_multiple_of(ALIGN_EVERY) {
            let shift = Similarity { a: 1.0, b: 0.0, tx: self.at.0, ty: self.at.1 };
            let aligned = self.upper.registered(&colour.luma, shift.then(&self.upper_map));
            self.measured.aligned_psnr.push(self.upper.look(&colour.luma, &aligned, (0.0, 0.0)).psnr);
        }
        self.measured.upper_psnr.push(look.psnr);
        self.measured.upper_luma.push(look.luma);
    }

    /// `before` frames came before the first one; they count as lost and look like it.
    pub fn finish(self, before: usize) -> Measured {
        let Openings { dark, interior, chin } = self.mouth.finish();
        let Measured { upper_psnr, aligned_psnr, upper_luma, background_psnr, lost, .. } = self.measured;
        let led = |series: Vec<f32>| match series.first() {
            Some(&first) => [vec![first; before], series].concat(),
            None => series,
        };
        Measured {
            openings: Openings { dark: led(dark), interior: led(interior), chin: led(chin) },
            upper_psnr: led(upper_psnr),
            aligned_psnr,
            upper_luma: led(upper_luma),
            background_psnr: led(background_psnr),
            lost: lost + before,
        }
    }

    /// Moves `at` to the nose; false where there is none.
    fn follow(&mut self, luma: &Plane) -> bool {
        let mut found = self.nose.find(luma, &self.to_picture, self.at, NEAR);
        if found.likeness < UNSURE {
            let further = self.nose.find(luma, &self.to_picture, self.at, FAR);
            if further.likeness > found.likeness + 0.05 {
                found = further;
            }
        }
        if found.likeness < LOST {
            return false;
        }
        self.at = (found.dx, found.dy);
        true
    }

    fn skip(&mut self) {
        self.measured.lost += 1;
        self.mouth.skip();
        self.measured.upper_psnr.extend(self.measured.upper_psnr.last().copied());
        self.measured.upper_luma.extend(self.measured.upper_luma.last().copied());
    }
}

/// Luma and Cr of an I420 frame.
pub fn colour(frame: &Frame) -> Colour<'_> {
    let planes = frame.planes().expect("score asks its sources for I420");
    let (width, height) = (frame.size().width as usize, frame.size().height as usize);
    Colour {
        luma: Plane { data: planes.y, width, height },
        cr: Plane { data: planes.v, width: width / 2, height: height / 2 },
    }
}
