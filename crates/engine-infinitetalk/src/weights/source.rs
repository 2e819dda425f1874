//! A net's weights out of several places: the files that are laid over each other (the last one that holds a key wins), quantised
//! tensors, and the changes of LoRA files. Everything happens while one tensor is read, a block of rows at a time, so that beside the
//! tensors that were handed out only that block is in memory.

use std::collections::BTreeMap;
use std::ops::Range;

use candle_core::{DType, Device, Result, Shape, Tensor, WithDType, bail};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use golden::Seeded;
use half::{bf16, f16};
use layers::weights::{Checkpoint, INT8, Inventory};

use super::error::BadWeights;
use super::lora::Loras;

/// Numbers of a tensor that are turned at a time.
const BLOCK: usize = 1 << 20;

/// Named tensors of one place.
pub trait Tensors: Send + Sync {
    /// Every key with its shape.
    fn list(&self) -> Vec<(String, Vec<usize>)>;

    fn shape(&self, key: &str) -> Option<&[usize]>;

    /// Some elements in row-major order, as a net computes with them.
    fn values(&self, key: &str, range: Range<usize>) -> Result<Vec<f32>>;

    /// All of it, where it need not go through `values`.
    fn whole(&self, key: &str, dtype: DType, device: &Device) -> Result<Option<Tensor>> {
        let _ = (key, dtype, device);
        Ok(None)
    }

    /// A weight as whole numbers with a scale a row, where it is held so.
    fn int8(&self, key: &str) -> Option<Int8<'_>> {
        let _ = key;
        None
    }

    /// The file a key lies in; where none has it, all of them.
    fn place(&self, key: &str) -> String;
}

/// A linear layer's weight in int8.
pub struct Int8<'a> {
    pub checkpoint: &'a Checkpoint,
    /// The checkpoint's key of the whole numbers.
    pub data: String,
    pub scales: &'a [f32],
}

impl Tensors for Checkpoint {
    fn list(&self) -> Vec<(String, Vec<usize>)> {
        self.entries().iter().map(|(key, entry)| (key.clone(), entry.shape.clone())).collect()
    }

    fn shape(&self, key: &str) -> Option<&[usize]> {
        self.entries().get(key).map(|entry| entry.shape.as_slice())
    }

    fn values(&self, key: &str, range: Range<usize>) -> Result<Vec<f32>> {
        Checkpoint::values(self, key, range).map_err(candle_core::Error::wrap)
    }

    fn whole(&self, key: &str, dtype: DType, device: &Device) -> Result<Option<Tensor>> {
        self.tensor(key, dtype, device).map(Some).map_err(candle_core::Error::wrap)
    }

    fn place(&self, key: &str) -> String {
        self.file_of(key).unwrap_or(self.path()).display().to_string()
    }
}

/// Seeded weights of a net, in place of its files.
pub struct Computed {
    seeded: Seeded,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl Computed {
    pub fn new(seeded: Seeded, net: &Inventory) -> Self {
        let shapes = net.iter().map(|(key, shape)| (key.to_owned(), shape.to_vec())).collect();
        Self { seeded, shapes }
    }
}

impl Tensors for Computed {
    fn list(&self) -> Vec<(String, Vec<usize>)> {
        self.shapes.iter().map(|(key, shape)| (key.clone(), shape.clone())).collect()
    }

    fn shape(&self, key: &str) -> Option<&[usize]> {
        self.shapes.get(key).map(Vec::as_slice)
    }

    fn values(&self, key: &str, range: Range<usize>) -> Result<Vec<f32>> {
        match self.shapes.get(key) {
            Some(shape) => Ok(self.seeded.values(key, shape, range)),
            None => bail!("the net has no `{key}`"),
        }
    }

    fn whole(&self, key: &str, dtype: DType, device: &Device) -> Result<Option<Tensor>> {
        self.shapes.get(key).map(|shape| self.seeded.tensor(key, shape, dtype, device)).transpose()
    }

    fn place(&self, _: &str) -> String {
        "the seeded weights".into()
    }
}

/// What becomes of quantised linear layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantised {
    /// They get the dtype of the net.
    Widened,
    /// int8 stays int8 on the CPU, with the same values; where a LoRA changes it, and on other devices, it is widened.
    Kept,
}

pub struct Source {
    sheets: Vec<Box<dyn Tensors>>,
    loras: Option<Loras>,
    quantised: Quantised,
}

impl Source {
    pub fn of(first: impl Tensors + 'static) -> Self {
        Self { sheets: vec![Box::new(first)], loras: None, quantised: Quantised::Widened }
    }

    /// Lays another place over it.
    pub fn under(mut self, later: impl Tensors + 'static) -> Self {
        self.sheets.push(Box::new(later));
        self
    }

    pub fn with(self, loras: Loras) -> Self {
        Self { loras: Some(loras), ..self }
    }

