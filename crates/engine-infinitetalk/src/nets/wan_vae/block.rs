//! What the VAE's encoder and decoder are both made of: memory, channel norms, residual blocks and the attention in the middle.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use layers::{CausalConv3d, Conv3dConfig, Linear, Mask, Past, RmsNorm, attention};

use super::{cube, each_frame};

/// What the causal convolutions remember of the pieces before: one `Past` each, in the order in which they run. A new memory is the
/// beginning of a clip; encoding and decoding each need their own.
#[derive(Clone, Debug, Default)]
pub struct Memory(Vec<Past>);

impl Memory {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_new(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rewind(&mut self) -> Cursor<'_> {
        Cursor { places: &mut self.0, at: 0 }
    }
}

/// Hands each convolution of one forward its place in the memory.
pub(super) struct Cursor<'a> {
    places: &'a mut Vec<Past>,
    at: usize,
}

impl Cursor<'_> {
    pub fn next(&mut self) -> &mut Past {
        if self.at == self.places.len() {
            self.places.push(Past::empty());
        }
        self.at += 1;
        &mut self.places[self.at - 1]
    }
}

/// x / |x| * sqrt(c) * gamma over the channels. `shape` is that of gamma: (c, 1, 1, 1) before video, (c, 1, 1) before pictures.
pub(super) fn channel_norm(shape: &[usize], vb: VarBuilder) -> Result<RmsNorm> {
    let c = shape[0];
    let gamma = vb.get(shape, "gamma")?.reshape(c)?;
    Ok(RmsNorm::new(gamma, 1e-24 / c as f64)) // the reference's least |x| is 1e-12; an rms norm adds to |x|^2 / c
}

#[derive(Clone, Debug)]
pub(super) struct ResidualBlock {
    norm1: RmsNorm,
    conv1: CausalConv3d,
    norm2: RmsNorm,
    conv2: CausalConv3d,
    shortcut: Option<CausalConv3d>,
}

impl ResidualBlock {
    pub fn load(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Self> {
        let residual = vb.pp("residual");
        let shortcut = (inputs != outputs)
            .then(|| CausalConv3d::load(inputs, outputs, Conv3dConfig::cube(1, 1), vb.pp("shortcut")))
            .transpose()?;
        Ok(Self {
            norm1: channel_norm(&[inputs, 1, 1, 1], residual.pp(0))?,
            conv1: cube(inputs, outputs, residual.pp(2))?,
            norm2: channel_norm(&[outputs, 1, 1, 1], residual.pp(3))?,
            conv2: cube(outputs, outputs, residual.pp(6))?,
            shortcut,
        })
    }

    /// x: (b, t, h, w, c) -> (b, t, h, w, o)
    pub fn forward(&self, x: &Tensor, memory: &mut Cursor) -> Result<Tensor> {
        let y = self.conv1.forward(&self.norm1.forward_silu(x)?, memory.next())?; // (b, t, h, w, o)
        let y = self.conv2.forward(&self.norm2.forward_silu(&y)?, memory.next())?;
        match &self.shortcut {
            Some(shortcut) => y + shortcut.valid(x)?,
            None => y + x,
        }
    }
}

/// Every pixel of a frame looks at every other, with one head.
#[derive(Clone, Debug)]
pub(super) struct AttentionBlock {
    norm: RmsNorm,
    to_qkv: Linear,
    proj: Linear,
}

impl AttentionBlock {
    pub fn load(c: usize, vb: VarBuilder) -> Result<Self> {
        let pointwise = |outputs: usize, vb: VarBuilder| -> Result<Linear> {
            let weight = vb.get((outputs, c, 1, 1), "weight")?.reshape((outputs, c))?;
            Linear::new(weight, Some(vb.get(outputs, "bias")?))
        };
        Ok(Self {
            norm: channel_norm(&[c, 1, 1], vb.pp("norm"))?,
            to_qkv: pointwise(3 * c, vb.pp("to_qkv"))?,
            proj: pointwise(c, vb.pp("proj"))?,
        })
    }

    /// x: (b, t, h, w, c) -> the same
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x + each_frame(x, |x| {
            let (frames, h, w, c) = x.dims4()?;
            let qkv = self.to_qkv.forward(&self.norm.forward(x)?)?.reshape((frames, h * w, 3, c))?;
            let part = |i: usize| qkv.narrow(2, i, 1); // (frames, h * w, 1 head, c)
            let y = attention(&part(0)?, &part(1)?, &part(2)?, &Mask::Full, (c as f64).powf(-0.5))?;
            self.proj.forward(&y.reshape((frames, h, w, c))?)
        })?
    }
}

/// Residual, attention, residual.
#[derive(Clone, Debug)]
pub(super) struct Middle(ResidualBlock, AttentionBlock, ResidualBlock);

impl Middle {
    pub fn load(c: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self(
            ResidualBlock::load(c, c, vb.pp(0))?,
            AttentionBlock::load(c, vb.pp(1))?,
            ResidualBlock::load(c, c, vb.pp(2))?,
        ))
    }

    /// x: (b, t, h, w, c) -> the same
    pub fn forward(&self, x: &Tensor, memory: &mut Cursor) -> Result<Tensor> {
        let x = self.0.forward(x, memory)?;
        self.2.forward(&self.1.forward(&x)?, memory)
    }
}

/// Norm, SiLU and the last convolution.
#[derive(Clone, Debug)]
pub(super) struct Head {
    norm: RmsNorm,
    conv: CausalConv3d,
}

impl Head {
    pub fn load(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self { norm: channel_norm(&[inputs, 1, 1, 1], vb.pp(0))?, conv: cube(inputs, outputs, vb.pp(2))? })
    }

    /// x: (b, t, h, w, c) -> (b, t, h, w, o)
    pub fn forward(&self, x: &Tensor, memory: &mut Cursor) -> Result<Tensor> {
        self.conv.forward(&self.norm.forward_silu(x)?, memory.next())
    }
}
