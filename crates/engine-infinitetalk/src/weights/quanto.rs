//! Checkpoints of optimum-quanto 0.2.6, as InfiniteTalk publishes them: linear layers as int8 or float8 with a scale a row, and a map
//! beside the file that names them; everything else is plain. Refused: quantised activations, other kinds than qint8 and
//! qfloat8_e4m3fn, a map and a file that do not agree, scales that are not finite.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, bail};
use layers::weights::{Checkpoint, Dtype, INT8};
use serde::Deserialize;

use super::error::BadWeights;
use super::source::{Int8, Tensors};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int8,
    Fp8,
}

impl Kind {
    /// As the released files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Fp8 => "fp8",
        }
    }

    /// As the map spells it.
    fn named(qtype: &str) -> Option<Self> {
        match qtype {
            "qint8" => Some(Self::Int8),
            "qfloat8" | "qfloat8_e4m3fn" => Some(Self::Fp8),
            _ => None,
        }
    }

    fn stored(self) -> Dtype {
        match self {
            Self::Int8 => Dtype::I8,
            Self::Fp8 => Dtype::F8_E4M3,
        }
    }
}

/// An entry of the map.
#[derive(Deserialize)]
struct Mapped {
    weights: String,
    #[serde(default)]
    activations: Option<String>,
}

pub struct Quanto {
    checkpoint: Checkpoint,
    /// By the key of the weight.
    layers: BTreeMap<String, Layer>,
    plain: BTreeMap<String, Vec<usize>>,
}

struct Layer {
    kind: Kind,
    shape: Vec<usize>,
    scales: Vec<f32>,
    data: String,
}

impl Quanto {
    /// The weights and the map that belongs to them.
    pub fn open(weights: &Path, map: &Path) -> std::result::Result<Self, BadWeights> {
        let mapped = read_map(map)?;
        let checkpoint = Checkpoint::open(weights)?;
        let wrong = |why: String| BadWeights::Quantised { path: weights.to_owned(), why };
        let mut plain: BTreeMap<String, Vec<usize>> =
            checkpoint.entries().iter().map(|(key, entry)| (key.clone(), entry.shape.clone())).collect();
        let mut layers = BTreeMap::new();
        for (module, kind) in mapped {
            let layer = layer(&checkpoint, &module, kind)
                .map_err(|why| wrong(format!("{} names `{module}`, {why}", map.display())))?;
            for part in [INT8.data, INT8.scale, "input_scale", "output_scale"] {
                plain.remove(&format!("{module}.{part}"));
            }
            layers.insert(format!("{module}.weight"), layer);
        }
        if let Some(key) = layers.keys().find(|key| plain.contains_key(*key)) {
            return Err(wrong(format!("`{key}` is in it both quantised and plain")));
        }
        if let Some(key) = plain.keys().find(|key| INT8.is_part(key)) {
            return Err(wrong(format!("`{key}` is in it, and {} does not name its layer", map.display())));
        }
        Ok(Self { checkpoint, layers, plain })
    }
}

/// The kind of the layers that a map names.
pub(super) fn kind_of(map: &Path) -> std::result::Result<Kind, BadWeights> {
    let kinds = read_map(map)?;
    let mut kinds = kinds.values();
    let first = kinds.next().copied();
    match first {
        Some(kind) if kinds.all(|other| *other == kind) => Ok(kind),
        found => {
            let why =
                if found.is_some() { "it names layers of int8 and of fp8" } else { "it names no layer" };
            Err(BadWeights::NotThat {
                path: map.to_owned(),
                what: "a map of quantised layers",
                why: why.into(),
            })
        }
    }
}

/// Which modules are quantised, and how.
fn read_map(path: &Path) -> std::result::Result<BTreeMap<String, Kind>, BadWeights> {
    let wrong =
        |why: String| BadWeights::NotThat { path: path.to_owned(), what: "a map of quantised layers", why };
    let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let map: BTreeMap<String, Mapped> =
        serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    let entry = |(module, entry): (String, Mapped)| {
        if let Some(activations) = entry.activations.filter(|kind| kind != "none") {
            return Err(wrong(format!(
                "the activations of `{module}` are {activations}, only `none` is known"
            )));
        }
        match Kind::named(&entry.weights) {
            Some(kind) => Ok((module, kind)),
            None => Err(wrong(format!(
                "`{module}` is {}, only qint8 and qfloat8_e4m3fn are known",
                entry.weights
            ))),
        }
    };
    map.into_iter().map(entry).collect()
}

