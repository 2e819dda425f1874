//! Which files a checkpoint consists of, and where its tensors lie in them: one safetensors file, the shards named by an index, or a PyTorch file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use safetensors::SafeTensors;

use super::checkpoint::Entry;
use super::error::WeightsError;
use super::mapped::Mapped;
use super::torch;

type Opened = (Vec<Mapped>, BTreeMap<String, Entry>);

/// An index is a list of names; the largest published ones are below a megabyte.
const INDEX_BYTES: usize = 64 << 20;

pub(super) fn open(path: &Path, key: Option<&str>) -> Result<Opened, WeightsError> {
    if path.extension().is_some_and(|e| e == "json") {
        return sharded(path);
    }
    let file = Mapped::open(path)?;
    let bytes = file.bytes();
    let entries = if torch::is_zip(bytes) || torch::is_legacy(bytes) {
        torch::entries(&file, key)?
    } else if let Some(key) = key {
        let why = format!("only a PyTorch file has parts such as `{key}`");
        return Err(WeightsError::UnknownFormat { path: path.to_owned(), why });
    } else if looks_like_safetensors(bytes) {
        safetensors_entries(&file, 0)?
    } else {
        let why = if bytes.get(257..262) == Some(b"ustar") {
            "it is a tar, as PyTorch wrote before 0.1.10; load and save it with a newer PyTorch".to_owned()
        } else {
            format!("it begins with {:02x?}", &bytes[..bytes.len().min(8)])
        };
        return Err(WeightsError::UnknownFormat { path: path.to_owned(), why });
    };
    Ok((vec![file], entries))
}

/// The length of a header, then the header, which is JSON.
fn looks_like_safetensors(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

/// Offsets are checked by the safetensors reader: in order, without holes or overlaps, and up to the end of the file.
fn safetensors_entries(file: &Mapped, index: usize) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let bytes = file.bytes();
    let malformed = |e: safetensors::SafeTensorError| WeightsError::malformed(&file.path, e.to_string());
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
    let begin = 8 + header;
    if begin + metadata.data_len() != bytes.len() {
        let why = format!(
            "{} bytes of data were announced, {} are there",
            metadata.data_len(),
            bytes.len() - begin
        );
        return Err(WeightsError::malformed(&file.path, why));
    }
    let mut entries = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        if info.dtype.bitsize() % 8 != 0 {
            return Err(WeightsError::tensor(&file.path, &name, format!("stored as {:?}", info.dtype)));
        }
        let entry = Entry {
            dtype: info.dtype,
            shape: info.shape.clone(),
            strides: None,
            file: index,
            offset: begin + info.data_offsets.0,
        };
        entries.insert(name, entry);
    }
    Ok(entries)
}

/// `{"weight_map": {tensor: file}}`. A tensor that the index does not name, and one that its file does not hold, is an error.
fn sharded(path: &Path) -> Result<Opened, WeightsError> {
    let malformed = |why: String| WeightsError::malformed(path, why);
    let text = Mapped::open(path)?;
    if text.bytes().len() > INDEX_BYTES {
        return Err(malformed(format!(
            "an index of {} bytes; the limit is {INDEX_BYTES}",
            text.bytes().len()
        )));
    }
    let index: serde_json::Value =
        serde_json::from_slice(text.bytes()).map_err(|e| malformed(e.to_string()))?;
    let map = index["weight_map"].as_object().ok_or_else(|| malformed("it has no `weight_map`".into()))?;
    let mut named = BTreeMap::new();
    for (tensor, file) in map {
        let file = file.as_str().ok_or_else(|| malformed(format!("`{tensor}` is not given a file name")))?;
        // a shard lies beside its index: no other folder, and nothing that climbs out of it
        let plain = Path::new(file).components().eq([Component::Normal(file.as_ref())]);
        if !plain {
            return Err(malformed(format!(
                "`{tensor}` is said to be in `{file}`, which is not a plain file name"
            )));
        }
        named.insert(tensor.as_str(), file);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut files, mut entries) = (Vec::new(), BTreeMap::new());
    for shard in named.values().copied().collect::<BTreeSet<_>>() {
        let file = Mapped::open(&folder.join(shard))?;
        for (tensor, entry) in safetensors_entries(&file, files.len())? {
            match named.get(tensor.as_str()) {
                Some(&owner) if owner == shard => entries.insert(tensor, entry),
                Some(owner) => {
                    return Err(malformed(format!("`{tensor}` lies in {shard}, the index says {owner}")));
                }
                None => {
                    return Err(malformed(format!(
                        "{shard} holds `{tensor}`, which the index does not name"
                    )));
                }
            };
        }
        files.push(file);
    }
    match named.keys().find(|tensor| !entries.contains_key(**tensor)) {
        Some(tensor) => Err(malformed(format!("`{tensor}` is not in {}", named[tensor]))),
        None => Ok((files, entries)),
    }
}
