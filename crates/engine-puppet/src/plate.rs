//! `Plate`: the picture that is warped, as three padded I420 planes. The border repeats the outermost pixels, so that the
//! sampler reads its 4x4 neighbourhood anywhere in the picture without asking where the edge is.

use contract::{Planes, Size};

/// Border on each side, in samples: 3 for the sampler's reach, 1 for positions just outside the picture.
pub const PAD: usize = 4;

#[derive(Clone)]
pub struct Plane {
    pub width: usize,
    pub height: usize,
    /// Bytes a padded row.
    pub stride: usize,
    /// Padded rows, `height + 2 PAD` of them.
    pub bytes: Vec<u8>,
}

impl Plane {
    /// `source`: `height` rows of `width` bytes.
    pub fn new(width: usize, height: usize, source: &[u8]) -> Self {
        let stride = width + 2 * PAD;
        let mut plane = Self { width, height, stride, bytes: vec![0; stride * (height + 2 * PAD)] };
        plane.fill(source);
        plane
    }

    /// Replaces the picture; same size.
    pub fn fill(&mut self, source: &[u8]) {
        let (width, stride) = (self.width, self.stride);
        for (y, line) in source.chunks_exact(width).enumerate() {
            let row = &mut self.bytes[(y + PAD) * stride..(y + PAD + 1) * stride];
            row[..PAD].fill(line[0]);
            row[PAD..PAD + width].copy_from_slice(line);
            row[PAD + width..].fill(line[width - 1]);
        }
        for k in 0..PAD {
            self.bytes.copy_within(PAD * stride..(PAD + 1) * stride, k * stride);
            let last = PAD + self.height - 1;
            self.bytes.copy_within(last * stride..(last + 1) * stride, (last + 1 + k) * stride);
        }
    }

    pub fn row(&self, y: usize) -> &[u8] {
        let start = (y + PAD) * self.stride + PAD;
        &self.bytes[start..start + self.width]
    }

    pub fn row_mut(&mut self, y: usize) -> &mut [u8] {
        let start = (y + PAD) * self.stride + PAD;
        &mut self.bytes[start..start + self.width]
    }

    /// Bilinear sample at a position in samples; outside, the border goes on.
    pub fn sample(&self, x: f32, y: f32) -> f32 {
        let x = x.clamp(0.0, (self.width - 1) as f32);
        let y = y.clamp(0.0, (self.height - 1) as f32);
        let (ix, iy) = (x as usize, y as usize);
        let (fx, fy) = (x - ix as f32, y - iy as f32);
        let at = (iy + PAD) * self.stride + ix + PAD;
        let px = |o: usize| f32::from(self.bytes[at + o]);
        let top = px(0) + (px(1) - px(0)) * fx;
        let bottom = px(self.stride) + (px(self.stride + 1) - px(self.stride)) * fx;
        top + (bottom - top) * fy
    }
}

#[derive(Clone)]
pub struct Plate {
    pub(crate) y: Plane,
    pub(crate) u: Plane,
    pub(crate) v: Plane,
}

impl Plate {
    pub fn new(size: Size, planes: Planes<'_>) -> Self {
        let (w, h) = (size.width as usize, size.height as usize);
        Self {
            y: Plane::new(w, h, planes.y),
            u: Plane::new(w / 2, h / 2, planes.u),
            v: Plane::new(w / 2, h / 2, planes.v),
        }
    }

    /// Replaces the picture; same size.
    pub fn fill(&mut self, planes: Planes<'_>) {
        self.y.fill(planes.y);
        self.u.fill(planes.u);
        self.v.fill(planes.v);
    }

    /// Y, U, V at a position in luma pixels.
    pub fn sample(&self, x: f32, y: f32) -> [f32; 3] {
        let (cx, cy) = (x * 0.5 - 0.25, y * 0.5 - 0.25);
        [self.y.sample(x, y), self.u.sample(cx, cy), self.v.sample(cx, cy)]
    }

    /// The whole picture, as an I420 frame's bytes.
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        out.clear();
        for plane in [&self.y, &self.u, &self.v] {
            for y in 0..plane.height {
                out.extend_from_slice(plane.row(y));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_repeats_and_the_picture_survives() {
        let size = Size::new(4, 4);
        let data: Vec<u8> = (0..24).collect();
        let planes = Planes { y: &data[..16], u: &data[16..20], v: &data[20..] };
        let plate = Plate::new(size, planes);
        let mut out = Vec::new();
        plate.copy_to(&mut out);
        assert_eq!(out, data);
        assert_eq!(plate.y.bytes[0], 0, "corner");
        assert_eq!(*plate.y.bytes.last().unwrap(), 15, "corner");
        assert_eq!(plate.y.sample(1.5, 0.5), 3.5);
        assert_eq!(plate.y.sample(-9.0, 99.0), 12.0);
    }
}