fn layer(checkpoint: &Checkpoint, module: &str, kind: Kind) -> std::result::Result<Layer, String> {
    let (data, scale) = (format!("{module}.{}", INT8.data), format!("{module}.{}", INT8.scale));
    let entry =
        |key: &str| checkpoint.entries().get(key).ok_or_else(|| format!("but the file has no `{key}`"));
    let (weight, scales) = (entry(&data)?, entry(&scale)?);
    let [outputs, _] = weight.shape[..] else {
        return Err(format!("but `{data}` is {:?}, not (outputs, inputs)", weight.shape));
    };
    if weight.dtype != kind.stored() {
        return Err(format!("as {}, but `{data}` is stored as {:?}", kind.name(), weight.dtype));
    }
    if scales.shape != [outputs, 1] {
        return Err(format!("but `{scale}` is {:?}, expected [{outputs}, 1]", scales.shape));
    }
    let shape = weight.shape.clone();
    let scales = checkpoint.values(&scale, 0..outputs).map_err(|error| error.to_string())?;
    match scales.iter().position(|scale| !scale.is_finite()) {
        Some(row) => Err(format!("but the scale of its row {row} is {}", scales[row])),
        None => Ok(Layer { kind, shape, scales, data }),
    }
}

impl Tensors for Quanto {
    fn list(&self) -> Vec<(String, Vec<usize>)> {
        let layers = self.layers.iter().map(|(key, layer)| (key.clone(), layer.shape.clone()));
        layers.chain(self.plain.iter().map(|(key, shape)| (key.clone(), shape.clone()))).collect()
    }

    fn shape(&self, key: &str) -> Option<&[usize]> {
        let layer = self.layers.get(key).map(|layer| layer.shape.as_slice());
        layer.or_else(|| self.plain.get(key).map(Vec::as_slice))
    }

    /// W = data * scale of the row.
    fn values(&self, key: &str, range: Range<usize>) -> Result<Vec<f32>> {
        let Some(layer) = self.layers.get(key) else {
            return Tensors::values(&self.checkpoint, key, range);
        };
        let inputs = layer.shape[1];
        let mut values = Tensors::values(&self.checkpoint, &layer.data, range.clone())?;
        // a row at a time: its scale is looked up once
        let mut at = range.start;
        let mut rest = values.as_mut_slice();
        while !rest.is_empty() {
            let row = at / inputs;
            let (now, later) = rest.split_at_mut(((row + 1) * inputs - at).min(rest.len()));
            now.iter_mut().for_each(|value| *value *= layer.scales[row]);
            at += now.len();
            rest = later;
        }
        Ok(values)
    }

    fn whole(&self, key: &str, dtype: DType, device: &Device) -> Result<Option<Tensor>> {
        if self.layers.contains_key(key) {
            return Ok(None);
        }
        if !self.plain.contains_key(key) {
            bail!("{} has no tensor `{key}`", self.checkpoint.path().display());
        }
        self.checkpoint.whole(key, dtype, device)
    }

