//! The inner edges of the lips along a traced line: one edge where the mouth is shut; two where teeth (a pale band that is
//! followed by lip again) or a dark cavity lie between the lips.

use crate::blur::gaussian;
use crate::canonical::Canonical;
use crate::model::MouthLine;
use crate::mouth_line::Trace;
use crate::plane::Plane;
use crate::spread::{box_smooth, median, quantile};

/// Height of a dark band from which on it is a cavity; the shadow between shut lips is up to 5.5 canonical px high.
const MIN_CAVITY: f32 = 6.5;
/// Lightness (L*) by which lips are lighter than a cavity.
const CAVITY_DEPTH: f32 = 18.0;
/// A cavity is less red than this share of the lips' redness; a lip in shadow is as red as in light.
const CAVITY_REDNESS: f32 = 0.75;
/// Share of the columns that have to be open.
const OPEN_SHARE: f32 = 0.35;
/// How far below the line the lower lip is looked for, canonical px.
const REACH: i32 = 30;

/// What lies between the lips in one column, from the traced line, canonical px.
#[derive(Clone, Copy)]
struct Gap {
    up: f32,
    down: f32,
}

pub(crate) fn lips(face: &Canonical, trace: &Trace) -> MouthLine {
    let center_x = trace.x0 as f32 + (trace.ys.len() as f32 - 1.0) / 2.0;
    let half_width = ((trace.ys.len() as f32 - 1.0) / 2.0).clamp(24.0, 38.0);
    let gaps = gaps(face, trace);
    let found = gaps.iter().filter(|g| g.is_some()).count();
    let open = found as f32 > OPEN_SHARE * gaps.len() as f32;
    let mut upper = trace.ys.clone();
    let mut lower = trace.ys.clone();
    if open {
        let side = |of: fn(Gap) -> f32| {
            let filled = bridged(&gaps.iter().map(|g| g.map(of)).collect::<Vec<_>>());
            box_smooth(&without_spikes(&filled), 3)
        };
        let (up, down) = (side(|g| g.up), side(|g| g.down));
        for i in 0..upper.len() {
            // the lips meet at the corners
            let t = ((trace.x0 as f32 + i as f32 - center_x).abs() / half_width).min(1.0);
            upper[i] -= up[i] * (1.0 - t.powi(4));
            lower[i] += down[i] * (1.0 - t.powi(4));
        }
    }
    MouthLine { x0: trace.x0 as f32, upper, lower, center_x, half_width, open }
}

/// Columns in which nothing was found lie between their neighbours; at the corners the lips meet.
fn bridged(values: &[Option<f32>]) -> Vec<f32> {
    let last = values.len() - 1;
    let known = |i: &usize| values[*i].is_some();
    (0..values.len())
        .map(|i| {
            let left = (0..=i).rev().find(known).unwrap_or(0);
            let right = (i..=last).find(known).unwrap_or(last);
            let (from, to) = (values[left].unwrap_or(0.0), values[right].unwrap_or(0.0));
            let t = (i - left) as f32 / (right - left).max(1) as f32;
            from + (to - from) * t
        })
        .collect()
}

/// The median of each value and the three on either side.
fn without_spikes(values: &[f32]) -> Vec<f32> {
    let last = values.len() - 1;
    (0..values.len()).map(|i| median(&mut values[i.saturating_sub(3)..=(i + 3).min(last)].to_vec())).collect()
}

fn gaps(face: &Canonical, trace: &Trace) -> Vec<Option<Gap>> {
    let a = gaussian(&face.lab.a, 1.0, 1.0);
    let l = gaussian(&face.lab.l, 1.0, 1.0);
    let columns = || trace.ys.iter().enumerate().map(|(i, &y)| (trace.x0 + i as i32, y));
    let mut around: Vec<f32> = columns()
        .flat_map(|(x, y)| (y as i32 - 8..y as i32 + 14).map(move |y| (x, y)))
        .map(|(x, y)| a.clamped(x, y))
        .collect();
    let lip_redness = quantile(&mut around, 0.85);
    columns()
        .map(|(x, y)| {
            let pale = |gap: &Gap| {
                let band = (y - gap.up) as i32..=(y + gap.down) as i32;
                let count = band.clone().count() as f32;
                band.map(|y| a.clamped(x, y)).sum::<f32>() / count < CAVITY_REDNESS * lip_redness
            };
            let below = teeth_below(&a, &l, (x, y), lip_redness).or_else(|| cavity(&l, (x, y)).filter(pale));
            match teeth_above(&a, &l, (x, y), lip_redness) {
                Some(up) => {
                    let edge = || below_cavity(&l, x, y as i32).map_or(0.0, |end| end - y);
                    Some(Gap { up, down: below.map_or_else(edge, |gap| gap.down) })
                }
                None => below,
            }
        })
        .collect()
}

