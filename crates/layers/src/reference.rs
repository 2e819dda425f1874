//! What every heavy operation means, in candle's own tensor operations, on any device it has: one function per operation.
//! On the CPU the kernels take their place for f32 and answer to them (the tests of `cpu`); they serve every other dtype and device. Sums are made in f32, whatever the
//! weights are stored in, as the reference implementations do.

use candle_core::{D, DType, Result, Tensor, bail};

use crate::activation::Activation;
use crate::attention::Mask;
use crate::conv::ConvConfig;
use crate::rope::Pairing;

/// Logits of one slice of queries may take this many f32 values (64 MiB), so that attention over a video does not
/// need all of them at once.
const LOGITS: usize = 16 << 20;

/// The dtype sums are made in.
fn wide(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F32 | DType::F64 => Ok(x.clone()),
        _ => x.to_dtype(DType::F32),
    }
}

fn add_bias(y: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    match bias {
        Some(bias) => y.broadcast_add(&wide(bias)?),
        None => Ok(y),
    }
}

/// x: (b, h, w, c), weight: (o, c / groups, kh, kw), bias: (o,) -> (b, h', w', o)
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, cfg: &ConvConfig) -> Result<Tensor> {
    let p = cfg.padding;
    let x_wide = wide(x)?.permute((0, 3, 1, 2))?; // (b, c, h, w)
    let even = p.top == p.bottom && p.left == p.right && p.top == p.left;
    let (padded, own) = if even {
        (x_wide, p.top)
    } else {
        (x_wide.pad_with_zeros(2, p.top, p.bottom)?.pad_with_zeros(3, p.left, p.right)?, 0)
    };
    let y = padded.contiguous()?.conv2d(
        &wide(weight)?.contiguous()?,
        own,
        cfg.stride,
        cfg.dilation,
        cfg.groups,
    )?;
    let y = y.permute((0, 2, 3, 1))?.contiguous()?; // (b, h', w', o)
    add_bias(y, bias)?.to_dtype(x.dtype())
}

/// x: any shape -> the same
pub fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
        Activation::Relu => x.relu(),
    }
}

/// x: (…, 2c) -> (…, c)
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let c = x.dim(D::Minus1)? / 2;
    x.narrow(D::Minus1, 0, c)? * x.narrow(D::Minus1, c, c)?.contiguous()?.gelu_erf()?
}

/// x: (b, h, w, c) -> (b, h * factor, w * factor, c)
pub fn upsample_nearest(x: &Tensor, factor: usize) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    x.reshape((b, h, 1, w, c))?
        .broadcast_as((b, h, factor, w, c))?
        .reshape((b, h * factor, w, 1, c))?
        .broadcast_as((b, h * factor, w, factor, c))?
        .reshape((b, h * factor, w * factor, c))
}

/// x: (b, l, c), weight: (o, c / groups, k), bias: (o,) -> (b, l', o)
pub fn conv1d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, cfg: &ConvConfig) -> Result<Tensor> {
    let p = cfg.padding;
    let x_wide = wide(x)?.permute((0, 2, 1))?.pad_with_zeros(2, p.left, p.right)?.contiguous()?; // (b, c, l)
    let y = x_wide.conv1d(&wide(weight)?.contiguous()?, 0, cfg.stride, cfg.dilation, cfg.groups)?;
    let y = y.permute((0, 2, 1))?.contiguous()?; // (b, l', o)
    add_bias(y, bias)?.to_dtype(x.dtype())
}

/// x: (…, i), weight: (o, i), bias: (o,) -> (…, o)
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let Some(last) = dims.last_mut() else { bail!("a linear layer needs at least one axis") };
    let (o, i) = weight.dims2()?;
    if *last != i {
        bail!("a linear layer of {i} inputs was given {:?}", x.dims());
    }
    *last = o;
    let rows = x.elem_count() / i.max(1);
    let y = wide(x)?.reshape((rows, i))?.matmul(&wide(weight)?.t()?)?.reshape(dims)?;
    add_bias(y, bias)?.to_dtype(x.dtype())
}