    fn int8(&self, key: &str) -> Option<Int8<'_>> {
        let layer = self.layers.get(key).filter(|layer| layer.kind == Kind::Int8)?;
        Some(Int8 { checkpoint: &self.checkpoint, data: layer.data.clone(), scales: &layer.scales })
    }

    fn place(&self, _: &str) -> String {
        self.checkpoint.path().display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use layers::weights::INT8;

    use super::*;
    use crate::weights::made::{Made, f32s, filled, i8s, write};
    use crate::weights::{Quantised, Source};

    const MAP: &str = r#"{"a": {"weights": "qint8", "activations": "none"}}"#;

    /// A layer of 3 inputs and 2 outputs, and a norm.
    fn tensors() -> Vec<Made> {
        vec![
            i8s("a.weight._data", &[2, 3], &[1, -2, 3, -128, 127, 0]),
            f32s("a.weight._scale", &[2, 1], &[0.5, 0.1]),
            filled("a.bias", &[2], 1.0),
            filled("a.input_scale", &[], 1.0),
            filled("a.output_scale", &[], 1.0),
            filled("norm.weight", &[2], 7.0),
        ]
    }

    fn open(tensors: &[Made], map: &str) -> std::result::Result<Quanto, BadWeights> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.json");
        std::fs::write(&path, map).unwrap();
        Quanto::open(&write(folder.path(), "q.safetensors", tensors), &path)
    }

    #[test]
    fn layers_are_widened_row_by_row_or_kept() {
        let source = |how| Source::of(open(&tensors(), MAP).unwrap()).quantised(how);
        let widened = source(Quantised::Widened);
        let keys: Vec<String> = widened.inventory().iter().map(|(key, _)| key.to_owned()).collect();
        assert_eq!(keys.len(), 3, "{keys:?}");
        let vb = widened.into_builder(DType::F32, &Device::Cpu);
        let values: Vec<f32> = vb.get((2, 3), "a.weight").unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(values, [0.5, -1.0, 1.5, -128.0 * 0.1, 127.0 * 0.1, 0.0]);
        assert!(!vb.contains_tensor("a.weight._data") && !vb.contains_tensor("a.input_scale"));
        assert_eq!(vb.get(2, "norm.weight").unwrap().to_vec1::<f32>().unwrap(), [7.0; 2]);
        assert!(vb.get((3, 2), "a.weight").unwrap_err().to_string().contains("[2, 3]"));

        let vb = source(Quantised::Kept).into_builder(DType::F32, &Device::Cpu);
        let bits = vb
            .get_with_hints_dtype((2, 3), "a.weight._data", candle_nn::Init::Const(0.0), DType::U8)
            .unwrap();
        assert_eq!(bits.flatten_all().unwrap().to_vec1::<u8>().unwrap(), [1, 254, 3, 128, 127, 0]);
        let layer = layers::Linear::load(3, 2, layers::Bias::Yes, vb.pp("a")).unwrap();
        assert!(format!("{layer:?}").contains("linear-int8"), "{layer:?}");
        assert!(vb.contains_tensor(&format!("a.{}", INT8.scale)) && !vb.contains_tensor("norm.weight._data"));
    }

    #[test]
    fn a_part_of_a_tensor_has_the_scales_of_its_rows() {
        let quanto = open(&tensors(), MAP).unwrap();
        assert_eq!(
            Tensors::values(&quanto, "a.weight", 1..5).unwrap(),
            [-1.0, 1.5, -128.0 * 0.1, 127.0 * 0.1]
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let said = |tensors: Vec<Made>, map: &str| {
            let error = open(&tensors, map).map(|_| ()).unwrap_err();
            assert!(!error.remedy().is_empty());
            error.to_string()
        };
        let without = |key: &str| tensors().into_iter().filter(|made| made.key != key).collect::<Vec<_>>();
        let with = |made: Made| without(&made.key.clone()).into_iter().chain([made]).collect::<Vec<_>>();
        let absent = MAP.replace("\"a\"", "\"b\"");
        let message = said(tensors(), &absent);
        assert!(message.contains("q.json names `b`, but the file has no `b.weight._data`"), "{message}");
        assert!(said(without("a.weight._scale"), MAP).contains("no `a.weight._scale`"));
        for (scale, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf")] {
            let message = said(with(f32s("a.weight._scale", &[2, 1], &[1.0, scale])), MAP);
            assert!(message.contains(&format!("the scale of its row 1 is {shown}")), "{message}");
        }
        assert!(said(with(f32s("a.weight._scale", &[1, 2], &[1.0; 2])), MAP).contains("expected [2, 1]"));
        assert!(said(with(filled("a.weight._data", &[2, 3], 1.0)), MAP).contains("stored as F32"));
        assert!(said(with(i8s("a.weight._data", &[6], &[1; 6])), MAP).contains("not (outputs, inputs)"));
        assert!(said(with(filled("a.weight", &[2, 3], 1.0)), MAP).contains("both quantised and plain"));
        let message = said(with(i8s("c.weight._data", &[2, 3], &[1; 6])), MAP);
        assert!(
            message.contains("`c.weight._data` is in it") && message.contains("does not name"),
            "{message}"
        );
        assert!(said(tensors(), &MAP.replace("qint8", "qint4")).contains("`a` is qint4"));
        assert!(said(tensors(), &MAP.replace("none", "qint8")).contains("activations of `a`"));
        assert!(said(tensors(), "[]").contains("is not a map of quantised layers"));
        assert!(
            said(tensors(), &MAP.replace("qint8", "qfloat8"))
                .contains("as fp8, but `a.weight._data` is stored as I8")
        );
        let kind = |map: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("m.json");
            std::fs::write(&path, map).unwrap();
            kind_of(&path).map_err(|error| error.to_string())
        };
        assert_eq!(kind(MAP), Ok(Kind::Int8));
        assert!(kind("{}").unwrap_err().contains("no layer"));
        let both = r#"{"a": {"weights": "qint8"}, "b": {"weights": "qfloat8_e4m3fn"}}"#;
        assert!(kind(both).unwrap_err().contains("int8 and of fp8"));
    }
}
