//! Draws faces whose every point is known: skin, hair, brows, eyes, nose and lips as shaded shapes, in canonical
//! coordinates, seen through a similarity.

use contract::{Frame, Landmarks, Layout, Point, Size, rgb_to_yuv};
use face::Similarity;

/// A drawn face and where it is.
#[derive(Clone, Copy, Debug)]
pub struct DrawnFace {
    /// Middle of the eyes, px.
    pub x: f32,
    pub y: f32,
    /// Distance of the eyes, px.
    pub eye_distance: f32,
    /// Clockwise as seen, degrees.
    pub roll: f32,
    /// Height of the opening between the lips, canonical px; 0 is shut.
    pub gap: f32,
}

impl DrawnFace {
    pub fn at(x: f32, y: f32, eye_distance: f32) -> Self {
        Self { x, y, eye_distance, roll: 0.0, gap: 0.0 }
    }

    /// Picture px -> canonical px.
    pub fn canon(&self) -> Similarity {
        let half = self.eye_distance / 2.0;
        let (sin, cos) = self.roll.to_radians().sin_cos();
        Similarity::from_eyes(
            (self.x - half * cos, self.y - half * sin),
            (self.x + half * cos, self.y + half * sin),
        )
    }

    pub fn landmarks(&self) -> Landmarks {
        let back = self.canon().inverse();
        let place = |x: f32, y: f32| {
            let (x, y) = back.apply(x, y);
            Point { x, y }
        };
        Landmarks {
            left_eye: place(56.0, 50.0),
            right_eye: place(136.0, 50.0),
            mouth_left: place(96.0 - HALF_WIDTH, line(96.0 - HALF_WIDTH)),
            mouth_right: place(96.0 + HALF_WIDTH, line(96.0 + HALF_WIDTH)),
            mouth_center: place(96.0, line(96.0)),
        }
    }
}

/// Half width of the drawn mouth, canonical px.
pub const HALF_WIDTH: f32 = 31.0;

/// y of the line between the shut lips, canonical px.
pub fn line(x: f32) -> f32 {
    let t = (x - 96.0) / HALF_WIDTH;
    137.0 - 3.0 * t * t
}

/// (upper, lower) edge of the opening.
pub fn opening(x: f32, gap: f32) -> (f32, f32) {
    let t = (x - 96.0) / HALF_WIDTH;
    let g = gap * (1.0 - t * t).max(0.0).sqrt();
    (line(x) - 0.25 * g, line(x) + 0.75 * g)
}

/// A picture of `faces` before a soft background, in I420.
pub fn picture(size: Size, faces: &[DrawnFace]) -> Frame {
    let rgb = colours(size, faces);
    let (w, h) = (size.width as usize, size.height as usize);
    let yuv: Vec<[f32; 3]> = rgb.iter().map(|&c| rgb_to_yuv(c)).collect();
    let byte = |v: f32| v.round().clamp(0.0, 255.0) as u8;
    let mut data: Vec<u8> = yuv.iter().map(|c| byte(c[0])).collect();
    let chroma = |part: fn(&[f32; 3]) -> f32| {
        let yuv = &yuv;
        (0..h / 2).flat_map(move |y| {
            (0..w / 2).map(move |x| {
                let at = 2 * y * w + 2 * x;
                // left-sited: two rows, one column
                byte((part(&yuv[at]) + part(&yuv[at + w])) / 2.0)
            })
        })
    };
    data.extend(chroma(|c| c[1]));
    data.extend(chroma(|c| c[2]));
    Frame::new(size, Layout::I420, data).unwrap()
}

/// The same in Rgb24.
#[allow(dead_code, reason = "each test file uses its part of the drawing")]
pub fn rgb_picture(size: Size, faces: &[DrawnFace]) -> Frame {
    let data =
        colours(size, faces).iter().flat_map(|c| c.map(|v| v.round().clamp(0.0, 255.0) as u8)).collect();
    Frame::new(size, Layout::Rgb24, data).unwrap()
}

