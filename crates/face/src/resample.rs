//! A frame seen through a similarity: luma or colour on a new pixel grid, area-filtered when it shrinks.
//! Luma is BT.709 Y' expanded to 0..255 in both layouts; chroma is taken as left-sited (MPEG-2), as video decoders deliver it.

use contract::{Frame, Layout, rgb_to_yuv, yuv_to_rgb};

use crate::blur::gaussian;
use crate::model::Similarity;
use crate::plane::Plane;

/// A grid of target pixels: `to_grid` takes the frame's pixels to it.
#[derive(Clone, Copy)]
pub(crate) struct Grid {
    pub to_grid: Similarity,
    pub width: usize,
    pub height: usize,
}

impl Grid {
    /// Luma on this grid.
    pub fn luma(&self, frame: &Frame) -> Plane {
        let (w, h) = (frame.size().width as usize, frame.size().height as usize);
        let reach = self.reach(w, h);
        let data = frame.data();
        let shrunk = match frame.layout() {
            Layout::I420 => Shrunk::new(&reach, |x, y| f32::from(data[y * w + x])),
            Layout::Rgb24 => Shrunk::new(&reach, |x, y| {
                let at = 3 * (y * w + x);
                luma_of([data[at], data[at + 1], data[at + 2]].map(f32::from))
            }),
        };
        let plane = self.resample(&shrunk, Enlarging::Sharp);
        if frame.layout() == Layout::I420 { plane.map(|v| (v - 16.0) * (255.0 / 219.0)) } else { plane }
    }

    /// R, G, B on this grid, not clamped.
    pub fn rgb(&self, frame: &Frame) -> Vec<[f32; 3]> {
        let (w, h) = (frame.size().width as usize, frame.size().height as usize);
        let reach = self.reach(w, h);
        match (frame.planes(), frame.layout()) {
            (Some(planes), _) => {
                let half = Grid { to_grid: self.grid_of_chroma(), ..*self };
                let half_reach = half.reach(w / 2, h / 2);
                let y = self
                    .resample(&Shrunk::new(&reach, |x, y| f32::from(planes.y[y * w + x])), Enlarging::Sharp);
                let chroma = |plane: &[u8]| {
                    half.resample(
                        &Shrunk::new(&half_reach, |x, y| f32::from(plane[y * (w / 2) + x])),
                        Enlarging::Smooth,
                    )
                };
                let (u, v) = (chroma(planes.u), chroma(planes.v));
                let pixels = y.data.iter().zip(u.data.iter().zip(&v.data));
                pixels.map(|(&y, (&u, &v))| yuv_to_rgb([y, u, v])).collect()
            }
            (None, _) => {
                let data = frame.data();
                let channel = |c: usize| {
                    self.resample(
                        &Shrunk::new(&reach, |x, y| f32::from(data[3 * (y * w + x) + c])),
                        Enlarging::Sharp,
                    )
                };
                let (r, g, b) = (channel(0), channel(1), channel(2));
                let pixels = r.data.iter().zip(g.data.iter().zip(&b.data));
                pixels.map(|(&r, (&g, &b))| [r, g, b]).collect()
            }
        }
    }

    /// Chroma sample (i, j) sits at luma (2i, 2j + 0.5).
    fn grid_of_chroma(&self) -> Similarity {
        Similarity { a: 2.0, b: 0.0, tx: 0.0, ty: 0.5 }.then(&self.to_grid)
    }

