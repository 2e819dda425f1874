//! PyTorch's own files: a zip with a pickle and one entry for each storage, or (before 1.6) five pickles and the storages in a row.
//! The pickle says which tensor is which view of which storage; it is read as data, and nothing in it is ever called.

mod legacy;
mod pickle;
mod state;
mod value;
mod zip;

use std::collections::BTreeMap;
use std::path::Path;

use self::state::{Storages, named_tensors};
use super::checkpoint::Entry;
use super::error::WeightsError;

pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(legacy::MAGIC)
}

/// The tensors of the state dict at `key`, or of the only one there is.
pub(super) fn entries(
    path: &Path,
    bytes: &[u8],
    key: Option<&str>,
) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let malformed = |why: String| WeightsError::malformed(path, why);
    let (heap, root, storages) =
        if is_zip(bytes) { zip_parts(bytes) } else { legacy::parts(bytes) }.map_err(malformed)?;
    named_tensors(&heap, root, &storages, key).map_err(|error| match error.key {
        Some(key) => WeightsError::tensor(path, &key, error.why),
        None => malformed(error.why),
    })
}

type Parts<'a> = (value::Heap<'a>, value::Id, Storages);

fn zip_parts(bytes: &[u8]) -> Result<Parts<'_>, String> {
    let members = zip::members(bytes)?;
    let mut pickles =
        members.keys().filter_map(|name| name.strip_suffix("/data.pkl")).filter(|p| !p.contains('/'));
    let prefix = pickles.next().ok_or("it is a zip without `data.pkl`, so not PyTorch's")?;
    if let Some(second) = pickles.next() {
        return Err(format!("it holds two pickles, `{prefix}/data.pkl` and `{second}/data.pkl`"));
    }
    if let Some(order) = members.get(format!("{prefix}/byteorder").as_str())
        && &bytes[order.clone()] != b"little"
    {
        return Err("it was written on a big-endian machine".into());
    }
    let pickle = &bytes[members[format!("{prefix}/data.pkl").as_str()].clone()];
    let (heap, root, _) = pickle::read(pickle)?;
    let folder = format!("{prefix}/data/");
    let storage = |(name, range): (&&str, &std::ops::Range<usize>)| {
        name.strip_prefix(folder.as_str()).map(|key| (key.to_owned(), range.clone()))
    };
    let ranges = members.iter().filter_map(storage).collect();
    Ok((heap, root, Storages { ranges, file_bytes: bytes.len() }))
}
