//! Lid edges at the pupils: the strongest lash line above, the lower lid below, and where skin colour begins.

use crate::blur::gaussian;
use crate::canonical::Canonical;
use crate::model::EYE_X;
use crate::plane::Plane;
use crate::spread::{median, quantile};

/// (top, bottom) of both eyes, canonical y; shrunk half-way to the median of both eyes and an average eye.
pub(crate) fn lids(face: &Canonical) -> [(f32, f32); 2] {
    let (width, rows) = (face.grey.width, 84);
    let soft = gaussian(&face.grey.window(0..width, 0..rows), 1.0, 1.0);
    let colour = [0, 1, 2].map(|c| {
        let channel = face.rgb[..width * rows].iter().map(|pixel| pixel[c]).collect();
        gaussian(&Plane::new(width, rows, channel), 1.0, 1.0)
    });
    let raw = EYE_X.map(|x| {
        let (top, bottom) = by_edges(&soft, x as i32);
        let (skin_top, skin_bottom) = by_skin(&colour, x as i32);
        let top =
            if (35..=46).contains(&skin_top) { 0.5 * (top + skin_top) as f32 - 0.5 } else { top as f32 };
        let bottom = if (53..=64).contains(&skin_bottom) {
            0.5 * (bottom + skin_bottom) as f32
        } else {
            bottom as f32
        };
        (top.clamp(35.0, 46.0), bottom.clamp(54.0, 63.0))
    });
    let top = median(&mut [raw[0].0, raw[1].0, 43.5]);
    let bottom = median(&mut [raw[0].1, raw[1].1, 57.0]);
    raw.map(|(t, b)| (0.5 * (top + t), 0.5 * (bottom + b)))
}

/// Strongest bright-to-dark edge above the pupil (about y 43) and dark-to-bright edge below (about y 57).
fn by_edges(soft: &Plane, eye_x: i32) -> (i32, i32) {
    let level = |y: i32| (eye_x - 9..=eye_x + 9).map(|x| soft.clamped(x, y)).sum::<f32>() / 19.0;
    let slope = |y: i32| (level(y + 1) - level(y - 1)) / 2.0;
    let weighed = |y: i32, prior: f32| slope(y) * (-((y as f32 - prior) / 5.0).powi(2)).exp();
    let top = (34..=48).min_by(|&a, &b| weighed(a, 43.0).total_cmp(&weighed(b, 43.0)));
    let bottom = (52..=64).max_by(|&a, &b| weighed(a, 57.0).total_cmp(&weighed(b, 57.0)));
    (top.unwrap_or(43), bottom.unwrap_or(57))
}

/// Where the distance from the local skin colour falls below 50% (above) and 40% (below) of its value at the pupil.
fn by_skin(colour: &[Plane; 3], eye_x: i32) -> (i32, i32) {
    let around: Vec<[f32; 3]> = (26..76)
        .flat_map(|y| (eye_x - 12..=eye_x + 12).map(move |x| (x, y)))
        .map(|(x, y)| [0, 1, 2].map(|c: usize| colour[c].clamped(x, y)))
        .collect();
    let mut brightness: Vec<f32> = around.iter().map(|p| p.iter().sum()).collect();
    let bright = quantile(&mut brightness, 0.70);
    let skin = [0, 1, 2].map(|c: usize| {
        let lit = around.iter().filter(|p| p.iter().sum::<f32>() >= bright).map(|p| p[c]);
        median(&mut lit.collect::<Vec<f32>>())
    });
    let distance = |y: i32| {
        let at = |x: i32| (0..3).map(|c| (colour[c].clamped(x, y) - skin[c]).abs()).sum::<f32>();
        (eye_x - 7..eye_x + 8).map(at).sum::<f32>() / 15.0
    };
    let pupil = (46..=54).map(distance).fold(0.0, f32::max);
    let top = (35..=50).rev().find(|&y| distance(y) <= 0.50 * pupil).unwrap_or(34);
    let bottom = (50..68).find(|&y| distance(y) <= 0.40 * pupil).unwrap_or(68);
    (top, bottom)
}
