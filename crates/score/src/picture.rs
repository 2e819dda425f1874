//! Does the picture keep still where it should: PSNR of the upper face (stabilised on the nose) and of the background, on luma
//! stretched to 0..255, and the flicker of the upper face's mean. One value a frame each.

use face::Similarity;

use crate::geometry::UPPER_FACE;
use crate::patch::{Patch, Plane};

/// The spec's ellipse round the head, canonical px: what lies outside is background.
const HEAD_CENTER: (f32, f32) = (96.0, 80.0);
const HEAD_RADII: (f32, f32) = (190.0, 220.0);
/// Fewer pixels than this are no background.
const LEAST_BACKGROUND: u64 = 500;
/// Two pictures without any difference: 1/100 of a grey level squared, mean.
const LEAST_ERROR: f64 = 1e-2;

/// The first frame's background, kept to compare with.
pub struct Background {
    luma: Vec<u8>,
    width: usize,
    /// Columns of the head in each row; outside them is background.
    head: Vec<std::ops::Range<usize>>,
    pixels: u64,
}

impl Background {
    /// `canon` maps picture px to canonical px.
    pub fn new(first: &Plane, canon: &Similarity) -> Self {
        let head: Vec<_> = (0..first.height).map(|y| head_columns(canon, y, first.width)).collect();
        let pixels = head.iter().map(|columns| (first.width - columns.len()) as u64).sum();
        Self { luma: first.data.to_vec(), width: first.width, head, pixels }
    }

    /// dB; `None` where the head fills the picture.
    pub fn psnr(&self, now: &Plane) -> Option<f32> {
        if self.pixels < LEAST_BACKGROUND {
            return None;
        }
        let rows = self.luma.chunks_exact(self.width).zip(now.data.chunks_exact(self.width)).zip(&self.head);
        let squares: u64 = rows
            .map(|((was, is), head)| {
                squared(&was[..head.start], &is[..head.start]) + squared(&was[head.end..], &is[head.end..])
            })
            .sum();
        let stretch = (255.0f64 / 219.0).powi(2);
        Some(decibels(squares as f64 * stretch / self.pixels as f64))
    }
}

/// The ellipse's columns in row `y`: a similarity keeps it a conic, so each row meets it in one interval.
fn head_columns(canon: &Similarity, y: usize, width: usize) -> std::ops::Range<usize> {
    let inside = |x: usize| {
        let (cx, cy) = canon.apply(x as f32, y as f32);
        let (dx, dy) = ((cx - HEAD_CENTER.0) / HEAD_RADII.0, (cy - HEAD_CENTER.1) / HEAD_RADII.1);
        dx * dx + dy * dy <= 1.0
    };
    let Some(start) = (0..width).find(|&x| inside(x)) else { return 0..0 };
    let end = (start..width).rev().find(|&x| inside(x)).map_or(start, |x| x + 1);
    start..end
}

fn squared(a: &[u8], b: &[u8]) -> u64 {
    let rows = a.chunks(4096).zip(b.chunks(4096));
    // 4096 * 255^2 fits in 32 bits: narrow sums vectorise better
    rows.map(|(a, b)| {
        let sum: u32 = a.iter().zip(b).map(|(&a, &b)| (i32::from(a) - i32::from(b)).pow(2) as u32).sum();
        u64::from(sum)
    })
    .sum()
}

fn decibels(mean_square: f64) -> f32 {
    (10.0 * (255.0f64 * 255.0 / mean_square.max(LEAST_ERROR)).log10()) as f32
}

/// The upper face against its reference.
pub struct UpperFace {
    reference: Patch,
}

/// What one frame says of the upper face.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UpperFaceLook {
    /// dB
    pub psnr: f32,
    /// Mean luma, 0..255.
    pub luma: f32,
}

impl UpperFace {
    pub fn new(reference: &Plane, to_picture: &Similarity) -> Self {
        Self { reference: reference.cut(to_picture, UPPER_FACE).into_full_range() }
    }

