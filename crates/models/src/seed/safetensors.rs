//! safetensors: a length, a JSON header padded to 8 bytes, the tensors one after the other. Reference: the format's own
//! description at huggingface/safetensors.

use serde_json::{Map, json};

use super::Pen;
use crate::inventory::Tensor;

pub fn write(pen: &mut Pen<'_, '_>, tensors: &[Tensor]) -> std::io::Result<()> {
    let mut header = Map::new();
    // says to whoever opens it that nobody trained this
    header.insert("__metadata__".into(), json!({ "format": "pt", "seeded": pen.salt }));
    let mut at = 0;
    for tensor in tensors {
        let end = at + tensor.bytes();
        let entry = json!({ "dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [at, end] });
        header.insert(tensor.key.clone(), entry);
        at = end;
    }
    let mut header = serde_json::Value::from(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    pen.bytes(&(header.len() as u64).to_le_bytes())?;
    pen.bytes(&header)?;
    tensors.iter().try_for_each(|tensor| pen.tensor(tensor, |_| {}))
}