    pub fn quantised(self, quantised: Quantised) -> Self {
        Self { quantised, ..self }
    }

    /// What is in it, all places together.
    pub fn inventory(&self) -> Inventory {
        let last_first = self.sheets.iter().rev().flat_map(|sheet| sheet.list());
        Inventory::of_shapes(last_first)
    }

    /// The shape of a tensor, from whichever place it is taken.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.sheet(key).and_then(|sheet| sheet.shape(key))
    }

    /// Whether it holds exactly what the net asks for, keys that `ignored` covers excepted (as in `Inventory::check`); the error names the
    /// file. `net` is what it should be, for people.
    pub fn check(
        &self,
        asked: &Inventory,
        ignored: &[&str],
        net: &str,
    ) -> std::result::Result<(), BadWeights> {
        asked.check(&self.inventory(), ignored, ("", net)).map_err(|mut wrong| {
            wrong.what = self.place(&wrong.key);
            wrong.into()
        })
    }

    /// The file a key is taken from; where none has it, all of them.
    pub fn place(&self, key: &str) -> String {
        match self.sheet(key) {
            Some(sheet) => sheet.place(key),
            None => self.sheets.iter().map(|sheet| sheet.place(key)).collect::<Vec<_>>().join(" with "),
        }
    }

    pub fn into_builder(self, dtype: DType, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self), dtype, device.clone())
    }

    fn sheet(&self, key: &str) -> Option<&dyn Tensors> {
        self.sheets.iter().rev().find(|sheet| sheet.shape(key).is_some()).map(AsRef::as_ref)
    }

    fn sheet_of(&self, key: &str) -> Result<&dyn Tensors> {
        match self.sheet(key) {
            Some(sheet) => Ok(sheet),
            None => bail!("there is no tensor `{key}` in {}", self.place(key)),
        }
    }

    fn tensor(&self, key: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        let sheet = self.sheet_of(key)?;
        let loras = self.loras.as_ref().filter(|loras| loras.change(key));
        if loras.is_none()
            && let Some(whole) = sheet.whole(key, dtype, device)?
        {
            return Ok(whole);
        }
        let shape = sheet.shape(key).unwrap_or_default().to_vec();
        let reading = Reading { sheet, loras, key, shape: &shape };
        if !device.is_cpu()
            && let Some(loras) = loras
        {
            let whole = match sheet.whole(key, DType::F32, device)? {
                Some(whole) => whole,
                None => Reading { loras: None, ..reading }.all(|v| v)?.to_device(device)?,
            };
            return loras.begin(key, reading.width())?.on(whole)?.to_dtype(dtype);
        }
        let made = match dtype {
            DType::F32 => reading.all(|v| v)?,
            DType::BF16 => reading.all(bf16::from_f32)?,
            DType::F16 => reading.all(f16::from_f32)?,
            DType::F64 => reading.all(f64::from)?,
            other => {
                bail!("`{key}` was asked for as {other:?}, weights that are merged or quantised are floats")
            }
        };
        made.to_device(device)
    }

    /// The weight that `part` (a name of `INT8`) belongs to, where it is to stay in int8.
    fn int8(&self, part: &str) -> Option<Int8<'_>> {
        let layer = part.strip_suffix(INT8.data).or_else(|| part.strip_suffix(INT8.scale))?;
        let weight = format!("{layer}weight");
        let changed = self.loras.as_ref().is_some_and(|loras| loras.change(&weight));
        if self.quantised == Quantised::Widened || changed {
            return None;
        }
        self.sheet(&weight)?.int8(&weight)
    }
}

/// One tensor on its way.
#[derive(Clone, Copy)]
struct Reading<'a> {
    sheet: &'a dyn Tensors,
    loras: Option<&'a Loras>,
    key: &'a str,
    shape: &'a [usize],
}

impl Reading<'_> {
    /// Numbers of a row.
    fn width(&self) -> usize {
        self.shape.get(1..).unwrap_or_default().iter().product::<usize>().max(1)
    }

    fn all<T: WithDType>(&self, turn: impl Fn(f32) -> T) -> Result<Tensor> {
        let total: usize = self.shape.iter().product();
        let width = self.width();
        let change = self.loras.map(|loras| loras.begin(self.key, width)).transpose()?;
        let rows_at_once = (BLOCK / width).max(1);
        let mut out = Vec::with_capacity(total);
        for first in (0..total / width).step_by(rows_at_once) {
            let rows = first..(first + rows_at_once).min(total / width);
            let mut values = self.sheet.values(self.key, rows.start * width..rows.end * width)?;
            if let Some(change) = &change {
                change.add(rows, &mut values)?;
            }
            out.extend(values.into_iter().map(&turn));
        }
        Tensor::from_vec(out, self.shape, &Device::Cpu)
    }
}