    /// The part of a plane of `w` x `h` that this grid touches, and by how much it is to be shrunk at first.
    fn reach(&self, w: usize, h: usize) -> Reach {
        let back = self.to_grid.inverse();
        let (gw, gh) = (self.width as f32 - 1.0, self.height as f32 - 1.0);
        let corners = [(0.0, 0.0), (gw, 0.0), (0.0, gh), (gw, gh)].map(|(x, y)| back.apply(x, y));
        let factor = back.scale();
        let by = (factor as usize).clamp(1, 64);
        let margin = 2.0 * factor.clamp(1.0, 64.0) + 2.0;
        let span = |values: [f32; 4], size: usize| {
            let low = values.iter().copied().fold(f32::INFINITY, f32::min) - margin;
            let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max) + margin;
            let first = low.clamp(0.0, (size - 1) as f32) as usize;
            let end = (high.clamp(0.0, (size - 1) as f32) as usize + 1).max(first + 1);
            (first, end)
        };
        Reach { x: span(corners.map(|c| c.0), w), y: span(corners.map(|c| c.1), h), by, factor }
    }

    fn resample(&self, shrunk: &Shrunk, enlarging: Enlarging) -> Plane {
        let back = self.to_grid.inverse().then(&shrunk.placed);
        // what is left to shrink after the whole factor
        let left = shrunk.factor / shrunk.by as f32;
        let blurred;
        let plane = if left > 1.2 {
            blurred = gaussian(&shrunk.plane, 0.4 * left, 0.4 * left);
            &blurred
        } else {
            &shrunk.plane
        };
        let sharp = shrunk.factor < 0.9 && enlarging == Enlarging::Sharp;
        let mut out = Vec::with_capacity(self.width * self.height);
        for y in 0..self.height {
            let (x0, y0) = back.apply(0.0, y as f32);
            let place = |x: usize| (x0 + back.a * x as f32, y0 + back.b * x as f32);
            if sharp {
                out.extend((0..self.width).map(place).map(|(x, y)| cubic(plane, x, y)));
            } else {
                let inside = |(x, y): (f32, f32)| {
                    x >= 0.0 && y >= 0.0 && x < (plane.width - 1) as f32 && y < (plane.height - 1) as f32
                };
                // a straight line lies inside if both its ends do
                if inside(place(0)) && inside(place(self.width - 1)) {
                    out.extend((0..self.width).map(place).map(|(x, y)| plane.bilinear_inside(x, y)));
                } else {
                    out.extend((0..self.width).map(place).map(|(x, y)| plane.bilinear(x, y)));
                }
            }
        }
        Plane::new(self.width, self.height, out)
    }
}

/// How a picture is enlarged: chroma is smooth anyway.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Enlarging {
    Sharp,
    Smooth,
}

/// BT.709 luma of full-range R, G, B, in 0..255.
pub(crate) fn luma_of(rgb: [f32; 3]) -> f32 {
    (rgb_to_yuv(rgb)[0] - 16.0) * (255.0 / 219.0)
}

struct Reach {
    x: (usize, usize),
    y: (usize, usize),
    by: usize,
    factor: f32,
}

/// A part of a plane, averaged over squares of `by` pixels.
struct Shrunk {
    plane: Plane,
    /// From the full plane's pixels to the shrunk plane's.
    placed: Similarity,
    by: usize,
    factor: f32,
}

impl Shrunk {
    fn new(reach: &Reach, pixel: impl Fn(usize, usize) -> f32) -> Self {
        let (by, (x0, x1), (y0, y1)) = (reach.by, reach.x, reach.y);
        let (w, h) = ((x1 - x0).div_ceil(by), (y1 - y0).div_ceil(by));
        let mut plane = Plane::filled(w, h, 0.0);
        for (row, line) in plane.data.chunks_exact_mut(w).enumerate() {
            let ys = y0 + row * by..(y0 + (row + 1) * by).min(y1);
            if by == 1 {
                for (x, value) in line.iter_mut().enumerate() {
                    *value = pixel(x0 + x, ys.start);
                }
                continue;
            }
            for y in ys.clone() {
                for (column, value) in line.iter_mut().enumerate() {
                    for x in x0 + column * by..(x0 + (column + 1) * by).min(x1) {
                        *value += pixel(x, y);
                    }
                }
            }
            for (column, value) in line.iter_mut().enumerate() {
                let columns = (x0 + (column + 1) * by).min(x1) - (x0 + column * by);
                *value /= (columns * ys.len()) as f32;
            }
        }
        let scale = 1.0 / by as f32;
        let middle = (by as f32 - 1.0) / 2.0;
        let placed = Similarity {
            a: scale,
            b: 0.0,
            tx: -(x0 as f32 + middle) * scale,
            ty: -(y0 as f32 + middle) * scale,
        };
        Self { plane, placed, by, factor: reach.factor }
    }
}

