//! Where a mouth can be in the canonical frame: a dark valley across, reddish, at the usual place.

use crate::blur::gaussian;
use crate::plane::Plane;
use crate::spread::{mean_deviation, median};

/// Where the mouth's middle lies in an average face, canonical px.
pub(crate) const PRIOR: (f32, f32) = (96.0, 136.0);

pub(crate) struct MouthMap {
    map: Plane,
    /// Lips against skin, in the skin's standard deviations, -1..4.
    pub redness: Plane,
    step: usize,
}

impl MouthMap {
    /// `lightness` (L*) and `redness` (a* - 0.35 b*) of the canonical frame, shrunk by `step`.
    pub fn new(lightness: &Plane, redness: &Plane, step: usize) -> Self {
        let scale = 1.0 / step as f32;
        let (wide, narrow) =
            (gaussian(lightness, 7.0 * scale, 7.0 * scale), gaussian(lightness, 7.0 * scale, 2.0 * scale));
        let valley = wide.zip(&narrow, |w, n| (w - n).clamp(0.0, 18.0));
        let (_, depth) = mean_deviation(&valley.window(50 / step..142 / step, 60 / step..190 / step).data);
        let redness = relative_redness(redness, step);
        let lips = gaussian(&redness, 9.0 * scale, 4.0 * scale);
        let mut map = valley.zip(&lips, |v, l| v / (depth + 1e-6) + l);
        let width = map.width;
        let offset = (step as f32 - 1.0) / 2.0;
        for (i, value) in map.data.iter_mut().enumerate() {
            let x = (i % width * step) as f32 + offset;
            let y = (i / width * step) as f32 + offset;
            *value -= 0.6 * ((y - PRIOR.1) / 14.0).powi(2) + 0.6 * ((x - PRIOR.0) / 16.0).powi(2);
        }
        Self { map, redness, step }
    }

    pub fn peak_value(&self) -> f32 {
        let (x, y) = self.map.peak();
        self.map.at(x, y)
    }

    /// The most mouth-like place, canonical px.
    pub fn peak(&self) -> (i32, i32) {
        let (x, y) = self.map.peak();
        ((x * self.step) as i32, (y * self.step) as i32)
    }
}

/// Redness against the skin of nose and cheeks, in its standard deviations, -1..4.
pub(crate) fn relative_redness(redness: &Plane, step: usize) -> Plane {
    let scale = 1.0 / step as f32;
    let red = gaussian(redness, 3.0 * scale, 3.0 * scale);
    let mut skin = red.window(66 / step..126 / step, 70 / step..120 / step).data;
    let (_, spread) = mean_deviation(&skin);
    let middle = median(&mut skin);
    red.map(|v| ((v - middle) / (spread + 2.0)).clamp(-1.0, 4.0))
}
