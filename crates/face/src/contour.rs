//! The mouth line in motion: the lips' inner edges of successive frames, steadied in time.

use crate::model::MouthLine;

/// Places along the mouth, corner to corner.
const KNOTS: usize = 33;
/// Share of the new frame in the steadied line; a mouth speaks at up to 8 Hz, so the filter must be short.
const SHAPE_RATE: f32 = 0.6;
/// Corners move less than the lips.
const CORNER_RATE: f32 = 0.35;
/// Share of open frames above which the mouth counts as open, and below which as shut again.
const OPEN_ABOVE: f32 = 0.5;
const SHUT_BELOW: f32 = 0.35;

/// A mouth line as a curve over corner-to-corner, so that lines of different width can be blended.
#[derive(Clone, Debug)]
pub(crate) struct SteadyMouth {
    left: f32,
    right: f32,
    upper: [f32; KNOTS],
    lower: [f32; KNOTS],
    /// Running share of frames seen open.
    openness: f32,
    open: bool,
}

impl SteadyMouth {
    pub fn new(line: &MouthLine) -> Self {
        let right = line.x0 + (line.upper.len() - 1) as f32;
        Self {
            left: line.x0,
            right,
            upper: knots(&line.upper),
            lower: knots(&line.lower),
            openness: if line.open { 1.0 } else { 0.0 },
            open: line.open,
        }
    }

    pub fn follow(&mut self, line: &MouthLine) {
        let new = Self::new(line);
        let blend = |old: &mut f32, new: f32, rate: f32| *old += rate * (new - *old);
        blend(&mut self.left, new.left, CORNER_RATE);
        blend(&mut self.right, new.right, CORNER_RATE);
        for (old, new) in self.upper.iter_mut().zip(new.upper) {
            blend(old, new, SHAPE_RATE);
        }
        for (old, new) in self.lower.iter_mut().zip(new.lower) {
            blend(old, new, SHAPE_RATE);
        }
        blend(&mut self.openness, new.openness, SHAPE_RATE);
        self.open = self.openness > if self.open { SHUT_BELOW } else { OPEN_ABOVE };
    }

    /// The middle of the line, canonical px.
    pub fn middle(&self) -> (f32, f32) {
        let knot = KNOTS / 2;
        ((self.left + self.right) / 2.0, (self.upper[knot] + self.lower[knot]) / 2.0)
    }

    pub fn line(&self) -> MouthLine {
        let x0 = self.left.round();
        let columns = ((self.right.round() - x0) as usize).max(2) + 1;
        let at = |knots: &[f32; KNOTS], i: usize| {
            let t = ((x0 + i as f32 - self.left) / (self.right - self.left)).clamp(0.0, 1.0);
            sample(knots, t)
        };
        let upper: Vec<f32> = (0..columns).map(|i| at(&self.upper, i)).collect();
        let lower = if self.open {
            (0..columns).map(|i| at(&self.lower, i).max(upper[i])).collect()
        } else {
            upper.clone()
        };
        MouthLine {
            x0,
            upper,
            lower,
            center_x: (self.left + self.right) / 2.0,
            half_width: ((self.right - self.left) / 2.0).clamp(24.0, 38.0),
            open: self.open,
        }
    }
}

fn knots(values: &[f32]) -> [f32; KNOTS] {
    std::array::from_fn(|k| sample(values, k as f32 / (KNOTS - 1) as f32))
}

/// Linear interpolation at `t` in 0..1 over all values.
fn sample(values: &[f32], t: f32) -> f32 {
    let at = t * (values.len() - 1) as f32;
    let i = (at as usize).min(values.len().saturating_sub(2));
    let next = values[(i + 1).min(values.len() - 1)];
    values[i] + (next - values[i]) * (at - i as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(x0: f32, columns: usize, y: f32) -> MouthLine {
        let line = vec![y; columns];
        let center_x = x0 + (columns - 1) as f32 / 2.0;
        MouthLine { x0, upper: line.clone(), lower: line, center_x, half_width: 30.0, open: false }
    }

    #[test]
    fn corners_that_jump_are_steadied() {
        let mut mouth = SteadyMouth::new(&flat(66.0, 61, 136.0));
        for i in 0..20 {
            mouth.follow(&flat(66.0 + (i % 2) as f32 * 4.0, 61, 136.0));
        }
        let line = mouth.line();
        assert!((line.x0 - 68.0).abs() <= 1.0, "{}", line.x0);
        assert!(line.upper.iter().all(|y| (y - 136.0).abs() < 1e-3));
        assert_eq!(line.upper.len(), line.lower.len());
    }
}
