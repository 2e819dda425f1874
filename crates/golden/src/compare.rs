//! One output against its reference: largest error, relative error, the first value out of bounds, and a guess at the reason.

use candle_core::{DType, Result, Tensor};

use crate::hint;
use crate::tolerance::Bound;

#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub passed: bool,
    pub max_abs: f64,
    pub rel_l2: f64,
    /// Share of the values (or pixels) that differ at all; integers only.
    pub differing: Option<f64>,
    /// Where the first value out of bounds lies, what it is and what it should be.
    pub first_bad: Option<(Vec<usize>, f64, f64)>,
    pub hint: Option<String>,
}

/// Both in f64, in order. A value of an f32 or an integer of 53 bits is exact there.
fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

fn coordinates(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut at = vec![0; shape.len()];
    for (at, &n) in at.iter_mut().zip(shape).rev() {
        *at = index % n;
        index /= n;
    }
    at
}

/// `rows` rows of the first axis may differ in any way: what a case's notes allow where two scores tie.
pub fn compare(expected: &Tensor, got: &Tensor, bound: Bound, rows: usize) -> Result<Comparison> {
    if expected.dims() != got.dims() {
        return Ok(Comparison {
            passed: false,
            max_abs: f64::NAN,
            rel_l2: f64::NAN,
            differing: None,
            first_bad: None,
            hint: Some(hint::of_shapes(expected.dims(), got.dims())),
        });
    }
    let (want, mut have) = (values(expected)?, values(got)?);
    if rows > 0 {
        pardon(&want, &mut have, expected.dims(), rows);
    }
    let errors: Vec<f64> =
        want.iter().zip(&have).map(|(w, h)| if w == h { 0.0 } else { (w - h).abs() }).collect();
    let max_abs = errors
        .iter()
        .fold(0.0, |max: f64, &e| if e.is_nan() || max.is_nan() { f64::NAN } else { max.max(e) });
    let norm = want.iter().map(|w| w * w).sum::<f64>().sqrt();
    let error = errors.iter().map(|e| e * e).sum::<f64>().sqrt();
    let rel_l2 = if error == 0.0 { 0.0 } else { error / norm };
    let (passed, limit, differing) = match bound {
        Bound::Floats { rel_l2: rel, max_abs: abs } => {
            // written so that not-a-number fails
            let within =
                rel.is_none_or(|bound| error <= bound * norm) && abs.is_none_or(|bound| max_abs <= bound);
            let typical = norm / (want.len().max(1) as f64).sqrt();
            let limit =
                [abs, rel.map(|rel| rel * typical)].into_iter().flatten().fold(f64::INFINITY, f64::min);
            (within && (rel.is_some() || abs.is_some()), limit, None)
        }
        Bound::Integers { max_abs: abs, max_fraction } => {
            let pixel = if expected.rank() > 1 && expected.dims().last() == Some(&3) { 3 } else { 1 };
            let pixels = errors.chunks(pixel);
            let count = pixels.len().max(1) as f64;
            let differing = pixels.filter(|pixel| pixel.iter().any(|&e| e != 0.0)).count() as f64 / count;
            (
                max_abs <= abs && differing <= max_fraction,
                if differing > max_fraction { 0.0 } else { abs },
                Some(differing),
            )
        }
    };
    let first_bad = (!passed)
        .then(|| errors.iter().position(|&e| e > limit || e.is_nan()))
        .flatten()
        .map(|i| (coordinates(i, expected.dims()), have[i], want[i]));
    let hint = (!passed).then(|| hint::of_values(&want, &have, expected.dims())).flatten();
    Ok(Comparison { passed, max_abs, rel_l2, differing, first_bad, hint })
}

/// Takes up to `rows` rows that differ most as if they agreed.
fn pardon(want: &[f64], have: &mut [f64], shape: &[usize], rows: usize) {
    let n = shape.first().copied().unwrap_or(1).max(1);
    let width = want.len() / n;
    let error = |have: &[f64], row: usize| -> f64 {
        let range = row * width..(row + 1) * width;
        want[range.clone()].iter().zip(&have[range]).map(|(w, h)| (w - h).abs()).sum()
    };
    let mut worst: Vec<usize> = (0..n).collect();
    worst.sort_by(|&a, &b| error(have, b).total_cmp(&error(have, a)));
    for &row in worst.iter().take(rows) {
        let range = row * width..(row + 1) * width;
        have[range.clone()].copy_from_slice(&want[range]);
    }
}

