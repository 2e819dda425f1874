//! Where a chunk's first latents come from: a counter-based generator, so that every value is a function of the seed, the chunk and its place
//! in it, whatever was drawn before, on whatever machine.
//!
//! Philox4x32-10 (Salmon et al. 2011) with the seed as key (low word first) and the counter (block low, block high, chunk low, chunk high).
//! Block `b` of chunk `c` gives the elements 4 b to 4 b + 3 of the chunk's latents in row-major order of (c, t, h, w), by Box & Muller (1958):
//! of its words x0..x3, r = sqrt(-2 ln((x0 + 1/2) / 2^32)) and a = 2 pi x1 / 2^32 make r cos a and r sin a, and x2 and x3 the next two.
//! They are made on the host in f64, with a logarithm, a sine and a cosine of basic operations only, which IEEE 754 rounds the same
//! everywhere, and rounded to f32. Nothing lies beyond 6.7 deviations.
//!
//! Deviation: the reference draws from a GPU's generator, whose values depend on the GPU's size. For parity its noise can be handed in.

use std::f64::consts::{FRAC_PI_2, LN_2, SQRT_2};

use candle_core::{DType, Device, Result, Tensor, bail};

/// The noise of every chunk.
#[derive(Clone, Debug)]
pub enum Noise {
    Seeded(u64),
    /// (c, t, h, w) of each chunk, dumped elsewhere.
    Given(Vec<Tensor>),
}

impl Noise {
    /// shape: (c, t, h, w) -> f32
    pub fn of_chunk(&self, chunk: u64, shape: [usize; 4], device: &Device) -> Result<Tensor> {
        match self {
            Noise::Seeded(seed) => {
                Tensor::from_vec(normals(*seed, chunk, shape.iter().product()), &shape, &Device::Cpu)?
                    .to_device(device)
            }
            Noise::Given(chunks) => {
                let noise = usize::try_from(chunk).ok().and_then(|chunk| chunks.get(chunk));
                let Some(noise) = noise else {
                    bail!("there is noise for {} chunks, but none for chunk {chunk}", chunks.len());
                };
                if noise.dims() != shape {
                    bail!("the noise of chunk {chunk} is {:?}, its latents are {shape:?}", noise.dims());
                }
                noise.to_dtype(DType::F32)?.to_device(device)
            }
        }
    }
}

/// The first `n` values of a chunk.
fn normals(seed: u64, chunk: u64, n: usize) -> Vec<f32> {
    let blocks = (0..n.div_ceil(4) as u64).map(|block| gaussian(philox(words(block, chunk), split(seed))));
    let mut values: Vec<f32> = blocks.flatten().collect();
    values.truncate(n);
    values
}

fn split(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

fn words(low: u64, high: u64) -> [u32; 4] {
    let ([a, b], [c, d]) = (split(low), split(high));
    [a, b, c, d]
}

/// Philox4x32-10: four words of the counter under the key.
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let ([mut a, mut b, mut c, mut d], [mut k0, mut k1]) = (counter, key);
    for _ in 0..10 {
        let (first, second) = (MULTIPLIERS[0] * u64::from(a), MULTIPLIERS[1] * u64::from(c));
        let ([low0, high0], [low1, high1]) = (split(first), split(second));
        [a, b, c, d] = [high1 ^ b ^ k0, low1, high0 ^ d ^ k1, low0];
        (k0, k1) = (k0.wrapping_add(WEYL[0]), k1.wrapping_add(WEYL[1]));
    }
    [a, b, c, d]
}

fn gaussian([x0, x1, x2, x3]: [u32; 4]) -> [f32; 4] {
    let pair = |x: u32, y: u32| {
        let r = (-2.0 * ln((f64::from(x) + 0.5) / 4_294_967_296.0)).sqrt();
        let (sin, cos) = turn(y);
        ((r * cos) as f32, (r * sin) as f32)
    };
    let ((a, b), (c, d)) = (pair(x0, x1), pair(x2, x3));
    [a, b, c, d]
}

/// ln x of a positive normal number: 2 artanh((m - 1) / (m + 1)) + e ln 2 for x = m 2^e with m around 1.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut e = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52); // [1, 2)
    if m > SQRT_2 {
        (m, e) = (m / 2.0, e + 1);
    }
    let s = (m - 1.0) / (m + 1.0); // up to 0.172
    let s2 = s * s;
    let series = (0..12).rev().fold(0.0, |sum, k| sum * s2 + 1.0 / f64::from(2 * k + 1));
    2.0 * s * series + e as f64 * LN_2
}

