//! How far an output may be from its reference. `rel_l2` and `max_abs` bound float outputs; integers are exact unless `u8_*` allows more;
//! an entry whose name begins with (part of) an output's name, such as `candidates_max_abs` for `out.candidates_x1y1x2y2s`,
//! replaces the general bound for that output.

use std::collections::BTreeMap;

use candle_core::DType;
use serde::{Deserialize, Deserializer};

/// What the kit allows its nets in bf16 against f32 (0.033 to 0.046, twice the noise that was measured) is about this.
const BF16_REL_L2: f64 = 0.05;

/// The same of the range of a picture's bytes, [-1, 1] in 255 steps.
const BF16_STEPS: f64 = 6.0;

/// Of finished pictures, of which nets drew a part.
const BF16_PICTURES_REL_L2: f64 = 0.02;

/// The numbers of a file's `tolerance`; measured values and remarks beside them are left aside.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tolerance(BTreeMap<String, f64>);

impl<'de> Deserialize<'de> for Tolerance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?;
        let number = |(key, value): (String, serde_json::Value)| value.as_f64().map(|v| (key, v));
        Ok(Self(all.into_iter().filter_map(number).collect()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// ||a - b|| <= rel_l2 * ||b|| and max |a - b| <= max_abs, each where it is given.
    Floats { rel_l2: Option<f64>, max_abs: Option<f64> },
    /// No value may differ by more than `max_abs`, and no larger share of the values (of the pixels, where the last axis is 3) at all.
    Integers { max_abs: f64, max_fraction: f64 },
}

const METRICS: &[&str] = &["mismatch_max_fraction", "max_fraction", "rel_l2", "max_abs", "abs"];

/// `keypoints_max_abs` -> (`keypoints`, `max_abs`); None for what is no bound (`measured_rel_l2_to_f32`) and for the general bounds.
fn split(entry: &str) -> Option<(&str, &str)> {
    let metric =
        METRICS.iter().find(|metric| entry.strip_suffix(**metric).is_some_and(|p| p.ends_with('_')))?;
    let prefix = &entry[..entry.len() - metric.len() - 1];
    (!prefix.starts_with("measured")).then_some((prefix, *metric))
}

/// Whether the words of `prefix` occur in `output` in that order: `warp_u8` in `warp_bgr_u8_sub2`.
fn names(prefix: &str, output: &str) -> bool {
    let mut words = output.split(['_', '.']);
    prefix.split('_').all(|word| words.any(|w| w == word))
}

impl Tolerance {
    fn get(&self, key: &str) -> Option<f64> {
        self.0.get(key).copied()
    }

    /// The bound of `out.<output>`.
    pub fn bound(&self, output: &str, dtype: DType) -> Bound {
        let integer = dtype.is_int();
        // `u8_*` is general for bytes, `f32_*` belongs to another reference
        let own = |prefix: &str| prefix != "u8" && prefix != "f32" && names(prefix, output);
        let named = self.0.keys().filter_map(|key| split(key)).filter(|(prefix, _)| own(prefix));
        let longest = named.map(|(prefix, _)| prefix).max_by_key(|prefix| prefix.len());
        let of = |prefix: &str, metric: &str| self.get(&format!("{prefix}_{metric}"));
        match (longest, integer) {
            (Some(prefix), false) => Bound::Floats {
                rel_l2: of(prefix, "rel_l2"),
                max_abs: of(prefix, "max_abs").or_else(|| of(prefix, "abs")),
            },
            (Some(prefix), true) => {
                let fraction = of(prefix, "mismatch_max_fraction").or_else(|| of(prefix, "max_fraction"));
                // a share alone bounds how many may differ, not by how much
                let max_abs =
                    of(prefix, "max_abs").unwrap_or(if fraction.is_some() { f64::INFINITY } else { 0.0 });
                Bound::Integers {
                    max_abs,
                    max_fraction: fraction.unwrap_or(if max_abs > 0.0 { 1.0 } else { 0.0 }),
                }
            }
            (None, false) => Bound::Floats { rel_l2: self.get("rel_l2"), max_abs: self.get("max_abs") },
            (None, true) if dtype == DType::U8 && self.get("u8_rel_l2").is_some() => {
                Bound::Floats { rel_l2: self.get("u8_rel_l2"), max_abs: None }
            }
            (None, true) if dtype == DType::U8 => match (self.get("u8_max_abs"), self.get("max_abs")) {
                (Some(max_abs), _) => {
                    Bound::Integers { max_abs, max_fraction: self.get("u8_max_fraction").unwrap_or(1.0) }
                }
                // a general bound of whole steps can only be meant for bytes (the kit's `end_to_end`)
                (None, Some(max_abs)) if max_abs >= 1.0 => Bound::Integers { max_abs, max_fraction: 1.0 },
                (None, _) => Bound::Integers { max_abs: 0.0, max_fraction: 0.0 },
            },
            (None, true) => Bound::Integers { max_abs: 0.0, max_fraction: 0.0 },
        }
    }

    /// The bound against the f32 result of a half-precision case (`f32_rel_l2`, `f32_max_abs`); one of the two references is enough.
    pub fn against_f32(&self) -> Option<Bound> {
        let (rel_l2, max_abs) = (self.get("f32_rel_l2"), self.get("f32_max_abs"));
        rel_l2.or(max_abs).map(|_| Bound::Floats { rel_l2, max_abs })
    }

    /// What it allows where products are made of values rounded to bf16 (the fast profile): as far from the f32 result as the kit's bf16
    /// case of the same net (`half`) may be; without one, as far as `BF16_REL_L2`, and pictures as far as `BF16_STEPS`. What bounds single outputs stays.
    pub fn with_bf16_products(&self, half: Option<&Self>) -> Self {
        let mut entries = self.0.clone();
        // of a pipeline that ends in pictures: single bytes behind several nets say nothing, all of them together do
        let whole_steps = entries.remove("max_abs").filter(|steps| *steps >= 1.0);
        if whole_steps.is_some() && !entries.contains_key("u8_max_abs") {
            entries.insert("u8_rel_l2".into(), BF16_PICTURES_REL_L2);
        }
        if let Some(steps) = entries.get_mut("u8_max_abs") {
            *steps = steps.max(BF16_STEPS);
            entries.remove("u8_max_fraction");
        }
        let bound = half.and_then(Self::against_f32);
        let Some(Bound::Floats { rel_l2, max_abs }) = bound else {
            entries.insert("rel_l2".into(), BF16_REL_L2);
            return Self(entries);
        };
        entries.remove("rel_l2");
        let given = [("rel_l2", rel_l2), ("max_abs", max_abs)];
        entries.extend(given.into_iter().filter_map(|(key, bound)| Some((key.to_owned(), bound?))));
        Self(entries)
    }

    /// The same with another bound for one output; a picture's bytes are bounded all together.
    pub fn with_bound(&self, output: &str, dtype: DType, rel_l2: f64) -> Self {
        let mut entries = self.0.clone();
        entries.retain(|entry, _| split(entry).is_none_or(|(prefix, _)| !names(prefix, output)));
        if dtype.is_int() {
            entries.retain(|entry, _| !entry.starts_with("u8_"));
            entries.insert("u8_rel_l2".into(), rel_l2);
        } else {
            entries.insert(format!("{output}_rel_l2"), rel_l2);
        }
        Self(entries)
    }

    /// The relative error up to which a probe counts as agreeing.
    pub fn probe(&self) -> f64 {
        // a probe is no output: twice the outputs' bound, and never exact
        (2.0 * self.get("f32_rel_l2").or_else(|| self.get("rel_l2")).unwrap_or(0.0)).max(1e-6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Tolerance {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_entries_of_the_kit() {
        let floats = |rel_l2, max_abs| Bound::Floats { rel_l2, max_abs };
        let integers = |max_abs, max_fraction| Bound::Integers { max_abs, max_fraction };
        let plain =
            r#"{"rel_l2": 1e-5, "max_abs": 1e-4, "measured_f32_noise": {"rel_l2": 1e-6}, "note": "x"}"#;
        let general = floats(Some(1e-5), Some(1e-4));
        for (tolerance, output, dtype, bound) in [
            (plain, "pred", DType::F32, general),
            (plain, "video_u8", DType::U8, integers(0.0, 0.0)),
            (plain, "box", DType::I64, integers(0.0, 0.0)),
            (
                r#"{"rel_l2": 0, "u8_max_abs": 1, "u8_max_fraction": 0.01}"#,
                "a_u8",
                DType::U8,
                integers(1.0, 0.01),
            ),
            (r#"{"rel_l2": 1e-5, "u8_max_abs": 1}"#, "bgr_u8", DType::U8, integers(1.0, 1.0)),
            (r#"{"rel_l2": 1e-5, "u8_max_abs": 1}"#, "count", DType::I32, integers(0.0, 0.0)),
            (r#"{"rel_l2": 0.002, "max_abs": 3}"#, "v1_frames_bgr_u8", DType::U8, integers(3.0, 1.0)),
            (
                r#"{"rel_l2": 1, "candidates_max_abs": 0.01}"#,
                "candidates_x1y1",
                DType::F32,
                floats(None, Some(0.01)),
            ),
            (r#"{"rel_l2": 1, "candidates_max_abs": 0.01}"#, "head0", DType::F32, floats(Some(1.0), None)),
            (r#"{"warp_u8_max_abs": 1}"#, "warp_bgr_u8_sub2", DType::U8, integers(1.0, 1.0)),
            (
                r#"{"argmax_mismatch_max_fraction": 0.001}"#,
                "argmax",
                DType::U8,
                integers(f64::INFINITY, 0.001),
            ),
            (r#"{"rel_l2": 1, "full_rel_l2": 0.08}"#, "8000x1_full", DType::F32, floats(Some(0.08), None)),
            (
                r#"{"rel_l2": 1, "bf16_policy_rel_l2": 0.03}"#,
                "pred_bf16_policy",
                DType::F32,
                floats(Some(0.03), None),
            ),
            (r#"{"rel_l2": 1, "bf16_policy_rel_l2": 0.03}"#, "pred", DType::F32, floats(Some(1.0), None)),
            (r#"{"rel_l2": 1, "f32_rel_l2": 0.03}"#, "video_f32_sub4", DType::F32, floats(Some(1.0), None)),
            (r#"{"rel_l2": 1e-6, "lufs_abs": 1e-6}"#, "tone_lufs_f64", DType::F64, floats(None, Some(1e-6))),
            (
                r#"{"rel_l2": 1e-5, "vae_in_max_abs": 0.008}"#,
                "vae_in_0",
                DType::F32,
                floats(None, Some(0.008)),
            ),
        ] {
            assert_eq!(of(tolerance).bound(output, dtype), bound, "{tolerance} {output}");
        }
        assert_eq!(of(plain).against_f32(), None);
        assert_eq!(of(r#"{"f32_rel_l2": 0.1}"#).against_f32(), Some(floats(Some(0.1), None)));
        let half = of(r#"{"rel_l2": 0.04, "max_abs": 0.2, "f32_rel_l2": 0.03, "f32_max_abs": 0.1}"#);
        let fast = of(plain).with_bf16_products(Some(&half));
        assert_eq!(fast.bound("pred", DType::F32), floats(Some(0.03), Some(0.1)));
        let fast = of(r#"{"rel_l2": 1e-5, "max_abs": 1e-4, "full_rel_l2": 0.08}"#).with_bf16_products(None);
        assert_eq!(fast.bound("pred", DType::F32), floats(Some(BF16_REL_L2), None));
        assert_eq!(fast.bound("8000x1_full", DType::F32), floats(Some(0.08), None));
        let pipeline = of(r#"{"rel_l2": 0.002, "max_abs": 3}"#).with_bf16_products(None);
        assert_eq!(pipeline.bound("frames_u8", DType::U8), floats(Some(BF16_PICTURES_REL_L2), None));
    }
}
