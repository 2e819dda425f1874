//! Convolutions over channels-last pictures and sequences. Weights are OIHW (OIL), as checkpoints hold them; a batch norm that
//! follows a convolution is folded into it when it is loaded.

use candle_core::{DType, Result, Tensor, bail};
use candle_nn::VarBuilder;

use crate::reference;
use crate::weights::is_outline;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    Yes,
    No,
}

/// Zeros around a picture, in pixels. A sequence uses `left` and `right`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    pub top: usize,
    pub bottom: usize,
    pub left: usize,
    pub right: usize,
}

impl Padding {
    pub const NONE: Self = Self::even(0);

    pub const fn even(pixels: usize) -> Self {
        Self { top: pixels, bottom: pixels, left: pixels, right: pixels }
    }

    /// Only at the bottom and the right, as before the strided convolutions of the SD and Wan VAE encoders.
    pub const fn behind(pixels: usize) -> Self {
        Self { top: 0, bottom: pixels, left: 0, right: pixels }
    }
}

/// The shape of a convolution. `ConvConfig::square(3)` has stride 1, no dilation, one group, a bias, and keeps the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvConfig {
    /// Rows and columns of the kernel; a sequence uses the columns.
    pub kernel: (usize, usize),
    pub stride: usize,
    pub padding: Padding,
    pub dilation: usize,
    pub groups: usize,
    pub bias: Bias,
}

impl ConvConfig {
    pub const fn square(kernel: usize) -> Self {
        Self {
            kernel: (kernel, kernel),
            stride: 1,
            padding: Padding::even(kernel / 2),
            dilation: 1,
            groups: 1,
            bias: Bias::Yes,
        }
    }

