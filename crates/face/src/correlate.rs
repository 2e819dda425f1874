//! Normalised cross-correlation.

use crate::plane::Plane;

/// Likeness of two equally long runs of grey levels, -1..1; 0 where one of them is flat.
pub(crate) fn ncc(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len() as f32;
    let (ma, mb) = (a.iter().sum::<f32>() / n, b.iter().sum::<f32>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - ma, y - mb);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    if aa < 1e-3 * n || bb < 1e-3 * n { 0.0 } else { ab / (aa * bb).sqrt() }
}

/// Likeness of `patch` with the place of `field` whose upper left is (`x`, `y`).
pub(crate) fn ncc_at(field: &Plane, patch: &Plane, x: usize, y: usize) -> f32 {
    let n = patch.data.len() as f32;
    let (mut a, mut b, mut ab, mut aa, mut bb) = (0.0f32, 0.0f32, 0.0f32, 0.0f32, 0.0f32);
    // about the middle grey, so that the sums stay exact enough
    let grey = patch.data[0];
    for row in 0..patch.height {
        let there = &field.row(y + row)[x..x + patch.width];
        for (p, q) in patch.row(row).iter().zip(there) {
            let (p, q) = (p - grey, q - grey);
            a += p;
            b += q;
            ab += p * q;
            aa += p * p;
            bb += q * q;
        }
    }
    let (ab, aa, bb) = (ab - a * b / n, aa - a * a / n, bb - b * b / n);
    if aa < 1e-3 * n || bb < 1e-3 * n { 0.0 } else { ab / (aa * bb).sqrt() }
}

/// The best likeness of `patch` with any place of `field` (at least as large).
pub(crate) fn best_ncc(field: &Plane, patch: &Plane) -> f32 {
    let mut best = -1.0f32;
    for y in 0..=field.height - patch.height {
        for x in 0..=field.width - patch.width {
            best = best.max(ncc_at(field, patch, x, y));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_ignores_gain_and_offset() {
        let a = [1.0, 5.0, 2.0, 8.0];
        let b = a.map(|v| 3.0 * v + 10.0);
        assert!((ncc(&a, &b) - 1.0).abs() < 1e-6);
        assert!((ncc(&a, &b.map(|v| -v)) + 1.0).abs() < 1e-6);
        assert_eq!(ncc(&a, &[4.0; 4]), 0.0);
    }
}
