//! From a box to a face: eyes, canonical frame, mouth line, lids; then the gates that say what of it can be trusted.

use contract::{Complaint, Frame, Landmarks, Point, Warning};

use crate::blur::gaussian;
use crate::canonical::Canonical;
use crate::eyes::{BOX, CROP, EyePair, FaceCrop, MARGIN, find_eyes, mirror_likeness, pupil_contrast};
use crate::lab::LabTables;
use crate::lids::lids;
use crate::lips::lips;
use crate::model::{EYE_DISTANCE, EYE_X, EYE_Y, Eye, Face, FaceBox, Gates, MouthLine, Similarity};
use crate::mouth_anchor::{Anchors, trace_anchored};
use crate::mouth_line::{Trace, trace, valleys};
use crate::mouth_map::{MouthMap, PRIOR};
use crate::plane::Plane;
use crate::resample::{Grid, luma_of};

/// Mouth widths, in eye distances, that real mouths have.
const MOUTH_RATIO: std::ops::RangeInclusive<f32> = 0.52..=1.0;
/// Distance of the eyes in widths of SeetaFace's box: .35 to .48 in faces seen from the front, up to .32 in profiles, whose
/// far eye is hidden and whose "eyes" are something else.
const MIN_EYE_SPAN: f32 = 0.33;
/// Below this score the detector is not sure that the face is frontal, and the eyes have to be
const UNSURE_SCORE: f32 = 12.0;
/// this far apart.
const UNSURE_EYE_SPAN: f32 = 0.36;
/// Below this likeness of the eyes no blink is drawn.
const MIN_MIRROR_NCC: f32 = 0.40;
/// Below this contrast of a pupil, grey levels, no blink is drawn.
const MIN_EYE_CONTRAST: f32 = 25.0;
/// Half width of the mouth that is assumed where none was found, canonical px.
const PRIOR_HALF_WIDTH: usize = 32;
/// Eyes nearer than this, px of the frame, are no landmarks to work with.
const MIN_EYE_DISTANCE: f32 = 6.0;

/// Measures the face in a detector's box. Always gives a face; `gates` and `confidence` say how far to trust it.
pub fn measure(frame: &Frame, bounds: FaceBox) -> Face {
    let tables = LabTables::new();
    let canon = eyes_in(frame, &bounds, &tables);
    let face = Canonical::new(frame, &canon, &tables);
    let redness = redness(&face);
    let map = MouthMap::new(&face.lab.l, &redness, 1);
    let line = trace(&valleys(&face.grey), &map.redness, map.peak());
    let frontal = is_frontal(&bounds, &canon);
    let mouth_ok = MOUTH_RATIO.contains(&line.ratio()) && frontal;
    let mouth = if mouth_ok { lips(&face, &line) } else { prior_mouth() };
    let contrast = pupil_contrast(&face.grey);
    let found = Found { bounds, canon, mouth, mouth_ok, frontal, line, contrast };
    found.face(&face)
}

/// The face as the user's landmarks (pixels of `frame`) say; the mouth line is traced between their three points.
pub fn with_landmarks(frame: &Frame, landmarks: &Landmarks) -> Result<Face, Complaint> {
    check_inside(frame, landmarks)?;
    let pair = |p: Point| (p.x, p.y);
    let (left, right) = (pair(landmarks.left_eye), pair(landmarks.right_eye));
    let distance = (right.0 - left.0).hypot(right.1 - left.1);
    if distance < MIN_EYE_DISTANCE {
        return Err(bad_landmarks(format!(
            "the eyes are {distance:.1} px apart, at least {MIN_EYE_DISTANCE:.0} px are needed"
        )));
    }
    let canon = Similarity::from_eyes(left, right);
    let place = |p: Point| canon.apply(p.x, p.y);
    let anchors = Anchors {
        left: place(landmarks.mouth_left),
        center: place(landmarks.mouth_center),
        right: place(landmarks.mouth_right),
    };
    check_mouth(&anchors)?;
    let face = Canonical::new(frame, &canon, &LabTables::new());
    let line = trace_anchored(&valleys(&face.grey), &anchors);
    let mouth = lips(&face, &line);
    let contrast = pupil_contrast(&face.grey);
    let bounds = box_around(&canon);
    let found = Found { bounds, canon, mouth, mouth_ok: true, frontal: true, line, contrast };
    Ok(Face { confidence: 1.0, ..found.face(&face) })
}

