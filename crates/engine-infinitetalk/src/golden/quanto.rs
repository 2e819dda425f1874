//! Checkpoints of optimum-quanto: the DiT with the quantised layers of a file laid over its seeded weights, the same with every linear
//! layer quantised here, and umT5 from a file of its own.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{Result, Tensor};
use golden::{Case, CaseError, DType, Device, Given, Outputs, Seeded, every};
use half::bf16;
use layers::Probe;
use serde::Deserialize;

use crate::nets::dit::{Dit, DitConfig, Loading, velocity};
use crate::nets::umt5::{Umt5Config, Umt5Encoder};
use crate::weights::{Computed, Kind, Quantised, Quanto, Source, Tensors, dit_keys};

pub struct Quantisation;

#[derive(Deserialize)]
struct Config {
    dit: DitConfig,
    t5: Umt5Config,
    t5_lengths: Vec<usize>,
    qtype: String,
    /// DiT, its map, umT5, its map
    files: [String; 4],
    /// Of every linear layer: its shape, and the CRC-32 of its bytes and of its scales.
    full_crc32: BTreeMap<String, (Vec<usize>, u32, u32)>,
}

impl Case for Quantisation {
    fn components(&self) -> &[&str] {
        &["optimum-quanto int8 checkpoint", "optimum-quanto fp8 checkpoint"]
    }

    /// umT5's own bounds in the kit are those of f32.
    fn under_bf16(&self, output: &str) -> Option<f64> {
        output.starts_with("t5_").then_some(0.05)
    }

    fn run(&self, given: &Given) -> std::result::Result<Outputs, CaseError> {
        let config: Config = given.config()?;
        let kind = match config.qtype.as_str() {
            "qint8" => Kind::Int8,
            "qfloat8_e4m3fn" => Kind::Fp8,
            other => return Err(format!("qtype is {other}").into()),
        };
        let file = |i: usize| given.file.folder().join(&config.files[i]);
        let salt = given.file.meta.salt.as_deref().ok_or("the case has no salt, so it has no weights")?;
        let net = dit_keys(&config.dit)?;
        let seeded = || Computed::new(Seeded::new(salt), &net);
        let mut outputs = Outputs::new();

        let laid = || Ok::<_, CaseError>(Source::of(seeded()).under(Quanto::open(&file(0), &file(1))?));
        let source = laid()?;
        for (name, _) in given.file.stored("out.dequant.") {
            let stored = given.file.tensor(name)?;
            let name = name.trim_start_matches("out.");
            let key = name.trim_start_matches("dequant.").split("_sub").next().unwrap_or_default();
            let key = format!("{key}.weight");
            let shape = source.shape(&key).ok_or("a dequantised layer that the net does not have")?.to_vec();
            let weight = laid()?.into_builder(DType::F32, &Device::Cpu).get(shape.as_slice(), &key)?;
            outputs.out(name, every(shape[1].div_ceil(stored.dim(1)?), &weight, 1)?);
        }
        outputs.out("pred", predicted(given, &config.dit, source, DType::F32)?);

        let requantised = |dtype| Requantised {
            base: seeded(),
            kind,
            dtype,
            layers: config.full_crc32.keys().cloned().collect(),
        };
        requantised(DType::F32).check(&config.full_crc32)?;
        let full = Source::of(requantised(DType::F32));
        outputs.out("pred_full", predicted(given, &config.dit, full, DType::F32)?);
        let half = Source::of(requantised(DType::BF16));
        outputs.out("pred_full_bf16_policy", predicted(given, &config.dit, half, DType::BF16)?);

        // int8 stays as it is stored: the DiT's layers were widened
        let t5 = Source::of(Quanto::open(&file(2), &file(3))?).quantised(Quantised::Kept);
        let t5 = Umt5Encoder::load(&config.t5, t5.into_builder(DType::F32, &Device::Cpu))?;
        let ids = given.input("in.t5_ids")?;
        for (row, &length) in config.t5_lengths.iter().enumerate() {
            let text = ids.narrow(0, row, 1)?.narrow(1, 0, length)?;
            outputs.out(&format!("t5_seq{row}"), t5.forward(&text)?.squeeze(0)?);
        }
        Ok(outputs)
    }
}

fn predicted(
    given: &Given,
    cfg: &DitConfig,
    weights: Source,
    dtype: DType,
) -> std::result::Result<Tensor, CaseError> {
    let net = Dit::load(cfg, &Loading::of(dtype), weights.into_builder(dtype, given.device))?;
    velocity(given, (cfg, &net), &Probe::off())
}

