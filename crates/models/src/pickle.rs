//! Writes the few pickles (protocol 2) that torch files need: dictionaries of tensors that name their storage. Only writes;
//! nothing here reads a pickle. Reference: `pickletools` of CPython, `torch/_utils.py` (`_rebuild_tensor_v2`).

use crate::inventory::{Dtype, Tensor};

/// How a storage is named: torch's legacy files carry one field more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    Zip,
    Legacy,
}

#[derive(Default)]
pub struct Pickle(Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.0.push(b'.');
        self.0
    }

    pub fn op(&mut self, op: u8) -> &mut Self {
        self.0.push(op);
        self
    }

    pub fn int(&mut self, value: u64) -> &mut Self {
        match value {
            0..=0xFF => self.0.extend([b'K', value as u8]),
            0x100..=0xFFFF => {
                self.0.push(b'M');
                self.0.extend((value as u16).to_le_bytes());
            }
            0x1_0000..=0x7FFF_FFFF => {
                self.0.push(b'J');
                self.0.extend((value as u32).to_le_bytes());
            }
            _ => self.long(&value.to_le_bytes()),
        }
        self
    }

    /// LONG1: two's complement, little-endian, as short as can be; a zero byte keeps the number positive where its top bit is set.
    pub fn long(&mut self, little_endian: &[u8]) {
        let digits = little_endian.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let digits = &little_endian[..digits];
        let sign: &[u8] = if digits.last().is_some_and(|top| *top >= 0x80) { &[0] } else { &[] };
        self.0.extend([0x8A, (digits.len() + sign.len()) as u8]);
        self.0.extend(digits);
        self.0.extend(sign);
    }

    pub fn text(&mut self, text: &str) -> &mut Self {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
        self
    }

    pub fn global(&mut self, module: &str, name: &str) -> &mut Self {
        self.0.extend(format!("c{module}\n{name}\n").into_bytes());
        self
    }

    pub fn yes(&mut self) -> &mut Self {
        self.op(0x88)
    }

    pub fn no(&mut self) -> &mut Self {
        self.op(0x89)
    }

    /// Begins a plain dictionary; items follow, then `end_items`.
    pub fn begin_dictionary(&mut self) -> &mut Self {
        self.op(b'}').op(b'(')
    }

    /// Begins an `OrderedDict`, which is what a state dictionary is.
    pub fn begin_ordered(&mut self) -> &mut Self {
        self.ordered().op(b'(')
    }

    pub fn end_items(&mut self) -> &mut Self {
        self.op(b'u')
    }

    fn ordered(&mut self) -> &mut Self {
        self.global("collections", "OrderedDict").op(b')').op(b'R')
    }

    /// `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`, contiguous.
    pub fn tensor(&mut self, tensor: &Tensor, key: usize, storage: Storage) -> &mut Self {
        self.global("torch._utils", "_rebuild_tensor_v2").op(b'(').op(b'(');
        self.text("storage").global("torch", storage_class(tensor.dtype)).text(&key.to_string()).text("cpu");
        self.int(tensor.elements());
        if storage == Storage::Legacy {
            self.op(b'N'); // it views no other storage
        }
        self.op(b't').op(b'Q').int(0);
        self.tuple(&tensor.shape).tuple(&strides(&tensor.shape));
        self.no().ordered().op(b't').op(b'R')
    }

    fn tuple(&mut self, values: &[u64]) -> &mut Self {
        self.op(b'(');
        values.iter().for_each(|value| {
            self.int(*value);
        });
        self.op(b't')
    }
}

fn storage_class(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "FloatStorage",
        Dtype::F16 => "HalfStorage",
        Dtype::BF16 => "BFloat16Storage",
        Dtype::I64 => "LongStorage",
    }
}

/// In elements, row-major.
fn strides(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_the_opcode_that_holds_them() {
        let rows: [(u64, &[u8]); 5] = [
            (7, &[b'K', 7]),
            (300, &[b'M', 44, 1]),
            (70_000, &[b'J', 0x70, 0x11, 1, 0]),
            (0x8000_0000, &[0x8A, 5, 0, 0, 0, 0x80, 0]),
            (0, &[b'K', 0]),
        ];
        for (value, expected) in rows {
            let mut pickle = Pickle::default();
            pickle.int(value);
            assert_eq!(pickle.0, expected, "{value}");
        }
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
        assert_eq!(strides(&[]), [0u64; 0]);
    }
}
