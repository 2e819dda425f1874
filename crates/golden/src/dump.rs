//! What was computed, as files, so that anyone can compare without trusting this program: `<folder>/<area>/<case>.safetensors`.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Device;

use crate::case::Outputs;
use crate::kit::{CaseFile, KitError};

pub fn write(folder: &Path, file: &CaseFile, outputs: &Outputs) -> Result<(), KitError> {
    let folder = folder.join(&file.area);
    let path = folder.join(format!("{}.safetensors", file.name));
    let unwritable = |why: String| KitError::Unwritable { path: path.clone(), why };
    std::fs::create_dir_all(&folder).map_err(|e| unwritable(e.to_string()))?;
    let mut tensors = HashMap::new();
    for (name, tensor) in outputs.iter().filter(|(name, _)| name.starts_with("out.")) {
        let tensor = tensor
            .to_device(&Device::Cpu)
            .and_then(|t| t.contiguous())
            .map_err(|e| unwritable(e.to_string()))?;
        tensors.insert(name.to_owned(), tensor);
    }
    candle_core::safetensors::save(&tensors, &path).map_err(|e| unwritable(e.to_string()))
}
