//! CIE L*a*b* (D65) of sRGB pixels, by tables: the mouth is looked for in lightness and redness.

use crate::plane::Plane;

const STEPS: usize = 4096;

/// The two curves of the conversion, tabulated.
pub(crate) struct LabTables {
    /// sRGB 0..255 -> linear 0..1.
    linear: Vec<f32>,
    /// CIE's f(t) for t in 0..1.
    root: Vec<f32>,
}

pub(crate) struct Lab {
    /// 0..100
    pub l: Plane,
    /// Green to red.
    pub a: Plane,
    /// Blue to yellow.
    pub b: Plane,
}

impl LabTables {
    pub fn new() -> Self {
        let steps = || (0..=STEPS).map(|i| i as f32 / STEPS as f32);
        let linear = |v: f32| if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) };
        let root = |t: f32| if t > 0.008856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 };
        Self { linear: steps().map(linear).collect(), root: steps().map(root).collect() }
    }

    pub fn convert(&self, rgb: &[[f32; 3]], width: usize, height: usize) -> Lab {
        let mut l = Vec::with_capacity(rgb.len());
        let mut a = Vec::with_capacity(rgb.len());
        let mut b = Vec::with_capacity(rgb.len());
        for pixel in rgb {
            let red = nearest(&self.linear, pixel[0] * (STEPS as f32 / 255.0));
            let green = nearest(&self.linear, pixel[1] * (STEPS as f32 / 255.0));
            let blue = nearest(&self.linear, pixel[2] * (STEPS as f32 / 255.0));
            let x = (0.412453 * red + 0.357580 * green + 0.180423 * blue) / 0.950456;
            let y = 0.212671 * red + 0.715160 * green + 0.072169 * blue;
            let z = (0.019334 * red + 0.119193 * green + 0.950227 * blue) / 1.088754;
            let (fx, fy, fz) = (look_up(&self.root, x), look_up(&self.root, y), look_up(&self.root, z));
            l.push(116.0 * fy - 16.0);
            a.push(500.0 * (fx - fy));
            b.push(200.0 * (fy - fz));
        }
        let plane = |data| Plane::new(width, height, data);
        Lab { l: plane(l), a: plane(a), b: plane(b) }
    }
}

#[inline]
fn nearest(table: &[f32], at: f32) -> f32 {
    table[((at + 0.5) as usize).min(STEPS)]
}

#[inline]
fn look_up(table: &[f32], at: f32) -> f32 {
    let at = at.clamp(0.0, 1.0) * STEPS as f32;
    let i = (at as usize).min(STEPS - 1);
    table[i] + (table[i + 1] - table[i]) * (at - i as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours_have_their_lab_values() {
        // sRGB primaries and greys, values of CIE 15 with D65
        let rows = [
            ([255.0, 255.0, 255.0], [100.0, 0.0, 0.0]),
            ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
            ([255.0, 0.0, 0.0], [53.2, 80.1, 67.2]),
            ([0.0, 0.0, 255.0], [32.3, 79.2, -107.9]),
            ([119.0, 119.0, 119.0], [50.0, 0.0, 0.0]),
        ];
        for (rgb, expected) in rows {
            let lab = LabTables::new().convert(&[rgb], 1, 1);
            let found = [lab.l.data[0], lab.a.data[0], lab.b.data[0]];
            let far = found.iter().zip(expected).any(|(f, e)| (f - e).abs() > 0.6);
            assert!(!far, "{rgb:?}: {found:?}, expected {expected:?}");
        }
    }
}
