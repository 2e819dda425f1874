//! A linear layer: y = x W^T + b, with W as checkpoints hold it, (out, in).

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::VarBuilder;
use half::{bf16, slice::HalfFloatSliceExt as _};
use kernels::{Finish, Weight};

use crate::activation::Activation;
use crate::card::Card;
use crate::conv::Bias;
use crate::weights::is_outline;
use crate::{cpu, reference};

#[derive(Clone)]
enum Held {
    Tensors { weight: Tensor, bias: Option<Tensor> },
    Kernel(Arc<kernels::Linear>),
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Tensors { weight, .. } => write!(f, "{:?}", weight.dtype()),
            Self::Kernel(kernel) => f.write_str(kernel.variant()),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Linear {
    held: Held,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    /// weight: (o, i), bias: (o,)
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let held = match pack(&weight, bias.as_ref())? {
            Some(kernel) => Held::Kernel(Arc::new(kernel)),
            None => Held::Tensors { weight, bias },
        };
        Ok(Self { held, inputs, outputs })
    }

    pub fn load(inputs: usize, outputs: usize, bias: Bias, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get((outputs, inputs), "weight")?;
        let bias = match bias {
            Bias::Yes => Some(vb.get(outputs, "bias")?),
            Bias::No => None,
        };
        Self::new(weight, bias)
    }

    /// Whether its keys were only asked for, so that it has no values to compute with.
    pub fn is_outline(&self) -> bool {
        matches!(&self.held, Held::Tensors { weight, .. } if is_outline(weight))
    }

    /// x: (…, inputs) -> (…, outputs)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.held {
            Held::Tensors { weight, bias } => match self.card(x) {
                Some(card) => card.linear(x, (weight, bias.as_ref()), None, None),
                None => reference::linear(x, weight, bias.as_ref()),
            },
            Held::Kernel(kernel) => {
                let x_f32 = x.to_dtype(DType::F32)?;
                self.write(kernel, &x_f32, Finish::default())?.to_dtype(x.dtype())
            }
        }
    }

    /// x: (…, inputs), addend: (…, outputs) -> the layer of x plus the addend
    pub fn forward_plus(&self, x: &Tensor, addend: &Tensor) -> Result<Tensor> {
        match &self.held {
            Held::Kernel(kernel) if cpu::takes(x) && cpu::takes(addend) => {
                cpu::lend(addend, |rows| self.write(kernel, x, Finish::residual(rows)))
            }
            Held::Tensors { weight, bias } if addend.dtype() == x.dtype() => match self.card(x) {
                Some(card) => card.linear(x, (weight, bias.as_ref()), None, Some(addend)),
                None => self.forward(x)? + addend,
            },
            _ => self.forward(x)? + addend,
        }
    }

    /// The layer of x and an activation. x: (…, inputs) -> (…, outputs)
    pub fn forward_then(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        match &self.held {
            Held::Kernel(kernel) if cpu::takes(x) => self.write(kernel, x, Finish::act(activation.kernel())),
            Held::Tensors { weight, bias } => match self.card(x) {
                Some(card) => card.linear(x, (weight, bias.as_ref()), Some(activation), None),
                None => activation.forward(&self.forward(x)?),
            },
            Held::Kernel(_) => activation.forward(&self.forward(x)?),
        }
    }

    /// Where x and the parameters are on one, all of one dtype.
    fn card(&self, x: &Tensor) -> Option<Card> {
        match &self.held {
            Held::Tensors { weight, bias: None } => Card::of(&[x, weight]),
            Held::Tensors { weight, bias: Some(bias) } => Card::of(&[x, weight, bias]),
            Held::Kernel(_) => None,
        }
    }

    fn write(&self, kernel: &kernels::Linear, x: &Tensor, finish: Finish) -> Result<Tensor> {
        let mut shape = x.dims().to_vec();
        match shape.last_mut() {
            Some(last) if *last == self.inputs => *last = self.outputs,
            _ => bail!("a linear layer of {} inputs was given {:?}", self.inputs, x.dims()),
        }
        cpu::make(&shape, |y| cpu::read(x, |x| kernel.forward(x, y, finish)))
    }
}

/// What the kernels make of f32 and bf16 on the CPU; bf16 stays bf16 in memory.
fn pack(weight: &Tensor, bias: Option<&Tensor>) -> Result<Option<kernels::Linear>> {
    let shape = weight.dims2()?.into();
    if !weight.device().is_cpu() || is_outline(weight) {
        return Ok(None);
    }
    let (ctx, bias) = (&cpu::context_of_layer()?, bias.map(cpu::owned).transpose()?);
    match weight.dtype() {
        DType::F32 => cpu::read(weight, |w| kernels::Linear::new(ctx, shape, Weight::F32(w), bias)).map(Some),
        DType::BF16 => cpu::read(weight, |w: &[bf16]| {
            kernels::Linear::new(ctx, shape, Weight::Bf16(w.reinterpret_cast()), bias)
        })
        .map(Some),
        _ => Ok(None),
    }
}