fn colours(size: Size, faces: &[DrawnFace]) -> Vec<[f32; 3]> {
    let (w, h) = (size.width as usize, size.height as usize);
    let views: Vec<(Similarity, f32)> = faces.iter().map(|f| (f.canon(), f.gap)).collect();
    (0..w * h)
        .map(|i| {
            let (x, y) = ((i % w) as f32, (i / w) as f32);
            let ground = [90.0, 110.0, 125.0].map(|c| c + 50.0 * (x + y) / (w + h) as f32);
            let drawn = views.iter().fold(ground, |under, (canon, gap)| {
                // four samples a pixel: no jagged edges
                let taps = [(-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)];
                let mut sum = [0.0; 3];
                for (dx, dy) in taps {
                    let (cx, cy) = canon.apply(x + dx, y + dy);
                    let colour = face_colour(under, (cx, cy), *gap);
                    for (s, c) in sum.iter_mut().zip(colour) {
                        *s += c / 4.0;
                    }
                }
                sum
            });
            let grain = grain(x as u32, y as u32);
            drawn.map(|c| c + grain)
        })
        .collect()
}

/// Film grain of +-2 levels, the same in every run.
fn grain(x: u32, y: u32) -> f32 {
    let mut h = x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77);
    h ^= h >> 15;
    h = h.wrapping_mul(0xC2B2_AE3D);
    (h >> 24) as f32 / 64.0 - 2.0
}

type Colour = [f32; 3];

