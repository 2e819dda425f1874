//! `Plane`: one channel of a picture as f32, row by row. Integer coordinates are the centres of pixels; outside, the edge goes on.

#[derive(Clone, Debug)]
pub(crate) struct Plane {
    pub width: usize,
    pub height: usize,
    pub data: Vec<f32>,
}

impl Plane {
    /// # Panics
    /// When a side is 0 or `data` has another length than width times height: a bug in this crate.
    pub fn new(width: usize, height: usize, data: Vec<f32>) -> Self {
        assert!(width > 0 && height > 0 && data.len() == width * height, "{width}x{height}");
        Self { width, height, data }
    }

    pub fn filled(width: usize, height: usize, value: f32) -> Self {
        Self::new(width, height, vec![value; width * height])
    }

    pub fn row(&self, y: usize) -> &[f32] {
        &self.data[y * self.width..(y + 1) * self.width]
    }

    pub fn at(&self, x: usize, y: usize) -> f32 {
        self.data[y * self.width + x]
    }

    /// The pixel at signed coordinates.
    pub fn clamped(&self, x: i32, y: i32) -> f32 {
        let x = x.clamp(0, self.width as i32 - 1) as usize;
        self.at(x, y.clamp(0, self.height as i32 - 1) as usize)
    }

    pub fn bilinear(&self, x: f32, y: f32) -> f32 {
        let x = x.clamp(0.0, (self.width - 1) as f32);
        let y = y.clamp(0.0, (self.height - 1) as f32);
        let (x0, y0) = (x as usize, y as usize);
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let (x1, y1) = ((x0 + 1).min(self.width - 1), (y0 + 1).min(self.height - 1));
        let top = self.at(x0, y0) + (self.at(x1, y0) - self.at(x0, y0)) * fx;
        let bottom = self.at(x0, y1) + (self.at(x1, y1) - self.at(x0, y1)) * fx;
        top + (bottom - top) * fy
    }

    /// `bilinear` for 0 <= x < width - 1, 0 <= y < height - 1.
    #[inline]
    pub fn bilinear_inside(&self, x: f32, y: f32) -> f32 {
        let (x0, y0) = (x as usize, y as usize);
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let at = y0 * self.width + x0;
        let (top, bottom) = (&self.data[at..at + 2], &self.data[at + self.width..at + self.width + 2]);
        let upper = top[0] + (top[1] - top[0]) * fx;
        let lower = bottom[0] + (bottom[1] - bottom[0]) * fx;
        upper + (lower - upper) * fy
    }

    pub fn zip(&self, other: &Plane, f: impl Fn(f32, f32) -> f32) -> Plane {
        let data = self.data.iter().zip(&other.data).map(|(&a, &b)| f(a, b)).collect();
        Plane::new(self.width, self.height, data)
    }

    pub fn map(mut self, f: impl Fn(f32) -> f32) -> Plane {
        for v in &mut self.data {
            *v = f(*v);
        }
        self
    }

    /// The pixels of columns `x` and rows `y`, as a plane of their own.
    pub fn window(&self, x: std::ops::Range<usize>, y: std::ops::Range<usize>) -> Plane {
        let data = y.clone().flat_map(|row| self.row(row)[x.clone()].iter().copied()).collect();
        Plane::new(x.len(), y.len(), data)
    }

    /// Column and row of the largest value; the first of equals.
    pub fn peak(&self) -> (usize, usize) {
        let mut best = 0;
        for (i, v) in self.data.iter().enumerate() {
            if *v > self.data[best] {
                best = i;
            }
        }
        (best % self.width, best / self.width)
    }
}
