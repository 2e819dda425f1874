//! What a difference looks like, in words, where it can be told. A guess that points somewhere beats a number alone; it is never a verdict.

/// For outputs of the wrong shape.
pub fn of_shapes(want: &[usize], have: &[usize]) -> String {
    let sorted = |shape: &[usize]| {
        let mut shape = shape.to_vec();
        shape.sort_unstable();
        shape
    };
    let reason = if sorted(want) == sorted(have) {
        "the axes are in another order"
    } else if want.iter().product::<usize>() == have.iter().product::<usize>() {
        "the same number of values in another shape"
    } else {
        "another number of values"
    };
    format!("the shape is {have:?}, expected {want:?}: {reason}")
}

/// For outputs of the right shape that are out of bounds.
pub fn of_values(want: &[f64], have: &[f64], shape: &[usize]) -> Option<String> {
    if let Some(i) = have.iter().position(|v| !v.is_finite()) {
        return Some(format!("{} at value {i}: an overflow, or a division by zero?", have[i]));
    }
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
    let (wide, long) = (norm(want), norm(have));
    if long == 0.0 && wide > 0.0 {
        return Some("all zeros: is the result written at all?".into());
    }
    let difference: Vec<f64> = have.iter().zip(want).map(|(h, w)| h - w).collect();
    let relative = norm(&difference) / wide;
    let dot: f64 = want.iter().zip(have).map(|(w, h)| w * h).sum();
    let factor = dot / (wide * wide);
    let left: Vec<f64> = have.iter().zip(want).map(|(h, w)| h - factor * w).collect();
    if norm(&left) < 0.02 * norm(&difference) && (factor - 1.0).abs() > 1e-3 {
        return Some(format!("the expected values times {factor:.4}: a missing scale?"));
    }
    let mean = difference.iter().sum::<f64>() / difference.len() as f64;
    let off: Vec<f64> = difference.iter().map(|d| d - mean).collect();
    if norm(&off) < 0.02 * norm(&difference) {
        return Some(format!("every value is off by {mean:.4}: a missing bias or mean?"));
    }
    let in_order = |v: &[f64]| {
        let mut v = v.to_vec();
        v.sort_by(f64::total_cmp);
        v
    };
    let reordered: Vec<f64> = in_order(have).iter().zip(in_order(want)).map(|(h, w)| h - w).collect();
    if relative > 0.05 && norm(&reordered) < 1e-4 * wide {
        return Some("the right values in another order: a transposed or flipped output?".into());
    }
    let cosine = dot / (wide * long);
    if cosine.abs() < 0.5 {
        return Some("hardly related values: a wrong key, or a transposed weight?".into());
    }
    if let Some(channel) = one_slice(&difference, shape) {
        return Some(format!("only index {} of axis {} differs", channel.1, channel.0));
    }
    if relative < 1e-3 {
        return Some("close: the epsilon of a norm, another GELU, or rounding in between?".into());
    }
    (relative < 0.3).then(|| "related values: a missing term, a padding, or one wrong weight?".into())
}

/// The axis and index that hold all of the error, where there is one.
fn one_slice(difference: &[f64], shape: &[usize]) -> Option<(usize, usize)> {
    let total: f64 = difference.iter().map(|d| d * d).sum();
    let mut inner = difference.len();
    for (axis, &n) in shape.iter().enumerate() {
        inner /= n.max(1);
        if n < 2 {
            continue;
        }
        let mut shares = vec![0f64; n];
        for (i, d) in difference.iter().enumerate() {
            shares[i / inner % n] += d * d;
        }
        if let Some(index) = shares.iter().position(|&share| share > 0.999 * total) {
            return Some((axis, index));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_looks_like() {
        let want: Vec<f64> = (0..24).map(|i| (f64::from(i) * 0.7).sin()).collect();
        let turned: Vec<f64> = (0..24).map(|i| want[i % 4 * 6 + i / 4]).collect();
        let other: Vec<f64> = (0..24).map(|i| (f64::from(i) * 2.9 + 1.0).cos()).collect();
        let edit = |f: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            want.iter().enumerate().map(|(i, &v)| f(i, v)).collect()
        };
        for (have, said) in [
            (edit(&|_, v| v * 0.5), "times 0.5"),
            (edit(&|_, v| v + 0.25), "off by 0.25"),
            (turned, "another order"),
            (other, "wrong key"),
            (vec![0.0; 24], "all zeros"),
            (edit(&|i, v| if i == 7 { f64::NAN } else { v }), "NaN at value 7"),
            (edit(&|i, v| if i / 6 == 2 { v * 1.3 + 0.1 } else { v }), "only index 2 of axis 0"),
            (edit(&|i, v| v + 1e-5 * f64::from(i as i32).cos()), "close"),
        ] {
            let hint = of_values(&want, &have, &[4, 6]).unwrap();
            assert!(hint.contains(said), "`{hint}` does not say `{said}`");
        }
        assert!(of_shapes(&[1, 4, 8], &[1, 8, 4]).contains("another order"));
    }
}
