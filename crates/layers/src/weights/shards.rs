//! Which files a checkpoint consists of, and where its tensors lie in them: one safetensors file, the shards named by an index, or a PyTorch file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

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
    let entries = single(path, file.bytes(), key)?;
    Ok((vec![file], entries))
}

fn single(path: &Path, bytes: &[u8], key: Option<&str>) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let unknown = |why| Err(WeightsError::UnknownFormat { path: path.to_owned(), why });
    if torch::is_zip(bytes) || torch::is_legacy(bytes) {
        torch::entries(path, bytes, key)
    } else if let Some(key) = key {
        unknown(format!("only a PyTorch file has parts such as `{key}`"))
    } else if looks_like_safetensors(bytes) {
        safetensors_entries(path, bytes, 0)
    } else if bytes.get(257..262) == Some(b"ustar") {
        unknown("it is a tar, as PyTorch wrote before 0.1.10; load and save it with a newer PyTorch".into())
    } else {
        unknown(format!("it begins with {:02x?}", &bytes[..bytes.len().min(8)]))
    }
}

/// The length of a header, then the header, which is JSON.
fn looks_like_safetensors(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

/// Offsets are checked by the safetensors reader: in order, without holes or overlaps, and up to the end of the file.
fn safetensors_entries(
    path: &Path,
    bytes: &[u8],
    file: usize,
) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let malformed = |e: safetensors::SafeTensorError| WeightsError::malformed(path, e.to_string());
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
    let begin = 8 + header;
    if begin + metadata.data_len() != bytes.len() {
        let why = format!(
            "{} bytes of data were announced, {} are there",
            metadata.data_len(),
            bytes.len() - begin
        );
        return Err(WeightsError::malformed(path, why));
    }
    let mut entries = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        if info.dtype.bitsize() % 8 != 0 {
            return Err(WeightsError::tensor(path, &name, format!("stored as {:?}", info.dtype)));
        }
        let entry = Entry {
            dtype: info.dtype,
            shape: info.shape.clone(),
            strides: None,
            file,
            offset: begin + info.data_offsets.0,
        };
        entries.insert(name, entry);
    }
    Ok(entries)
}

/// Safetensors files that make one checkpoint without an index.
pub(super) fn all(paths: &[PathBuf]) -> Result<Opened, WeightsError> {
    let (mut files, mut entries) = (Vec::<Mapped>::new(), BTreeMap::<String, Entry>::new());
    for path in paths {
        let file = Mapped::open(path)?;
        if !looks_like_safetensors(file.bytes()) {
            let why = "one of several files of a model must be safetensors".to_owned();
            return Err(WeightsError::UnknownFormat { path: path.clone(), why });
        }
        for (tensor, entry) in safetensors_entries(path, file.bytes(), files.len())? {
            if let Some(other) = entries.get(&tensor) {
                let why = format!("`{tensor}` lies in {} too", files[other.file].path.display());
                return Err(WeightsError::malformed(path, why));
            }
            entries.insert(tensor, entry);
        }
        files.push(file);
    }
    Ok((files, entries))
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
        for (tensor, entry) in safetensors_entries(&file.path, file.bytes(), files.len())? {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::decode;

    /// Every file in `loaders/`, shards and expectations included, with its extension.
    fn files() -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let loaders = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/loaders");
        for folder in [loaders.join("sharded"), loaders] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|e| e == "pth" || e == "safetensors") {
                    let bytes = std::fs::read(&path).unwrap();
                    found.push((path, bytes));
                }
            }
        }
        assert!(found.len() >= 19, "{}", found.len());
        found
    }

    /// Reads every tensor in the bytes of a file; the total length of what was read.
    fn open(bytes: &[u8]) -> Result<usize, String> {
        let entries = single(Path::new("file"), bytes, None).map_err(|e| e.to_string())?;
        let mut total = 0;
        for (key, entry) in entries {
            let own = &bytes[entry.offset..entry.offset + entry.span()];
            let read = match &entry.strides {
                None => own.len(),
                Some(strides) => decode::gather(own, &entry.shape, strides, entry.width()).len(),
            };
            assert!(read <= bytes.len(), "`{key}` grew to {read} bytes in a file of {}", bytes.len());
            total += read;
        }
        Ok(total)
    }

    #[test]
    fn a_file_cut_off_anywhere_is_refused() {
        for (path, bytes) in files() {
            for len in 0..bytes.len() {
                assert!(open(&bytes[..len]).is_err(), "{} cut to {len} bytes was read", path.display());
            }
            open(&bytes).unwrap();
        }
    }

    #[test]
    fn files_without_an_index_are_one_checkpoint_unless_they_share_a_tensor() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens/loaders/sharded");
        let shard = |i: usize| folder.join(format!("model-0000{i}-of-00003.safetensors"));
        let indexed = sharded(&folder.join("model.safetensors.index.json")).unwrap();
        let together = all(&[shard(1), shard(2), shard(3)]).unwrap();
        assert!(indexed.1.keys().eq(together.1.keys()));
        let error = all(&[shard(2), shard(1), shard(2)]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("00002") && error.contains("too"), "{error}");
        let error = all(&[folder.join("../zip_plain.pth")]).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("must be safetensors"), "{error}");
    }

    #[test]
    fn flipped_bytes_never_panic() {
        let mut state = 0x2545_F491_4F6C_DD1Du64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let (mut refused, mut read) = (0, 0);
        for (_, bytes) in files() {
            for round in 0..4000 {
                let mut damaged = bytes.clone();
                for _ in 0..1 + round % 4 {
                    let at = random(damaged.len());
                    damaged[at] = match random(3) {
                        0 => damaged[at] ^ (1 << random(8)),
                        1 => [0x00, 0xFF, 0x7F, 0x80][random(4)],
                        _ => random(256) as u8,
                    };
                }
                match open(&damaged) {
                    Ok(_) => read += 1,
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(
            refused > 1000 && read > 1000,
            "{refused} refused, {read} read: the damage is not where it matters"
        );
    }
}
