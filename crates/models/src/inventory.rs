//! Key inventories of the released files: name, shape and dtype of every tensor (`goldens/keys`), as the golden kit has them.

use contract::Complaint;
use serde::Deserialize;

/// Files that are built in, by the stem of their name.
macro_rules! built_in {
    ($table:ident, $folder:literal, $($name:literal),+ $(,)?) => {
        const $table: &[(&str, &str)] =
            &[$(($name, include_str!(concat!($folder, $name, ".json")))),+];
    };
}

built_in!(
    TINY,
    "../assets/tiny/",
    "musetalk_unet",
    "musetalk_unet.config",
    "sd_vae",
    "sd_vae.config",
    "whisper",
    "whisper.config",
);

built_in!(
    BUILT_IN,
    "../../../goldens/keys/",
    "bisenet",
    "clip_xlm_roberta",
    "dwpose",
    "infinitetalk_audio",
    "musetalk_unet",
    "s3fd",
    "sd_vae",
    "svd_image_encoder",
    "svd_unet",
    "svd_vae",
    "umt5_xxl",
    "wan_i2v_14b_dit",
    "wan_vae",
    "wav2vec2_base",
    "whisper_tiny",
);

pub struct Inventory {
    pub tensors: Vec<Tensor>,
}

#[derive(Clone, Debug)]
pub struct Tensor {
    pub key: String,
    pub shape: Vec<u64>,
    pub dtype: Dtype,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F16,
    BF16,
    I64,
}

impl Dtype {
    pub fn named(name: &str) -> Option<Self> {
        [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::I64].into_iter().find(|dtype| dtype.name() == name)
    }

    /// As safetensors and the inventories write it.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::BF16 => "BF16",
            Dtype::I64 => "I64",
        }
    }

    pub fn bytes(self) -> u64 {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            Dtype::I64 => 8,
        }
    }
}

impl Tensor {
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    pub fn bytes(&self) -> u64 {
        self.elements() * self.dtype.bytes()
    }
}

impl Inventory {
    /// Of a released file; of several in one with ` + ` between their names.
    pub fn named(name: &str) -> Result<Self, Complaint> {
        let mut tensors = Vec::new();
        for name in parts(name) {
            tensors.extend(Self::parse(name, find(BUILT_IN, name)?)?.tensors);
        }
        Ok(Self { tensors })
    }

    /// Of the tiny model that stands for one.
    pub fn tiny(name: &str) -> Result<Self, Complaint> {
        Self::parse(name, find(TINY, name)?)
    }

    fn parse(name: &str, text: &str) -> Result<Self, Complaint> {
        let wrong = |why: String| wrong(name, &why);
        let wire: Wire =
            serde_json::from_str(text).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let tensor = |(key, shape, dtype): (String, Vec<u64>, String)| match Dtype::named(&dtype) {
            Some(dtype) => Ok(Tensor { key, shape, dtype }),
            None => Err(wrong(format!("has the unknown dtype {dtype} at {key}"))),
        };
        let tensors: Vec<Tensor> = wire.entries.into_iter().map(tensor).collect::<Result<_, _>>()?;
        if tensors.len() != wire.tensors {
            return Err(wrong(format!("has {} tensors and says {}", tensors.len(), wire.tensors)));
        }
        Ok(Self { tensors })
    }
}

/// The inventories that a name stands for.
pub fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.split(" + ")
}

/// The config of a tiny model, as it stands in its file.
pub fn tiny_config(name: &str) -> Result<&'static str, Complaint> {
    find(TINY, name)
}

fn find(table: &[(&str, &'static str)], name: &str) -> Result<&'static str, Complaint> {
    let text = table.iter().find(|(stem, _)| *stem == name).map(|(_, text)| *text);
    text.ok_or_else(|| wrong(name, "is not built in"))
}

fn wrong(name: &str, why: &str) -> Complaint {
    Complaint::new("bad_inventory", format!("the key inventory {name} {why}"), "")
}

#[derive(Deserialize)]
struct Wire {
    tensors: usize,
    entries: Vec<(String, Vec<u64>, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inventories_have_the_counts_of_the_golden_kit() {
        let rows = [("musetalk_unet", 686, 849_947_844), ("wan_i2v_14b_dit", 1303, 16_394_878_784)];
        for (name, tensors, elements) in rows {
            let inventory = Inventory::named(name).unwrap();
            assert_eq!(inventory.tensors.len(), tensors, "{name}");
            assert_eq!(inventory.tensors.iter().map(Tensor::elements).sum::<u64>(), elements, "{name}");
        }
        assert!(Inventory::named("nobody").is_err());
    }
}