/// 1 well inside a shape (`d` < 0), 0 well outside, soft over `soft` px.
fn cover(d: f32, soft: f32) -> f32 {
    let t = (0.5 - d / soft).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

fn paint(under: Colour, colour: Colour, alpha: f32) -> Colour {
    [0, 1, 2].map(|i| under[i] + alpha * (colour[i] - under[i]))
}

/// Signed distance, roughly, to an ellipse.
fn ellipse((x, y): (f32, f32), (cx, cy): (f32, f32), (rx, ry): (f32, f32)) -> f32 {
    (((x - cx) / rx).hypot((y - cy) / ry) - 1.0) * rx.min(ry)
}

fn face_colour(under: Colour, p: (f32, f32), gap: f32) -> Colour {
    let (x, y) = p;
    if !(-40.0..232.0).contains(&x) || !(-90.0..330.0).contains(&y) {
        return under;
    }
    let hair = [52.0, 36.0, 28.0];
    let mut c = paint(under, hair, cover(ellipse(p, (96.0, 40.0), (92.0, 100.0)), 3.0));
    // neck and shoulders
    let neck = (x - 96.0).abs() - 34.0 - (y - 200.0).max(0.0);
    c = paint(c, [176.0, 128.0, 104.0], cover(neck, 4.0) * cover(150.0 - y, 4.0));
    c = paint(c, [60.0, 70.0, 110.0], cover(ellipse(p, (96.0, 330.0), (130.0, 105.0)), 3.0));
    // skin, lit from the upper left
    let shade = 1.06
        - 0.10 * ((x - 96.0) / 72.0)
        - 0.22 * (((x - 90.0) / 76.0).powi(2) + ((y - 85.0) / 105.0).powi(2));
    let skin = [226.0, 178.0, 150.0].map(|v: f32| v * shade);
    c = paint(c, skin, cover(ellipse(p, (96.0, 84.0), (72.0, 98.0)), 3.0));
    for eye_x in [56.0, 136.0] {
        c = eye(c, p, eye_x);
    }
    c = nose(c, p);
    lips(c, p, gap)
}

fn eye(mut c: Colour, (x, y): (f32, f32), eye_x: f32) -> Colour {
    let t = (x - eye_x) / 19.0;
    let dark = [44.0, 30.0, 26.0];
    // socket and brow
    c = paint(
        c,
        [150.0, 104.0, 88.0],
        0.35 * (-((x - eye_x) / 22.0).powi(2) - ((y - 44.0) / 12.0).powi(2)).exp(),
    );
    let brow_y = 29.0 + 3.0 * ((x - eye_x) / 22.0).powi(2);
    c = paint(c, dark, 0.85 * cover((y - brow_y).abs() - 2.6, 3.0) * cover((x - eye_x).abs() - 21.0, 6.0));
    let (top, bottom) = (50.0 - 8.0 * (1.0 - t * t), 50.0 + 7.0 * (1.0 - t * t));
    let open = cover(top - y, 1.5) * cover(y - bottom, 1.5) * cover((x - eye_x).abs() - 19.0, 1.5);
    let mut ball = [232.0, 226.0, 222.0];
    let r = (x - eye_x).hypot(y - 50.0);
    ball = paint(ball, [84.0, 62.0, 44.0], cover(r - 7.6, 1.5));
    ball = paint(ball, [18.0, 14.0, 14.0], cover(r - 3.4, 1.2));
    ball = paint(ball, [250.0, 250.0, 250.0], cover((x - eye_x + 2.5).hypot(y - 47.0) - 1.2, 1.0));
    c = paint(c, ball, open);
    let lash = cover((y - top).abs() - 1.3, 1.2) * cover((x - eye_x).abs() - 19.0, 2.0);
    c = paint(c, dark, 0.9 * lash);
    let lower = cover((y - bottom).abs() - 0.5, 1.2) * cover((x - eye_x).abs() - 17.0, 2.0);
    paint(c, [140.0, 92.0, 80.0], 0.6 * lower)
}

fn nose(mut c: Colour, (x, y): (f32, f32)) -> Colour {
    let shadow = [150.0, 102.0, 86.0];
    c = paint(c, shadow, 0.45 * (-((x - 107.0) / 5.0).powi(2) - ((y - 82.0) / 24.0).powi(2)).exp());
    c = paint(c, shadow, 0.6 * (-((x - 96.0) / 17.0).powi(2) - ((y - 110.0) / 4.5).powi(2)).exp());
    for nostril in [87.0, 105.0] {
        c = paint(c, [70.0, 40.0, 36.0], 0.9 * cover(ellipse((x, y), (nostril, 106.0), (4.5, 2.4)), 1.5));
    }
    c
}

fn lips(mut c: Colour, (x, y): (f32, f32), gap: f32) -> Colour {
    let t = (x - 96.0) / HALF_WIDTH;
    let round = (1.0 - t * t).max(0.0);
    let (upper, lower) = opening(x, gap);
    let inside = cover((x - 96.0).abs() - HALF_WIDTH, 2.0);
    let upper_lip = cover(upper - 8.0 * round - y, 2.0) * cover(y - upper, 1.5);
    let lower_lip = cover(lower - y, 1.5) * cover(y - lower - 10.0 * round, 2.0);
    c = paint(c, [164.0, 74.0, 76.0], inside * upper_lip);
    c = paint(c, [196.0, 98.0, 96.0], inside * lower_lip);
    let between = inside * cover(upper - y, 1.0) * cover(y - lower, 1.0);
    if gap > 0.0 {
        c = paint(c, [42.0, 20.0, 22.0], between);
        let teeth =
            cover(y - (upper + 0.4 * (lower - upper)), 1.0) * cover((x - 96.0).abs() - 0.8 * HALF_WIDTH, 3.0);
        c = paint(c, [226.0, 218.0, 206.0], between * teeth);
    }
    let seam = cover((y - upper).abs() - 1.0, 1.5) * inside;
    c = paint(c, [84.0, 32.0, 36.0], 0.9 * seam);
    // shadow below the lower lip
    paint(
        c,
        [160.0, 112.0, 94.0],
        0.5 * (-((x - 96.0) / 18.0).powi(2) - ((y - 156.0 - gap) / 4.0).powi(2)).exp(),
    )
}
