//! A seeded model as optimum-quanto writes it: every linear layer as int8 or float8_e4m3fn with a scale a row (the row's peak over 127 or
//! 448), everything else plain, and the map that names the layers. Reference: optimum-quanto 0.2.6, `quantize`, `freeze`, `save`.

use serde_json::{Map, json};

use super::{Pen, SeedEvent};
use crate::inventory::{Dtype, Tensor};
use crate::seeded::{Filling, Stream, filling};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int8,
    Fp8,
}

impl Kind {
    /// In a safetensors header, and in the map.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Int8 => ("I8", "qint8"),
            Self::Fp8 => ("F8_E4M3", "qfloat8_e4m3fn"),
        }
    }

    fn peak(self) -> f32 {
        match self {
            Self::Int8 => 127.0,
            Self::Fp8 => 448.0,
        }
    }

    /// The byte of a value in steps of its row's scale.
    fn byte(self, steps: f32) -> u8 {
        match self {
            Self::Int8 => (steps.round_ties_even().clamp(-128.0, 127.0) as i8).cast_unsigned(),
            Self::Fp8 => e4m3(steps),
        }
    }
}

/// The nearest float of 4 bits of exponent and 3 of mantissa, ties to even; beyond 448 it is 448.
fn e4m3(value: f32) -> u8 {
    let magnitude = value.abs().min(448.0);
    let exponent = ((magnitude.to_bits() >> 23) as i32 - 127).max(-6); // below 2^-6 the steps no longer get smaller
    let steps = (magnitude / 2f32.powi(exponent - 3)).round_ties_even() as i32; // 16 is the next exponent's 8
    let sign = if value.is_sign_negative() { 0x80 } else { 0 };
    (((exponent + 6) << 3) + steps) as u8 | sign
}

/// The linear layer that a weight belongs to.
fn layer(tensor: &Tensor) -> Option<&str> {
    let embedding = ["token_embedding.weight", "pos_embedding.embedding.weight"];
    let linear = tensor.shape.len() == 2 && !embedding.iter().any(|end| tensor.key.ends_with(end));
    tensor.key.strip_suffix(".weight").filter(|_| linear)
}

pub fn write_map(pen: &mut Pen<'_, '_>, tensors: &[Tensor], kind: Kind) -> std::io::Result<()> {
    let entry = json!({ "weights": kind.names().1, "activations": "none" });
    let map: Map<_, _> =
        tensors.iter().filter_map(|tensor| Some((layer(tensor)?.to_owned(), entry.clone()))).collect();
    pen.bytes(format!("{:#}\n", serde_json::Value::from(map)).as_bytes())
}

/// One tensor of the file.
enum Entry<'a> {
    Plain(&'a Tensor),
    Data(&'a Tensor),
    Scale(&'a Tensor),
    /// The scale of activations that are not quantised: 1.
    One,
}

impl Entry<'_> {
    fn header(&self, kind: Kind) -> (&'static str, Vec<u64>, u64) {
        match self {
            Self::Plain(tensor) => (tensor.dtype.name(), tensor.shape.clone(), tensor.bytes()),
            Self::Data(tensor) => (kind.names().0, tensor.shape.clone(), tensor.elements()),
            Self::Scale(tensor) => (Dtype::F32.name(), vec![tensor.shape[0], 1], 4 * tensor.shape[0]),
            Self::One => (Dtype::F32.name(), Vec::new(), 4),
        }
    }
}

pub fn write(pen: &mut Pen<'_, '_>, tensors: &[Tensor], kind: Kind) -> std::io::Result<()> {
    let mut entries = Vec::new();
    for tensor in tensors {
        match layer(tensor) {
            None => entries.push((tensor.key.clone(), Entry::Plain(tensor))),
            Some(layer) => entries.extend([
                (format!("{layer}.weight._data"), Entry::Data(tensor)),
                (format!("{layer}.weight._scale"), Entry::Scale(tensor)),
                (format!("{layer}.input_scale"), Entry::One),
                (format!("{layer}.output_scale"), Entry::One),
            ]),
        }
    }
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt", "seeded": pen.salt }));
    let mut at = 0;
    for (key, entry) in &entries {
        let (dtype, shape, bytes) = entry.header(kind);
        header
            .insert(key.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, at + bytes] }));
        at += bytes;
    }
    let mut header = serde_json::Value::from(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    pen.bytes(&(header.len() as u64).to_le_bytes())?;
    pen.bytes(&header)?;
    for (_, entry) in &entries {
        match entry {
            Entry::Plain(tensor) => pen.tensor(tensor, |_| {})?,
            Entry::One => pen.bytes(&1f32.to_le_bytes())?,
            Entry::Scale(tensor) => {
                each_row(pen, tensor, |row| (peak(row) / kind.peak()).to_le_bytes().to_vec())?
            }
            Entry::Data(tensor) => each_row(pen, tensor, |row| {
                let scale = peak(row) / kind.peak();
                row.iter().map(|value| kind.byte(value / scale)).collect()
            })?,
        }
    }
    Ok(())
}

fn peak(row: &[f32]) -> f32 {
    row.iter().fold(0f32, |peak, value| peak.max(value.abs()))
}

fn each_row(pen: &mut Pen<'_, '_>, tensor: &Tensor, turn: impl Fn(&[f32]) -> Vec<u8>) -> std::io::Result<()> {
    let width = tensor.shape[1];
    let values: Box<dyn Fn(u64) -> f32> = match filling(&tensor.key, &tensor.shape) {
        Filling::Counter => Box::new(|_| 0.0),
        Filling::Uniform { offset, amp } => {
            let stream = Stream::new(pen.salt, &tensor.key, (offset, amp));
            Box::new(move |index| stream.at(index))
        }
    };
    for row in 0..tensor.shape[0] {
        if pen.stop.is_stopped() {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let row: Vec<f32> = (row * width..(row + 1) * width).map(&values).collect();
        let bytes = turn(&row);
        pen.bytes(&bytes)?;
        (pen.tell)(SeedEvent::Wrote { bytes: bytes.len() as u64 });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_rounded_to_the_nearest_byte() {
        for (value, int8, fp8) in
            [(0.0, 0, 0), (1.0, 1, 0x38), (2.5, 2, 0x42), (-3.0, 0xFD, 0xC4), (127.0, 127, 0x70)]
        {
            assert_eq!((Kind::Int8.byte(value), Kind::Fp8.byte(value)), (int8, fp8), "{value}");
        }
        assert_eq!(Kind::Fp8.byte(1e9), 0x7E);
        assert_eq!(Kind::Fp8.byte(2f32.powi(-9)), 1);
    }

    #[test]
    fn only_linear_layers_are_quantised() {
        let of = |key: &str, shape: &[u64]| {
            layer(&Tensor { key: key.to_owned(), shape: shape.to_vec(), dtype: Dtype::F32 })
                .map(str::to_owned)
        };
        assert_eq!(of("blocks.0.ffn.0.weight", &[8, 4]).as_deref(), Some("blocks.0.ffn.0"));
        assert_eq!(of("text_embedding.0.weight", &[8, 4]).as_deref(), Some("text_embedding.0"));
        for (key, shape) in [
            ("token_embedding.weight", &[8, 4][..]),
            ("blocks.0.pos_embedding.embedding.weight", &[8, 4]),
            ("patch_embedding.weight", &[8, 4, 1, 2, 2]),
            ("norm.weight", &[8]),
            ("blocks.0.ffn.0.bias", &[8]),
        ] {
            assert_eq!(of(key, shape), None, "{key}");
        }
    }
}
