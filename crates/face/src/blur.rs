//! Separable Gaussian blur.

use crate::plane::Plane;

/// Blurs with `sigma_x`, `sigma_y` pixels; 0 leaves a direction as it is.
pub(crate) fn gaussian(plane: &Plane, sigma_x: f32, sigma_y: f32) -> Plane {
    let across = if sigma_x > 0.0 { horizontal(plane, &half_kernel(sigma_x)) } else { plane.clone() };
    if sigma_y > 0.0 { vertical(&across, &half_kernel(sigma_y)) } else { across }
}

/// The weights of offsets 0, 1, 2, … up to three sigma; both sides together sum to 1.
fn half_kernel(sigma: f32) -> Vec<f32> {
    let radius = (3.0 * sigma).ceil() as i32;
    let raw: Vec<f32> = (0..=radius).map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp()).collect();
    let sum = raw[0] + 2.0 * raw[1..].iter().sum::<f32>();
    raw.into_iter().map(|v| v / sum).collect()
}

fn horizontal(plane: &Plane, kernel: &[f32]) -> Plane {
    let (w, radius) = (plane.width, kernel.len() - 1);
    let mut out = Plane::filled(w, plane.height, 0.0);
    let mut wide = vec![0.0; w + 2 * radius];
    for (y, line) in out.data.chunks_exact_mut(w).enumerate() {
        let row = plane.row(y);
        wide[..radius].fill(row[0]);
        wide[radius..radius + w].copy_from_slice(row);
        wide[radius + w..].fill(row[w - 1]);
        for (i, &k) in kernel.iter().enumerate() {
            let (left, right) = (&wide[radius - i..][..w], &wide[radius + i..][..w]);
            // the middle tap meets itself on both sides
            let k = if i == 0 { 0.5 * k } else { k };
            for ((o, l), r) in line.iter_mut().zip(left).zip(right) {
                *o += k * (l + r);
            }
        }
    }
    out
}

fn vertical(plane: &Plane, kernel: &[f32]) -> Plane {
    let w = plane.width;
    let last = plane.height - 1;
    let mut out = Plane::filled(w, plane.height, 0.0);
    for (y, line) in out.data.chunks_exact_mut(w).enumerate() {
        for (i, &k) in kernel.iter().enumerate() {
            let (above, below) = (plane.row(y.saturating_sub(i)), plane.row((y + i).min(last)));
            let k = if i == 0 { 0.5 * k } else { k };
            for ((o, a), b) in line.iter_mut().zip(above).zip(below) {
                *o += k * (a + b);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_becomes_a_bell_of_the_same_sum() {
        let mut point = Plane::filled(31, 31, 0.0);
        point.data[15 * 31 + 15] = 1.0;
        let bell = gaussian(&point, 2.0, 2.0);
        assert!((bell.data.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        let variance: f32 = (0..31).map(|x| bell.row(15)[x] * (x as f32 - 15.0).powi(2)).sum::<f32>()
            / bell.row(15).iter().sum::<f32>();
        assert!((variance - 4.0).abs() < 0.15, "{variance}");
        let flat = gaussian(&Plane::filled(5, 3, 7.0), 9.0, 4.0);
        assert!(flat.data.iter().all(|v| (v - 7.0).abs() < 1e-4));
    }
}
