//! Weights that are a pure function of (salt, key, shape), bit for bit those of `goldens/seeded.py`: FNV-1a of the key starts a
//! splitmix64 stream, 24 bits of each value become a float on [-1, 1), and a rule table gives each tensor its offset and amplitude. Any
//! tensor at any size, so that a full-size net exists without a file.

use std::ops::Range;

use candle_core::{DType, Device, Result, Shape, Tensor, WithDType, bail};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use half::{bf16, f16};
use layers::weights::INT8;
use rayon::prelude::*;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Elements a thread makes at a time.
const SLICE: usize = 1 << 16;

fn fnv1a64(parts: [&str; 3]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// Element `i` of the stream that starts with `h`, on [-1, 1).
#[inline]
fn value(h: u64, i: u64) -> f32 {
    let mut z = h.wrapping_add((i + 1).wrapping_mul(GOLDEN));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 40) as f32 * 2f32.powi(-23) - 1.0
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// An integer zero.
    Zero,
    Affine {
        offset: f64,
        amp: f64,
    },
}

/// The table of the kit's README; the first matching line wins.
fn rule(key: &str, shape: &[usize]) -> Rule {
    let leaf = key.rsplit('.').next().unwrap_or(key);
    let affine = |offset, amp| Rule::Affine { offset, amp };
    match leaf {
        "num_batches_tracked" => return Rule::Zero,
        "running_mean" => return affine(0.0, 0.1),
        "running_var" => return affine(1.0, 0.5),
        "gamma" | "g" | "scale" | "weight_g" => return affine(1.0, 0.1),
        _ if shape.is_empty() => return affine(1.0, 0.1),
        "beta" => return affine(0.0, 0.05),
        "modulation" => return affine(0.0, 0.3),
        _ => {}
    }
    let ends = |endings: &[&str]| endings.iter().any(|ending| key.ends_with(ending));
    if ends(&["token_embedding.weight", "pos_embedding.embedding.weight"]) || leaf == "mix_factor" {
        return affine(0.0, 1.0);
    }
    if matches!(leaf, "cls_embedding" | "pos_embedding" | "class_embedding")
        || ends(&["embed_positions.weight", "position_embedding.weight"])
    {
        return affine(0.0, 0.5);
    }
    if matches!(key, "conv3_3_norm.weight" | "conv4_3_norm.weight" | "conv5_3_norm.weight") {
        return affine(10.0, 1.0); // the L2 norms of S3FD
    }
    if key.ends_with(".bn.weight") {
        return affine(2.0, 0.2);
    }
    match (shape, leaf) {
        ([_], "weight") => affine(1.0, 0.1),
        ([_], "bias") => affine(0.0, 0.05),
        ([_], _) => affine(0.0, 0.5),
        _ => affine(0.0, (3.0 / shape[1..].iter().map(|&n| n as f64).product::<f64>()).sqrt()),
    }
}

/// `offset + amp * value` for the elements of a range, each product and each sum rounded to f32, then turned by `turn`.
fn fill<T: Copy + Default + Send>(
    key: [&str; 3],
    range: Range<usize>,
    (offset, amp): (f32, f32),
    turn: fn(f32) -> T,
) -> Vec<T> {
    let h = fnv1a64(key);
    let mut out = vec![T::default(); range.len()];
    out.par_chunks_mut(SLICE).enumerate().for_each(|(slice, out)| {
        let from = (range.start + slice * SLICE) as u64;
        for (i, out) in out.iter_mut().enumerate() {
            let scaled = amp * value(h, from + i as u64);
            *out = turn(if offset == 0.0 { scaled } else { offset + scaled });
        }
    });
    out
}

fn tensor<T: WithDType + Default>(values: Vec<T>, shape: &[usize], device: &Device) -> Result<Tensor> {
    Tensor::from_vec(values, shape, device)
}