/// Sine and cosine of `y` / 2^32 of a full turn.
fn turn(y: u32) -> (f64, f64) {
    let quarter = y.wrapping_add(1 << 29) >> 30; // the nearest one
    let rest = y.wrapping_sub(quarter << 30) as i32; // an eighth of a turn at most, either way
    let a = f64::from(rest) / 1_073_741_824.0 * FRAC_PI_2;
    let a2 = a * a;
    // Taylor's, from the last term that counts
    let sin = a * (0..9).rev().fold(1.0, |sum, k| 1.0 - sum * a2 / f64::from((2 * k + 2) * (2 * k + 3)));
    let cos = (0..9).rev().fold(1.0, |sum, k| 1.0 - sum * a2 / f64::from((2 * k + 1) * (2 * k + 2)));
    match quarter & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of Random123, the authors' library (`kat_vectors`).
    #[test]
    fn philox_gives_the_known_answers() {
        for (counter, key, answer) in [
            ([0; 4], [0; 2], [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]),
            (
                [0x243F_6A88, 0x85A3_08D3, 0x1319_8A2E, 0x0370_7344],
                [0xA409_3822, 0x299F_31D0],
                [0xD16C_FE09, 0x94FD_CCEB, 0x5001_E420, 0x2412_6EA1],
            ),
        ] {
            assert_eq!(philox(counter, key), answer);
        }
    }

    /// Bits, as they are on every machine; computed from the definition with another program's logarithm and sine.
    #[test]
    fn a_seed_a_chunk_and_a_place_give_a_value() {
        for (seed, chunk, block, bits) in [
            (0, 0, 0, [0x3F7D_BB33, 0xBF6C_B6B0, 0xBF1E_1B9F, 0xBEF6_D1B2]),
            (42, 0, 0, [0xBF78_5E5C, 0x3E46_ACE8, 0xBF9E_28D2, 0x3FF6_433B]),
            (42, 1, 0, [0x4008_2C17, 0x400A_53F3, 0xBED1_08E0, 0xBFD4_72CA]),
            (42, 0, 1, [0xBD95_E030, 0x3E0E_7A0F, 0xBF8D_A733, 0x3EA7_42FD]),
            (u64::MAX, 7, (1 << 33) + 5, [0xBEAC_13BA, 0x3FA0_DB05, 0xBF15_494E, 0xBDD9_5C36]),
        ] {
            let values = gaussian(philox(words(block, chunk), split(seed)));
            assert_eq!(values.map(f32::to_bits), bits, "{seed} {chunk} {block}: {values:?}");
        }
        assert_eq!(normals(42, 0, 6)[4..], [-0.073_181_51, 0.139_137_49]);
    }

    #[test]
    fn the_logarithm_and_the_circle_are_those_of_mathematics() {
        for i in 0..4096u32 {
            let x = (f64::from(i.wrapping_mul(2_654_435_761)) + 0.5) / 4_294_967_296.0;
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0), "ln {x}");
            let y = i.wrapping_mul(2_654_435_761);
            let (sin, cos) = (f64::from(y) / 4_294_967_296.0 * std::f64::consts::TAU).sin_cos();
            let (got_sin, got_cos) = turn(y);
            assert!((got_sin - sin).abs() < 2e-15 && (got_cos - cos).abs() < 2e-15, "turn {y}");
        }
        assert_eq!(turn(0), (0.0, 1.0));
        assert_eq!(turn(1 << 30), (1.0, 0.0));
        assert!(ln(0.5 / 4_294_967_296.0) > -22.9);
    }

    #[test]
    fn values_are_normal() {
        let values = normals(7, 3, 1 << 18);
        let n = values.len() as f64;
        let moment = |p: i32| values.iter().map(|&v| f64::from(v).powi(p)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.008 && (moment(2) - 1.0).abs() < 0.012, "{} {}", moment(1), moment(2));
        assert!(moment(3).abs() < 0.04 && (moment(4) - 3.0).abs() < 0.1, "{} {}", moment(3), moment(4));
        let within = values.iter().filter(|v| v.abs() < 1.0).count() as f64 / n;
        assert!((within - 0.6827).abs() < 0.004, "{within}");
        // neighbours, pairs of a block among them, know nothing of each other
        let together = values.windows(2).map(|w| f64::from(w[0] * w[1])).sum::<f64>() / n;
        assert!(together.abs() < 0.008, "{together}");
    }

    #[test]
    fn given_noise_is_taken_as_it_is() {
        let given = Tensor::new(&[[[[0.5f32, -1.0]]]], &Device::Cpu).unwrap();
        let noise = Noise::Given(vec![given]);
        let taken = noise.of_chunk(0, [1, 1, 1, 2], &Device::Cpu).unwrap();
        assert_eq!(taken.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.5, -1.0]);
        let said = |chunk, shape| noise.of_chunk(chunk, shape, &Device::Cpu).unwrap_err().to_string();
        assert!(said(1, [1, 1, 1, 2]).contains("none for chunk 1"));
        assert!(said(0, [1, 1, 2, 2]).contains("[1, 1, 2, 2]"));
        let seeded = Noise::Seeded(1).of_chunk(2, [2, 1, 1, 3], &Device::Cpu).unwrap();
        assert_eq!(seeded.flatten_all().unwrap().to_vec1::<f32>().unwrap(), normals(1, 2, 6));
    }
}
