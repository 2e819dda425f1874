//! Stored bytes to tensors: every dtype a checkpoint may have, to every dtype a net may want, rounded once. Views are put in order.

use candle_core::{DType, Device, Result, Tensor, WithDType, bail};
use half::{bf16, f16};
use safetensors::Dtype;

use super::checkpoint::Entry;

/// The elements of a strided view in row-major order. `bytes` begins with the first element and ends with the last.
pub(super) fn gather(bytes: &[u8], shape: &[usize], strides: &[usize], width: usize) -> Vec<u8> {
    let total: usize = shape.iter().product();
    let mut out = Vec::with_capacity(total * width);
    if total == 0 {
        return out;
    }
    let mut index = vec![0usize; shape.len()];
    let mut at = 0usize; // in elements
    for _ in 0..total {
        out.extend_from_slice(&bytes[at * width..(at + 1) * width]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= index[axis] * strides[axis];
            index[axis] = 0;
        }
    }
    out
}

pub(super) fn tensor(bytes: &[u8], entry: &Entry, want: DType, device: &Device) -> Result<Tensor> {
    let stored = entry.dtype;
    let shape = entry.shape.as_slice();
    match (stored, want) {
        (Dtype::F32, DType::F32) => make(words(bytes, f32::from_le_bytes), shape, device),
        (Dtype::BF16, DType::BF16) => make(words(bytes, bf16::from_le_bytes), shape, device),
        (Dtype::F16, DType::F16) => make(words(bytes, f16::from_le_bytes), shape, device),
        (Dtype::F8_E4M3, DType::F8E4M3) => Tensor::from_raw_buffer(bytes, want, shape, device),
        (Dtype::BF16 | Dtype::F16 | Dtype::F8_E4M3, DType::F32) => {
            make(narrow_floats(bytes, stored, |v| v), shape, device)
        }
        (Dtype::F32 | Dtype::F16 | Dtype::F8_E4M3, DType::BF16) => {
            make(narrow_floats(bytes, stored, bf16::from_f32), shape, device)
        }
        (Dtype::F32 | Dtype::BF16 | Dtype::F8_E4M3, DType::F16) => {
            make(narrow_floats(bytes, stored, f16::from_f32), shape, device)
        }
        (Dtype::F32 | Dtype::BF16 | Dtype::F16 | Dtype::F8_E4M3, DType::F64) => {
            make(narrow_floats(bytes, stored, f64::from), shape, device)
        }
        (Dtype::F64, DType::F64) => make(words(bytes, f64::from_le_bytes), shape, device),
        (Dtype::F64, DType::F32) => make(words(bytes, |b| f64::from_le_bytes(b) as f32), shape, device),
        (Dtype::F64, DType::BF16) => {
            make(words(bytes, |b| bf16::from_f64(f64::from_le_bytes(b))), shape, device)
        }
        (Dtype::F64, DType::F16) => {
            make(words(bytes, |b| f16::from_f64(f64::from_le_bytes(b))), shape, device)
        }
        _ => integers(bytes, stored, want)?(shape, device),
    }
}

fn make<T: WithDType>(values: Vec<T>, shape: &[usize], device: &Device) -> Result<Tensor> {
    Tensor::from_vec(values, shape, device)
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|&chunk| read(chunk)).collect()
}

/// Stored floats that an f32 holds exactly, each turned once.
fn narrow_floats<T>(bytes: &[u8], stored: Dtype, turn: impl Fn(f32) -> T) -> Vec<T> {
    match stored {
        Dtype::BF16 => words(bytes, |b| turn(bf16::from_le_bytes(b).to_f32())),
        Dtype::F16 => words(bytes, |b| turn(f16::from_le_bytes(b).to_f32())),
        Dtype::F8_E4M3 => words(bytes, |[b]: [u8; 1]| turn(e4m3(b))),
        _ => words(bytes, |b| turn(f32::from_le_bytes(b))),
    }
}

