//! Sobel gradients, in grey levels a pixel.

use crate::plane::Plane;

/// Derivatives along x and y.
pub(crate) fn sobel(plane: &Plane) -> (Plane, Plane) {
    let (w, h) = (plane.width, plane.height);
    let mut dx = Plane::filled(w, h, 0.0);
    let mut dy = Plane::filled(w, h, 0.0);
    for y in 0..h {
        let (up, row, down) = (plane.row(y.saturating_sub(1)), plane.row(y), plane.row((y + 1).min(h - 1)));
        for x in 0..w {
            let (l, r) = (x.saturating_sub(1), (x + 1).min(w - 1));
            let across = (up[r] - up[l]) + 2.0 * (row[r] - row[l]) + (down[r] - down[l]);
            let along = (down[l] - up[l]) + 2.0 * (down[x] - up[x]) + (down[r] - up[r]);
            dx.data[y * w + x] = across / 8.0;
            dy.data[y * w + x] = along / 8.0;
        }
    }
    (dx, dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_has_its_slope() {
        let ramp = Plane::new(7, 5, (0..35).map(|i| 3.0 * (i % 7) as f32 - 2.0 * (i / 7) as f32).collect());
        let (dx, dy) = sobel(&ramp);
        assert!((dx.at(3, 2) - 3.0).abs() < 1e-5 && (dy.at(3, 2) + 2.0).abs() < 1e-5);
    }
}