impl SimpleBackend for Source {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        if let Some(int8) = self.int8(name) {
            if name.ends_with(INT8.scale) {
                return Tensor::from_slice(int8.scales, shape, &Device::Cpu);
            }
            let bits = int8.checkpoint.bits(&int8.data).map_err(candle_core::Error::wrap)?;
            if bits.shape() != &shape {
                bail!("`{name}` is {:?}, the net needs {shape:?}", bits.shape());
            }
            return Ok(bits);
        }
        let sheet = self.sheet_of(name)?;
        let stored = sheet.shape(name).unwrap_or_default();
        if stored != shape.dims() {
            bail!("{}: tensor `{name}` is {stored:?}, the net needs {:?}", sheet.place(name), shape.dims());
        }
        self.tensor(name, dtype, device)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.tensor(name, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.sheet(name).is_some() || self.int8(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::made::{f32s, filled, net, weights, write};
    use crate::weights::{Lora, Rules};

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn the_file_laid_over_wins_and_is_named_in_errors() {
        let folder = tempfile::tempdir().unwrap();
        let base = write(folder.path(), "base.safetensors", &weights(1.0));
        let open = |path: &std::path::Path| Checkpoint::open(path).unwrap();
        let over = write(folder.path(), "over.safetensors", &[filled("blocks.0.norm3.bias", &[2], 2.0)]);
        let source = Source::of(open(&base)).under(open(&over));
        source.check(&net(), &[], "the net").unwrap();
        let vb = source.into_builder(DType::BF16, &Device::Cpu);
        assert_eq!(values(&vb.get(2, "blocks.0.norm3.bias").unwrap()), [2.0; 2]);
        assert_eq!(values(&vb.get(2, "blocks.0.norm3.weight").unwrap()), [1.0; 2]);
        assert_eq!(vb.get(2, "blocks.0.norm3.weight").unwrap().dtype(), DType::BF16);

        let said = |made| {
            let over = write(folder.path(), "wrong.safetensors", &[made]);
            let source = Source::of(open(&base)).under(open(&over));
            source.check(&net(), &[], "the net").unwrap_err().to_string()
        };
        let message = said(filled("blocks.0.norm3.bias", &[3], 2.0));
        assert!(
            message.contains("wrong.safetensors is not the net: `blocks.0.norm3.bias` is [3], expected [2]"),
            "{message}"
        );
        assert!(!message.contains("base.safetensors"), "{message}");
        let message = said(filled("audio_proj.norm.bias", &[3], 2.0));
        assert!(message.contains("wrong.safetensors") && message.contains("but not in the net"), "{message}");
        let wide = Inventory::of_shapes([("blocks.7.x".to_owned(), vec![1])]);
        let message =
            Source::of(open(&base)).under(open(&over)).check(&wide, &[], "the net").unwrap_err().to_string();
        assert!(
            message.contains("base.safetensors with") && message.contains("`blocks.7.x` is missing"),
            "{message}"
        );
    }

    #[test]
    fn blocks_of_rows_join_without_a_seam_and_a_card_adds_the_same() {
        let (rows, width) = (700, 3000); // three blocks of 349 rows
        let key = "a.weight".to_owned();
        let net = Inventory::of_shapes([(key.clone(), vec![rows, width])]);
        let folder = tempfile::tempdir().unwrap();
        let numbers = |n: usize, step: f32| (0..n).map(|i| (i % 97) as f32 * step).collect::<Vec<_>>();
        let file = [
            f32s("a.lora_down.weight", &[2, width], &numbers(2 * width, 0.25)),
            f32s("a.lora_up.weight", &[rows, 2], &numbers(rows * 2, 0.5)),
            f32s("a.diff", &[rows, width], &numbers(rows * width, -1.0)),
        ];
        let path = write(folder.path(), "lora.safetensors", &file);
        let loras =
            || Loras::open(&[Lora { path: path.clone(), scale: 2.0 }], Rules::AsWritten, &net).unwrap();
        let seeded = || Computed::new(Seeded::new("public"), &net);
        let plain = seeded().whole(&key, DType::F32, &Device::Cpu).unwrap().unwrap();
        let product = {
            let of =
                |key: &str| Checkpoint::open(&path).unwrap().tensor(key, DType::F32, &Device::Cpu).unwrap();
            ((of("a.lora_up.weight").matmul(&of("a.lora_down.weight")).unwrap() + of("a.diff")).unwrap()
                * 2.0)
                .unwrap()
        };
        let expected = values(&(&plain + product).unwrap());
        let near = |have: Vec<f32>| {
            // sums of about a thousand
            assert!(
                have.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs() + 1e-4),
                "not the sum"
            );
        };
        let vb = Source::of(seeded()).with(loras()).into_builder(DType::F32, &Device::Cpu);
        near(values(&vb.get((rows, width), &key).unwrap()));
        near(values(&loras().begin(&key, width).unwrap().on(plain).unwrap()));
    }
}
