//! What the UNet is told, computed as seldom as it changes: once a clip what comes of the picture, the frames' places and the added ids; once a step what comes
//! of the time. Cross attention sees one token, so its softmax is 1 and it gives every pixel the same vector, which no query or key can change.

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use layers::{Activation, Bias, Linear, TimestepConfig, timestep_embedding};

use crate::nets::res_block::ResTime;

/// `TimestepEmbedding`
#[derive(Debug)]
pub struct TimestepMlp {
    linear_1: Linear,
    linear_2: Linear,
    inputs: usize,
    dtype: DType,
    device: Device,
}

impl TimestepMlp {
    pub fn load((inputs, width, outputs): (usize, usize, usize), vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            linear_1: Linear::load(inputs, width, Bias::Yes, vb.pp("linear_1"))?,
            linear_2: Linear::load(width, outputs, Bias::Yes, vb.pp("linear_2"))?,
            inputs,
            dtype: vb.dtype(),
            device: vb.device().clone(),
        })
    }

    /// Each row's numbers as sinusoids side by side, through the layers. (r, n) -> (r, outputs)
    pub fn forward(&self, numbers: &Tensor) -> Result<Tensor> {
        let (rows, each) = numbers.dims2()?;
        let sinusoid = TimestepConfig::flipped(self.inputs / each);
        let numbers = numbers.to_device(&self.device)?.flatten_all()?;
        // made in f32 and rounded once, as the reference does
        let waves = timestep_embedding(&numbers, &sinusoid)?.to_dtype(self.dtype)?;
        let y = self.linear_1.forward_then(&waves.reshape((rows, self.inputs))?, Activation::Silu)?;
        self.linear_2.forward(&y)
    }
}

/// Cross attention over one token: what remains of it.
#[derive(Debug)]
pub struct OneToken {
    to_v: Linear,
    to_out: Linear,
}

impl OneToken {
    /// The norm before it, its queries and its keys are in the files and have no effect: they are asked for, so that a wrong shape is refused.
    pub fn load((channels, context): (usize, usize), vb: VarBuilder, norm: VarBuilder) -> Result<Self> {
        norm.get(channels, "weight")?;
        norm.get(channels, "bias")?;
        vb.get((channels, channels), "to_q.weight")?;
        vb.get((channels, context), "to_k.weight")?;
        Ok(Self {
            to_v: Linear::load(context, channels, Bias::No, vb.pp("to_v"))?,
            to_out: Linear::load(channels, channels, Bias::Yes, vb.pp("to_out.0"))?,
        })
    }

    /// context: (b, k) -> (b, c), what every token of the item gets
    pub fn forward(&self, context: &Tensor) -> Result<Tensor> {
        self.to_out.forward(&self.to_v.forward(context)?)
    }
}

/// What a transformer is told of a clip.
#[derive(Clone, Debug)]
pub struct TransformerClip {
    /// What the picture adds to every pixel within its frame, and over frames.
    pub spatial: Tensor, // (b, c)
    pub temporal: Tensor, // (b, c)
    /// Of the frames' places.
    pub positions: Tensor, // (b * f, c)
}

/// Everything of a clip that no step changes.
#[derive(Clone, Debug)]
pub struct ClipCondition {
    pub(super) batch: usize,
    pub(super) frames: usize,
    pub(super) added: Tensor, // (b, e)
    /// In the order of the forward.
    pub(super) transformers: Vec<TransformerClip>,
}

/// Everything of a step that no pixel changes.
#[derive(Clone, Debug)]
pub struct StepCondition {
    /// In the order of the forward.
    pub(super) resnets: Vec<Option<ResTime>>,
    pub(super) batch: usize,
}

/// 0, 1, …, n - 1 as a column. (n, 1)
pub fn places(n: usize) -> Result<Tensor> {
    Tensor::arange(0f32, n as f32, &Device::Cpu)?.unsqueeze(D::Minus1)
}
