//! From the values of a pickle to the tensors of a state dict: which dict it is, and for each name which view of which storage. Within the
//! state dict everything must be a tensor that is understood; what lies elsewhere (optimisers, logs) is not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use safetensors::Dtype;

use super::value::{Heap, Id, Value};
use crate::weights::checkpoint::Entry;

/// Where the storages lie in the file, by name.
pub(super) struct Storages {
    pub ranges: HashMap<String, Range<usize>>,
    pub file_bytes: usize,
}

pub(super) struct NotUnderstood {
    pub key: Option<String>,
    pub why: String,
}

/// How deep a state dict may lie in other dicts.
const DEPTH: usize = 4;

/// Axes of a tensor. Nets have up to 5; a file that has more costs more memory than it has bytes.
const MOST_AXES: usize = 16;

/// Wrappings of a tensor: a parameter of a tensor of a type.
const WRAPPINGS: usize = 4;

pub(super) fn named_tensors(
    heap: &Heap,
    root: Id,
    storages: &Storages,
    key: Option<&str>,
) -> Result<BTreeMap<String, Entry>, NotUnderstood> {
    let whole = |why| NotUnderstood { key: None, why };
    let pairs = match key {
        Some(key) => at_path(heap, root, key),
        None => only_state_dict(heap, root),
    }
    .map_err(whole)?;
    let mut tensors = BTreeMap::new();
    for (name, value) in pairs {
        let name =
            heap.text(name).ok_or_else(|| whole(format!("{} is the key of a tensor", heap.what(name))))?;
        let fail = |why| NotUnderstood { key: Some(name.to_owned()), why };
        let entry = tensor(heap, value, storages).map_err(fail)?;
        // a later value of the same name is the one Python keeps
        tensors.insert(name.to_owned(), entry);
    }
    Ok(tensors)
}

fn at_path(heap: &Heap, root: Id, path: &str) -> Result<Vec<(Id, Id)>, String> {
    let mut at = root;
    let mut walked = Vec::new();
    // a key of a dict may hold dots itself, so the whole rest is tried first
    let mut rest = path;
    loop {
        let pairs = heap
            .mapping(at)
            .ok_or_else(|| format!("`{}` is {}, not a dict", walked.join("."), heap.what(at)))?;
        let find =
            |key: &str| pairs.iter().rev().find(|(k, _)| heap.text(*k) == Some(key)).map(|(_, value)| *value);
        if let Some(value) = find(rest) {
            return heap
                .mapping(value)
                .ok_or_else(|| format!("`{path}` is {}, not a dict", heap.what(value)));
        }
        let (step, left) = rest.split_once('.').unwrap_or((rest, ""));
        let value = find(step).filter(|_| !left.is_empty());
        at = value.ok_or_else(|| format!("it has no `{path}`; it has {}", names(heap, &pairs)))?;
        walked.push(step);
        rest = left;
    }
}

fn names(heap: &Heap, pairs: &[(Id, Id)]) -> String {
    let mut names: Vec<String> =
        pairs.iter().take(8).map(|(k, _)| format!("`{}`", heap.text(*k).unwrap_or("?"))).collect();
    if pairs.len() > names.len() {
        names.push(format!("{} more", pairs.len() - names.len()));
    }
    names.join(", ")
}

/// The dict whose values are tensors: the root itself, what lies under `state_dict`, or else the only one to be found.
fn only_state_dict(heap: &Heap, root: Id) -> Result<Vec<(Id, Id)>, String> {
    let mut level = vec![(root, String::new())];
    // a dict that many keys point at is looked into once
    let mut seen = BTreeSet::from([root]);
    if heap.mapping(root).is_none() {
        return Err(format!("it holds {}, not a dict of tensors", heap.what(root)));
    }
    for _ in 0..=DEPTH {
        let (mut found, mut next) = (Vec::new(), Vec::new());
        for (id, path) in &level {
            let Some(pairs) = heap.mapping(*id) else { continue };
            if pairs.iter().any(|&(_, value)| is_tensor(heap, value)) {
                found.push((pairs, path.clone()));
                continue;
            }
            for &(key, value) in &pairs {
                if !seen.contains(&value) && heap.mapping(value).is_some() {
                    seen.insert(value);
                    next.push((value, join(path, heap.text(key).unwrap_or("?"))));
                }
            }
        }
        match found.as_slice() {
            [] => {}
            [_] => return Ok(found.remove(0).0),
            several => {
                let paths: Vec<&str> = several.iter().map(|(_, path)| path.as_str()).collect();
                return Err(format!(
                    "it holds several dicts of tensors ({}): name the one",
                    paths.join(", ")
                ));
            }
        }
        if let Some(chosen) = next.iter().position(|(_, path)| path.rsplit('.').next() == Some("state_dict"))
        {
            next = vec![next.swap_remove(chosen)];
        }
        level = next;
    }
    Err("it holds no dict of tensors".into())
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn is_tensor(heap: &Heap, id: Id) -> bool {
    matches!(heap.call(id), Some((("torch._utils" | "torch._tensor", name), _)) if name.starts_with("_rebuild"))
}

/// A storage as its persistent id describes it.
pub(super) struct Storage<'h> {
    pub key: &'h str,
    /// None: bytes, of which the tensor says what they are.
    pub dtype: Option<Dtype>,
    elements: u64,
    /// Of an old storage that is part of another: its first element and its length there.
    part: Option<(u64, u64)>,
}

