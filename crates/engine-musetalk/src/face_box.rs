//! From a face's points to the box that the nets see and that is pasted back: MuseTalk's upper half is as high as the lower one, from the
//! bridge of the nose to the chin. Where the points make no box, the detector's is taken ("error bbox").
//! Reference: `get_landmark_and_bbox` of `musetalk/utils/preprocessing.py` and the margin of v1.5 in `scripts/inference.py`, both at 0a89dec.

use pictures::Rect;

/// In the order of iBUG, x and y in whole pixels of the frame.
pub type FacePoints = [[i32; 2]; 68];

/// The bridge of the nose: its third point halves the face.
const MIDDLE: usize = 29;

/// What the options make of points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoxRule {
    /// Pixels by which the middle of the face is moved down.
    pub bbox_shift: i32,
    /// Pixels that are added below the chin, within the frame.
    pub extra_margin: Option<i32>,
}

impl BoxRule {
    pub fn v1(bbox_shift: i32) -> Self {
        Self { bbox_shift, extra_margin: None }
    }

    /// It knows no shift.
    pub fn v15(extra_margin: i32) -> Self {
        Self { bbox_shift: 0, extra_margin: Some(extra_margin) }
    }

    /// detected: by the face detector, in the same frame
    pub fn face_box(&self, points: &FacePoints, detected: Rect, frame_height: i32) -> FaceBox {
        let middle = points[MIDDLE][1].saturating_add(self.bbox_shift);
        // the shifted point counts among the others, as it does in the reference
        let y = points.iter().enumerate().map(|(i, point)| if i == MIDDLE { middle } else { point[1] });
        let bottom = y.max().unwrap_or(middle);
        let top = middle.saturating_sub(bottom.saturating_sub(middle)).max(0);
        let x = points.map(|point| point[0]);
        let left = x.iter().copied().min().unwrap_or(0);
        let right = x.iter().copied().max().unwrap_or(0);
        let by_points = Rect::new(left, top, right, bottom);
        let (source, mut rect) = if by_points.is_empty() || left < 0 {
            (BoxSource::Detector, detected)
        } else {
            (BoxSource::Points, by_points)
        };
        if let Some(margin) = self.extra_margin {
            rect.y2 = rect.y2.saturating_add(margin).min(frame_height);
        }
        FaceBox { rect, source }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxSource {
    Points,
    /// The points were no box, or lay left of the frame.
    Detector,
}

/// It may leave the frame to the right and, without a margin, below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaceBox {
    pub rect: Rect,
    pub source: BoxSource,
}

#[cfg(test)]
mod tests {
    use super::*;

    const DETECTED: Rect = Rect::new(11, 12, 93, 94);

    /// A face from (20, 30) to (80, 110), the bridge of its nose at 48, 60 and 75.
    fn points() -> FacePoints {
        let mut points = [[50, 70]; 68];
        (points[0], points[16], points[8], points[19]) = ([20, 60], [80, 60], [50, 110], [40, 30]);
        (points[28], points[MIDDLE], points[30]) = ([50, 48], [50, 60], [50, 75]);
        points
    }

    #[test]
    fn boxes() {
        let check = |rule: BoxRule, points: FacePoints, expect: (BoxSource, [i32; 4])| {
            let FaceBox { rect, source } = rule.face_box(&points, DETECTED, 115);
            assert_eq!((source, [rect.x1, rect.y1, rect.x2, rect.y2]), expect, "{rule:?}");
        };
        use BoxSource::{Detector, Points};
        check(BoxRule::v1(0), points(), (Points, [20, 10, 80, 110]));
        check(BoxRule::v1(7), points(), (Points, [20, 24, 80, 110]));
        check(BoxRule::v1(-9), points(), (Points, [20, 0, 80, 110])); // 51 - 59 is above the frame
        check(BoxRule::v1(60), points(), (Detector, [11, 12, 93, 94])); // the middle is the chin: no height
        check(BoxRule::v15(3), points(), (Points, [20, 10, 80, 113]));
        check(BoxRule::v15(10), points(), (Points, [20, 10, 80, 115])); // the frame ends
        check(BoxRule::v15(10), points().map(|[x, y]| [x - 21, y]), (Detector, [11, 12, 93, 104]));
        check(BoxRule::v15(10), points().map(|[_, y]| [50, y]), (Detector, [11, 12, 93, 104]));
        check(BoxRule::v15(0), points().map(|[x, y]| [x + 500, y + 500]), (Points, [520, 510, 580, 115]));
        check(BoxRule::v1(i32::MIN), points(), (Points, [20, 0, 80, 110]));
        check(BoxRule::v1(i32::MAX), points(), (Detector, [11, 12, 93, 94]));
    }
}