/// `got` (as f64) with rows of the first axis that only changed places with their neighbours back in the order of `expected`.
pub(crate) fn neighbours_in_order(expected: &Tensor, got: &Tensor) -> Result<Tensor> {
    let (want, mut have) = (values(expected)?, values(got)?);
    let n = expected.dims().first().copied().unwrap_or(1).max(1);
    let width = (want.len() / n).max(1);
    if expected.dims() == got.dims() {
        let mut row = 0;
        while row + 1 < n {
            let (at, mid, end) = (row * width, (row + 1) * width, (row + 2) * width);
            let swapped = have[at..mid] == want[mid..end] && have[mid..end] == want[at..mid];
            if swapped {
                have[at..end].copy_from_slice(&want[at..end]);
            }
            row += if swapped { 2 } else { 1 };
        }
    }
    Tensor::from_vec(have, got.dims(), got.device())
}

/// `got` (as f64) with what is at `index` of `axis` as expected, wherever it is within `max_abs`.
pub(crate) fn with_entry_within(
    expected: &Tensor,
    got: &Tensor,
    (axis, index): (usize, usize),
    max_abs: f64,
) -> Result<Tensor> {
    let (want, mut have) = (values(expected)?, values(got)?);
    if expected.dims() == got.dims() {
        for (i, (have, want)) in have.iter_mut().zip(want).enumerate() {
            let here = coordinates(i, expected.dims()).get(axis) == Some(&index);
            if here && (*have - want).abs() <= max_abs {
                *have = want;
            }
        }
    }
    Tensor::from_vec(have, got.dims(), got.device())
}