fn check_inside(frame: &Frame, landmarks: &Landmarks) -> Result<(), Complaint> {
    let (w, h) = (frame.size().width as f32, frame.size().height as f32);
    let named = [
        ("left_eye", landmarks.left_eye),
        ("right_eye", landmarks.right_eye),
        ("mouth_left", landmarks.mouth_left),
        ("mouth_right", landmarks.mouth_right),
        ("mouth_center", landmarks.mouth_center),
    ];
    for (name, Point { x, y }) in named {
        if !((0.0..w).contains(&x) && (0.0..h).contains(&y)) {
            return Err(bad_landmarks(format!(
                "{name} ({x:.0}, {y:.0}) lies outside the picture of {w}x{h} px"
            )));
        }
    }
    Ok(())
}

/// In the canonical frame a mouth is below the eyes, 20 to 150 px wide, its middle between its corners.
fn check_mouth(anchors: &Anchors) -> Result<(), Complaint> {
    let width = anchors.right.0 - anchors.left.0;
    if !(20.0..=150.0).contains(&width) {
        return Err(bad_landmarks(format!(
            "the mouth is {:.2} eye distances wide, 0.25 to 1.9 are accepted (left and right are the viewer's)",
            width / 80.0
        )));
    }
    let (low, high) = (anchors.left.0 + 0.2 * width, anchors.right.0 - 0.2 * width);
    if !(low..=high).contains(&anchors.center.0) {
        return Err(bad_landmarks("mouth_center does not lie between mouth_left and mouth_right".into()));
    }
    let ys = [anchors.left.1, anchors.center.1, anchors.right.1];
    if ys.iter().any(|y| !(EYE_Y + 25.0..=205.0).contains(y)) {
        return Err(bad_landmarks("the mouth does not lie below the eyes, as far as mouths do".into()));
    }
    Ok(())
}

fn bad_landmarks(message: String) -> Complaint {
    Complaint::new(
        "bad_landmarks",
        message,
        "give left_eye, right_eye, mouth_left, mouth_right and mouth_center in pixels of the upright picture, left and right as the viewer sees them",
    )
}

/// The canonical frame by the best pair of eyes in the box.
fn eyes_in(frame: &Frame, bounds: &FaceBox, tables: &LabTables) -> Similarity {
    let scale = BOX / bounds.width.max(1.0);
    let to_crop =
        Similarity { a: scale, b: 0.0, tx: MARGIN - bounds.x * scale, ty: MARGIN - bounds.y * scale };
    let rgb = Grid { to_grid: to_crop, width: CROP, height: CROP }.rgb(frame);
    let lab = tables.convert(&rgb, CROP, CROP);
    let luma = Plane::new(CROP, CROP, rgb.iter().map(|&pixel| luma_of(pixel)).collect());
    let redness = lab.a.zip(&lab.b, |a, b| a - 0.35 * b);
    let crop = FaceCrop { soft: gaussian(&luma, 1.5, 1.5), lightness: lab.l, redness, luma };
    let (left, right) = find_eyes(&crop).map_or_else(
        // where SeetaFace's boxes have the eyes on the average
        || ((MARGIN + 0.3 * BOX, MARGIN + 0.385 * BOX), (MARGIN + 0.7 * BOX, MARGIN + 0.385 * BOX)),
        |EyePair { left, right, .. }| (left, right),
    );
    let back = to_crop.inverse();
    Similarity::from_eyes(back.apply(left.0, left.1), back.apply(right.0, right.1))
}

/// Distance of the eyes in widths of the box.
fn eye_span(bounds: &FaceBox, canon: &Similarity) -> f32 {
    EYE_DISTANCE / canon.scale() / bounds.width.max(1.0)
}

fn is_frontal(bounds: &FaceBox, canon: &Similarity) -> bool {
    let least = if bounds.score < UNSURE_SCORE { UNSURE_EYE_SPAN } else { MIN_EYE_SPAN };
    eye_span(bounds, canon) >= least
}

pub(crate) fn redness(face: &Canonical) -> Plane {
    face.lab.a.zip(&face.lab.b, |a, b| a - 0.35 * b)
}

/// What was found before it is judged.
struct Found {
    bounds: FaceBox,
    canon: Similarity,
    mouth: MouthLine,
    mouth_ok: bool,
    frontal: bool,
    line: Trace,
    contrast: [f32; 2],
}

impl Found {
    fn face(self, face: &Canonical) -> Face {
        let mirror_ncc = mirror_likeness(&gaussian(&face.grey, 1.2, 1.2));
        let least = self.contrast[0].min(self.contrast[1]);
        let gates = Gates {
            mouth_ratio: self.line.ratio(),
            mirror_ncc,
            mouth_ok: self.mouth_ok,
            eyes_ok: self.frontal && mirror_ncc >= MIN_MIRROR_NCC && least >= MIN_EYE_CONTRAST,
        };
        let lids = lids(face);
        let eyes = [0, 1].map(|i: usize| Eye {
            lid_top: lids[i].0,
            lid_bottom: lids[i].1,
            contrast: self.contrast[i],
        });
        let confidence = confidence(&gates, &self.line, least, self.bounds.score);
        Face { bounds: self.bounds, canon: self.canon, mouth: self.mouth, eyes, gates, confidence }
    }
}