/// x: (b, …, c): the mean and the variance of each group of c / groups channels over all axes between.
pub fn group_norm(x: &Tensor, groups: usize, affine: (&Tensor, &Tensor), eps: f64) -> Result<Tensor> {
    let dims = x.dims().to_vec();
    let (b, c) = (dims[0], *dims.last().expect("checked by the caller: at least two axes"));
    let grouped = wide(x)?.reshape((b, (), groups, c / groups))?; // (b, n, g, c / g)
    // a picture has so many pixels that summing them one after the other in f32 would lose the last digits
    let mean_of = |x: &Tensor| -> Result<Tensor> {
        let pixels = x.mean_keepdim(3)?; // (b, n, g, 1)
        pixels.to_dtype(DType::F64)?.mean_keepdim(1)?.to_dtype(x.dtype())
    };
    let centred = grouped.broadcast_sub(&mean_of(&grouped)?)?;
    let deviation = (mean_of(&centred.sqr()?)? + eps)?.sqrt()?;
    let y = centred.broadcast_div(&deviation)?.reshape(dims)?;
    y.broadcast_mul(&wide(affine.0)?)?.broadcast_add(&wide(affine.1)?)?.to_dtype(x.dtype())
}

/// x: (…, c)
pub fn layer_norm(x: &Tensor, affine: Option<(&Tensor, Option<&Tensor>)>, eps: f64) -> Result<Tensor> {
    let x_wide = wide(x)?;
    let centred = x_wide.broadcast_sub(&x_wide.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    let y = centred.broadcast_div(&deviation)?;
    match affine {
        None => y.to_dtype(x.dtype()),
        Some((weight, bias)) => add_bias(y.broadcast_mul(&wide(weight)?)?, bias)?.to_dtype(x.dtype()),
    }
}

/// x: (…, c). The normed value is rounded to the dtype of `weight` before it is scaled, as in T5 and Wan.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let x_wide = wide(x)?;
    let scale = (x_wide.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    x_wide.broadcast_div(&scale)?.to_dtype(weight.dtype())?.broadcast_mul(weight)
}

/// x: (b, l, n, d), cos and sin: (l, d / 2) -> the same as x
pub fn turn(x: &Tensor, (cos, sin): (&Tensor, &Tensor), pairing: Pairing) -> Result<Tensor> {
    let (b, l, n, d) = x.dims4()?;
    let pairs = match pairing {
        Pairing::Neighbours => x.reshape((b, l, n, d / 2, 2))?,
        Pairing::Halves => x.reshape((b, l, n, 2, d / 2))?.transpose(3, 4)?,
    };
    let pairs = wide(&pairs)?;
    let (even, odd) = (pairs.narrow(4, 0, 1)?.squeeze(4)?, pairs.narrow(4, 1, 1)?.squeeze(4)?); // (b, l, n, d / 2)
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?); // (l, 1, d / 2)
    let turned_even = (even.broadcast_mul(&cos)? - odd.broadcast_mul(&sin)?)?;
    let turned_odd = (even.broadcast_mul(&sin)? + odd.broadcast_mul(&cos)?)?;
    let y = match pairing {
        Pairing::Neighbours => Tensor::stack(&[turned_even, turned_odd], 4)?.reshape((b, l, n, d))?,
        Pairing::Halves => Tensor::cat(&[turned_even, turned_odd], D::Minus1)?,
    };
    y.to_dtype(x.dtype())
}

/// q: (b, lq, n, d), k, v: (b, lk, n, d) -> (b, lq, n, d)
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Mask, scale: f64) -> Result<Tensor> {
    let (b, lq, n, _) = q.dims4()?;
    let lk = k.dim(1)?;
    let heads = |x: &Tensor| wide(x)?.transpose(1, 2)?.contiguous(); // (b, n, l, d)
    let (queries, keys, values) = (heads(q)?, heads(k)?.t()?.contiguous()?, heads(v)?);
    let bias = mask.additive(b, lk, q.device())?;
    let step = (LOGITS / (b * n * lk).max(1)).clamp(1, lq.max(1));
    let mut slices = Vec::with_capacity(lq.div_ceil(step));
    for from in (0..lq).step_by(step) {
        let rows = step.min(lq - from);
        let logits = (queries.narrow(2, from, rows)?.contiguous()?.matmul(&keys)? * scale)?; // (b, n, rows, lk)
        let logits = match &bias {
            None => logits,
            Some(bias) if bias.dim(2)? == 1 => logits.broadcast_add(bias)?,
            Some(bias) => logits.broadcast_add(&bias.narrow(2, from, rows)?)?,
        };
        slices.push(candle_nn::ops::softmax_last_dim(&logits)?.matmul(&values)?);
    }
    Tensor::cat(&slices, 2)?.transpose(1, 2)?.contiguous()?.to_dtype(q.dtype())
}
