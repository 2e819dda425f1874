//! Where the measured parts of a face lie in its canonical frame (pupils at (56, 50) and (136, 50)).

use crate::patch::Window;
use face::{Face, Similarity};

/// What the measurement needs to know of a face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Geometry {
    /// Picture px -> canonical px.
    pub canon: Similarity,
    /// Centre of the resting mouth, canonical px.
    pub mouth: (f32, f32),
}

/// Nose bridge and nostrils: the part of a face that speech moves least.
pub const NOSE: Window = Window { x: 71.0, y: 45.0, width: 50, height: 38 };
/// Brows to nose: its likeness is the identity, its mean luma the flicker.
pub const UPPER_FACE: Window = Window { x: 30.0, y: 20.0, width: 132, height: 92 };

impl Geometry {
    pub fn of(face: &Face) -> Self {
        let line = face.mouth.upper.iter().zip(&face.mouth.lower);
        let height = line.map(|(upper, lower)| (upper + lower) / 2.0).sum::<f32>()
            / face.mouth.upper.len().max(1) as f32;
        Self { canon: face.canon, mouth: (face.mouth.center_x, height) }
    }

    /// Between nose and mouth, for the brightness of the skin.
    pub fn skin(&self) -> Window {
        self.around_mouth(60, 15, -35.0)
    }

    /// Middle columns of the mouth, from above the lips to where the lower lip drops.
    pub fn lips(&self) -> Window {
        self.around_mouth(40, 42, -13.0)
    }

    pub fn chin(&self) -> Window {
        self.around_mouth(36, 28, 22.0)
    }

    fn around_mouth(&self, width: usize, height: usize, top: f32) -> Window {
        Window { x: self.mouth.0 - width as f32 / 2.0, y: self.mouth.1 + top, width, height }
    }
}
