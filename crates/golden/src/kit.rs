//! A folder of golden files: cases (`<area>/<case>.safetensors`, or `.json` for texts in rows), loader files (`loaders/`) and key inventories (`keys/`).
//! Sizes, configs and tolerances come from the metadata of each file, so a kit that was never seen before runs as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use layers::weights::{Checkpoint, Dtype, Inventory, WeightsError};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::seeded;
use crate::tolerance::Tolerance;

#[derive(Debug, Error)]
pub enum KitError {
    #[error("there is no golden kit in {}: no folder there holds cases; --goldens names the folder", .0.display())]
    NoKit(PathBuf),
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} is not a golden file: {why}", path.display())]
    NotGolden { path: PathBuf, why: String },
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("cannot write {}: {why}", path.display())]
    Unwritable { path: PathBuf, why: String },
}

/// The `golden` entry of a file's metadata.
#[derive(Clone, Debug, Deserialize)]
pub struct Meta {
    pub component: String,
    #[serde(default)]
    pub config: serde_json::Value,
    #[serde(default)]
    pub salt: Option<String>,
    #[serde(default)]
    pub dtype_policy: String,
    #[serde(default)]
    pub tolerance: Tolerance,
    #[serde(default)]
    pub notes: String,
    #[serde(default)]
    pub seeded_inputs: BTreeMap<String, SeededInput>,
    /// Of a loader case: the file to be loaded, in the same folder.
    #[serde(default)]
    pub file: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SeededInput {
    key: String,
    shape: Vec<usize>,
    offset: f64,
    amp: f64,
}

/// One case, opened: its metadata and its tensors (`in.*`, `out.*`, `probe.*`).
pub struct CaseFile {
    pub area: String,
    pub name: String,
    pub meta: Meta,
    path: PathBuf,
    content: Content,
}

enum Content {
    Tensors(Checkpoint),
    /// Of a `.json` case: what is given and what is expected, under the names of the columns.
    Rows(Vec<serde_json::Value>),
}

impl CaseFile {
    pub fn open(path: &Path) -> Result<Self, KitError> {
        let not_golden = |why: String| KitError::NotGolden { path: path.to_owned(), why };
        let bytes =
            std::fs::read(path).map_err(|source| KitError::Unreadable { path: path.to_owned(), source })?;
        let (meta, content) = if path.extension().is_some_and(|e| e == "json") {
            let mut value: serde_json::Value =
                serde_json::from_slice(&bytes).map_err(|e| not_golden(e.to_string()))?;
            let meta = serde_json::from_value(value["golden"].take())
                .map_err(|e| not_golden(format!("`golden`: {e}")))?;
            let serde_json::Value::Array(rows) = value["rows"].take() else {
                return Err(not_golden("it has no `rows`".into()));
            };
            (meta, Content::Rows(rows))
        } else {
            let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| not_golden(e.to_string()))?;
            let entry = header.metadata().as_ref().and_then(|m| m.get("golden"));
            let text = entry.ok_or_else(|| not_golden("its metadata has no entry `golden`".into()))?;
            let meta = serde_json::from_str(text).map_err(|e| not_golden(format!("`golden`: {e}")))?;
            (meta, Content::Tensors(Checkpoint::open(path)?))
        };
        let part = |p: Option<&std::ffi::OsStr>| p.unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self {
            area: part(path.parent().and_then(Path::file_name)),
            name: part(path.file_stem()),
            meta,
            path: path.to_owned(),
            content,
        })
    }

    /// The case's config as the net's own type.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, KitError> {
        let why = |e: serde_json::Error| KitError::NotGolden {
            path: self.path.clone(),
            why: format!("`config`: {e}"),
        };
        serde_json::from_value(self.meta.config.clone()).map_err(why)
    }

    /// The folder of files that belong to this case.
    pub fn folder(&self) -> PathBuf {
        self.path.with_extension("")
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One entry of each row of a case of texts; a case of tensors has no rows.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>, KitError> {
        let Content::Rows(rows) = &self.content else { return Ok(Vec::new()) };
        let mut texts = Vec::with_capacity(rows.len());
        for (i, row) in rows.iter().enumerate() {
            texts.push(row[name].as_str().ok_or_else(|| KitError::NotGolden {
                path: self.path.clone(),
                why: format!("row {i} has no text `{name}`"),
            })?);
        }
        Ok(texts)
    }

    fn tensors(&self) -> Option<&Checkpoint> {
        match &self.content {
            Content::Tensors(tensors) => Some(tensors),
            Content::Rows(_) => None,
        }
    }

    /// The names of stored tensors that begin with `prefix`, with their stored dtypes.
    pub fn stored<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, Dtype)> {
        let entries = self.tensors().into_iter().flat_map(Checkpoint::entries);
        entries
            .filter(move |(name, _)| name.starts_with(prefix))
            .map(|(name, entry)| (name.as_str(), entry.dtype))
    }

    /// A stored tensor as it is stored, or a seeded input (f32), on the host.
    pub fn tensor(&self, name: &str) -> Result<Tensor, KitError> {
        if let Some(stored) = self.tensors()
            && let Some(entry) = stored.entries().get(name)
        {
            return Ok(stored.tensor(name, natural(entry.dtype), &Device::Cpu)?);
        }
        let fail = |why: String| KitError::NotGolden { path: self.path.clone(), why };
        let input = self.meta.seeded_inputs.get(name).ok_or_else(|| fail(format!("it has no `{name}`")))?;
        let salt = self
            .meta
            .salt
            .as_deref()
            .ok_or_else(|| fail(format!("`{name}` is seeded, but there is no salt")))?;
        seeded::affine(salt, &input.key, &input.shape, (input.offset, input.amp))
            .map_err(|e| fail(e.to_string()))
    }

    /// The dtype the case computes in, by its `dtype_policy`.
    pub fn dtype(&self) -> DType {
        match self.meta.dtype_policy.split_whitespace().next() {
            Some("bf16") => DType::BF16,
            Some("fp16" | "f16") => DType::F16,
            _ => DType::F32,
        }
    }
}

