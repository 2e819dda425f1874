//! A face drawn by formula, in a picture where one pixel is one canonical px, so that tests can say where things are.

use contract::{Frame, Landmarks, Layout, Point, Size};
use face::{Eye, Face, FaceBox, Gates, MouthLine, Similarity};

pub const SIZE: Size = Size { width: 480, height: 520 };
/// Where canonical (0, 0) lies in the picture.
pub const ORIGIN: (f32, f32) = (144.0, 130.0);
pub const MOUTH_Y: f32 = 140.0;

#[derive(Clone, Copy, PartialEq)]
pub enum Lips {
    Shut,
    /// Parted, canonical px in the middle.
    Open(f32),
}

/// Picture pixel of a canonical place.
pub fn pixel(x: f32, y: f32) -> (usize, usize) {
    ((x + ORIGIN.0) as usize, (y + ORIGIN.1) as usize)
}

/// Luma at a canonical place.
pub fn luma(data: &[u8], x: f32, y: f32) -> u8 {
    let (px, py) = pixel(x, y);
    data[py * SIZE.width as usize + px]
}

/// How many pixels of a canonical rectangle pass.
pub fn count(data: &[u8], (x, y): ((f32, f32), (f32, f32)), pass: impl Fn(u8) -> bool) -> usize {
    let ((x0, y0), (x1, y1)) = (pixel(x.0, y.0), pixel(x.1, y.1));
    (y0..y1)
        .flat_map(|py| (x0..x1).map(move |px| (px, py)))
        .filter(|(px, py)| pass(data[py * SIZE.width as usize + px]))
        .count()
}

pub fn picture(lips: Lips) -> Frame {
    let (w, h) = (SIZE.width as usize, SIZE.height as usize);
    let mut data = vec![0; Layout::I420.bytes(SIZE)];
    for py in 0..h {
        for px in 0..w {
            let [y, u, v] = paint(px as f32 - ORIGIN.0, py as f32 - ORIGIN.1, lips);
            data[py * w + px] = y as u8;
            let chroma = w * h + py / 2 * (w / 2) + px / 2;
            data[chroma] = u as u8;
            data[chroma + w * h / 4] = v as u8;
        }
    }
    Frame::new(SIZE, Layout::I420, data).unwrap()
}

fn gap(x: f32, lips: Lips) -> f32 {
    match lips {
        Lips::Shut => 0.0,
        Lips::Open(height) => {
            let t = (x - 96.0) / 32.0;
            height * (1.0 - t * t).max(0.0)
        }
    }
}

fn paint(x: f32, y: f32, lips: Lips) -> [f32; 3] {
    let inside = |cx: f32, cy: f32, rx: f32, ry: f32| ((x - cx) / rx).powi(2) + ((y - cy) / ry).powi(2) < 1.0;
    let texture = ((x * 0.7).sin() + (y * 0.9).cos()) * 3.0;
    let skin = [165.0 + texture, 112.0, 150.0];
    if !inside(96.0, 80.0, 92.0, 120.0) {
        let neck = (x - 96.0).abs() < 45.0 && y > 150.0;
        return if neck { [140.0 + texture, 114.0, 148.0] } else { [90.0 + 8.0 * texture, 135.0, 120.0] };
    }
    for ex in [56.0, 136.0] {
        if inside(ex, 50.0, 20.0, 7.5) {
            if inside(ex, 50.0, 7.0, 7.0) {
                return [30.0, 128.0, 128.0];
            }
            return if y < 45.5 { [50.0, 126.0, 132.0] } else { [210.0, 128.0, 128.0] };
        }
        if inside(ex, 30.0, 22.0, 3.0) {
            return [60.0, 124.0, 134.0];
        }
    }
    if (x - 96.0).abs() < 32.0 {
        let open = gap(x, lips);
        if y > MOUTH_Y - 0.8 && y < MOUTH_Y + open + 0.8 {
            return [35.0, 124.0, 138.0];
        }
    }
    if inside(96.0, MOUTH_Y + 0.5 * gap(x, lips), 32.0, 11.0 + 0.5 * gap(x, lips)) {
        return [120.0 + texture, 115.0, 175.0];
    }
    skin
}

/// The face as a perfect measurement would give it.
pub fn face(lips: Lips) -> Face {
    let columns = || (64..=128).map(|x| x as f32);
    let eye = Eye { lid_top: 43.0, lid_bottom: 57.5, contrast: 90.0 };
    Face {
        bounds: FaceBox { x: ORIGIN.0 - 4.0, y: ORIGIN.1 - 27.0, width: 200.0, height: 200.0, score: 30.0 },
        canon: Similarity { a: 1.0, b: 0.0, tx: -ORIGIN.0, ty: -ORIGIN.1 },
        mouth: MouthLine {
            x0: 64.0,
            upper: columns().map(|_| MOUTH_Y).collect(),
            lower: columns().map(|x| MOUTH_Y + gap(x, lips)).collect(),
            center_x: 96.0,
            half_width: 32.0,
            open: lips != Lips::Shut,
        },
        eyes: [eye; 2],
        gates: Gates { mouth_ratio: 0.8, mirror_ncc: 0.95, mouth_ok: true, eyes_ok: true },
        confidence: 1.0,
    }
}

/// The same face as five points.
pub fn landmarks() -> Landmarks {
    let at = |x: f32, y: f32| Point { x: x + ORIGIN.0, y: y + ORIGIN.1 };
    Landmarks {
        left_eye: at(56.0, 50.0),
        right_eye: at(136.0, 50.0),
        mouth_left: at(64.0, MOUTH_Y),
        mouth_right: at(128.0, MOUTH_Y),
        mouth_center: at(96.0, MOUTH_Y),
    }
}
