//! Seeded weights: every tensor as a pure function of salt, key and shape, bit-exact with `golden/seeded.py`: FNV-1a-64 of
//! `salt/key`, splitmix64 of the row-major index, 24 bits as a number in [-1, 1), two roundings to f32. Nothing is stored.

const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

/// What fills a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Filling {
    /// 64-bit zeros: a counter of batches.
    Counter,
    /// `offset + amp * u`, `u` uniform on [-1, 1).
    Uniform { offset: f32, amp: f32 },
}

/// The rule for a key; the first line that matches wins, as in the table of `golden/README.md`.
pub fn filling(key: &str, shape: &[u64]) -> Filling {
    let leaf = key.rsplit('.').next().unwrap_or(key);
    let uniform = |offset: f32, amp: f64| Filling::Uniform { offset, amp: amp as f32 };
    let one_of = |names: &[&str]| names.contains(&leaf);
    let ends = |ends: &[&str]| ends.iter().any(|end| key.ends_with(end));
    if leaf == "num_batches_tracked" {
        Filling::Counter
    } else if leaf == "running_mean" {
        uniform(0.0, 0.1)
    } else if leaf == "running_var" {
        uniform(1.0, 0.5)
    } else if one_of(&["gamma", "g", "scale", "weight_g"]) || shape.is_empty() {
        uniform(1.0, 0.1)
    } else if leaf == "beta" {
        uniform(0.0, 0.05)
    } else if leaf == "modulation" {
        uniform(0.0, 0.3)
    } else if ends(&["token_embedding.weight", "pos_embedding.embedding.weight"]) || leaf == "mix_factor" {
        uniform(0.0, 1.0)
    } else if one_of(&["cls_embedding", "pos_embedding", "class_embedding"])
        || ends(&["embed_positions.weight", "position_embedding.weight"])
    {
        uniform(0.0, 0.5)
    } else if ["conv3_3_norm.weight", "conv4_3_norm.weight", "conv5_3_norm.weight"].contains(&key) {
        uniform(10.0, 1.0)
    } else if ends(&[".bn.weight"]) {
        uniform(2.0, 0.2)
    } else if shape.len() == 1 {
        match leaf {
            "weight" => uniform(1.0, 0.1),
            "bias" => uniform(0.0, 0.05),
            _ => uniform(0.0, 0.5),
        }
    } else {
        let fan_in: u64 = shape[1..].iter().product();
        uniform(0.0, (3.0 / fan_in as f64).sqrt())
    }
}

/// The values of one tensor.
#[derive(Clone, Copy)]
pub struct Stream {
    hash: u64,
    offset: f32,
    amp: f32,
}

impl Stream {
    pub fn new(salt: &str, key: &str, (offset, amp): (f32, f32)) -> Self {
        Self { hash: fnv1a_64(&[salt.as_bytes(), b"/", key.as_bytes()]), offset, amp }
    }

    /// The value at a row-major index.
    pub fn at(&self, index: u64) -> f32 {
        let mut z = self.hash.wrapping_add((index + 1).wrapping_mul(GOLDEN_RATIO));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        let u = (z >> 40) as f32 * (1.0 / 8_388_608.0) - 1.0; // 24 bits: exact
        let scaled = self.amp * u;
        self.offset + scaled // rounded a second time: Rust never fuses the two
    }
}

fn fnv1a_64(parts: &[&[u8]]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    parts.iter().flat_map(|part| part.iter()).fold(0xCBF2_9CE4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_golden_kit() {
        assert_eq!(fnv1a_64(&[]), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a_64(&[b"a"]), 0xAF63_DC4C_8601_EC8C);
        let rows: [(&str, &str, &[u64], u64, u32); 3] = [
            ("public", "conv_in.weight", &[320, 8, 3, 3], 0, 0x3D88_9E40),
            ("public", "blocks.0.modulation", &[1, 6, 5120], 30719, 0xBE90_C153),
            ("heldout", "head.gau.ln.g", &[1], 0, 0x3F6C_581F),
        ];
        for (salt, key, shape, index, bits) in rows {
            let Filling::Uniform { offset, amp } = filling(key, shape) else { panic!("{key}") };
            let value = Stream::new(salt, key, (offset, amp)).at(index);
            assert_eq!(value.to_bits(), bits, "{salt}/{key}[{index}] = {value}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let u = |offset, amp| Filling::Uniform { offset, amp };
        let rows: [(&str, &[u64], Filling); 14] = [
            ("bn1.num_batches_tracked", &[], Filling::Counter),
            ("bn1.running_mean", &[8], u(0.0, 0.1)),
            ("bn1.running_var", &[8], u(1.0, 0.5)),
            ("log_scale", &[], u(1.0, 0.1)),
            ("a.gamma", &[8, 1, 1, 1], u(1.0, 0.1)),
            ("a.beta", &[2, 8], u(0.0, 0.05)),
            ("token_embedding.weight", &[10, 4], u(0.0, 1.0)),
            ("a.mix_factor", &[1], u(0.0, 1.0)),
            ("visual.cls_embedding", &[1, 1, 8], u(0.0, 0.5)),
            ("conv4_3_norm.weight", &[512], u(10.0, 1.0)),
            ("backbone.stem.0.bn.weight", &[32], u(2.0, 0.2)),
            ("a.weight", &[8], u(1.0, 0.1)),
            ("a.masked_spec_embed", &[8], u(0.0, 0.5)),
            ("a.weight", &[5, 3], u(0.0, 1.0)),
        ];
        for (key, shape, expected) in rows {
            assert_eq!(filling(key, shape), expected, "{key} {shape:?}");
        }
    }
}
