//! Norms on a card.

use candle_core::{D, DType, Error, Result, Tensor};
use cuda_kernels::{GroupNormParams, RowNormParams, group_norm, row_norm};

use super::launch::{card_of, lend, make, start};
use super::{Card, act};
use crate::activation::Activation;

impl Card {
    /// x: (b, …, c), weight and bias: (c,) -> the same
    pub(crate) fn group_norm(
        self,
        x: &Tensor,
        groups: usize,
        (weight, bias): (&Tensor, &Tensor),
        (eps, activation): (f64, Option<Activation>),
    ) -> Result<Tensor> {
        let (b, c) = (x.dim(0)?, x.dim(D::Minus1)?);
        let pixels = x.elem_count() / (b * c);
        let plan = group_norm(self.dtype, (b, pixels, c), groups, (eps as f32, act(activation)))
            .map_err(Error::wrap)?;
        let (device, x) = (card_of(x)?, aligned(x)?);
        let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
        let borrow = |n: usize| Tensor::zeros(n, DType::F32, x.device());
        let (pieces, stats) = (borrow(plan.pieces)?, borrow(plan.stats)?);
        make(&device, x.dtype(), x.shape(), |y| {
            let inputs = [&x, &weight, &bias, &pieces, &stats].map(Some);
            lend(&device, &inputs, |at| {
                let params = GroupNormParams {
                    x: at[0],
                    gain: at[1],
                    shift: at[2],
                    y,
                    pieces: at[3],
                    stats: at[4],
                    ..plan.params
                };
                // SAFETY: x and y are (b, pixels, c), the parameters (c,), and what is borrowed is of the plan's sizes
                plan.launches.iter().try_for_each(|launch| unsafe { start(&device, launch, params) })
            })
        })
    }

    /// x: (…, c) -> the same
    pub(crate) fn layer_norm(
        self,
        x: &Tensor,
        affine: (Option<&Tensor>, Option<&Tensor>),
        eps: f64,
    ) -> Result<Tensor> {
        self.row_norm(x, affine, RowNormParams { eps: eps as f32, ..RowNormParams::default() })
    }

    /// x: (…, c), shift and scale: (c,) in f32 -> the norm times (1 + scale) plus shift
    pub(crate) fn modulated_norm(
        self,
        x: &Tensor,
        (shift, scale): (&Tensor, &Tensor),
        eps: f64,
    ) -> Result<Tensor> {
        let how = RowNormParams { eps: eps as f32, modulated: 1, ..RowNormParams::default() };
        self.row_norm(x, (Some(scale), Some(shift)), how)
    }

    /// x: (…, c) -> the same
    pub(crate) fn rms_norm(
        self,
        x: &Tensor,
        weight: &Tensor,
        (eps, activation): (f64, Option<Activation>),
    ) -> Result<Tensor> {
        let act = act(activation) as u32;
        let how = RowNormParams { eps: eps as f32, rms: 1, act, ..RowNormParams::default() };
        self.row_norm(x, (Some(weight), None), how)
    }

    fn row_norm(
        self,
        x: &Tensor,
        (weight, bias): (Option<&Tensor>, Option<&Tensor>),
        how: RowNormParams,
    ) -> Result<Tensor> {
        let c = x.dim(D::Minus1)?;
        let launch = row_norm(self.dtype, x.elem_count() / c, c).map_err(Error::wrap)?;
        let (device, x) = (card_of(x)?, x.contiguous()?);
        let dense = |t: Option<&Tensor>| t.map(Tensor::contiguous).transpose();
        let (weight, bias) = (dense(weight)?, dense(bias)?);
        make(&device, x.dtype(), x.shape(), |y| {
            lend(&device, &[Some(&x), weight.as_ref(), bias.as_ref()], |at| {
                let params =
                    RowNormParams { x: at[0], gain: at[1], shift: at[2], y, channels: c as u32, ..how };
                // SAFETY: x and y are rows of c values, and there is a block for each; the parameters are (c,), of the dtype that `how` says, or absent
                unsafe { start(&device, &launch, params) }
            })
        })
    }
}

/// Contiguous, and begun where four values can be moved at once.
pub(super) fn aligned(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    let from = x.layout().start_offset();
    if from.is_multiple_of(4) { Ok(x) } else { x.force_contiguous() }
}