/// 0..1: the detector's score, the mouth (width, depth of its line) and the eyes (likeness, contrast); a closed gate caps it.
fn confidence(gates: &Gates, line: &Trace, contrast: f32, score: f32) -> f32 {
    let ramp = |v: f32, from: f32, to: f32| ((v - from) / (to - from)).clamp(0.0, 1.0);
    let detected = ramp(score, 5.0, 20.0);
    let width = ramp(gates.mouth_ratio, 0.55, 0.65).min(ramp(-gates.mouth_ratio, -1.05, -0.95));
    let mouth = 0.7 * width + 0.3 * ramp(line.depth, 1.0, 5.0);
    let eyes = 0.5 * ramp(gates.mirror_ncc, 0.1, 0.6) + 0.5 * ramp(contrast, 5.0, 40.0);
    let sum = 0.25 * detected + 0.40 * mouth + 0.35 * eyes;
    match (gates.mouth_ok, gates.eyes_ok) {
        (true, true) => sum,
        (true, false) => sum.min(0.7),
        (false, true) => sum.min(0.45),
        (false, false) => sum.min(0.3),
    }
}

/// A closed mouth at the usual place, for faces whose own was not found.
fn prior_mouth() -> MouthLine {
    let line = vec![PRIOR.1; 2 * PRIOR_HALF_WIDTH + 1];
    MouthLine {
        x0: PRIOR.0 - PRIOR_HALF_WIDTH as f32,
        lower: line.clone(),
        upper: line,
        center_x: PRIOR.0,
        half_width: PRIOR_HALF_WIDTH as f32,
        open: false,
    }
}

/// The box SeetaFace would have drawn around these eyes.
fn box_around(canon: &Similarity) -> FaceBox {
    let back = canon.inverse();
    let side = 2.5 * EYE_DISTANCE * back.scale();
    let (x, y) = back.apply((EYE_X[0] + EYE_X[1]) / 2.0, EYE_Y);
    FaceBox { x: x - side / 2.0, y: y - 0.385 * side, width: side, height: side, score: 0.0 }
}

impl Face {
    /// Eyes and mouth in pixels of the frame.
    pub fn landmarks(&self) -> Landmarks {
        let back = self.canon.inverse();
        let place = |x: f32, y: f32| {
            let (x, y) = back.apply(x, y);
            Point { x, y }
        };
        let mouth = &self.mouth;
        let end = mouth.upper.len() - 1;
        let middle = |i: usize| (mouth.upper[i] + mouth.lower[i]) / 2.0;
        Landmarks {
            left_eye: place(EYE_X[0], EYE_Y),
            right_eye: place(EYE_X[1], EYE_Y),
            mouth_left: place(mouth.x0, middle(0)),
            mouth_right: place(mouth.x0 + end as f32, middle(end)),
            mouth_center: place(mouth.x0 + (end / 2) as f32, middle(end / 2)),
        }
    }

    /// What the user should know about this face before watching the take.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if !self.gates.mouth_ok {
            let ratio = self.gates.mouth_ratio;
            let doubt = if MOUTH_RATIO.contains(&ratio) {
                format!(
                    "its eyes are {:.2} of its width apart, expected .36 and more",
                    eye_span(&self.bounds, &self.canon)
                )
            } else {
                let (low, high) = (MOUTH_RATIO.start(), MOUTH_RATIO.end());
                format!("its mouth is {ratio:.2} eye distances wide, expected {low:.2} to {high:.2}")
            };
            warnings.push(Warning::new(
                "low_confidence_face",
                format!(
                    "the face does not look frontal ({doubt}): its mouth is assumed at the usual place and moves less; \
                     a frontal portrait or --landmarks gives a better take"
                ),
            ));
        }
        if !self.gates.eyes_ok {
            let (contrast, likeness) =
                (self.eyes[0].contrast.min(self.eyes[1].contrast), self.gates.mirror_ncc);
            let doubt = if likeness < MIN_MIRROR_NCC {
                format!("they are {likeness:.2} alike, at least {MIN_MIRROR_NCC:.2} is needed")
            } else if contrast < MIN_EYE_CONTRAST {
                format!("their contrast is {contrast:.0}, at least {MIN_EYE_CONTRAST:.0} is needed")
            } else {
                "the face does not look frontal".to_string()
            };
            let message = format!("the eyes were not found for sure ({doubt}): they do not blink");
            warnings.push(Warning::new("no_blink", message));
        }
        warnings
    }
}