    pub fn look(&self, now: &Plane, to_picture: &Similarity, nose: (f32, f32)) -> UpperFaceLook {
        let seen = now.cut(to_picture, UPPER_FACE.shifted(nose.0, nose.1)).into_full_range();
        let pairs = seen.data.iter().zip(&self.reference.data);
        let squares: f64 = pairs.map(|(a, b)| f64::from((a - b) * (a - b))).sum();
        let count = seen.data.len() as f64;
        let luma = seen.data.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        UpperFaceLook { psnr: decibels(squares / count), luma: luma as f32 }
    }

    /// The map of `moving` that brings its upper face onto the reference, starting from `to_picture`: two detections of one
    /// face differ by a pixel or two, which alone would cost 10 dB. Gauss-Newton over turn, scale and shift.
    pub fn registered(&self, moving: &Plane, to_picture: Similarity) -> Similarity {
        let centre =
            (UPPER_FACE.x + UPPER_FACE.width as f32 / 2.0, UPPER_FACE.y + UPPER_FACE.height as f32 / 2.0);
        let mut map = to_picture;
        for _ in 0..12 {
            let rim = moving.cut(&map, UPPER_FACE.grown(1, 1, 1, 1)).into_full_range();
            let step = self.step(&rim, centre);
            map = step.then(&map);
            let moved = step.apply(UPPER_FACE.x, UPPER_FACE.y);
            if (moved.0 - UPPER_FACE.x).hypot(moved.1 - UPPER_FACE.y) < 0.01 {
                break;
            }
        }
        let error = |map: &Similarity| -self.look(moving, map, (0.0, 0.0)).psnr;
        if error(&map) < error(&to_picture) { map } else { to_picture }
    }

    /// One Gauss-Newton step: the small similarity about `centre` that best explains the difference.
    fn step(&self, rim: &Patch, centre: (f32, f32)) -> Similarity {
        let (width, height) = (UPPER_FACE.width, UPPER_FACE.height);
        let bias = self.reference.data.iter().sum::<f32>() / self.reference.data.len() as f32
            - rim.data.iter().sum::<f32>() / rim.data.len() as f32;
        let mut normal = [[0f64; 5]; 4];
        for row in 0..height {
            for column in 0..width {
                let gx = 0.5 * (rim.at(column + 2, row + 1) - rim.at(column, row + 1));
                let gy = 0.5 * (rim.at(column + 1, row + 2) - rim.at(column + 1, row));
                let (x, y) = (UPPER_FACE.x + column as f32 - centre.0, UPPER_FACE.y + row as f32 - centre.1);
                let error = self.reference.at(column, row) - rim.at(column + 1, row + 1) - bias;
                // derivatives by scale, turn, shift x, shift y
                let terms = [gx * x + gy * y, gy * x - gx * y, gx, gy, error].map(f64::from);
                for i in 0..4 {
                    for j in 0..5 {
                        normal[i][j] += terms[i] * terms[j];
                    }
                }
            }
        }
        let Some([scale, turn, dx, dy]) = solved(normal) else {
            return Similarity { a: 1.0, b: 0.0, tx: 0.0, ty: 0.0 };
        };
        let limit = |v: f64, most: f64| v.clamp(-most, most) as f32;
        let (a, b) = (1.0 + limit(scale, 0.03), limit(turn, 0.03));
        let (dx, dy) = (limit(dx, 2.0), limit(dy, 2.0));
        // about the centre: x' = c + (a, b)(x - c) + d
        let tx = centre.0 - (a * centre.0 - b * centre.1) + dx;
        let ty = centre.1 - (b * centre.0 + a * centre.1) + dy;
        Similarity { a, b, tx, ty }
    }
}

