//! A model in several files: which tensor lies in which. At full scale they are filled in order up to ten gigabytes each, which is how the
//! hub's libraries cut (`max_shard_size="10GB"`); at a smaller one there are as many, of as many tensors each.

use serde_json::{Map, json};

use super::{Pen, Scale};
use crate::inventory::Tensor;

/// Bytes of a file at full scale, at most.
const SHARD: u64 = 10_000_000_000;

/// Files of a smaller model: as the released one has.
const FILES: usize = 7;

/// The number of each tensor's file, from 1.
pub fn numbered(tensors: Vec<Tensor>, scale: Scale) -> Vec<(usize, Tensor)> {
    let (mut number, mut held, all) = (1, 0, tensors.len());
    let place = |(i, tensor): (usize, Tensor)| {
        if scale == Scale::Full {
            if held > 0 && held + tensor.bytes() > SHARD {
                (number, held) = (number + 1, 0);
            }
            held += tensor.bytes();
        } else {
            number = 1 + i * FILES / all;
        }
        (number, tensor)
    };
    tensors.into_iter().enumerate().map(place).collect()
}

/// That of `<stem>-00002-of-00007.safetensors`.
pub fn number_in(name: &str) -> Option<usize> {
    name.rsplit_once("-of-")?.0.rsplit_once('-')?.1.parse().ok()
}

/// `index` is the index's own name, `<stem>.safetensors.index.json`.
pub fn write_index(pen: &mut Pen<'_, '_>, tensors: &[(usize, Tensor)], index: &str) -> std::io::Result<()> {
    let stem = index.strip_suffix(".safetensors.index.json").unwrap_or(index);
    let of = tensors.last().map_or(1, |(number, _)| *number);
    let place = |number: usize| json!(format!("{stem}-{number:05}-of-{of:05}.safetensors"));
    let map: Map<_, _> =
        tensors.iter().map(|(number, tensor)| (tensor.key.clone(), place(*number))).collect();
    let total: u64 = tensors.iter().map(|(_, tensor)| tensor.bytes()).sum();
    let index = json!({ "metadata": { "total_size": total, "seeded": pen.salt }, "weight_map": map });
    pen.bytes(format!("{index:#}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Inventory;

    #[test]
    fn the_large_model_takes_as_many_files_as_the_released_one() {
        let tensors = Inventory::named("wan_i2v_14b_dit").unwrap().tensors;
        for scale in [Scale::Full, Scale::Small] {
            let numbered = numbered(tensors.clone(), scale);
            assert_eq!(numbered.last().map(|(number, _)| *number), Some(7));
            for number in 1..=7 {
                let of_file = numbered.iter().filter(|(of, _)| *of == number);
                let bytes: u64 = of_file.map(|(_, tensor)| tensor.bytes()).sum();
                assert!(bytes > 0 && (scale == Scale::Small || bytes <= SHARD), "{number}: {bytes}");
            }
        }
        assert_eq!(number_in("diffusion_pytorch_model-00003-of-00007.safetensors"), Some(3));
        assert_eq!(number_in("model.safetensors"), None);
    }
}