/// ('storage', class, key, device, number of elements[, (key of the view, first, number)])
pub(super) fn storage_of<'h>(heap: &'h Heap, description: Id) -> Result<Storage<'h>, String> {
    let unknown = || "its storage is described in an unknown way".to_owned();
    let fields = heap.tuple(description).ok_or_else(unknown)?;
    let &[kind, class, key, _, elements, ref rest @ ..] = fields else { return Err(unknown()) };
    if heap.text(kind) != Some("storage") {
        return Err(unknown());
    }
    let (module, name) = heap.global(class).ok_or_else(unknown)?;
    let dtype = match (module, name) {
        ("torch.storage" | "torch", "UntypedStorage") => None,
        ("torch" | "torch.cuda", name) => {
            let dtype = match name {
                "FloatStorage" => Dtype::F32,
                "DoubleStorage" => Dtype::F64,
                "HalfStorage" => Dtype::F16,
                "BFloat16Storage" => Dtype::BF16,
                "LongStorage" => Dtype::I64,
                "IntStorage" => Dtype::I32,
                "ShortStorage" => Dtype::I16,
                "CharStorage" => Dtype::I8,
                "ByteStorage" => Dtype::U8,
                "BoolStorage" => Dtype::BOOL,
                other => return Err(format!("its storage is a {other}, which is not known")),
            };
            Some(dtype)
        }
        (module, name) => return Err(format!("its storage is a {module}.{name}, which is not known")),
    };
    let count = |id: Id| heap.int(id).and_then(|n| u64::try_from(n).ok()).ok_or_else(unknown);
    let part = match rest {
        [] => None,
        [part] => match heap.get(*part) {
            Value::None => None,
            Value::Tuple(part) if part.len() == 3 => Some((count(part[1])?, count(part[2])?)),
            _ => return Err(unknown()),
        },
        _ => return Err(unknown()),
    };
    Ok(Storage { key: heap.text(key).ok_or_else(unknown)?, dtype, elements: count(elements)?, part })
}

/// The dtypes that PyTorch stores as bare bytes and names beside them.
fn named_dtype(heap: &Heap, id: Id) -> Result<Dtype, String> {
    match heap.global(id) {
        Some(("torch", "float8_e4m3fn")) => Ok(Dtype::F8_E4M3),
        Some(("torch", "uint16")) => Ok(Dtype::U16),
        Some(("torch", "uint32")) => Ok(Dtype::U32),
        Some(("torch", "uint64")) => Ok(Dtype::U64),
        Some((module, name)) => Err(format!("its dtype is {module}.{name}, which is not known")),
        None => Err(format!("its dtype is {}", heap.what(id))),
    }
}

fn tensor(heap: &Heap, mut id: Id, storages: &Storages) -> Result<Entry, String> {
    let (mut function, mut args) =
        heap.call(id).ok_or_else(|| format!("{} is not a tensor", heap.what(id)))?;
    for _ in 0..WRAPPINGS {
        match (function, args) {
            (("torch._utils", "_rebuild_parameter"), &[data, _, _])
            | (("torch._utils", "_rebuild_parameter_with_state"), &[data, _, _, _]) => {
                id = data;
                (function, args) =
                    heap.call(id).ok_or_else(|| format!("{} is not a tensor", heap.what(id)))?;
            }
            (("torch._tensor", "_rebuild_from_type_v2"), &[make, class, data, _]) => {
                if !matches!(
                    heap.global(class),
                    Some(("torch", "Tensor") | ("torch.nn.parameter", "Parameter" | "Buffer"))
                ) {
                    return Err(format!("{} is no plain tensor", heap.what(class)));
                }
                function = heap.global(make).ok_or_else(|| format!("{} makes it", heap.what(make)))?;
                args = heap.tuple(data).ok_or("its arguments are not a tuple")?;
            }
            _ => break,
        }
    }
    let (view, dtype, extra) = match (function, args) {
        (("torch._utils", "_rebuild_tensor"), &[storage, offset, size, stride]) => {
            ((storage, offset, size, stride), None, None)
        }
        (("torch._utils", "_rebuild_tensor_v2"), &[storage, offset, size, stride, _, _, ref rest @ ..])
            if rest.len() < 2 =>
        {
            ((storage, offset, size, stride), None, rest.first())
        }
        (
            ("torch._utils", "_rebuild_tensor_v3"),
            &[storage, offset, size, stride, _, _, dtype, ref rest @ ..],
        ) if rest.len() < 2 => {
            ((storage, offset, size, stride), Some(named_dtype(heap, dtype)?), rest.first())
        }
        ((module, name), _) => return Err(format!("it is made by {module}.{name}, which is not understood")),
    };
    // flags such as `conj` and `neg`: the numbers mean something else then
    if let Some(&extra) = extra
        && !matches!(heap.get(extra), Value::None)
        && !matches!(heap.get(extra), Value::Dict(flags) if flags.is_empty())
    {
        return Err("it carries flags that are not understood".into());
    }
    lay_out(heap, view, dtype, storages)
}