/// Gauss elimination with pivots; `None` where the system is singular.
fn solved(mut rows: [[f64; 5]; 4]) -> Option<[f64; 4]> {
    for i in 0..4 {
        let pivot = (i..4).max_by(|&a, &b| rows[a][i].abs().total_cmp(&rows[b][i].abs()))?;
        rows.swap(i, pivot);
        if rows[i][i].abs() < 1e-6 {
            return None;
        }
        for k in i + 1..4 {
            let factor = rows[k][i] / rows[i][i];
            let above = rows[i];
            for (value, above) in rows[k].iter_mut().zip(above) {
                *value -= factor * above;
            }
        }
    }
    let mut x = [0f64; 4];
    for i in (0..4).rev() {
        let known: f64 = (i + 1..4).map(|j| rows[i][j] * x[j]).sum();
        x[i] = (rows[i][4] - known) / rows[i][i];
    }
    Some(x)
}

/// Mean absolute second difference at a time step of about 40 ms, whatever the frame rate: the spec's figures are of 25 fps.
pub fn roughness(series: &[f32], fps: f64) -> Option<f32> {
    let step = ((fps / 25.0).round() as usize).max(1);
    let bends: Vec<f32> = (step..series.len().saturating_sub(step))
        .map(|i| series[i - step] - 2.0 * series[i] + series[i + step])
        .collect();
    (!bends.is_empty()).then(|| bends.iter().map(|b| b.abs()).sum::<f32>() / bends.len() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 256;
    const CANON: Similarity = Similarity { a: 1.0, b: 0.0, tx: -30.0, ty: -30.0 };

    fn picture(map: impl Fn(f32, f32) -> (f32, f32)) -> Vec<u8> {
        (0..SIZE * SIZE)
            .map(|i| {
                let (x, y) = map((i % SIZE) as f32, (i / SIZE) as f32);
                (120.0 + 30.0 * (x * 0.11).sin() + 30.0 * (y * 0.13).sin() + 20.0 * (0.05 * (x - y)).cos())
                    .round() as u8
            })
            .collect()
    }

    fn plane(data: &[u8]) -> Plane<'_> {
        Plane { data, width: SIZE, height: SIZE }
    }

    #[test]
    fn the_background_is_what_lies_outside_the_head() {
        let first = picture(|x, y| (x, y));
        let small_head = Similarity { a: 4.0, b: 0.0, tx: -416.0, ty: -432.0 }; // the head is 95x110 px round (128, 128)
        let background = Background::new(&plane(&first), &small_head);
        assert!(background.psnr(&plane(&first)).unwrap() > 60.0);
        let mut mouth_moved = first.clone();
        mouth_moved[150 * SIZE + 120..150 * SIZE + 136].fill(0);
        assert!(background.psnr(&plane(&mouth_moved)).unwrap() > 60.0);
        let wall_moved = picture(|x, y| (x + 1.0, y));
        assert!(background.psnr(&plane(&wall_moved)).unwrap() < 45.0);
        let huge_head = Similarity { a: 0.2, b: 0.0, tx: 70.0, ty: 54.0 };
        assert_eq!(Background::new(&plane(&first), &huge_head).psnr(&plane(&first)), None);
    }

    #[test]
    fn a_scaled_and_turned_portrait_is_brought_onto_the_face() {
        let reference = picture(|x, y| (x, y));
        let (scale, turn) = (1.02f32, 0.015f32);
        let moved = picture(|x, y| (scale * x - turn * y + 2.0, turn * x + scale * y - 3.0));
        let upper = UpperFace::new(&plane(&reference), &CANON.inverse());
        let before = upper.look(&plane(&moved), &CANON.inverse(), (0.0, 0.0)).psnr;
        let map = upper.registered(&plane(&moved), CANON.inverse());
        let after = upper.look(&plane(&moved), &map, (0.0, 0.0)).psnr;
        assert!(before < 30.0 && after > 44.0, "{before} -> {after}");
    }

    #[test]
    fn roughness_keeps_its_time_step() {
        let wave = |fps: f32| (0..400).map(|i| (i as f32 / fps * 8.0).sin()).collect::<Vec<_>>();
        let (at_25, at_50) = (roughness(&wave(25.0), 25.0).unwrap(), roughness(&wave(50.0), 50.0).unwrap());
        assert!((at_25 - at_50).abs() < 0.1 * at_25, "{at_25} {at_50}");
        assert_eq!(roughness(&[1.0, 2.0], 25.0), None);
    }
}