/// A seeded input: offset and amplitude are given. f32.
pub fn affine(salt: &str, key: &str, shape: &[usize], (offset, amp): (f64, f64)) -> Result<Tensor> {
    let n = shape.iter().product();
    tensor(fill([salt, "/", key], 0..n, (offset as f32, amp as f32), |v| v), shape, &Device::Cpu)
}

/// The weights of a salt, as a source for candle's `VarBuilder`. It holds every key, except what it is told not to, and no weight in a quantised form.
#[derive(Clone, Debug)]
pub struct Seeded {
    salt: String,
    absent: Vec<String>,
    scaled: Vec<(String, f64)>,
}

impl Seeded {
    pub fn new(salt: &str) -> Self {
        Self { salt: salt.to_owned(), absent: Vec::new(), scaled: Vec::new() }
    }

    /// As of a checkpoint in which no key has `part` between its dots: for nets that accept two names and look which one is there.
    pub fn without(mut self, part: &str) -> Self {
        self.absent.push(part.to_owned());
        self
    }

    /// One tensor times `factor`, an exact power of two (`config.weight_scale` of the kit).
    pub fn scaled(mut self, key: &str, factor: f64) -> Self {
        self.scaled.push((key.to_owned(), factor));
        self
    }

    pub fn builder(self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self), dtype, device.clone())
    }

    /// Any tensor, rounded from f32 to `dtype`.
    pub fn tensor(&self, key: &str, shape: &[usize], dtype: DType, device: &Device) -> Result<Tensor> {
        let n = shape.iter().product();
        let Rule::Affine { offset, amp } = rule(key, shape) else {
            return Tensor::zeros(shape, dtype, device);
        };
        let parts = [self.salt.as_str(), "/", key];
        let pair = (offset as f32, amp as f32);
        let made = match dtype {
            DType::F32 => tensor(fill(parts, 0..n, pair, |v| v), shape, device)?,
            DType::BF16 => tensor(fill(parts, 0..n, pair, bf16::from_f32), shape, device)?,
            DType::F16 => tensor(fill(parts, 0..n, pair, f16::from_f32), shape, device)?,
            DType::F64 => tensor(fill(parts, 0..n, pair, f64::from), shape, device)?,
            other => bail!("seeded weights are floats; `{key}` was asked for as {other:?}"),
        };
        match self.factor(key) {
            Some(factor) => made * factor,
            None => Ok(made),
        }
    }

    /// Some elements of a tensor, in row-major order.
    pub fn values(&self, key: &str, shape: &[usize], range: Range<usize>) -> Vec<f32> {
        let Rule::Affine { offset, amp } = rule(key, shape) else { return vec![0.0; range.len()] };
        let mut values = fill([self.salt.as_str(), "/", key], range, (offset as f32, amp as f32), |v| v);
        if let Some(factor) = self.factor(key) {
            values.iter_mut().for_each(|value| *value *= factor as f32);
        }
        values
    }

    fn factor(&self, key: &str) -> Option<f64> {
        self.scaled.iter().find(|(scaled, _)| scaled == key).map(|(_, factor)| *factor)
    }
}