/// candle's dtype for a stored one; truth values and small integers become the next that holds them.
fn natural(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F64 => DType::F64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::BOOL | Dtype::U8 => DType::U8,
        Dtype::I8 | Dtype::I16 => DType::I16,
        Dtype::U16 | Dtype::U32 => DType::U32,
        Dtype::I32 => DType::I32,
        Dtype::I64 => DType::I64,
        _ => DType::F32,
    }
}

/// What a kit holds, by area, each in the order of its names.
#[derive(Debug, Default)]
pub struct Kit {
    pub cases: Vec<PathBuf>,
    pub loaders: Vec<PathBuf>,
    pub keys: Vec<PathBuf>,
}

impl Kit {
    pub fn open(root: &Path) -> Result<Self, KitError> {
        let mut kit = Self::default();
        for folder in list(root)?.into_iter().filter(|p| p.is_dir()) {
            let files = list(&folder)?.into_iter().filter(|p| p.is_file());
            let area = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for file in files {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                match area.as_str() {
                    "keys" if name.ends_with(".json") => kit.keys.push(file),
                    "loaders" if name.ends_with(".expected.safetensors") => kit.loaders.push(file),
                    "keys" | "loaders" => {}
                    _ if name.ends_with(".safetensors") || name.ends_with(".json") => kit.cases.push(file),
                    _ => {}
                }
            }
        }
        if kit.cases.is_empty() && kit.loaders.is_empty() && kit.keys.is_empty() {
            return Err(KitError::NoKit(root.to_owned()));
        }
        Ok(kit)
    }
}

/// A key inventory of the kit.
pub fn inventory(path: &Path) -> Result<Inventory, KitError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| KitError::Unreadable { path: path.to_owned(), source })?;
    Inventory::from_json(&text).map_err(|e| KitError::NotGolden { path: path.to_owned(), why: e.to_string() })
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, KitError> {
    let unreadable = |source| KitError::Unreadable { path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths =
        entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}
