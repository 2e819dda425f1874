//! A linear layer: y = x W^T + b, with W as checkpoints hold it, (out, in).

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use crate::conv::Bias;
use crate::reference;

#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    pub fn load(inputs: usize, outputs: usize, bias: Bias, vb: VarBuilder) -> Result<Self> {
        let weight = vb.get((outputs, inputs), "weight")?;
        let bias = match bias {
            Bias::Yes => Some(vb.get(outputs, "bias")?),
            Bias::No => None,
        };
        Ok(Self { weight, bias })
    }

    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// x: (…, inputs) -> (…, outputs)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        reference::linear(x, &self.weight, self.bias.as_ref())
    }
}
