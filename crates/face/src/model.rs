//! What is known of a face. Two coordinate systems: the picture's pixels, and the *canonical frame* of 192x224 px in which the
//! eyes lie at (56, 50) and (136, 50), 80 px apart. All lengths of mouth and lids are canonical px.

/// Size of the canonical frame.
pub const CANON_WIDTH: usize = 192;
pub const CANON_HEIGHT: usize = 224;
/// Canonical x of the viewer's left and right pupil, and their y.
pub const EYE_X: [f32; 2] = [56.0, 136.0];
pub const EYE_Y: f32 = 50.0;
/// Canonical distance of the pupils.
pub const EYE_DISTANCE: f32 = 80.0;

/// A detector's box, in pixels of the searched frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaceBox {
    pub x: f32,
    pub y: f32,
    pub width: f32,
    pub height: f32,
    /// SeetaFace's score; 5 and more is accepted, good frontal faces have 20 to 40.
    pub score: f32,
}

/// Rotation, uniform scale and shift: `(x, y) -> (a x - b y + tx, b x + a y + ty)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Similarity {
    pub a: f32,
    pub b: f32,
    pub tx: f32,
    pub ty: f32,
}

impl Similarity {
    /// The map that takes the two pupils (picture pixels, viewer's left first) to their canonical places.
    pub fn from_eyes(left: (f32, f32), right: (f32, f32)) -> Self {
        let (dx, dy) = (right.0 - left.0, right.1 - left.1);
        let d2 = (dx * dx + dy * dy).max(1e-6);
        let (a, b) = (EYE_DISTANCE * dx / d2, -EYE_DISTANCE * dy / d2);
        Self { a, b, tx: EYE_X[0] - (a * left.0 - b * left.1), ty: EYE_Y - (b * left.0 + a * left.1) }
    }

    pub fn apply(&self, x: f32, y: f32) -> (f32, f32) {
        (self.a * x - self.b * y + self.tx, self.b * x + self.a * y + self.ty)
    }

    pub fn inverse(&self) -> Self {
        let d = self.a * self.a + self.b * self.b;
        let (a, b) = (self.a / d, -self.b / d);
        Self { a, b, tx: -(a * self.tx - b * self.ty), ty: -(b * self.tx + a * self.ty) }
    }

    /// Canonical px per picture px.
    pub fn scale(&self) -> f32 {
        self.a.hypot(self.b)
    }

    /// First `self`, then `next`.
    pub fn then(&self, next: &Similarity) -> Self {
        let (tx, ty) = next.apply(self.tx, self.ty);
        Self { a: next.a * self.a - next.b * self.b, b: next.b * self.a + next.a * self.b, tx, ty }
    }
}

/// The inner line of the lips, one entry a canonical column from `x0` on. Where the mouth is shut `lower` equals `upper`.
#[derive(Clone, Debug, PartialEq)]
pub struct MouthLine {
    pub x0: f32,
    /// y of the lower edge of the upper lip.
    pub upper: Vec<f32>,
    /// y of the upper edge of the lower lip.
    pub lower: Vec<f32>,
    pub center_x: f32,
    /// Clamped to 24..38.
    pub half_width: f32,
    /// The picture shows an open mouth (teeth or cavity between the lips).
    pub open: bool,
}

/// Lid edges of one eye, y at the pupil's column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eye {
    /// 35..46
    pub lid_top: f32,
    /// 54..63
    pub lid_bottom: f32,
    /// Pupil against sclera and lower lid, grey levels (S of the refinement); below 25 no blink is drawn.
    pub contrast: f32,
}

/// Which measurements passed; what the renderer may do follows from them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gates {
    /// Mouth width / eye distance, expected .52..1.0.
    pub mouth_ratio: f32,
    /// Likeness of one eye and the mirrored other, -1..1; below .40 no blink.
    pub mirror_ncc: f32,
    /// The face is frontal and its mouth was found where a mouth can be; otherwise the prior mouth is used and motion is scaled by 0.6.
    pub mouth_ok: bool,
    pub eyes_ok: bool,
}

/// A face, measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    pub bounds: FaceBox,
    /// Picture px -> canonical px.
    pub canon: Similarity,
    pub mouth: MouthLine,
    /// Viewer's left, right.
    pub eyes: [Eye; 2],
    pub gates: Gates,
    /// 0..1, for the report.
    pub confidence: f32,
}
