//! Separable Gaussian blur.

use crate::plane::Plane;

/// From this sigma on a blur is done at half the resolution: what is lost is far below a grey level.
const HALVED: f32 = 5.0;
/// Pixels that are summed up together, in registers.
const LANES: usize = 16;

/// Blurs with `sigma_x`, `sigma_y` pixels; 0 leaves a direction as it is.
pub(crate) fn gaussian(plane: &Plane, sigma_x: f32, sigma_y: f32) -> Plane {
    if sigma_x.min(sigma_y) >= HALVED && plane.width.min(plane.height) >= 8 {
        return doubled(&gaussian(&halved(plane), sigma_x / 2.0, sigma_y / 2.0), plane.width, plane.height);
    }
    if sigma_y == 0.0 {
        return horizontal(plane, &half_kernel(sigma_x));
    }
    if sigma_x == 0.0 {
        return vertical(plane, &half_kernel(sigma_y));
    }
    vertical(&horizontal(plane, &half_kernel(sigma_x)), &half_kernel(sigma_y))
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
    // a whole number of lanes, so that the last sum needs no care
    let mut wide = vec![0.0; w.next_multiple_of(LANES) + 2 * radius];
    for (y, line) in out.data.chunks_exact_mut(w).enumerate() {
        let row = plane.row(y);
        wide[..radius].fill(row[0]);
        wide[radius..radius + w].copy_from_slice(row);
        wide[radius + w..].fill(row[w - 1]);
        for (x, part) in (0..).step_by(LANES).zip(line.chunks_mut(LANES)) {
            let middle = radius + x;
            let mut sum = [0.0f32; LANES];
            for (s, v) in sum.iter_mut().zip(&wide[middle..middle + LANES]) {
                *s = kernel[0] * v;
            }
            for (i, &k) in kernel.iter().enumerate().skip(1) {
                let (left, right) = (&wide[middle - i..][..LANES], &wide[middle + i..][..LANES]);
                for lane in 0..LANES {
                    sum[lane] += k * (left[lane] + right[lane]);
                }
            }
            part.copy_from_slice(&sum[..part.len()]);
        }
    }
    out
}

fn vertical(plane: &Plane, kernel: &[f32]) -> Plane {
    let w = plane.width;
    let last = plane.height - 1;
    let mut out = Plane::filled(w, plane.height, 0.0);
    for (y, line) in out.data.chunks_exact_mut(w).enumerate() {
        for (x, part) in (0..).step_by(LANES).zip(line.chunks_mut(LANES)) {
            let n = part.len();
            let mut sum = [0.0f32; LANES];
            for (s, v) in sum.iter_mut().zip(&plane.row(y)[x..x + n]) {
                *s = kernel[0] * v;
            }
            for (i, &k) in kernel.iter().enumerate().skip(1) {
                let above = &plane.row(y.saturating_sub(i))[x..x + n];
                let below = &plane.row((y + i).min(last))[x..x + n];
                if let (Ok(above), Ok(below)) =
                    (<&[f32; LANES]>::try_from(above), <&[f32; LANES]>::try_from(below))
                {
                    for lane in 0..LANES {
                        sum[lane] += k * (above[lane] + below[lane]);
                    }
                } else {
                    for lane in 0..n {
                        sum[lane] += k * (above[lane] + below[lane]);
                    }
                }
            }
            part.copy_from_slice(&sum[..n]);
        }
    }
    out
}

/// Means of two by two pixels.
fn halved(plane: &Plane) -> Plane {
    let (w, h) = (plane.width.div_ceil(2), plane.height.div_ceil(2));
    let mut out = Plane::filled(w, h, 0.0);
    for (y, line) in out.data.chunks_exact_mut(w).enumerate() {
        let (top, bottom) = (plane.row(2 * y), plane.row((2 * y + 1).min(plane.height - 1)));
        for (x, value) in line.iter_mut().enumerate() {
            let (l, r) = (2 * x, (2 * x + 1).min(plane.width - 1));
            *value = 0.25 * (top[l] + top[r] + bottom[l] + bottom[r]);
        }
    }
    out
}

/// Back to the full size, linearly between the means' middles.
fn doubled(half: &Plane, width: usize, height: usize) -> Plane {
    let mut out = Plane::filled(width, height, 0.0);
    let mut line = vec![0.0; half.width];
    for (y, row) in out.data.chunks_exact_mut(width).enumerate() {
        // the nearer mean has three quarters of the weight
        let (near, far) = neighbours(y, half.height);
        for ((v, n), f) in line.iter_mut().zip(half.row(near)).zip(half.row(far)) {
            *v = 0.75 * n + 0.25 * f;
        }
        for (x, value) in row.iter_mut().enumerate() {
            let (near, far) = neighbours(x, half.width);
            *value = 0.75 * line[near] + 0.25 * line[far];
        }
    }
    out
}

fn neighbours(full: usize, half_size: usize) -> (usize, usize) {
    let near = full / 2;
    let far = if full.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(half_size - 1) };
    (near, far)
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
        for sigma in [1.0, 4.0, 7.0, 14.0] {
            let ramp =
                Plane::new(90, 70, (0..6300).map(|i| (i % 90) as f32 + 2.0 * (i / 90) as f32).collect());
            let same = gaussian(&ramp, sigma, sigma);
            assert!((same.at(45, 35) - ramp.at(45, 35)).abs() < 0.02, "{sigma}: {}", same.at(45, 35));
        }
        let flat = gaussian(&Plane::filled(5, 3, 7.0), 9.0, 4.0);
        assert!(flat.data.iter().all(|v| (v - 7.0).abs() < 1e-4));
    }
}
