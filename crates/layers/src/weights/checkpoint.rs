//! An opened checkpoint: where each tensor lies, and the reading of one at a time. As a `SimpleBackend` it feeds candle's `VarBuilder`.
//! Host memory while a net loads is the net and one tensor.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use safetensors::Dtype;

use super::decode;
use super::error::WeightsError;
use super::mapped::Mapped;
use super::shards;

/// Where a tensor lies. Offsets were checked against the file when it was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// In elements; `None` where the elements lie in order.
    pub(super) strides: Option<Vec<usize>>,
    pub(super) file: usize,
    /// Of the first element, in bytes.
    pub(super) offset: usize,
}

impl Entry {
    pub(super) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn width(&self) -> usize {
        self.dtype.bitsize() / 8
    }

    /// From the first byte of the tensor to behind its last, in bytes.
    pub(super) fn span(&self) -> usize {
        match &self.strides {
            _ if self.elements() == 0 => 0,
            None => self.elements() * self.width(),
            Some(strides) => {
                let last: usize = self.shape.iter().zip(strides).map(|(n, s)| (n - 1) * s).sum();
                (last + 1) * self.width()
            }
        }
    }
}

pub struct Checkpoint {
    path: PathBuf,
    files: Vec<Mapped>,
    entries: BTreeMap<String, Entry>,
}

impl Checkpoint {
    /// A `.safetensors` file, the `.index.json` of a sharded one, or a PyTorch file, told apart by their content. Of a PyTorch file
    /// that holds more than a state dict, the one state dict in it is taken; where there are several, the error names them.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        Self::open_part(path, None)
    }

    /// As `open`, but of a PyTorch file what lies under `key` (`state_dict`, or `a.b` for b within a).
    pub fn open_at(path: &Path, key: &str) -> Result<Self, WeightsError> {
        Self::open_part(path, Some(key))
    }

    /// Several safetensors files as one, in the order they are given, where no index says what lies in which: a tensor that lies in two
    /// of them is an error. `path` is what errors about all of them name.
    pub fn open_all(path: &Path, files: &[PathBuf]) -> Result<Self, WeightsError> {
        let (files, entries) = shards::all(files)?;
        Ok(Self { path: path.to_owned(), files, entries })
    }

    fn open_part(path: &Path, key: Option<&str>) -> Result<Self, WeightsError> {
        let (files, entries) = shards::open(path, key)?;
        Ok(Self { path: path.to_owned(), files, entries })
    }

    /// Only the keys that begin with `prefix`, without it.
    pub fn below(mut self, prefix: &str) -> Self {
        let keys = std::mem::take(&mut self.entries).into_iter();
        self.entries =
            keys.filter_map(|(key, entry)| Some((key.strip_prefix(prefix)?.to_owned(), entry))).collect();
        self
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The elements of a tensor in order, as they are stored (little-endian).
    pub fn read(&self, key: &str) -> Result<Cow<'_, [u8]>, WeightsError> {
        let entry = self.entry(key)?;
        Ok(self.bytes_of(entry))
    }

    /// A tensor in `dtype` on `device`, whatever it is stored in.
    pub fn tensor(&self, key: &str, dtype: DType, device: &Device) -> Result<Tensor, WeightsError> {
        let entry = self.entry(key)?;
        let bytes = self.bytes_of(entry);
        let tensor = decode::tensor(&bytes, entry, dtype, device)
            .map_err(|e| WeightsError::tensor(&self.files[entry.file].path, key, e.to_string()))?;
        self.files[entry.file].release(entry.offset, entry.span());
        Ok(tensor)
    }

    /// Some elements of a tensor in row-major order, whatever numbers they are stored as.
    pub fn values(&self, key: &str, range: Range<usize>) -> Result<Vec<f32>, WeightsError> {
        let entry = self.entry(key)?;
        let (file, width) = (&self.files[entry.file], entry.width());
        let wrong = |why: String| WeightsError::tensor(&file.path, key, why);
        if range.start > range.end || range.end > entry.elements() {
            return Err(wrong(format!("elements {range:?} of {} were asked for", entry.elements())));
        }
        if entry.strides.is_some() {
            let bytes = self.bytes_of(entry);
            let part = &bytes[range.start * width..range.end * width];
            return decode::values(part, entry.dtype).map_err(|e| wrong(e.to_string()));
        }
        let (begin, len) = (entry.offset + range.start * width, range.len() * width);
        let values = decode::values(&file.bytes()[begin..begin + len], entry.dtype);
        file.release(begin, len);
        values.map_err(|e| wrong(e.to_string()))
    }

    /// The bytes of a tensor whose numbers have one each, as u8 on the host.
    pub fn bits(&self, key: &str) -> Result<Tensor, WeightsError> {
        let entry = self.entry(key)?;
        let file = &self.files[entry.file];
        let wrong = |why: String| WeightsError::tensor(&file.path, key, why);
        if entry.width() != 1 {
            return Err(wrong(format!("is stored as {:?}, which takes more than a byte", entry.dtype)));
        }
        let bits = Tensor::from_vec(self.bytes_of(entry).into_owned(), entry.shape.as_slice(), &Device::Cpu);
        file.release(entry.offset, entry.span());
        bits.map_err(|e| wrong(e.to_string()))
    }

    /// The file in which a tensor lies.
    pub fn file_of(&self, key: &str) -> Option<&Path> {
        self.entries.get(key).map(|entry| self.files[entry.file].path.as_path())
    }

    /// For the `load` of a net. The checkpoint stays mapped as long as a builder lives.
    pub fn into_builder(self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self), dtype, device.clone())
    }

    fn entry(&self, key: &str) -> Result<&Entry, WeightsError> {
        self.entries.get(key).ok_or_else(|| WeightsError::Missing {
            path: self.path.clone(),
            key: key.to_owned(),
            near: nearest(key, self.entries.keys().map(String::as_str)),
        })
    }

    fn bytes_of(&self, entry: &Entry) -> Cow<'_, [u8]> {
        let bytes = &self.files[entry.file].bytes()[entry.offset..entry.offset + entry.span()];
        match &entry.strides {
            None => Cow::Borrowed(bytes),
            Some(strides) => Cow::Owned(decode::gather(bytes, &entry.shape, strides, entry.width())),
        }
    }
}

/// The key that shares the longest beginning with `key`.
pub(super) fn nearest<'a>(key: &str, keys: impl Iterator<Item = &'a str>) -> Option<String> {
    let shared = |other: &&str| key.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    keys.max_by_key(shared).map(str::to_owned)
}

impl SimpleBackend for Checkpoint {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let entry = self.entry(name).map_err(candle_core::Error::wrap)?;
        if entry.shape != shape.dims() {
            let why = format!("it is {:?}, the net needs {:?}", entry.shape, shape.dims());
            return Err(candle_core::Error::wrap(WeightsError::tensor(
                &self.files[entry.file].path,
                name,
                why,
            )));
        }
        self.tensor(name, dtype, device).map_err(candle_core::Error::wrap)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        self.tensor(name, dtype, device).map_err(candle_core::Error::wrap)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }
}
