//! Without checkpoints: the built-in detector and tracker, and the proportions of a face. The box reaches from ear to ear and from as far above
//! the bridge of the nose as the chin is below it; what belongs to the face is an ellipse.

use contract::{EngineError, Frame, Layout, Size};
use face::{Detector, EYE_DISTANCE, EYE_X, EYE_Y, Face, Similarity, Tracker, measure};

use super::{Seen, Sight, chosen, failed};
use crate::face_box::BoxRule;
use crate::settings::Choice;
use pictures::{Plane, Rect, View};

/// Lengths in distances of the pupils, measured from between them, down and to the side (adults; Farkas 1994: 63 mm between the pupils, 118 mm from
/// there to the chin, 138 mm from cheek to cheek).
const CHIN: f32 = 1.87;
const BRIDGE: f32 = 0.35;
const CHEEK: f32 = 1.10;
/// The nose, which the parser's jaw leaves out: its middle and its half axes.
const NOSE: (f32, f32, f32) = (0.45, 0.22, 0.25);

/// The parser's classes.
const BACKGROUND: u8 = 0;
const SKIN: u8 = 1;
const NOSE_CLASS: u8 = 10;

pub struct Classical {
    rule: BoxRule,
    choice: Choice,
    detector: Detector,
    tracker: Option<Box<Tracker>>,
    others: usize,
}

impl Classical {
    pub fn new(rule: BoxRule, choice: Choice) -> Self {
        Self { rule, choice, detector: Detector::new(), tracker: None, others: 0 }
    }

    fn first(&mut self, frame: &Frame) -> Result<Option<Face>, EngineError> {
        let mut boxes = self.detector.detect(frame);
        chosen(self.choice, boxes.len())?;
        if let Choice::Nth(_) = self.choice {
            boxes.sort_by(|a, b| (a.x + a.width / 2.0).total_cmp(&(b.x + b.width / 2.0)));
        }
        let at = match self.choice {
            Choice::Main => 0,
            Choice::Nth(n) => n as usize - 1,
        };
        let Some(&found) = boxes.get(at) else { return Ok(None) };
        let face = measure(frame, found);
        self.others = boxes.len() - 1;
        self.tracker = Some(Box::new(Tracker::new(frame, face.clone())));
        Ok(Some(face))
    }
}

impl Sight for Classical {
    fn see(&mut self, frame: View<3>) -> Result<Option<Seen>, EngineError> {
        let height = frame.height() as f32;
        let frame = i420(frame)?;
        let face = match &mut self.tracker {
            None => self.first(&frame)?,
            Some(tracker) => {
                let tracked = tracker.follow(&frame);
                (tracked.quality > 0.0).then_some(tracked.face)
            }
        };
        Ok(face.map(|face| Seen {
            edges: edges(&face.canon, self.rule, height),
            canon: Some(face.canon),
            confidence: face.confidence,
            others: self.others,
        }))
    }

    fn parse(&mut self, input: View<3>, square: Rect, seen: &Seen) -> Result<Plane, EngineError> {
        let (w, h) = input.size();
        let canon = seen.canon.ok_or_else(|| failed("a face without geometry"))?;
        let pixel = (square.width() as f32 / w as f32, square.height() as f32 / h as f32);
        let mut classes = Vec::with_capacity(w * h);
        for y in 0..h {
            let below = square.y1 as f32 + (y as f32 + 0.5) * pixel.1;
            classes.extend((0..w).map(|x| {
                let beside = square.x1 as f32 + (x as f32 + 0.5) * pixel.0;
                class(canon.apply(beside, below))
            }));
        }
        Plane::new(classes, (w, h)).map_err(failed)
    }
}

/// The class of a place in the canonical frame.
fn class((x, y): (f32, f32)) -> u8 {
    let (beside, below) = ((x - (EYE_X[0] + EYE_X[1]) / 2.0) / EYE_DISTANCE, (y - EYE_Y) / EYE_DISTANCE);
    let inside = |(middle, half_width, half_height): (f32, f32, f32)| {
        (beside / half_width).powi(2) + ((below - middle) / half_height).powi(2) <= 1.0
    };
    if inside(NOSE) {
        NOSE_CLASS
    } else if inside((BRIDGE, CHEEK, CHIN - BRIDGE)) {
        SKIN
    } else {
        BACKGROUND
    }
}

