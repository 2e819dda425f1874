//! PyTorch's format before 1.6: a magic number, a protocol, the system's sizes, the object and the list of its storages, each a pickle; then every
//! storage, its number of elements before it.

use std::collections::HashMap;

use super::Parts;
use super::pickle;
use super::state::{Storages, storage_of};
use super::value::{Heap, Value};

/// The pickle of 0x1950a86a20f9469cfc6c.
pub(super) const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

const PROTOCOL: i64 = 1001;

pub(super) fn parts(bytes: &[u8]) -> Result<Parts<'_>, String> {
    let mut heap = Heap::default();
    let mut at = MAGIC.len();
    let mut roots = [None; 4];
    for root in &mut roots {
        let (id, taken) = pickle::read_into(&mut heap, &bytes[at..])?;
        *root = Some(id);
        at += taken;
    }
    let [protocol, system, root, keys] = roots.map(|root| root.expect("the loop sets each of the four"));
    if heap.int(protocol) != Some(PROTOCOL) {
        return Err(format!("its protocol is {}, not {PROTOCOL}", heap.what(protocol)));
    }
    let system = heap.mapping(system).ok_or("it does not say what system wrote it")?;
    let order = system.iter().find(|(key, _)| heap.text(*key) == Some("little_endian"));
    if !order.is_some_and(|&(_, value)| matches!(heap.get(value), Value::Bool(true))) {
        return Err("it was written on a big-endian machine".into());
    }
    let Value::List(keys) = heap.get(keys) else { return Err("it has no list of storages".into()) };

    // the width of an element is known only from where a storage is used
    let mut widths = HashMap::new();
    for value in heap.iter() {
        if let Value::Persistent(description) = value
            && let Ok(storage) = storage_of(&heap, *description)
            && let Some(dtype) = storage.dtype
        {
            widths.insert(storage.key, dtype.bitsize() / 8);
        }
    }
    let mut storages = Storages { ranges: HashMap::new(), file_bytes: bytes.len() };
    for &key in keys {
        let key = heap.text(key).ok_or("a storage has a name that is not a string")?;
        let width =
            *widths.get(key).ok_or_else(|| format!("storage `{key}` has elements of an unknown kind"))?;
        let cut = || format!("storage `{key}` is cut off: is the file complete?");
        let count = bytes.get(at..at + 8).ok_or_else(cut)?;
        let count = u64::from_le_bytes(count.try_into().expect("eight bytes were taken"));
        let len = usize::try_from(count).ok().and_then(|count| count.checked_mul(width)).ok_or_else(cut)?;
        let begin = at + 8;
        let end = begin.checked_add(len).filter(|&end| end <= bytes.len()).ok_or_else(cut)?;
        if storages.ranges.insert(key.to_owned(), begin..end).is_some() {
            return Err(format!("it has two storages named `{key}`"));
        }
        at = end;
    }
    Ok((heap, root, storages))
}
