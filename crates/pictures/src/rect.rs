//! Rectangles of whole pixels, such as boxes around faces. They may leave a picture, and may be empty.

/// `x1` and `y1` are inside, `x2` and `y2` no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rect {
    pub x1: i32,
    pub y1: i32,
    pub x2: i32,
    pub y2: i32,
}

impl Rect {
    pub const fn new(x1: i32, y1: i32, x2: i32, y2: i32) -> Self {
        Self { x1, y1, x2, y2 }
    }

    /// A whole picture of `(width, height)`.
    pub fn of((width, height): (usize, usize)) -> Self {
        Self::new(0, 0, width as i32, height as i32)
    }

    /// Not positive where it is empty.
    pub fn width(&self) -> i32 {
        self.x2 - self.x1
    }

    /// Not positive where it is empty.
    pub fn height(&self) -> i32 {
        self.y2 - self.y1
    }

    pub fn is_empty(&self) -> bool {
        self.width() <= 0 || self.height() <= 0
    }

    /// What both share; empty where they share nothing.
    pub fn meet(&self, other: &Self) -> Self {
        Self {
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
            x2: self.x2.min(other.x2),
            y2: self.y2.min(other.y2),
        }
    }

    /// As seen from a picture whose first pixel is `(x, y)`.
    pub fn seen_from(&self, (x, y): (i32, i32)) -> Self {
        Self { x1: self.x1 - x, y1: self.y1 - y, x2: self.x2 - x, y2: self.y2 - y }
    }
}
