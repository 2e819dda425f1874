//! Eyes: dark round things between brow and cheek. Candidates by fast radial symmetry (Loy and Zelinsky, "Fast radial
//! symmetry for detecting points of interest", PAMI 2003), then every pair is scored for where eyes lie in a SeetaFace box,
//! for the likeness of one to the mirrored other, and for a mouth below.

use crate::blur::gaussian;
use crate::correlate::best_ncc;
use crate::gradient::sobel;
use crate::model::{CANON_HEIGHT, CANON_WIDTH, EYE_X, EYE_Y, Similarity};
use crate::mouth_map::MouthMap;
use crate::plane::Plane;
use crate::spread::{mean_deviation, quantile};

/// Side of the face box in the crop in which eyes are searched, px.
pub(crate) const BOX: f32 = 256.0;
/// What the crop shows around the box, px.
pub(crate) const MARGIN: f32 = 64.0;
pub(crate) const CROP: usize = 384;

/// The box's surroundings, `BOX` px to the box.
pub(crate) struct FaceCrop {
    /// Luma, blurred by 1.5 px.
    pub soft: Plane,
    pub lightness: Plane,
    /// a* - 0.35 b*: lips against skin.
    pub redness: Plane,
    pub luma: Plane,
}

/// Two pupils in the crop's pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EyePair {
    pub left: (f32, f32),
    pub right: (f32, f32),
    score: f32,
}

#[derive(Clone, Copy)]
struct Candidate {
    x: f32,
    y: f32,
    response: f32,
}

/// The best pair; `None` where no two candidates could be eyes (never seen on a detected face).
pub(crate) fn find_eyes(crop: &FaceCrop) -> Option<EyePair> {
    let response = eye_response(crop);
    let texture = texture(crop);
    let left = candidates(&response, 0.08..0.50);
    let right = candidates(&response, 0.40..0.92);
    let mut pairs: Vec<EyePair> =
        left.iter().flat_map(|&l| right.iter().filter_map(move |&r| plausible(l, r))).collect();
    pairs.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut best: Option<EyePair> = None;
    for pair in pairs {
        let canon = Similarity::from_eyes(pair.left, pair.right);
        let pair = EyePair { score: pair.score - brow_penalty(&texture, &canon), ..pair };
        // likeness gives at most 20
        if best.is_some_and(|b| pair.score + 28.0 < b.score) {
            continue;
        }
        let mirror_ncc = rough_likeness(&crop.soft, &canon);
        // a mouth has never given more than 8
        if best.is_some_and(|b| pair.score + 20.0 * mirror_ncc + 8.0 < b.score) {
            continue;
        }
        let mouth = MouthMap::new(&warp(&crop.lightness, &canon, 2), &warp(&crop.redness, &canon, 2), 2);
        let score = pair.score + 0.9 * mouth.peak_value() + 20.0 * mirror_ncc;
        if best.is_none_or(|b| score > b.score) {
            best = Some(EyePair { score, ..pair });
        }
    }
    best
}

/// Likeness of the left eye and the mirrored right one, both searched +-4 px; `grey` is a canonical frame.
pub(crate) fn mirror_likeness(grey: &Plane) -> f32 {
    let left = grey.window(32..80, 34..66);
    let right = grey.window(108..164, 30..70);
    let mirrored = right.data.chunks_exact(right.width).flat_map(|row| row.iter().rev().copied()).collect();
    best_ncc(&Plane::new(right.width, right.height, mirrored), &left)
}

fn texture(crop: &FaceCrop) -> Plane {
    let (dx, dy) = sobel(&crop.soft);
    gaussian(&dx.zip(&dy, f32::hypot), 2.0, 2.0)
}

/// Below an eye lies a smooth cheek, below a brow an eye.
fn brow_penalty(texture: &Plane, canon: &Similarity) -> f32 {
    let back = canon.inverse();
    let mean = |eye_x: f32, rows: [f32; 5]| {
        let columns = [-12.0, -8.0, -4.0, 0.0, 4.0, 8.0, 12.0f32];
        let places = rows.iter().flat_map(|dy| columns.iter().map(move |dx| (eye_x + dx, EYE_Y + dy)));
        let sum: f32 = places.map(|(x, y)| back.apply(x, y)).map(|(x, y)| texture.bilinear(x, y)).sum();
        sum / 35.0
    };
    EYE_X
        .iter()
        .map(|&x| {
            let eye = mean(x, [-6.0, -3.0, 0.0, 3.0, 6.0]);
            let below = mean(x, [13.0, 16.0, 19.0, 22.0, 25.0]);
            (below / (eye + 1.0) - 0.5).max(0.0)
        })
        .sum::<f32>()
        * 10.0
}