/// The seeded net with linear layers rounded as quanto rounds them.
struct Requantised {
    base: Computed,
    kind: Kind,
    /// Of the net that was quantised: its weights, and with them the scales.
    dtype: DType,
    layers: Vec<String>,
}

/// A row in whole steps.
struct Row {
    scale: f32,
    bytes: Vec<u8>,
    values: Vec<f32>,
}

impl Requantised {
    fn rounded(&self, value: f32) -> f32 {
        if self.dtype == DType::BF16 { bf16::from_f32(value).to_f32() } else { value }
    }

    fn row(&self, weights: &[f32]) -> Row {
        let weights: Vec<f32> = weights.iter().map(|&value| self.rounded(value)).collect();
        let peak = weights.iter().fold(0f32, |peak, value| peak.max(value.abs()));
        let scale = self.rounded(peak / if self.kind == Kind::Int8 { 127.0 } else { 448.0 });
        let step = |value: &f32| match self.kind {
            Kind::Int8 => {
                let step = self.rounded(value / scale).round_ties_even().clamp(-128.0, 127.0);
                ((step as i8).cast_unsigned(), step)
            }
            Kind::Fp8 => e4m3(self.rounded(value / scale)),
        };
        let (bytes, values) =
            weights.iter().map(step).map(|(byte, step)| (byte, self.rounded(step * scale))).unzip();
        Row { scale, bytes, values }
    }

    fn check(&self, known: &BTreeMap<String, (Vec<usize>, u32, u32)>) -> std::result::Result<(), CaseError> {
        for (layer, (shape, data, scales)) in known {
            let key = format!("{layer}.weight");
            if self.base.shape(&key) != Some(shape.as_slice()) {
                return Err(format!("`{key}` is {:?}, expected {shape:?}", self.base.shape(&key)).into());
            }
            let (mut of_data, mut of_scales) = (crc32fast::Hasher::new(), crc32fast::Hasher::new());
            for weights in self.base.values(&key, 0..shape[0] * shape[1])?.chunks_exact(shape[1]) {
                let row = self.row(weights);
                of_data.update(&row.bytes);
                of_scales.update(&row.scale.to_le_bytes());
            }
            if (of_data.finalize(), of_scales.finalize()) != (*data, *scales) {
                return Err(format!("`{layer}` is quantised to other numbers than quanto's").into());
            }
        }
        Ok(())
    }
}

impl Tensors for Requantised {
    fn list(&self) -> Vec<(String, Vec<usize>)> {
        self.base.list()
    }

    fn shape(&self, key: &str) -> Option<&[usize]> {
        self.base.shape(key)
    }

    fn values(&self, key: &str, range: Range<usize>) -> Result<Vec<f32>> {
        let values = self.base.values(key, range)?;
        let width = self.shape(key).and_then(|shape| shape.get(1)).copied().unwrap_or(1);
        let quantised =
            key.strip_suffix(".weight").is_some_and(|layer| self.layers.iter().any(|other| other == layer));
        // blocks of whole rows are asked for
        Ok(if quantised {
            values.chunks(width).flat_map(|row| self.row(row).values).collect()
        } else {
            values
        })
    }

    fn place(&self, key: &str) -> String {
        self.base.place(key)
    }
}

/// The nearest float of 4 bits of exponent and 3 of mantissa, ties to even, and its bits. Beyond 448 it is 448.
fn e4m3(value: f32) -> (u8, f32) {
    let magnitude = value.abs().min(448.0);
    // below 2^-6 the steps no longer get smaller
    let exponent = ((magnitude.to_bits() >> 23) as i32 - 127).max(-6);
    let step = 2f32.powi(exponent - 3);
    let steps = (magnitude / step).round_ties_even(); // 0 to 16; 16 is the next exponent's 8
    let bits = ((exponent + 6) << 3) + steps as i32;
    let sign = if value.is_sign_negative() { 0x80 } else { 0 };
    (bits as u8 | sign, (steps * step).copysign(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bit_floats_are_the_nearest() {
        for (value, bits, nearest) in [
            (0.0, 0x00, 0.0),
            (2f32.powi(-9), 0x01, 2f32.powi(-9)),
            (2f32.powi(-6) * 0.99, 0x08, 2f32.powi(-6)),
            (1.0, 0x38, 1.0),
            (1.0625, 0x38, 1.0),  // a tie: to even
            (1.1875, 0x3A, 1.25), // a tie: to even
            (1.97, 0x40, 2.0),
            (-3.0, 0xC4, -3.0),
            (1e9, 0x7E, 448.0),
        ] {
            assert_eq!(e4m3(value), (bits, nearest), "{value}");
        }
    }
}
