//! Looking at a luma plane through the canonical frame of a face: `Plane` is the picture, `Patch` a resampled window of it.
//! Luma is stretched from BT.709's 16..235 to 0..255, so that "half as bright as the skin" means what it says.

use face::Similarity;

/// A borrowed plane of bytes without padding.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    pub data: &'a [u8],
    pub width: usize,
    pub height: usize,
}

/// A rectangle of the canonical frame: one sample a canonical px, the first at (`x`, `y`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub x: f32,
    pub y: f32,
    pub width: usize,
    pub height: usize,
}

/// Samples of a window, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patch {
    pub data: Vec<f32>,
    pub width: usize,
    pub height: usize,
}

impl Window {
    pub fn shifted(self, dx: f32, dy: f32) -> Self {
        Self { x: self.x + dx, y: self.y + dy, ..self }
    }

    pub fn grown(self, left: usize, right: usize, up: usize, down: usize) -> Self {
        Self {
            x: self.x - left as f32,
            y: self.y - up as f32,
            width: self.width + left + right,
            height: self.height + up + down,
        }
    }
}

impl Plane<'_> {
    /// The bytes under `window`, raw; `to_picture` maps canonical px to px of this plane.
    /// Samples are the mean of enough bilinear taps that a large face does not alias.
    pub fn cut(&self, to_picture: &Similarity, window: Window) -> Patch {
        let taps = (to_picture.scale() / 1.4).ceil().clamp(1.0, 6.0) as usize;
        let mut data = Vec::with_capacity(window.width * window.height);
        let share = 1.0 / (taps * taps) as f32;
        let first = 0.5 / taps as f32 - 0.5;
        for row in 0..window.height {
            for column in 0..window.width {
                let (x, y) = (window.x + column as f32, window.y + row as f32);
                if taps == 1 {
                    let (px, py) = to_picture.apply(x, y);
                    data.push(self.bilinear(px, py));
                    continue;
                }
                let mut sum = 0.0;
                for tap in 0..taps * taps {
                    let dx = first + (tap % taps) as f32 / taps as f32;
                    let dy = first + (tap / taps) as f32 / taps as f32;
                    let (px, py) = to_picture.apply(x + dx, y + dy);
                    sum += self.bilinear(px, py);
                }
                data.push(sum * share);
            }
        }
        Patch { data, width: window.width, height: window.height }
    }

    fn bilinear(&self, x: f32, y: f32) -> f32 {
        let x = x.clamp(0.0, (self.width - 1) as f32);
        let y = y.clamp(0.0, (self.height - 1) as f32);
        let (x0, y0) =
            ((x as usize).min(self.width.saturating_sub(2)), (y as usize).min(self.height.saturating_sub(2)));
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let right = usize::from(self.width > 1);
        let down = if self.height > 1 { self.width } else { 0 };
        let at = y0 * self.width + x0;
        let [a, b, c, d] = [at, at + right, at + down, at + down + right].map(|i| f32::from(self.data[i]));
        let top = a + (b - a) * fx;
        top + (c + (d - c) * fx - top) * fy
    }
}

impl Patch {
    pub fn at(&self, x: usize, y: usize) -> f32 {
        self.data[y * self.width + x]
    }

    /// Limited-range luma becomes 0..255 (and a little beyond where the encoder overshot).
    pub fn into_full_range(mut self) -> Self {
        for value in &mut self.data {
            *value = (*value - 16.0) * (255.0 / 219.0);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_is_sampled_where_the_map_says() {
        let (width, height) = (40, 30);
        let data: Vec<u8> = (0..width * height).map(|i| (i % width * 4 + i / width) as u8).collect();
        let plane = Plane { data: &data, width, height };
        for scale in [0.7f32, 1.0, 3.0] {
            let map = Similarity { a: scale, b: 0.0, tx: 4.0, ty: 5.0 };
            let patch = plane.cut(&map, Window { x: 1.0, y: 2.0, width: 5, height: 4 });
            let (x, y) = map.apply(3.0, 4.0);
            assert!((patch.at(2, 2) - (4.0 * x + y)).abs() < 0.01, "scale {scale}: {}", patch.at(2, 2));
        }
    }
}