/// `mirror_likeness` at half the resolution, read from the crop.
fn rough_likeness(soft: &Plane, canon: &Similarity) -> f32 {
    let back = canon.inverse();
    let patch = |x0: f32, step: f32, (w, h): (usize, usize), y0: f32| {
        let mut data = Vec::with_capacity(w * h);
        for y in 0..h {
            for x in 0..w {
                let (px, py) = back.apply(x0 + step * x as f32, y0 + 2.0 * y as f32);
                data.push(soft.bilinear(px, py));
            }
        }
        Plane::new(w, h, data)
    };
    let left = patch(32.5, 2.0, (24, 16), 34.5);
    let mirrored = patch(163.5, -2.0, (28, 20), 30.5);
    best_ncc(&mirrored, &left)
}

/// A plane of the crop in the canonical frame, every `step`-th pixel.
fn warp(plane: &Plane, canon: &Similarity, step: usize) -> Plane {
    let back = canon.inverse();
    let (w, h) = (CANON_WIDTH / step, CANON_HEIGHT / step);
    let middle = (step as f32 - 1.0) / 2.0;
    let mut data = Vec::with_capacity(w * h);
    for y in 0..h {
        for x in 0..w {
            let (px, py) = back.apply((x * step) as f32 + middle, (y * step) as f32 + middle);
            data.push(plane.bilinear(px, py));
        }
    }
    Plane::new(w, h, data)
}

/// The part of the crop in which eyes are searched.
const FIELD_X: std::ops::Range<usize> = 38..346;
const FIELD_Y: std::ops::Range<usize> = 44..284;

/// How much each place of the field looks like a pupil, in standard deviations.
fn eye_response(crop: &FaceCrop) -> Plane {
    let soft = crop.soft.window(FIELD_X, FIELD_Y);
    let luma = crop.luma.window(FIELD_X, FIELD_Y);
    let symmetry = standard(radial_symmetry(&soft));
    let (wide, narrow) = (gaussian(&luma, 14.0, 14.0), gaussian(&luma, 4.0, 4.0));
    let dark = standard(wide.zip(&narrow, |w, n| (w - n).clamp(-5.0, 60.0)));
    // sclera edges tell an eye from a brow
    let (across, _) = sobel(&soft);
    let edges = standard(gaussian(&across.map(f32::abs), 9.0, 9.0));
    symmetry.zip(&dark, |s, d| s + 0.8 * d).zip(&edges, |s, e| s + 0.5 * e)
}

fn standard(plane: Plane) -> Plane {
    let (mean, deviation) = mean_deviation(&plane.data);
    plane.map(|v| (v - mean) / (deviation + 1e-6))
}

fn radial_symmetry(soft: &Plane) -> Plane {
    const RADII: [f32; 5] = [6.0, 8.0, 10.0, 12.0, 14.0];
    let (w, h) = (soft.width as i32, soft.height as i32);
    let (dx, dy) = sobel(soft);
    let magnitude = dx.zip(&dy, |x, y| x.hypot(y) + 1e-6);
    let threshold = quantile(&mut magnitude.data.clone(), 0.60);
    let mut out = Plane::filled(soft.width, soft.height, 0.0);
    for radius in RADII {
        let mut votes = vec![0.0f32; soft.data.len()];
        let mut weights = vec![0.0f32; soft.data.len()];
        for (i, &m) in magnitude.data.iter().enumerate().filter(|(_, m)| **m > threshold) {
            let (x, y) = ((i as i32 % w) as f32, (i as i32 / w) as f32);
            // a dark centre lies against the gradient
            let px = ((x - dx.data[i] / m * radius).round() as i32).clamp(0, w - 1);
            let py = ((y - dy.data[i] / m * radius).round() as i32).clamp(0, h - 1);
            let at = (py * w + px) as usize;
            votes[at] += 1.0;
            weights[at] += m.min(40.0);
        }
        let strength = votes.iter().zip(&weights).map(|(v, m)| m / 40.0 * (v.min(9.9) / 9.9).powi(2));
        let plane = Plane::new(soft.width, soft.height, strength.collect());
        let blurred = gaussian(&plane, 0.35 * radius, 0.35 * radius);
        out = out.zip(&blurred, |o, b| o + b * radius / RADII.len() as f32);
    }
    out
}