/// Catmull-Rom: sharp where a picture is enlarged.
fn cubic(plane: &Plane, x: f32, y: f32) -> f32 {
    let x = x.clamp(0.0, (plane.width - 1) as f32);
    let y = y.clamp(0.0, (plane.height - 1) as f32);
    let (x0, y0) = (x as i32, y as i32);
    let (wx, wy) = (catmull_rom(x - x0 as f32), catmull_rom(y - y0 as f32));
    let mut sum = 0.0;
    for (j, wy) in wy.iter().enumerate() {
        let mut line = 0.0;
        for (i, wx) in wx.iter().enumerate() {
            line += wx * plane.clamped(x0 + i as i32 - 1, y0 + j as i32 - 1);
        }
        sum += wy * line;
    }
    sum
}

fn catmull_rom(t: f32) -> [f32; 4] {
    let (t2, t3) = (t * t, t * t * t);
    [
        0.5 * (-t + 2.0 * t2 - t3),
        0.5 * (2.0 - 5.0 * t2 + 3.0 * t3),
        0.5 * (t + 4.0 * t2 - 3.0 * t3),
        0.5 * (-t2 + t3),
    ]
}

#[cfg(test)]
mod tests {
    use contract::Size;

    use super::*;

    /// Grey that rises along x by 0.25 a pixel, as both layouts.
    fn ramps() -> [Frame; 2] {
        let (w, h) = (400usize, 300usize);
        let grey = |x: usize| 40.0 + 0.25 * x as f32;
        let rgb = (0..w * h).flat_map(|i| [grey(i % w).round() as u8; 3]).collect();
        let luma = (0..w * h).map(|i| (16.0 + grey(i % w) * 219.0 / 255.0).round() as u8);
        let i420 = luma.chain(std::iter::repeat_n(128, w * h / 2)).collect();
        let size = Size::new(w as u32, h as u32);
        [Frame::new(size, Layout::Rgb24, rgb).unwrap(), Frame::new(size, Layout::I420, i420).unwrap()]
    }

    #[test]
    fn a_ramp_keeps_its_place_at_every_scale() {
        for frame in ramps() {
            for scale in [0.11f32, 0.3, 0.45, 0.8, 1.0, 2.5] {
                let to_grid = Similarity { a: scale, b: 0.0, tx: -100.0 * scale, ty: -100.0 * scale };
                let grid = Grid { to_grid, width: 20, height: 10 };
                let (luma, rgb) = (grid.luma(&frame), grid.rgb(&frame));
                for x in [3usize, 10, 17] {
                    let expected = 40.0 + 0.25 * (100.0 + x as f32 / scale);
                    let at = luma.at(x, 5);
                    assert!((at - expected).abs() < 1.2, "{frame:?} {scale} {x}: {at} {expected}");
                    let green = rgb[5 * 20 + x][1];
                    assert!((green - expected).abs() < 1.2, "{frame:?} {scale} {x}: {green} {expected}");
                }
            }
        }
    }

    #[test]
    fn outside_the_frame_its_edge_goes_on() {
        for frame in ramps() {
            let far = Similarity { a: 0.5, b: 0.2, tx: 9000.0, ty: -9000.0 };
            let luma = Grid { to_grid: far, width: 8, height: 8 }.luma(&frame);
            assert!(luma.data.iter().all(|v| (35.0..145.0).contains(v)));
        }
    }
}