/// Stored numbers of any kind as f32, each rounded once.
pub(super) fn values(bytes: &[u8], stored: Dtype) -> Result<Vec<f32>> {
    Ok(match stored {
        Dtype::F32 | Dtype::BF16 | Dtype::F16 | Dtype::F8_E4M3 => narrow_floats(bytes, stored, |v| v),
        Dtype::F64 => words(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::I8 => words(bytes, |b| f32::from(i8::from_le_bytes(b))),
        other => bail!("stored as {other:?}, which is not taken for weights"),
    })
}

/// OCP 8-bit float: 4 bits of exponent (bias 7), 3 of mantissa, no infinities, all ones is not a number.
pub(super) fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let magnitude = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2f32.powi(-9),
        _ => (8.0 + mantissa) * 2f32.powi(exponent - 10),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

type Made<'a> = Box<dyn Fn(&[usize], &Device) -> Result<Tensor> + 'a>;

/// Stored integers and truth values; to integers only where every value fits.
fn integers(bytes: &[u8], stored: Dtype, want: DType) -> Result<Made<'static>> {
    let values: Vec<i64> = match stored {
        Dtype::BOOL | Dtype::U8 => words(bytes, |[b]: [u8; 1]| i64::from(b)),
        Dtype::I8 => words(bytes, |b| i64::from(i8::from_le_bytes(b))),
        Dtype::I16 => words(bytes, |b| i64::from(i16::from_le_bytes(b))),
        Dtype::U16 => words(bytes, |b| i64::from(u16::from_le_bytes(b))),
        Dtype::I32 => words(bytes, |b| i64::from(i32::from_le_bytes(b))),
        Dtype::U32 => words(bytes, |b| i64::from(u32::from_le_bytes(b))),
        Dtype::I64 => words(bytes, i64::from_le_bytes),
        other => bail!("stored as {other:?}, which cannot be turned into {want:?}"),
    };
    fn each<T: WithDType>(values: Vec<i64>, turn: impl Fn(i64) -> Option<T>) -> Result<Made<'static>> {
        let mut turned = Vec::with_capacity(values.len());
        for value in values {
            let Some(value) = turn(value) else { bail!("{value} does not fit {:?}", T::DTYPE) };
            turned.push(value);
        }
        Ok(Box::new(move |shape, device| Tensor::from_slice(&turned, shape, device)))
    }
    match want {
        DType::U8 => each(values, |v| u8::try_from(v).ok()),
        DType::U32 => each(values, |v| u32::try_from(v).ok()),
        DType::I16 => each(values, |v| i16::try_from(v).ok()),
        DType::I32 => each(values, |v| i32::try_from(v).ok()),
        DType::I64 => each(values, Some),
        DType::F16 => each(values, |v| Some(f16::from_f64(v as f64))),
        DType::BF16 => each(values, |v| Some(bf16::from_f64(v as f64))),
        DType::F32 => each(values, |v| Some(v as f32)),
        DType::F64 => each(values, |v| Some(v as f64)),
        other => bail!("stored as {stored:?}, which cannot be turned into {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bit_floats() {
        for (byte, value) in [
            (0x00, 0.0),
            (0x01, 2f32.powi(-9)),
            (0x08, 2f32.powi(-6)),
            (0x38, 1.0),
            (0x7E, 448.0),
            (0xC4, -3.0),
        ] {
            assert_eq!(e4m3(byte), value, "{byte:#x}");
        }
        assert!(e4m3(0x7F).is_nan() && e4m3(0xFF).is_nan());
    }

    #[test]
    fn views_are_put_in_order() {
        let bytes: Vec<u8> = (0..12).collect();
        assert_eq!(gather(&bytes, &[4, 3], &[1, 4], 1), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        assert_eq!(gather(&bytes, &[2, 2], &[0, 1], 2), [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(gather(&bytes, &[], &[], 4), [0, 1, 2, 3]);
        assert!(gather(&bytes, &[0, 3], &[3, 1], 4).is_empty());
    }

    #[test]
    fn every_value_or_none() {
        let entry = |dtype, n| Entry { dtype, shape: vec![n], strides: None, file: 0, offset: 0 };
        let minus = (-1i64).to_le_bytes();
        let as_float = tensor(&minus, &entry(Dtype::I64, 1), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(as_float.to_vec1::<f32>().unwrap(), [-1.0]);
        let refused = tensor(&minus, &entry(Dtype::I64, 1), DType::U8, &Device::Cpu).unwrap_err();
        assert!(refused.to_string().contains("-1 does not fit U8"), "{refused}");
        let rounded =
            tensor(&1.007f32.to_le_bytes(), &entry(Dtype::F32, 1), DType::BF16, &Device::Cpu).unwrap();
        assert_eq!(rounded.to_vec1::<bf16>().unwrap(), [bf16::from_bits(0x3F80 + 1)]);
        assert!(tensor(&minus, &entry(Dtype::C64, 1), DType::F32, &Device::Cpu).is_err());
    }
}
