//! The line between the lips: dynamic programming through the dark valley, then the corners where valley and lip colour end.

use crate::blur::gaussian;
use crate::model::EYE_DISTANCE;
use crate::plane::Plane;
use crate::spread::{box_smooth, median};

/// How far from its middle the line is followed, canonical px.
const HALF_SPAN: i32 = 46;
/// How far above and below its middle, canonical px.
const HALF_RISE: i32 = 16;
/// What a step to the next row costs, where the deepest valley is 1.
const STEP_COST: f32 = 0.12;

/// A traced line, one y a column from `x0` on.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub x0: i32,
    pub ys: Vec<f32>,
    /// Depth of the valley at the middle, grey levels.
    pub depth: f32,
}

impl Trace {
    pub fn ratio(&self) -> f32 {
        self.ys.len() as f32 / EYE_DISTANCE
    }
}

/// The valleys of a canonical frame: how much darker a row is than what lies above and below.
pub(crate) fn valleys(grey: &Plane) -> Plane {
    let across = gaussian(grey, 3.0, 0.0);
    gaussian(&across, 0.0, 6.0).zip(&gaussian(&across, 0.0, 1.0), |wide, fine| (wide - fine).max(0.0))
}

/// Follows the valley from `middle` to both sides and finds the corners.
pub(crate) fn trace(valleys: &Plane, redness: &Plane, middle: (i32, i32)) -> Trace {
    let (mx, my) = (middle.0.clamp(48, 144), middle.1.clamp(20, 200));
    let field = valleys.window(
        (mx - HALF_SPAN) as usize..(mx + HALF_SPAN + 1) as usize,
        (my - HALF_RISE) as usize..(my + HALF_RISE + 1) as usize,
    );
    let deepest = field.data.iter().copied().fold(1e-6, f32::max);
    let field = field.map(|v| v / deepest);
    let right = follow(&field, HALF_SPAN as usize..field.width);
    let left = follow(&field, (0..HALF_SPAN as usize + 1).rev());
    let path: Vec<usize> = left.iter().rev().copied().chain(right.iter().skip(1).copied()).collect();

    let strength: Vec<f32> = path.iter().enumerate().map(|(x, &y)| field.at(x, y)).collect();
    let lips: Vec<f32> = path
        .iter()
        .enumerate()
        .map(|(x, &y)| {
            let (x, y) = (mx - HALF_SPAN + x as i32, my - HALF_RISE + y as i32);
            (y - 7..=y + 7).map(|y| redness.clamped(x, y)).fold(f32::NEG_INFINITY, f32::max)
        })
        .collect();
    let (strength, lips) = (box_smooth(&strength, 2), box_smooth(&lips, 2));
    let core = (HALF_SPAN - 10) as usize..(HALF_SPAN + 11) as usize;
    let strength_here = median(&mut strength[core.clone()].to_vec());
    let lips_here = median(&mut lips[core].to_vec());
    let is_mouth = |i: usize| {
        let valley = (strength[i] / (strength_here + 1e-6)).min(1.3);
        let colour = (lips[i] / (lips_here + 1e-3)).clamp(0.0, 1.2);
        0.6 * valley + 0.4 * colour > 0.46 || i.abs_diff(HALF_SPAN as usize) < 14
    };
    let middle = HALF_SPAN as usize;
    let last = (middle..path.len() - 2).find(|&i| !is_mouth(i)).unwrap_or(path.len() - 2);
    let first = (2..=middle).rev().find(|&i| !is_mouth(i)).unwrap_or(1);
    let ys: Vec<f32> = path[first..=last].iter().map(|&y| (my - HALF_RISE) as f32 + y as f32).collect();
    Trace { x0: mx - HALF_SPAN + first as i32, ys: box_smooth(&ys, 4), depth: strength_here * deepest }
}

/// The row of the strongest path in each of `columns`, in their order; it begins near the middle row.
fn follow(field: &Plane, columns: impl Iterator<Item = usize>) -> Vec<usize> {
    let rows = field.height;
    let middle = rows / 2;
    let mut total: Vec<f32> = Vec::new();
    let mut steps: Vec<Vec<i8>> = Vec::new();
    for x in columns {
        if total.is_empty() {
            total = (0..rows).map(|y| field.at(x, y) - 0.1 * y.abs_diff(middle) as f32).collect();
            continue;
        }
        let mut step = vec![0i8; rows];
        let next = (0..rows).map(|y| {
            let mut best = total[y];
            if y > 0 && total[y - 1] - STEP_COST > best {
                (best, step[y]) = (total[y - 1] - STEP_COST, -1);
            }
            if y + 1 < rows && total[y + 1] - STEP_COST > best {
                (best, step[y]) = (total[y + 1] - STEP_COST, 1);
            }
            best + field.at(x, y)
        });
        total = next.collect();
        steps.push(step);
    }
    let mut y = (0..rows).max_by(|&a, &b| total[a].total_cmp(&total[b])).unwrap_or(middle);
    let mut path = vec![y];
    for step in steps.iter().rev() {
        y = y.wrapping_add_signed(isize::from(step[y]));
        path.push(y);
    }
    path.reverse();
    path
}
