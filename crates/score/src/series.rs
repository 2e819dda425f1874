//! Arithmetic on series of numbers over time: smoothing, detrending, correlation, percentiles. Pure; nothing here knows a mouth.

/// Convolution with a Gaussian of `sigma` samples, cut at 3 sigma, the ends continued by their last value.
pub fn smoothed(series: &[f32], sigma: f32) -> Vec<f32> {
    if series.is_empty() {
        return Vec::new();
    }
    let reach = (3.0 * sigma).ceil() as isize;
    let kernel: Vec<f32> = (-reach..=reach).map(|k| (-0.5 * (k as f32 / sigma).powi(2)).exp()).collect();
    let total: f32 = kernel.iter().sum();
    let last = series.len() as isize - 1;
    (0..=last)
        .map(|i| {
            let terms = kernel.iter().enumerate();
            let sum: f32 = if i >= reach && i + reach <= last {
                let window = &series[(i - reach) as usize..=(i + reach) as usize];
                window.iter().zip(&kernel).map(|(x, k)| x * k).sum()
            } else {
                terms.map(|(k, w)| w * series[(i + k as isize - reach).clamp(0, last) as usize]).sum()
            };
            sum / total
        })
        .collect()
}

/// What is faster than a Gaussian of `sigma` samples.
pub fn detrended(series: &[f32], sigma: f32) -> Vec<f32> {
    series.iter().zip(smoothed(series, sigma)).map(|(x, trend)| x - trend).collect()
}

/// `q` in 0..1, linear between the ranks; 0 for an empty series.
pub fn percentile(series: &[f32], q: f32) -> f32 {
    let mut sorted: Vec<f32> = series.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let rank = q * last as f32;
    let low = rank as usize;
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (rank - low as f32)
}

pub fn mean(series: &[f32]) -> f32 {
    if series.is_empty() { 0.0 } else { (total(series) / series.len() as f64) as f32 }
}

/// Standard deviation of the population.
pub fn deviation(series: &[f32]) -> f32 {
    if series.is_empty() {
        return 0.0;
    }
    let mean = f64::from(mean(series));
    let squares: f64 = series.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum();
    (squares / series.len() as f64).sqrt() as f32
}

fn total(series: &[f32]) -> f64 {
    series.iter().map(|&x| f64::from(x)).sum()
}

/// Pearson's r of two series of equal length; 0 where either is constant.
pub fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len()) as f64;
    let (mut sa, mut sb, mut saa, mut sbb, mut sab) = (0f64, 0f64, 0f64, 0f64, 0f64);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (f64::from(x), f64::from(y));
        sa += x;
        sb += y;
        saa += x * x;
        sbb += y * y;
        sab += x * y;
    }
    let (va, vb) = (saa - sa * sa / n, sbb - sb * sb / n);
    // a constant series leaves only rounding noise: it is like nothing
    if n < 2.0 || va <= 1e-9 * saa.max(1e-12) || vb <= 1e-9 * sbb.max(1e-12) {
        return 0.0;
    }
    ((sab - sa * sb / n) / (va * vb).sqrt()) as f32
}

/// Linear between the samples, the ends continued; `at` in samples.
pub fn value_at(series: &[f32], at: f64) -> f32 {
    let Some(last) = series.len().checked_sub(1) else { return 0.0 };
    let at = at.clamp(0.0, last as f64);
    let low = at as usize;
    let high = (low + 1).min(last);
    series[low] + (series[high] - series[low]) * (at - low as f64) as f32
}

/// Where the parabola through three equidistant values has its peak, in steps from the middle one, at most half a step.
pub fn peak_offset([before, at, after]: [f32; 3]) -> f32 {
    let bend = before - 2.0 * at + after;
    if bend >= -1e-9 { 0.0 } else { (0.5 * (before - after) / bend).clamp(-0.5, 0.5) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_trend_is_removed_and_a_fast_wave_stays() {
        let series: Vec<f32> = (0..1000).map(|i| i as f32 * 0.01 + (i as f32 * 0.8).sin()).collect();
        let fast = detrended(&series, 25.0);
        let wave: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.8).sin()).collect();
        assert!(correlation(&fast[100..900], &wave[100..900]) > 0.999);
    }

    #[test]
    fn a_constant_correlates_with_nothing() {
        let ramp: Vec<f32> = (0..50).map(|i| i as f32).collect();
        assert_eq!(correlation(&[0.3; 50], &ramp), 0.0);
        assert!((correlation(&ramp, &ramp) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn percentiles_and_peaks_lie_between_samples() {
        assert_eq!(percentile(&[4.0, 0.0, 2.0], 0.25), 1.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
        let parabola = |x: f32| 1.0 - (x - 0.2).powi(2);
        assert!((peak_offset([parabola(-1.0), parabola(0.0), parabola(1.0)]) - 0.2).abs() < 1e-6);
        assert_eq!(value_at(&[0.0, 10.0], 0.25), 2.5);
    }
}