/// Texts are the same or they are not; `differing` is the share of those that are not.
pub(crate) fn compare_texts(want: &[&str], have: &[String]) -> Comparison {
    let different: Vec<usize> = (0..want.len().max(have.len()))
        .filter(|&i| want.get(i) != have.get(i).map(String::as_str).as_ref())
        .collect();
    let hint =
        different.first().map(|&i| format!("row {i} became {:?} instead of {:?}", have.get(i), want.get(i)));
    let rows = want.len().max(1) as f64;
    Comparison {
        passed: different.is_empty(),
        max_abs: if different.is_empty() { 0.0 } else { f64::NAN },
        rel_l2: if different.is_empty() { 0.0 } else { f64::NAN },
        differing: Some(different.len() as f64 / rows),
        first_bad: None,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn floats(values: &[f32], shape: &[usize]) -> Tensor {
        Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    const FINE: Bound = Bound::Floats { rel_l2: Some(1e-3), max_abs: Some(0.01) };

    #[test]
    fn one_entry_may_be_farther_off() {
        let want = floats(&[1.0, 2.0, 3.0, 4.0], &[2, 2]);
        let check = |got: &[f32], at| {
            let got = with_entry_within(&want, &floats(got, &[2, 2]), at, 0.5).unwrap();
            compare(&want, &got, FINE, 0).unwrap().passed
        };
        assert!(check(&[1.0, 2.4, 3.0, 4.4], (1, 1)) && check(&[1.0, 2.0, 3.4, 4.4], (0, 1)));
        assert!(!check(&[1.0, 2.4, 3.0, 4.6], (1, 1)) && !check(&[1.4, 2.4, 3.0, 4.0], (1, 1)));
    }

    #[test]
    fn texts_are_the_same_or_not() {
        let check = |have: &[&str]| {
            compare_texts(&["a", "b"], &have.iter().map(|t| t.to_string()).collect::<Vec<_>>())
        };
        assert!(check(&["a", "b"]).passed);
        let other = check(&["a", "c"]);
        assert!(!other.passed && other.differing == Some(0.5));
        assert_eq!(other.hint.as_deref(), Some(r#"row 1 became Some("c") instead of Some("b")"#));
        assert!(!check(&["a"]).passed && !check(&["a", "b", "c"]).passed);
    }

    #[test]
    fn both_bounds_count() {
        let want = floats(&[3.0, 4.0, 0.0, 0.0], &[2, 2]);
        let check = |got: &[f32], bound| compare(&want, &floats(got, &[2, 2]), bound, 0).unwrap();
        assert!(check(&[3.0, 4.0, 0.0, 0.004], FINE).passed);
        let far = check(&[3.0, 4.0, 0.0, 0.02], FINE);
        assert!(!far.passed && (far.rel_l2 - 0.004).abs() < 1e-8 && (far.max_abs - 0.02).abs() < 1e-8);
        let (at, have, wanted) = far.first_bad.unwrap();
        assert_eq!((at, wanted), (vec![1, 1], 0.0));
        assert!((have - 0.02).abs() < 1e-8);
        let only_l2 = Bound::Floats { rel_l2: Some(0.01), max_abs: None };
        assert!(check(&[3.0, 4.0, 0.0, 0.02], only_l2).passed);
        assert!(!check(&[3.0, 4.0, f32::NAN, 0.0], FINE).passed);
        assert!(!check(&[3.0, 4.0, f32::NAN, 0.0], only_l2).passed);
        assert!(
            !check(&[3.0; 4], Bound::Floats { rel_l2: None, max_abs: None }).passed,
            "no bound proves nothing"
        );
    }

    #[test]
    fn infinities_agree_with_themselves_only() {
        let want = floats(&[f32::NEG_INFINITY, 1.0], &[2]);
        let bound = Bound::Floats { rel_l2: None, max_abs: Some(0.01) };
        assert!(compare(&want, &want, bound, 0).unwrap().passed);
        assert!(!compare(&want, &floats(&[-1e30, 1.0], &[2]), bound, 0).unwrap().passed);
    }

    #[test]
    fn bytes_and_pixels() {
        let bytes =
            |values: &[u8]| Tensor::from_slice(values, (1, values.len() / 3, 3), &Device::Cpu).unwrap();
        let want = bytes(&[9; 12]);
        let check = |got: &[u8], max_fraction| {
            compare(&want, &bytes(got), Bound::Integers { max_abs: 1.0, max_fraction }, 0).unwrap()
        };
        let one_pixel = check(&[9, 9, 9, 10, 8, 9, 9, 9, 9, 9, 9, 9], 0.25);
        assert!(one_pixel.passed && one_pixel.differing == Some(0.25));
        assert!(!check(&[9, 9, 9, 10, 8, 9, 9, 9, 9, 9, 9, 8], 0.25).passed);
        let far = check(&[9, 9, 9, 11, 9, 9, 9, 9, 9, 9, 9, 9], 1.0);
        assert_eq!(far.first_bad, Some((vec![0, 1, 0], 11.0, 9.0)));
    }

    #[test]
    fn rows_that_tie() {
        let want = Tensor::new(&[[1i64, 2], [3, 4], [5, 6]], &Device::Cpu).unwrap();
        let got = Tensor::new(&[[1i64, 2], [9, 9], [5, 6]], &Device::Cpu).unwrap();
        let exact = Bound::Integers { max_abs: 0.0, max_fraction: 0.0 };
        assert!(compare(&want, &got, exact, 1).unwrap().passed);
        assert!(!compare(&want, &got, exact, 0).unwrap().passed);
        let two = Tensor::new(&[[0i64, 2], [9, 9], [5, 6]], &Device::Cpu).unwrap();
        assert!(!compare(&want, &two, exact, 1).unwrap().passed);
    }

    #[test]
    fn neighbours_that_changed_places() {
        let list = |values: &[i64]| Tensor::new(values, &Device::Cpu).unwrap();
        let exact = Bound::Integers { max_abs: 0.0, max_fraction: 0.0 };
        let check = |want: &[i64], got: &[i64]| {
            let got = neighbours_in_order(&list(want), &list(got)).unwrap();
            compare(&list(want), &got, exact, 0).unwrap().passed
        };
        assert!(check(&[5, 1, 2, 9], &[1, 5, 9, 2]));
        assert!(!check(&[5, 1, 2, 9], &[1, 2, 5, 9]), "one moved by two");
        assert!(!check(&[5, 1, 2, 9], &[5, 1, 2, 8]));
        assert!(!check(&[5, 1, 2], &[1, 5, 2, 9]), "another length");
    }
}