/// The eight strongest places of a part of the box, at least 9 px from each other.
fn candidates(response: &Plane, x: std::ops::Range<f32>) -> Vec<Candidate> {
    let place = |v: f32| (MARGIN + v * BOX) as usize;
    let (x0, y0) = (place(x.start), place(0.24));
    let (left, top) = (FIELD_X.start, FIELD_Y.start);
    let mut part = response.window(x0 - left..place(x.end) - left, y0 - top..place(0.56) - top);
    let mut found = Vec::new();
    for _ in 0..8 {
        let (px, py) = part.peak();
        found.push(Candidate { x: (px + x0) as f32, y: (py + y0) as f32, response: part.at(px, py) });
        for y in py.saturating_sub(9)..(py + 10).min(part.height) {
            for x in px.saturating_sub(9)..(px + 10).min(part.width) {
                if x.abs_diff(px).pow(2) + y.abs_diff(py).pow(2) <= 81 {
                    part.data[y * part.width + x] = -9.0;
                }
            }
        }
    }
    found
}

/// Scores two candidates by where eyes lie in SeetaFace's boxes; `None` where no face is built so.
fn plausible(left: Candidate, right: Candidate) -> Option<EyePair> {
    let (dx, dy) = (right.x - left.x, right.y - left.y);
    let distance = dx.hypot(dy) / BOX;
    let roll = dy.atan2(dx);
    if !(0.2..0.55).contains(&distance) || roll.abs() > 0.5 {
        return None;
    }
    let mid_x = ((left.x + right.x) / 2.0 - MARGIN) / BOX;
    let mid_y = ((left.y + right.y) / 2.0 - MARGIN) / BOX;
    let score = left.response + right.response
        - 0.7 * ((distance - 0.40) / 0.06).powi(2)
        - 0.7 * (roll / 0.3).powi(2)
        - 0.8 * ((mid_y - 0.385) / 0.045).powi(2)
        - 0.4 * ((mid_x - 0.5) / 0.08).powi(2)
        // higher than eyes ever lay there are brows
        - 2.0 * ((0.33 - mid_y).max(0.0) / 0.03).powi(2);
    Some(EyePair { left: (left.x, left.y), right: (right.x, right.y), score })
}

/// How far each pupil is darker than both sides (sclera) and than the lid below; `grey` is a canonical frame.
pub(crate) fn pupil_contrast(grey: &Plane) -> [f32; 2] {
    let soft = gaussian(&grey.window(0..grey.width, 0..90), 1.2, 1.2);
    EYE_X.map(|x| contrast_at(&soft, x as i32, EYE_Y as i32))
}

/// S: the darker sclera patch minus the pupil disc of 9 px, plus 0.4 of the lower lid minus the disc (at most 60).
fn contrast_at(soft: &Plane, x: i32, y: i32) -> f32 {
    let mean = |xs: std::ops::RangeInclusive<i32>, ys: std::ops::RangeInclusive<i32>| {
        let count = (xs.clone().count() * ys.clone().count()) as f32;
        ys.flat_map(|y| xs.clone().map(move |x| (x, y))).map(|(x, y)| soft.clamped(x, y)).sum::<f32>() / count
    };
    let left = mean(x - 14..=x - 8, y - 3..=y + 3);
    let right = mean(x + 8..=x + 14, y - 3..=y + 3);
    let below = mean(x - 4..=x + 4, y + 13..=y + 18);
    let disc = (-4i32..=4).flat_map(|dy| (-4i32..=4).map(move |dx| (dx, dy)));
    let disc: Vec<f32> = disc
        .filter(|(dx, dy)| dx * dx + dy * dy <= 20)
        .map(|(dx, dy)| soft.clamped(x + dx, y + dy))
        .collect();
    let pupil = disc.iter().sum::<f32>() / disc.len() as f32;
    left.min(right) - pupil + 0.4 * (below - pupil).min(60.0)
}
