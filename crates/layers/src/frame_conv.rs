//! A convolution over the frames of a clip, within each pixel: three to one, zeros before the first and behind the last. What it means is a
//! convolution of (3, 1) over the picture whose rows are frames; so it is done everywhere but on the CPU in f32, where `kernels` have it.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::VarBuilder;
use kernels::{Clips, Finish};

use crate::conv::{Conv2d, ConvConfig, Padding};
use crate::cpu;

const TAPS: usize = 3;

#[derive(Clone)]
enum Held {
    Picture(Conv2d),
    Kernel(Arc<kernels::FrameConv>),
}

#[derive(Clone)]
pub struct FrameConv {
    held: Held,
    inputs: usize,
}

impl fmt::Debug for FrameConv {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.held {
            Held::Picture(conv) => conv.fmt(f),
            Held::Kernel(kernel) => f.write_str(kernel.variant()),
        }
    }
}

impl FrameConv {
    /// weight: (o, c, 3, 1, 1), the earlier frame first, bias: (o,)
    pub fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (outputs, inputs, taps, kh, kw) = weight.dims5()?;
        if (taps, kh, kw) != (TAPS, 1, 1) {
            bail!("a convolution over three frames was given a weight of {:?}", weight.dims());
        }
        if cpu::packs(weight) {
            let (ctx, bias) = (cpu::context_of_layer()?, cpu::owned(bias)?);
            let kernel = cpu::read(weight, |weight| {
                kernels::FrameConv::new(&ctx, [outputs, inputs], weight, Some(bias))
            })?;
            return Ok(Self { held: Held::Kernel(Arc::new(kernel)), inputs });
        }
        let padding = Padding { left: 0, right: 0, ..Padding::even(1) };
        let cfg = ConvConfig { kernel: (TAPS, 1), ..ConvConfig::square(TAPS) }.padding(padding);
        let conv = Conv2d::new(weight.squeeze(4)?, Some(bias.clone()), cfg)?;
        Ok(Self { held: Held::Picture(conv), inputs })
    }

    pub fn load(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Self> {
        Self::new(&vb.get((outputs, inputs, TAPS, 1, 1), "weight")?, &vb.get(outputs, "bias")?)
    }

    /// x: (b, f, h, w, c) -> (b, f, h, w, o)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, None)
    }

    /// x: (b, f, h, w, c), addend: (b, f, h, w, o) -> the convolution of x plus the addend
    pub fn forward_plus(&self, x: &Tensor, addend: &Tensor) -> Result<Tensor> {
        self.run(x, Some(addend))
    }

    fn run(&self, x: &Tensor, addend: Option<&Tensor>) -> Result<Tensor> {
        let (b, f, h, w, c) = x.dims5()?;
        if c != self.inputs {
            bail!("a convolution of {} channels over frames was given {:?}", self.inputs, x.dims());
        }
        if let Some(addend) = addend
            && addend.dims()[..4] != [b, f, h, w]
        {
            bail!("a convolution of {:?} over frames cannot be added to {:?}", x.dims(), addend.dims());
        }
        match &self.held {
            Held::Kernel(kernel) => {
                let wide = |x: &Tensor| x.to_dtype(DType::F32);
                let (x_wide, addend) = (wide(x)?, addend.map(wide).transpose()?);
                let clips = Clips { n: b, frames: f, pixels: h * w };
                let y = cpu::make(&[b, f, h, w, kernel.outputs()], |y| {
                    let run = |y: &mut [f32], finish: Finish| {
                        cpu::read(&x_wide, |x| kernel.forward(x, clips, y, finish))
                    };
                    match &addend {
                        Some(addend) => cpu::lend(addend, |rows| run(y, Finish::residual(rows))),
                        None => run(y, Finish::default()),
                    }
                })?;
                y.to_dtype(x.dtype())
            }
            Held::Picture(conv) => {
                let rows = x.reshape((b, f, h * w, c))?;
                let y = match addend {
                    Some(addend) => conv.forward_plus(&rows, &addend.reshape((b, f, h * w, ()))?)?,
                    None => conv.forward(&rows)?,
                };
                y.reshape((b, f, h, w, ()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn wave(shape: &[usize], step: f32) -> Tensor {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * step + 0.3).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn is_a_convolution_of_the_picture_of_frames() {
        let (weight, bias) = (wave(&[20, 12, 3, 1, 1], 0.77), wave(&[20], 1.3));
        let x = wave(&[2, 5, 3, 4, 12], 0.41);
        let addend = wave(&[2, 5, 3, 4, 20], 0.23);
        let conv = FrameConv::new(&weight, &bias).unwrap();
        assert!(matches!(conv.held, Held::Kernel(_)));
        let padding = Padding { left: 0, right: 0, ..Padding::even(1) };
        let cfg = ConvConfig { kernel: (3, 1), ..ConvConfig::square(3) }.padding(padding);
        let picture = Conv2d::new(weight.squeeze(4).unwrap(), Some(bias.clone()), cfg).unwrap();
        let picture = FrameConv { held: Held::Picture(picture), inputs: 12 };
        let far = |a: Tensor, b: Tensor| {
            (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
        };
        assert!(far(conv.forward(&x).unwrap(), picture.forward(&x).unwrap()) < 1e-5);
        let plus = |conv: &FrameConv| conv.forward_plus(&x, &addend).unwrap();
        assert!(far(plus(&conv), plus(&picture)) < 1e-5);
        let half = conv.forward(&x.to_dtype(DType::BF16).unwrap()).unwrap();
        assert_eq!(half.dtype(), DType::BF16);
        // weights of another dtype than f32 are not the kernels'
        let narrow = |x: &Tensor| x.to_dtype(DType::BF16).unwrap();
        let conv = FrameConv::new(&narrow(&weight), &narrow(&bias)).unwrap();
        assert!(matches!(conv.held, Held::Picture(_)));
        let wide = |x: Tensor| x.to_dtype(DType::F32).unwrap();
        assert!(far(wide(conv.forward(&narrow(&x)).unwrap()), wide(half)) < 0.1);
    }

    #[test]
    fn refuses_other_shapes() {
        let said = FrameConv::new(&wave(&[4, 2, 3, 3, 3], 0.1), &wave(&[4], 0.1)).unwrap_err().to_string();
        assert!(said.contains("[4, 2, 3, 3, 3]"), "{said}");
        let conv = FrameConv::new(&wave(&[4, 2, 3, 1, 1], 0.1), &wave(&[4], 0.1)).unwrap();
        assert!(conv.forward(&wave(&[1, 2, 2, 2, 3], 0.1)).is_err());
        let said = conv.forward_plus(&wave(&[1, 2, 2, 2, 2], 0.1), &wave(&[1, 2, 2, 3, 4], 0.1)).unwrap_err();
        assert!(said.to_string().contains("cannot be added"), "{said}");
    }
}