/// The line may run through the cavity below the upper teeth: a bright pale band directly above it, then lip.
fn teeth_above(a: &Plane, l: &Plane, (x, y_line): (i32, f32), lip_redness: f32) -> Option<f32> {
    let y = y_line as i32;
    let red = |i: i32| a.clamped(x, y - i);
    let palest = (1..14).min_by(|&i, &k| red(i).total_cmp(&red(k)))?;
    let contrast = lip_redness - red(palest);
    // lip between line and band: the band is the skin above a shut mouth
    let direct = (1..palest).all(|i| red(i) < lip_redness - 0.4 * contrast);
    let lip = (palest + 1..24).find(|&i| red(i) > lip_redness - 0.35 * contrast)?;
    let brightness = l.clamped(x, y - palest);
    let mean = (-26..14).map(|i| l.clamped(x, y - i)).sum::<f32>() / 40.0;
    (contrast > 8.0 && direct && brightness > mean + 8.0).then_some(y_line - (y - lip) as f32)
}

/// A band that is pale (little red) and brighter than its surroundings, then lip again; a cavity below the teeth belongs to it.
fn teeth_below(a: &Plane, l: &Plane, (x, y_line): (i32, f32), lip_redness: f32) -> Option<Gap> {
    let y = y_line as i32;
    let red = |i: i32| a.clamped(x, y + i);
    let light = |i: i32| l.clamped(x, y + i);
    let palest = (0..14).min_by(|&i, &k| red(i).total_cmp(&red(k)))?;
    let contrast = lip_redness - red(palest);
    let lip = (palest + 1..26).find(|&i| red(i) > lip_redness - 0.35 * contrast)?;
    let brightest = (1..lip.max(3)).map(light).fold(f32::MIN, f32::max);
    let mean = (-14..26).map(light).sum::<f32>() / 40.0;
    if contrast <= 8.0 || brightest <= mean + 8.0 {
        return None;
    }
    let down = below_cavity(l, x, y + lip).map_or(lip as f32, |end| end - y_line);
    Some(Gap { up: 0.0, down })
}

/// Where a cavity that begins within 3 px of `from` ends; `None` where there is none.
fn below_cavity(l: &Plane, x: i32, from: i32) -> Option<f32> {
    let darkest = (from - 3..from + 5).min_by(|&i, &k| l.clamped(x, i).total_cmp(&l.clamped(x, k)))?;
    let dark = l.clamped(x, darkest);
    let lip = (darkest..darkest + 16).map(|y| l.clamped(x, y)).fold(f32::MIN, f32::max);
    let end = crossing(l, x, darkest, 1, 0.5 * (dark + lip))?;
    (lip - dark >= CAVITY_DEPTH && dark < 0.65 * lip && end - darkest as f32 >= 3.0).then_some(end)
}

/// A dark band at the line, higher than the shadow of shut lips.
fn cavity(l: &Plane, (x, y): (i32, f32)) -> Option<Gap> {
    let near = y.round() as i32;
    let darkest = (near - 3..=near + 3).min_by(|&i, &k| l.clamped(x, i).total_cmp(&l.clamped(x, k)))?;
    let dark = l.clamped(x, darkest);
    let above = (darkest - 10..darkest).map(|y| l.clamped(x, y)).fold(f32::MIN, f32::max);
    let below = (darkest..darkest + 20).map(|y| l.clamped(x, y)).fold(f32::MIN, f32::max);
    // the upper lip lies in shadow, so its edge is where the least light comes back
    let top = crossing(l, x, darkest, -1, dark + 0.25 * (above - dark))?;
    let bottom = crossing(l, x, darkest, 1, 0.5 * (dark + below))?;
    let is_cavity =
        bottom - top >= MIN_CAVITY && below - dark >= CAVITY_DEPTH && above - dark >= 0.5 * CAVITY_DEPTH;
    is_cavity.then_some(Gap { up: (y - top).max(0.0), down: (bottom - y).max(0.0) })
}

/// Where lightness rises through `level`, going from row `from` in `direction`.
fn crossing(l: &Plane, x: i32, from: i32, direction: i32, level: f32) -> Option<f32> {
    (0..REACH).find_map(|i| {
        let (here, next) = (l.clamped(x, from + direction * i), l.clamped(x, from + direction * (i + 1)));
        let part = (level - here) / (next - here).max(1e-3);
        (here < level && next >= level).then_some((from + direction * i) as f32 + direction as f32 * part)
    })
}
