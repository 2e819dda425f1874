//! What touches every value once, and the products that end with it.

use candle_core::{D, Result, Tensor, bail};
use cuda_kernels::{FinishParams, GatedParams, GegluParams, RopeParams, finish, gated, geglu, rope};

use super::launch::{card_of, lend, make, start};
use super::norm::aligned;
use super::{Card, act};
use crate::activation::Activation;
use crate::rope::Pairing;

impl Card {
    /// x: (…, i), weight: (o, i), bias: (o,), addend: (…, o) -> act(x W^T + b) + addend
    pub(crate) fn linear(
        self,
        x: &Tensor,
        (weight, bias): (&Tensor, Option<&Tensor>),
        activation: Option<Activation>,
        addend: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (o, i) = weight.dims2()?;
        let mut dims = x.dims().to_vec();
        match dims.last_mut() {
            Some(last) if *last == i => *last = o,
            _ => bail!("a linear layer of {i} inputs was given {:?}", x.dims()),
        }
        let y = x.reshape((x.elem_count() / i, i))?.matmul(&weight.t()?)?.reshape(dims)?;
        self.finish(y, bias, activation, addend)
    }

    /// x: (…, c), bias: (c,), addend: (…, c) -> act(x + bias) + addend
    pub(super) fn finish(
        self,
        x: Tensor,
        bias: Option<&Tensor>,
        activation: Option<Activation>,
        addend: Option<&Tensor>,
    ) -> Result<Tensor> {
        if bias.is_none() && activation.is_none() && addend.is_none() {
            return Ok(x);
        }
        if let Some(addend) = addend.filter(|addend| addend.dims() != x.dims()) {
            bail!("{:?} cannot be added to {:?}", addend.dims(), x.dims());
        }
        let involved: Vec<&Tensor> = [Some(&x), bias, addend].into_iter().flatten().collect();
        if Self::of(&involved).is_none() {
            let kinds: Vec<_> = involved.iter().map(|t| (t.dtype(), t.device().location())).collect();
            bail!(
                "a bias and an addend are of the dtype and on the card of what they are added to, not {kinds:?}"
            );
        }
        let (c, count) = (x.dim(D::Minus1)?, x.elem_count());
        if let Some(bias) = bias.filter(|bias| bias.dims() != [c]) {
            bail!("a bias of {:?} cannot be added to {:?}", bias.dims(), x.dims());
        }
        let launch = finish(self.dtype, count, c);
        let (device, x) = (card_of(&x)?, aligned(&x)?);
        let bias = bias.map(Tensor::contiguous).transpose()?;
        let addend = addend.map(aligned).transpose()?;
        make(&device, x.dtype(), x.shape(), |y| {
            lend(&device, &[Some(&x), bias.as_ref(), addend.as_ref()], |at| {
                let params = FinishParams {
                    x: at[0],
                    bias: at[1],
                    addend: at[2],
                    y,
                    count: count as u64,
                    channels: c as u32,
                    act: act(activation) as u32,
                };
                // SAFETY: x, y and the addend hold `count` values in rows of c, the bias c; rows of a multiple of four begin aligned
                unsafe { start(&device, &launch, params) }
            })
        })
    }

    pub(crate) fn activation(self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.finish(x.clone(), None, Some(activation), None)
    }

    /// x, a: (…, c), gate: (c,) in f32 -> x + a * gate
    pub(crate) fn add_gated(self, x: &Tensor, a: &Tensor, gate: &Tensor) -> Result<Tensor> {
        let (c, count) = (x.dim(D::Minus1)?, x.elem_count());
        let (device, x, a, gate) = (card_of(x)?, aligned(x)?, aligned(a)?, gate.contiguous()?);
        make(&device, x.dtype(), x.shape(), |y| {
            lend(&device, &[Some(&x), Some(&a), Some(&gate)], |at| {
                let params = GatedParams {
                    x: at[0],
                    a: at[1],
                    gate: at[2],
                    y,
                    count: count as u64,
                    channels: c as u32,
                };
                // SAFETY: x, a and y hold `count` values in rows of c, the gate c in f32; rows of a multiple of four begin aligned
                unsafe { start(&device, &gated(self.dtype, count, c), params) }
            })
        })
    }

    /// x: (…, 2c) -> (…, c)
    pub(crate) fn geglu(self, x: &Tensor) -> Result<Tensor> {
        let mut dims = x.dims().to_vec();
        let Some(last) = dims.last_mut() else { bail!("GEGLU needs at least one axis") };
        *last /= 2;
        let (c, count) = (*last, x.elem_count() / 2);
        let (device, x) = (card_of(x)?, x.contiguous()?);
        make(&device, x.dtype(), dims, |y| {
            lend(&device, &[Some(&x)], |at| {
                let params = GegluParams { x: at[0], y, count: count as u64, channels: c as u32 };
                // SAFETY: x holds rows of 2c values, y as many of c
                unsafe { start(&device, &geglu(self.dtype, count), params) }
            })
        })
    }

    /// x: (b, l, n, d), cos and sin: (l, d / 2) in f32 -> the same as x
    pub(crate) fn rope(self, x: &Tensor, (cos, sin): (&Tensor, &Tensor), pairing: Pairing) -> Result<Tensor> {
        let (b, l, n, d) = x.dims4()?;
        let (device, x) = (card_of(x)?, x.contiguous()?);
        let pairs = b * l * n * d / 2;
        make(&device, x.dtype(), x.shape(), |y| {
            lend(&device, &[Some(&x), Some(cos), Some(sin)], |at| {
                let params = RopeParams {
                    x: at[0],
                    cos: at[1],
                    sin: at[2],
                    y,
                    pairs: pairs as u64,
                    positions: l as u32,
                    heads: n as u32,
                    half: d as u32 / 2,
                    halves: u32::from(pairing == Pairing::Halves),
                };
                // SAFETY: x and y hold `pairs` pairs, the tables (l, d / 2) as `RopeTable` made them
                unsafe { start(&device, &rope(self.dtype, pairs), params) }
            })
        })
    }
}