/// Checks a view against its storage and the file, and turns it into offsets.
fn lay_out(
    heap: &Heap,
    (storage, offset, size, stride): (Id, Id, Id, Id),
    dtype: Option<Dtype>,
    storages: &Storages,
) -> Result<Entry, String> {
    let Value::Persistent(description) = heap.get(storage) else {
        return Err(format!("{} is in the place of its storage", heap.what(storage)));
    };
    let storage = storage_of(heap, *description)?;
    let dtype = match (storage.dtype, dtype) {
        (Some(stored), None) => stored,
        (None, Some(named)) => named,
        (None, None) => return Err("its storage does not say what it holds".into()),
        (Some(stored), Some(named)) => return Err(format!("it is {named:?} in a storage of {stored:?}")),
    };
    let width = dtype.bitsize() / 8;
    let range = storages
        .ranges
        .get(storage.key)
        .ok_or_else(|| format!("storage `{}` is not in the file", storage.key))?;
    let in_bytes = storage.elements.checked_mul(if storage.dtype.is_some() { width as u64 } else { 1 });
    if in_bytes != Some(range.len() as u64) {
        let (key, elements) = (storage.key, storage.elements);
        return Err(format!(
            "storage `{key}` is said to have {elements} elements, but has {} bytes",
            range.len()
        ));
    }
    let (first, available) = match storage.part {
        None => (0, range.len() as u64 / width as u64),
        Some((first, len)) => {
            let end = first.checked_add(len).filter(|&end| end <= range.len() as u64 / width as u64);
            (first, end.map(|_| len).ok_or("it lies behind the end of its storage")?)
        }
    };
    let counts = |id: Id, what: &str| -> Result<Vec<u64>, String> {
        let ids = heap.tuple(id).ok_or_else(|| format!("its {what} is {}", heap.what(id)))?;
        if ids.len() > MOST_AXES {
            return Err(format!("its {what} has {} axes, {MOST_AXES} are the most that are read", ids.len()));
        }
        let count = |&id: &Id| heap.int(id).and_then(|n| u64::try_from(n).ok());
        ids.iter()
            .map(count)
            .collect::<Option<_>>()
            .ok_or_else(|| format!("its {what} has something else than counts"))
    };
    let (size, stride) = (counts(size, "size")?, counts(stride, "stride")?);
    if size.len() != stride.len() {
        return Err(format!("it has {} axes and {} strides", size.len(), stride.len()));
    }
    let offset = heap.int(offset).and_then(|n| u64::try_from(n).ok()).ok_or("its offset is not a count")?;
    let total = size.iter().try_fold(1u64, |total, &n| total.checked_mul(n));
    // an expanded view can be larger than its storage, but a checkpoint's tensor is no larger than the checkpoint
    let total = total
        .filter(|&t| t.checked_mul(width as u64).is_some_and(|bytes| bytes <= storages.file_bytes as u64));
    let total = total.ok_or_else(|| format!("its size {size:?} is more than the whole file"))?;
    if total > 0 {
        let reach = size
            .iter()
            .zip(&stride)
            .try_fold(offset, |end, (&n, &s)| end.checked_add((n - 1).checked_mul(s)?));
        if reach.is_none_or(|last| last >= available) {
            return Err(format!(
                "its view {size:?} lies behind the end of its storage of {available} elements"
            ));
        }
    }
    let begin = if total > 0 { range.start + (first + offset) as usize * width } else { range.start };
    let shape: Vec<usize> = size.iter().map(|&n| n as usize).collect();
    let strides: Vec<usize> = stride.iter().map(|&s| s as usize).collect();
    let strides = (total > 0 && !in_order(&shape, &strides)).then_some(strides);
    Ok(Entry { dtype, shape, strides, file: 0, offset: begin })
}

fn in_order(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&n, &stride)| {
        let fits = n == 1 || stride == expected;
        expected *= n;
        fits
    })
}
