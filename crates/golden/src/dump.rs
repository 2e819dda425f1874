//! What was computed, as files, so that anyone can compare without trusting this program: `<folder>/<area>/<case>.safetensors`, and of
//! a case of texts `.json`, in rows as it is given.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Device;

use crate::case::Outputs;
use crate::kit::{CaseFile, KitError};

pub fn write(folder: &Path, file: &CaseFile, outputs: &Outputs) -> Result<(), KitError> {
    let folder = folder.join(&file.area);
    let columns: Vec<_> = outputs.columns().collect();
    let kind = if columns.is_empty() { "safetensors" } else { "json" };
    let path = folder.join(format!("{}.{kind}", file.name));
    let unwritable = |why: String| KitError::Unwritable { path: path.clone(), why };
    std::fs::create_dir_all(&folder).map_err(|e| unwritable(e.to_string()))?;
    if let Some((_, first)) = columns.first() {
        let row =
            |i: usize| columns.iter().map(|(name, texts)| (*name, texts.get(i))).collect::<HashMap<_, _>>();
        let rows: Vec<_> = (0..first.len()).map(row).collect();
        return std::fs::write(&path, serde_json::json!({ "rows": rows }).to_string())
            .map_err(|e| unwritable(e.to_string()));
    }
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
