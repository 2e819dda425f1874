//! Where a face is, in words a user can read, send back and correct.

/// Pixels, origin at the upper left corner of the upright picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

/// Five points in pixels of the user's own picture. Left and right are the viewer's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Landmarks {
    pub left_eye: Point,
    pub right_eye: Point,
    pub mouth_left: Point,
    pub mouth_right: Point,
    pub mouth_center: Point,
}

impl Landmarks {
    pub fn map(self, f: impl Fn(Point) -> Point) -> Self {
        Self {
            left_eye: f(self.left_eye),
            right_eye: f(self.right_eye),
            mouth_left: f(self.mouth_left),
            mouth_right: f(self.mouth_right),
            mouth_center: f(self.mouth_center),
        }
    }
}

/// Whether the landmarks were found in the picture or given by the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LandmarkOrigin {
    Found,
    Given,
}

/// The landmarks an engine worked with, and how sure it is of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaceReport {
    pub landmarks: Landmarks,
    /// 0 (a guess) .. 1 (every check passed); given landmarks have 1.
    pub confidence: f32,
    pub origin: LandmarkOrigin,
}