impl SimpleBackend for Seeded {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        self.tensor(name, shape.dims(), dtype, device)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        bail!("`{name}` was asked for without a shape, so it cannot be computed")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        !INT8.is_part(name) && !name.split('.').any(|part| self.absent.iter().any(|absent| absent == part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_the_readme() {
        assert_eq!(fnv1a64(["", "", ""]), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a64(["a", "", ""]), 0xAF63_DC4C_8601_EC8C);
        for (salt, key, shape, i, bits) in [
            ("public", "conv_in.weight", &[320usize, 8, 3, 3][..], 0, 0x3D88_9E40u32),
            ("public", "blocks.0.modulation", &[1, 6, 5120], 30719, 0xBE90_C153),
            ("heldout", "head.gau.ln.g", &[1], 0, 0x3F6C_581F),
        ] {
            let made = Seeded::new(salt).tensor(key, shape, DType::F32, &Device::Cpu).unwrap();
            let values: Vec<f32> = made.flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(values[i].to_bits(), bits, "{key}");
        }
    }

    #[test]
    fn every_line_of_the_table() {
        for (key, shape, offset, amp) in [
            ("bn.running_mean", &[3usize][..], 0.0, 0.1),
            ("bn.running_var", &[3], 1.0, 0.5),
            ("norm.gamma", &[3, 1, 1], 1.0, 0.1),
            ("conv.weight_g", &[1, 1, 128], 1.0, 0.1),
            ("logit_scale", &[], 1.0, 0.1),
            ("gau.beta", &[2, 128], 0.0, 0.05),
            ("head.modulation", &[1, 2, 8], 0.0, 0.3),
            ("token_embedding.weight", &[9, 4], 0.0, 1.0),
            ("blocks.0.pos_embedding.embedding.weight", &[9, 4], 0.0, 1.0),
            ("time_mixer.mix_factor", &[1], 0.0, 1.0),
            ("visual.cls_embedding", &[1, 1, 4], 0.0, 0.5),
            ("visual.pos_embedding", &[1, 9, 4], 0.0, 0.5),
            ("embed_positions.weight", &[9, 4], 0.0, 0.5),
            ("conv4_3_norm.weight", &[512], 10.0, 1.0),
            ("a.conv4_3_norm.weight", &[512], 1.0, 0.1),
            ("stem.0.bn.weight", &[3], 2.0, 0.2),
            ("bn.weight", &[3], 1.0, 0.1),
            ("norm.weight", &[3], 1.0, 0.1),
            ("norm.bias", &[3], 0.0, 0.05),
            ("masked_spec_embed", &[3], 0.0, 0.5),
            ("conv.weight", &[8, 3, 2, 2], 0.0, 0.5),
        ] {
            assert_eq!(rule(key, shape), Rule::Affine { offset, amp }, "{key} {shape:?}");
        }
        assert_eq!(rule("bn.num_batches_tracked", &[]), Rule::Zero);
    }

    #[test]
    fn slices_join_without_a_seam() {
        let n = SLICE + 5;
        let made: Vec<f32> = affine("public", "x", &[n], (0.0, 1.0)).unwrap().to_vec1().unwrap();
        let h = fnv1a64(["public", "/", "x"]);
        for i in [0, 1, SLICE - 1, SLICE, n - 1] {
            assert_eq!(made[i], value(h, i as u64), "[{i}]");
        }
        let mean = made.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 5e-3 && made.iter().all(|v| (-1.0..1.0).contains(v)));
    }

    #[test]
    fn sums_are_rounded_twice() {
        // offset + amp * value in one rounding differs for some of these
        let made: Vec<f32> =
            affine("public", "input.whisper.mel", &[1000], (0.2, 1.0)).unwrap().to_vec1().unwrap();
        let h = fnv1a64(["public", "/", "input.whisper.mel"]);
        assert!(made.iter().enumerate().all(|(i, &v)| v == 0.2f32 + value(h, i as u64)));
    }

    #[test]
    fn absent_and_scaled() {
        let source = Seeded::new("public").without("query").scaled("a.weight", 0.5);
        let vb = source.builder(DType::F32, &Device::Cpu);
        assert!(!vb.contains_tensor("attn.query.weight") && vb.contains_tensor("attn.to_q.weight"));
        let plain = Seeded::new("public").builder(DType::F32, &Device::Cpu);
        let whole: Vec<f32> =
            plain.get((3, 50_000), "c.weight").unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let part = Seeded::new("public").values("c.weight", &[3, 50_000], 1234..123_456);
        assert_eq!(part, whole[1234..123_456]);
        let sum = |vb: &VarBuilder, key: &str| {
            vb.get((2, 2), key).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()
        };
        assert_eq!(sum(&vb, "a.weight"), sum(&plain, "a.weight") * 0.5);
        assert_eq!(sum(&vb, "b.weight"), sum(&plain, "b.weight"));
    }
}
