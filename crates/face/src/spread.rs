//! Location and spread of values: mean, deviation, quantiles.

/// Mean and standard deviation; zeros for no values.
pub(crate) fn mean_deviation(values: &[f32]) -> (f32, f32) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    (mean as f32, variance.sqrt() as f32)
}

/// The value below which the share `q` of the values lies; 0 for no values. Reorders them.
pub(crate) fn quantile(values: &mut [f32], q: f32) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let k = ((values.len() - 1) as f32 * q).round() as usize;
    *values.select_nth_unstable_by(k, f32::total_cmp).1
}

pub(crate) fn median(values: &mut [f32]) -> f32 {
    quantile(values, 0.5)
}

/// Mean of each value and its neighbours within `radius`; the ends go on.
pub(crate) fn box_smooth(values: &[f32], radius: usize) -> Vec<f32> {
    let last = values.len() as i32 - 1;
    let r = radius as i32;
    let mean = |i: i32| (i - r..=i + r).map(|k| values[k.clamp(0, last) as usize]).sum::<f32>();
    (0..=last).map(|i| mean(i) / (2 * r + 1) as f32).collect()
}
