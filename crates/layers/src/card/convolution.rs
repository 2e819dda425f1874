//! Convolutions on a card, over clips (b, t, h, w, c): a picture is a clip of one frame, a line a picture of one row. cuDNN does those
//! it is installed for and supports; else the windows are laid out as rows, a part at a time, and multiplied by cuBLAS.

use candle_core::{DType, Result, Tensor, bail};
use cuda_kernels::{ColumnsParams, columns};

use super::launch::{card_of, lend, make, start};
use super::{Card, cudnn};
use crate::activation::Activation;
use crate::conv::Padding;
use crate::conv3d::Conv3dConfig;

/// The rows of windows that are laid out at a time take this many bytes (256 MiB).
const WINDOWS: usize = 256 << 20;

#[derive(Clone, Debug)]
pub(crate) struct Convolution {
    /// (o, taps, kh, kw, c / groups)
    weight: Tensor,
    bias: Option<Tensor>,
    cfg: Conv3dConfig,
}

/// What a convolution makes of a clip: (b, t, h, w, c) -> (b, t', h', w', o).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shapes {
    pub x: [usize; 5],
    pub y: [usize; 5],
}

impl Card {
    /// weight: (o, c / groups, taps, kh, kw), bias: (o,)
    pub(crate) fn convolution(
        self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        cfg: Conv3dConfig,
    ) -> Result<Convolution> {
        let weight = weight.permute((0, 2, 3, 4, 1))?.contiguous()?; // (o, taps, kh, kw, c / groups)
        Ok(Convolution { weight, bias: bias.cloned(), cfg })
    }
}

impl Convolution {
    /// x: (b, t, h, w, c), addend: (b, t', h', w', o) -> act(conv(x) + bias) + addend; frames are not padded.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        activation: Option<Activation>,
        addend: Option<&Tensor>,
    ) -> Result<Tensor> {
        let shapes = self.shapes(x)?;
        let Some(card) = Card::of(&[x, &self.weight]) else {
            return self.widened(x, activation, addend);
        };
        let x = x.contiguous()?;
        let by_cudnn = match self.even_padding() {
            Some(_) if self.is_product() => None,
            Some(padding) => cudnn::convolve(&x, &self.weight, (&self.cfg, padding), shapes)?,
            None => None,
        };
        let y = match by_cudnn {
            Some(y) => y,
            None => self.by_windows(card, &x, shapes)?,
        };
        card.finish(y, self.bias.as_ref(), activation, addend)
    }

    /// A clip of another dtype than the weights': both in f32, as the reference does.
    fn widened(&self, x: &Tensor, activation: Option<Activation>, addend: Option<&Tensor>) -> Result<Tensor> {
        let wide = |t: &Tensor| t.to_dtype(DType::F32);
        let (x_wide, weight) = (wide(x)?, wide(&self.weight)?);
        if Card::of(&[&x_wide, &weight]).is_none() {
            bail!("a convolution on {:?} was given a clip on {:?}", weight.device(), x.device());
        }
        let bias = self.bias.as_ref().map(wide).transpose()?;
        let addend = addend.map(wide).transpose()?;
        let wider = Self { weight, bias, cfg: self.cfg };
        wider.forward(&x_wide, activation, addend.as_ref())?.to_dtype(x.dtype())
    }

    fn shapes(&self, x: &Tensor) -> Result<Shapes> {
        let (b, t, h, w, c) = x.dims5()?;
        let steps = (t - self.cfg.taps) / self.cfg.time_stride + 1;
        let (oh, ow) = self.cfg.frame.output((h, w))?;
        Ok(Shapes { x: [b, t, h, w, c], y: [b, steps, oh, ow, self.weight.dim(0)?] })
    }

    /// The rows and columns of zeros on each side, where both sides have as many.
    fn even_padding(&self) -> Option<(usize, usize)> {
        let Padding { top, bottom, left, right } = self.cfg.frame.padding;
        (top == bottom && left == right).then_some((top, left))
    }

    /// Whether every window is one pixel, so that the pixels are the rows.
    fn is_product(&self) -> bool {
        let frame = &self.cfg.frame;
        self.cfg.taps == 1
            && self.cfg.time_stride == 1
            && (frame.kernel, frame.stride, frame.groups) == ((1, 1), 1, 1)
            && frame.padding == Padding::NONE
    }

    fn by_windows(&self, card: Card, x: &Tensor, shapes: Shapes) -> Result<Tensor> {
        let [b, t, h, w, o] = shapes.y;
        let rows = b * t * h * w;
        let groups = self.cfg.frame.groups;
        let (per_group, length) = (o / groups, self.weight.elem_count() / o);
        let weight = self.weight.reshape((o, length))?;
        let step = (WINDOWS / (length * x.dtype().size_in_bytes())).clamp(1, rows);
        let mut made = Vec::with_capacity(groups);
        for group in 0..groups {
            let weight = weight.narrow(0, group * per_group, per_group)?.t()?; // (length, o / groups)
            let parts: Vec<Tensor> = (0..rows)
                .step_by(step)
                .map(|from| {
                    self.windows(card, x, shapes, (group, from, step.min(rows - from)))?.matmul(&weight)
                })
                .collect::<Result<_>>()?;
            made.push(joined(parts, 0)?);
        }
        joined(made, 1)?.reshape((b, t, h, w, o))
    }

    /// The windows of one group for `rows` of the output, from `first` on: (rows, taps kh kw c / groups).
    fn windows(
        &self,
        card: Card,
        x: &Tensor,
        shapes: Shapes,
        (group, first, rows): (usize, usize, usize),
    ) -> Result<Tensor> {
        let [_, t, h, w, c] = shapes.x;
        if self.is_product() {
            return x.reshape(((), c))?.narrow(0, first, rows);
        }
        let (_, frames, out_h, out_w, _) = shapes.y.into();
        let frame = &self.cfg.frame;
        let count = c / frame.groups;
        let params = ColumnsParams {
            first: first as u64,
            rows: rows as u64,
            frames: t as u32,
            height: h as u32,
            width: w as u32,
            channels: c as u32,
            out_frames: frames as u32,
            out_height: out_h as u32,
            out_width: out_w as u32,
            taps: self.cfg.taps as u32,
            kernel_h: frame.kernel.0 as u32,
            kernel_w: frame.kernel.1 as u32,
            time_stride: self.cfg.time_stride as u32,
            stride: frame.stride as u32,
            dilation: frame.dilation as u32,
            top: frame.padding.top as u32,
            left: frame.padding.left as u32,
            from: (group * count) as u32,
            count: count as u32,
            ..ColumnsParams::default()
        };
        let device = card_of(x)?;
        let launch = columns(card.dtype, &params);
        make(&device, x.dtype(), (rows, params.row_length()), |y| {
            lend(&device, &[Some(x)], |at| {
                // SAFETY: x is (b, t, h, w, c) and the rows asked for lie within the output; y has room for them
                unsafe { start(&device, &launch, ColumnsParams { x: at[0], y, ..params }) }
            })
        })
    }
}

fn joined(mut parts: Vec<Tensor>, axis: usize) -> Result<Tensor> {
    if parts.len() == 1 { Ok(parts.remove(0)) } else { Tensor::cat(&parts, axis) }
}
