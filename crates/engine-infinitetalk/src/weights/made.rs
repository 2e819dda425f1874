//! Small files for tests.

use std::path::{Path, PathBuf};

use layers::weights::{Dtype, Inventory};
use safetensors::tensor::TensorView;

pub struct Made {
    pub key: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

pub fn f32s(key: &str, shape: &[usize], values: &[f32]) -> Made {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Made { key: key.to_owned(), dtype: Dtype::F32, shape: shape.to_vec(), bytes }
}

pub fn i8s(key: &str, shape: &[usize], values: &[i8]) -> Made {
    let bytes = values.iter().map(|value| value.cast_unsigned()).collect();
    Made { key: key.to_owned(), dtype: Dtype::I8, shape: shape.to_vec(), bytes }
}

/// All of one value.
pub fn filled(key: &str, shape: &[usize], value: f32) -> Made {
    f32s(key, shape, &vec![value; shape.iter().product()])
}

pub fn write(folder: &Path, name: &str, tensors: &[Made]) -> PathBuf {
    let path = folder.join(name);
    let mut views = Vec::new();
    for Made { key, dtype, shape, bytes } in tensors {
        views.push((key, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    }
    safetensors::serialize_to_file(views, None, &path).unwrap();
    path
}

/// A net of one block: a linear layer of 3 inputs and 2 outputs, a norm, a modulation, and the patches.
pub fn net() -> Inventory {
    Inventory::of_shapes([
        ("patch_embedding.weight".to_owned(), vec![2, 3, 1, 1, 1]),
        ("patch_embedding.bias".to_owned(), vec![2]),
        ("blocks.0.modulation".to_owned(), vec![1, 2, 2]),
        ("blocks.0.self_attn.q.weight".to_owned(), vec![2, 3]),
        ("blocks.0.self_attn.q.bias".to_owned(), vec![2]),
        ("blocks.0.norm3.weight".to_owned(), vec![2]),
        ("blocks.0.norm3.bias".to_owned(), vec![2]),
    ])
}

/// That net's weights, all of one value.
pub fn weights(value: f32) -> Vec<Made> {
    net().iter().map(|(key, shape)| filled(key, shape, value)).collect()
}