    pub const fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub const fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    pub const fn dilation(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    pub const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    pub const fn without_bias(self) -> Self {
        Self { bias: Bias::No, ..self }
    }

    fn check(&self, inputs: usize, outputs: usize) -> Result<()> {
        let whole =
            self.groups > 0 && inputs.is_multiple_of(self.groups) && outputs.is_multiple_of(self.groups);
        if !whole || self.stride == 0 || self.dilation == 0 || self.kernel.0 == 0 || self.kernel.1 == 0 {
            bail!("a convolution of {inputs} to {outputs} channels cannot be {self:?}");
        }
        Ok(())
    }

    fn load_bias(&self, outputs: usize, vb: &VarBuilder) -> Result<Option<Tensor>> {
        match self.bias {
            Bias::Yes => Ok(Some(vb.get(outputs, "bias")?)),
            Bias::No => Ok(None),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    cfg: ConvConfig,
}

impl Conv2d {
    /// weight: (o, c / groups, kh, kw), bias: (o,)
    pub fn new(weight: Tensor, bias: Option<Tensor>, cfg: ConvConfig) -> Result<Self> {
        let (outputs, inputs, kh, kw) = weight.dims4()?;
        cfg.check(inputs * cfg.groups, outputs)?;
        if (kh, kw) != cfg.kernel {
            bail!("a convolution of {:?} was given a weight of {:?}", cfg.kernel, weight.dims());
        }
        Ok(Self { weight, bias, cfg })
    }

    pub fn load(inputs: usize, outputs: usize, cfg: ConvConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check(inputs, outputs)?;
        let weight = vb.get((outputs, inputs / cfg.groups, cfg.kernel.0, cfg.kernel.1), "weight")?;
        Self::new(weight, cfg.load_bias(outputs, &vb)?, cfg)
    }

    /// The batch norm at `norm` (weight, bias, running_mean, running_var) goes into this convolution's weight and bias.
    pub fn with_batch_norm(self, eps: f64, norm: VarBuilder) -> Result<Self> {
        let outputs = self.weight.dim(0)?;
        let get = |name: &str| norm.get(outputs, name);
        let (gain, shift, mean, variance) =
            (get("weight")?, get("bias")?, get("running_mean")?, get("running_var")?);
        if is_outline(&self.weight) {
            return Ok(Self { bias: Some(shift), ..self });
        }
        let dtype = self.weight.dtype();
        let wide = |t: &Tensor| t.to_dtype(DType::F64); // once, at load: the folded weight is rounded once
        let scale = wide(&gain)?.div(&(wide(&variance)? + eps)?.sqrt()?)?;
        let weight =
            wide(&self.weight)?.broadcast_mul(&scale.reshape((outputs, 1, 1, 1))?)?.to_dtype(dtype)?;
        let centre = match &self.bias {
            Some(bias) => (wide(&mean)? - wide(bias)?)?,
            None => wide(&mean)?,
        };
        let bias = (wide(&shift)? - centre.mul(&scale)?)?.to_dtype(dtype)?;
        Ok(Self { weight, bias: Some(bias), cfg: ConvConfig { bias: Bias::Yes, ..self.cfg } })
    }

    /// x: (b, h, w, c) -> (b, h', w', o)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inputs = self.weight.dim(1)? * self.cfg.groups;
        if x.rank() != 4 || x.dim(3)? != inputs {
            bail!("a convolution of {inputs} channels was given {:?}; pictures are (b, h, w, c)", x.dims());
        }
        reference::conv2d(x, &self.weight, self.bias.as_ref(), &self.cfg)
    }
}

#[derive(Clone, Debug)]
pub struct Conv1d {
    weight: Tensor,
    bias: Option<Tensor>,
    cfg: ConvConfig,
}

impl Conv1d {
    /// weight: (o, c / groups, k), bias: (o,)
    pub fn new(weight: Tensor, bias: Option<Tensor>, cfg: ConvConfig) -> Result<Self> {
        let (outputs, inputs, k) = weight.dims3()?;
        cfg.check(inputs * cfg.groups, outputs)?;
        if k != cfg.kernel.1 {
            bail!("a convolution of {} taps was given a weight of {:?}", cfg.kernel.1, weight.dims());
        }
        Ok(Self { weight, bias, cfg })
    }

    pub fn load(inputs: usize, outputs: usize, cfg: ConvConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check(inputs, outputs)?;
        let weight = vb.get((outputs, inputs / cfg.groups, cfg.kernel.1), "weight")?;
        Self::new(weight, cfg.load_bias(outputs, &vb)?, cfg)
    }

    /// x: (b, l, c) -> (b, l', o)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inputs = self.weight.dim(1)? * self.cfg.groups;
        if x.rank() != 3 || x.dim(2)? != inputs {
            bail!("a convolution of {inputs} channels was given {:?}; sequences are (b, l, c)", x.dims());
        }
        reference::conv1d(x, &self.weight, self.bias.as_ref(), &self.cfg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use std::collections::HashMap;

    pub(crate) fn wave(shape: &[usize], step: f32) -> Tensor {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| (i as f32 * step + 0.3).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn flat(t: &Tensor) -> Vec<f32> {
        t.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// By the definition, in f64.
    fn expected(
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        cfg: ConvConfig,
    ) -> (Vec<usize>, Vec<f64>) {
        let ((b, h, w, c), (o, per, kh, kw)) = (x.dims4().unwrap(), weight.dims4().unwrap());
        let p = cfg.padding;
        let size = |n: usize, before: usize, after: usize, k: usize| {
            (n + before + after - cfg.dilation * (k - 1) - 1) / cfg.stride + 1
        };
        let (oh, ow) = (size(h, p.top, p.bottom, kh), size(w, p.left, p.right, kw));
        let (x, weight, bias) = (flat(x), flat(weight), bias.map(flat));
        let mut y = vec![0f64; b * oh * ow * o];
        for (index, y) in y.iter_mut().enumerate() {
            let (oi, xi, yi, bi) = (index % o, index / o % ow, index / o / ow % oh, index / o / ow / oh);
            let group = oi / (o / cfg.groups);
            let mut sum = bias.as_ref().map_or(0.0, |bias| f64::from(bias[oi]));
            for ky in 0..kh {
                for kx in 0..kw {
                    let (sy, sx) = (yi * cfg.stride + ky * cfg.dilation, xi * cfg.stride + kx * cfg.dilation);
                    if sy < p.top || sx < p.left || sy - p.top >= h || sx - p.left >= w {
                        continue;
                    }
                    for ci in 0..per {
                        let at = ((bi * h + sy - p.top) * w + sx - p.left) * c + group * per + ci;
                        sum += f64::from(x[at]) * f64::from(weight[((oi * per + ci) * kh + ky) * kw + kx]);
                    }
                }
            }
            *y = sum;
        }
        (vec![b, oh, ow, o], y)
    }

    #[test]
    fn agrees_with_the_definition() {
        let lopsided = Padding { top: 2, bottom: 0, left: 1, right: 3 };
        for (cfg, dtype, bound) in [
            (ConvConfig::square(3), DType::F32, 1e-5),
            (ConvConfig::square(1).without_bias(), DType::F32, 1e-5),
            (ConvConfig::square(3).stride(2).padding(Padding::behind(1)), DType::F32, 1e-5),
            (ConvConfig { kernel: (2, 3), ..ConvConfig::square(3) }.padding(lopsided), DType::F32, 1e-5),
            (ConvConfig::square(3).dilation(2).stride(2), DType::F32, 1e-5),
            (ConvConfig::square(3).groups(2), DType::F32, 1e-5),
            (ConvConfig::square(5).groups(6), DType::F32, 1e-5),
            (ConvConfig::square(3), DType::BF16, 0.05),
            (ConvConfig::square(3), DType::F16, 0.01),
        ] {
            let x = wave(&[2, 7, 8, 6], 0.37).to_dtype(dtype).unwrap();
            let weight =
                wave(&[6, 6 / cfg.groups, cfg.kernel.0, cfg.kernel.1], 0.91).to_dtype(dtype).unwrap();
            let bias = (cfg.bias == Bias::Yes).then(|| wave(&[6], 1.7).to_dtype(dtype).unwrap());
            let got = Conv2d::new(weight.clone(), bias.clone(), cfg).unwrap().forward(&x).unwrap();
            assert_eq!(got.dtype(), dtype);
            let (shape, want) = expected(&x, &weight, bias.as_ref(), cfg);
            assert_eq!(got.dims(), shape, "{cfg:?}");
            for (got, want) in flat(&got).iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() < bound, "{cfg:?} {dtype:?}: {got} is not {want}");
            }
        }
    }

    #[test]
    fn a_sequence_is_a_picture_of_one_row() {
        let cfg = ConvConfig { kernel: (1, 3), ..ConvConfig::square(3) }
            .stride(2)
            .groups(2)
            .padding(Padding { top: 0, bottom: 0, left: 1, right: 2 });
        let (x, weight, bias) = (wave(&[2, 9, 4], 0.37), wave(&[6, 2, 3], 0.91), wave(&[6], 1.7));
        let got = Conv1d::new(weight.clone(), Some(bias.clone()), cfg).unwrap().forward(&x).unwrap();
        let (shape, want) =
            expected(&x.unsqueeze(1).unwrap(), &weight.unsqueeze(2).unwrap(), Some(&bias), cfg);
        assert_eq!(got.dims(), [shape[0], shape[2], shape[3]]);
        for (got, want) in flat(&got).iter().zip(&want) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} is not {want}");
        }
    }

    #[test]
    fn a_folded_batch_norm_is_the_norm_after_the_convolution() {
        let names = ["weight", "bias", "running_mean", "running_var"];
        let tensors: HashMap<String, Tensor> = names
            .iter()
            .enumerate()
            .map(|(i, name)| (name.to_string(), (wave(&[6], 0.5 + i as f32) + 1.5).unwrap()))
            .collect();
        let norm = VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu);
        for bias in [None, Some(wave(&[6], 1.7))] {
            let cfg =
                if bias.is_some() { ConvConfig::square(3) } else { ConvConfig::square(3).without_bias() };
            let conv = Conv2d::new(wave(&[6, 6, 3, 3], 0.91), bias, cfg).unwrap();
            let x = wave(&[1, 5, 5, 6], 0.37);
            let plain = conv.forward(&x).unwrap();
            let deviation = (&tensors["running_var"] + 1e-5).unwrap().sqrt().unwrap();
            let want = plain
                .broadcast_sub(&tensors["running_mean"])
                .and_then(|y| y.broadcast_div(&deviation))
                .and_then(|y| y.broadcast_mul(&tensors["weight"]))
                .and_then(|y| y.broadcast_add(&tensors["bias"]))
                .unwrap();
            let got = conv.with_batch_norm(1e-5, norm.clone()).unwrap().forward(&x).unwrap();
            for (got, want) in flat(&got).iter().zip(flat(&want)) {
                assert!((got - want).abs() < 2e-5, "{got} is not {want}");
            }
        }
    }

    #[test]
    fn refuses_what_cannot_be() {
        assert!(Conv2d::new(wave(&[6, 6, 3, 3], 1.0), None, ConvConfig::square(5)).is_err());
        assert!(Conv2d::new(wave(&[6, 3, 3, 3], 1.0), None, ConvConfig::square(3).groups(4)).is_err());
        let conv = Conv2d::new(wave(&[6, 6, 3, 3], 1.0), None, ConvConfig::square(3)).unwrap();
        assert!(conv.forward(&wave(&[1, 6, 5, 5], 1.0)).unwrap_err().to_string().contains("(b, h, w, c)"));
        let bare = Conv2d::new(wave(&[6, 6, 3, 3], 1.0), None, ConvConfig::square(3).padding(Padding::NONE))
            .unwrap();
        assert!(bare.forward(&wave(&[1, 2, 5, 6], 1.0)).unwrap_err().to_string().contains("does not fit"));
    }
}
