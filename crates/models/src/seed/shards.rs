//! A model in several files: which tensor lies in which, filled in order up to ten gigabytes each, which is how the hub's
//! libraries cut (`max_shard_size="10GB"`). Only the first file is written; the index names them all.

use serde_json::{Map, json};

use super::Pen;
use crate::inventory::Tensor;

/// Bytes of a file, at most.
const SHARD: u64 = 10_000_000_000;

/// The tensors of the first file.
pub fn first(tensors: &[Tensor]) -> &[Tensor] {
    let numbers = numbers(tensors);
    &tensors[..numbers.iter().take_while(|number| **number == 1).count()]
}

/// `index` is the index's own name, `<stem>.safetensors.index.json`.
pub fn write_index(pen: &mut Pen<'_, '_>, tensors: &[Tensor], index: &str) -> std::io::Result<()> {
    let stem = index.strip_suffix(".safetensors.index.json").unwrap_or(index);
    let numbers = numbers(tensors);
    let of = numbers.last().copied().unwrap_or(1);
    let place = |number: &usize| json!(format!("{stem}-{number:05}-of-{of:05}.safetensors"));
    let map: Map<_, _> = tensors.iter().map(|t| t.key.clone()).zip(numbers.iter().map(place)).collect();
    let total: u64 = tensors.iter().map(Tensor::bytes).sum();
    let index = json!({ "metadata": { "total_size": total, "seeded": pen.salt }, "weight_map": map });
    pen.bytes(format!("{index:#}\n").as_bytes())
}

/// The number of each tensor's file, from 1.
fn numbers(tensors: &[Tensor]) -> Vec<usize> {
    let (mut number, mut held) = (1, 0);
    let place = |tensor: &Tensor| {
        if held > 0 && held + tensor.bytes() > SHARD {
            (number, held) = (number + 1, 0);
        }
        held += tensor.bytes();
        number
    };
    tensors.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Inventory;

    #[test]
    fn the_large_model_takes_as_many_files_as_the_released_one() {
        let tensors = Inventory::named("wan_i2v_14b_dit").unwrap().tensors;
        let numbers = numbers(&tensors);
        assert_eq!(numbers.last(), Some(&7));
        let bytes: u64 = first(&tensors).iter().map(Tensor::bytes).sum();
        assert!((9_000_000_000..=SHARD).contains(&bytes), "{bytes}");
    }
}