/// The box, upright whatever the head does.
fn edges(canon: &Similarity, rule: BoxRule, frame_height: f32) -> [f32; 4] {
    let back = canon.inverse();
    let distance = EYE_DISTANCE * back.scale();
    let between = (EYE_X[0] + EYE_X[1]) / 2.0;
    let (x, chin) = back.apply(between, EYE_Y + (CHIN - 0.08) * EYE_DISTANCE);
    let (middle_x, middle) = back.apply(between, EYE_Y + BRIDGE * EYE_DISTANCE);
    let middle_x = (x + middle_x) / 2.0;
    let middle = middle + rule.bbox_shift as f32;
    let bottom = rule.extra_margin.map_or(chin, |margin| (chin + margin as f32).min(frame_height));
    [middle_x - CHEEK * distance, (2.0 * middle - chin).max(0.0), middle_x + CHEEK * distance, bottom]
}

/// An even number of rows and columns of it, as the detector takes them.
fn i420(frame: View<3>) -> Result<Frame, EngineError> {
    let (w, h) = (frame.width() & !1, frame.height() & !1);
    if w < 2 || h < 2 {
        return Err(failed(format!("a frame of {}x{} pixels is too small", frame.width(), frame.height())));
    }
    let (mut y, mut u, mut v) =
        (Vec::with_capacity(w * h * 3 / 2), Vec::with_capacity(w * h / 4), Vec::with_capacity(w * h / 4));
    for row in 0..h {
        y.extend(frame.row(row)[..w * 3].as_chunks::<3>().0.iter().map(luma));
    }
    for row in (0..h).step_by(2) {
        let (upper, lower) = (&frame.row(row)[..w * 3], &frame.row(row + 1)[..w * 3]);
        for (a, b) in upper.as_chunks::<6>().0.iter().zip(lower.as_chunks::<6>().0) {
            let mean: [f32; 3] = std::array::from_fn(|c| {
                (f32::from(a[c]) + f32::from(a[c + 3]) + f32::from(b[c]) + f32::from(b[c + 3])) / 4.0
            });
            let [_, cb, cr] = contract::rgb_to_yuv(mean);
            u.push(cb.round() as u8);
            v.push(cr.round() as u8);
        }
    }
    y.append(&mut u);
    y.append(&mut v);
    Frame::new(Size::new(w as u32, h as u32), Layout::I420, y).map_err(failed)
}

/// BT.709 in limited range, in 16 bits of fraction.
fn luma(&[r, g, b]: &[u8; 3]) -> u8 {
    const SCALE: f64 = 219.0 / 255.0 * 65_536.0;
    const R: u32 = (0.2126 * SCALE) as u32;
    const G: u32 = (0.7152 * SCALE) as u32;
    const B: u32 = (0.0722 * SCALE) as u32;
    ((R * u32::from(r) + G * u32::from(g) + B * u32::from(b) + (16 << 16) + (1 << 15)) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_is_as_high_above_the_bridge_as_below() {
        // pupils 80 px apart, upright, at the canonical places moved by 200
        let canon = Similarity { a: 1.0, b: 0.0, tx: -200.0, ty: -200.0 };
        let [x1, y1, x2, y2] = edges(&canon, BoxRule::v1(0), 1000.0);
        let middle = 200.0 + EYE_Y + BRIDGE * EYE_DISTANCE;
        assert!(((y1 + y2) / 2.0 - middle).abs() < 1e-3, "{y1} {y2}");
        assert!(((x1 + x2) / 2.0 - 296.0).abs() < 1e-3 && (x2 - x1 - 176.0).abs() < 1e-3);
        assert_eq!(edges(&canon, BoxRule::v15(10), 1000.0)[3], y2 + 10.0);
        assert_eq!(edges(&canon, BoxRule::v15(10), 300.0)[3], 300.0);
        assert!(edges(&canon, BoxRule::v1(7), 1000.0)[1] > y1 + 13.0);
    }

    #[test]
    fn a_face_is_skin_around_a_nose() {
        let (x, y) = (96.0, EYE_Y);
        assert_eq!(class((x, y + 0.5 * EYE_DISTANCE)), NOSE_CLASS);
        assert_eq!(class((x, y + 1.2 * EYE_DISTANCE)), SKIN);
        assert_eq!(class((x, y + 2.0 * EYE_DISTANCE)), BACKGROUND);
        assert_eq!(class((x + 1.2 * EYE_DISTANCE, y + 0.4 * EYE_DISTANCE)), BACKGROUND);
    }

    #[test]
    fn grey_stays_grey() {
        for value in [0u8, 128, 255] {
            let bytes = vec![value; 5 * 3 * 3];
            let frame = i420(View::new(&bytes, (5, 3)).unwrap()).unwrap();
            assert_eq!(frame.size(), Size::new(4, 2));
            let planes = frame.planes().unwrap();
            let want = (16.0 + f32::from(value) * 219.0 / 255.0).round() as u8;
            assert!(planes.y.iter().all(|&y| y.abs_diff(want) <= 1), "{value} {:?}", planes.y);
            assert!(planes.u.iter().chain(planes.v).all(|&c| c == 128));
        }
    }
}
