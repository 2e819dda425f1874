//! A source that holds nothing and remembers what it was asked for: loading a net from it makes the net's list of keys and shapes, at any size.
//! What it hands out are views of one zero, so a net of 14 billion weights is outlined in a few megabytes. An operation that prepares
//! its weights at load leaves such a view alone (`is_outline`).

use std::sync::{Arc, Mutex};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use super::int8::INT8;
use super::inventory::Inventory;

type Asked = Vec<(String, Vec<usize>)>;

#[derive(Clone, Default)]
pub struct Outline {
    asked: Arc<Mutex<Asked>>,
    absent: Arc<Vec<String>>,
}

impl Outline {
    pub fn new() -> Self {
        Self::default()
    }

    /// As of a checkpoint in which no key has `part` between its dots: for nets that accept two names and look which one is there.
    pub fn without(self, part: &str) -> Self {
        let mut absent = (*self.absent).clone();
        absent.push(part.to_owned());
        Self { absent: Arc::new(absent), ..self }
    }

    pub fn builder(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, Device::Cpu)
    }

    /// What was asked for so far, in order, each key once.
    pub fn inventory(&self) -> Inventory {
        let asked = self.asked.lock().expect("nothing panics while it holds this lock");
        Inventory::of_shapes(asked.iter().cloned())
    }
}

impl SimpleBackend for Outline {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let mut asked = self.asked.lock().expect("nothing panics while it holds this lock");
        asked.push((name.to_owned(), shape.dims().to_vec()));
        Tensor::zeros(vec![1; shape.rank()], dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("`{name}` was asked for without a shape, so it cannot be outlined")
    }

    /// Nothing is held in another form than that of the net.
    fn contains_tensor(&self, name: &str) -> bool {
        !INT8.is_part(name) && !name.split('.').any(|part| self.absent.iter().any(|absent| absent == part))
    }
}

/// Whether a weight is a view of a single value, as `Outline` hands out: preparing it (transposing, packing) would only fill memory.
pub fn is_outline(weight: &Tensor) -> bool {
    weight.elem_count() > 1
        && weight.stride().iter().zip(weight.dims()).all(|(&stride, &n)| stride == 0 || n == 1)
}
