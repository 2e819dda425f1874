//! Convolutions over channels-last pictures and sequences. Weights are OIHW (OIL), as checkpoints hold them; a batch norm that
//! follows a convolution is folded into it when it is loaded.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Error, Result, Tensor, bail};
use candle_nn::VarBuilder;
use kernels::{ConvSpec, Finish};

use crate::activation::Activation;
use crate::card::{Card, Convolution};
use crate::conv3d::Conv3dConfig;
use crate::weights::is_outline;
use crate::{cpu, reference};

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

    /// As it goes over a picture of one row.
    const fn line(self) -> Self {
        let padding = Padding { top: 0, bottom: 0, ..self.padding };
        Self { kernel: (1, self.kernel.1), padding, ..self }
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

    /// The height and width of what it makes of a picture of h x w.
    pub(crate) fn output(&self, (h, w): (usize, usize)) -> Result<(usize, usize)> {
        let (p, (kh, kw)) = (self.padding, self.kernel);
        let side = |n: usize, k: usize| {
            n.checked_sub(self.dilation * (k - 1) + 1).map(|rest| rest / self.stride + 1)
        };
        let (h, w) = (h + p.top + p.bottom, w + p.left + p.right);
        match (side(h, kh), side(w, kw)) {
            (Some(h), Some(w)) => Ok((h, w)),
            _ => bail!("a {kh}x{kw} convolution does not fit a picture of {h}x{w} with its padding"),
        }
    }

    fn spec(&self, inputs: usize, outputs: usize) -> ConvSpec {
        let Padding { top, bottom, left, right } = self.padding;
        ConvSpec::new(inputs, outputs, self.kernel.into())
            .stride([self.stride; 2])
            .dilation([self.dilation; 2])
            .padding(kernels::Padding { top, bottom, left, right })
            .groups(self.groups)
    }
}

/// The parameters of a convolution, as it computes with them.
#[derive(Clone)]
enum Held {
    Tensors {
        weight: Tensor,
        bias: Option<Tensor>,
    },
    /// Packed at the first use, when the fastest way for such pictures is picked.
    Kernel(Arc<kernels::Conv2d>),
    Card(Convolution),
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Tensors { weight, .. } => write!(f, "{:?} {:?}", weight.dtype(), weight.dims()),
            Self::Kernel(kernel) => write!(f, "{:?}", kernel.variant()),
            Self::Card(convolution) => convolution.fmt(f),
        }
    }
}

impl Held {
    /// weight: (o, c / groups, …), of as many taps as `cfg` has.
    fn of(weight: Tensor, bias: Option<Tensor>, cfg: ConvConfig) -> Result<Self> {
        let (outputs, per_group) = (weight.dim(0)?, weight.dim(1)?);
        if let Some(card) = Card::of(&[&weight]) {
            let frame = weight.reshape((outputs, per_group, 1, cfg.kernel.0, cfg.kernel.1))?;
            let cfg = Conv3dConfig { taps: 1, time_stride: 1, frame: cfg };
            return Ok(Self::Card(card.convolution(&frame, bias.as_ref(), cfg)?));
        }
        if !cpu::packs(&weight) {
            return Ok(Self::Tensors { weight, bias });
        }
        let bias = bias.as_ref().map(cpu::owned).transpose()?;
        let spec = cfg.spec(per_group * cfg.groups, outputs);
        let kernel = kernels::Conv2d::new(&cpu::context_of_layer()?, spec, cpu::owned(&weight)?, bias);
        Ok(Self::Kernel(Arc::new(kernel.map_err(Error::wrap)?)))
    }
}

/// The batch norm behind a convolution: weight, bias, running_mean and running_var under `vb`.
pub struct BatchNorm<'a> {
    pub eps: f64,
    pub vb: VarBuilder<'a>,
}

impl BatchNorm<'_> {
    /// The weight and bias of a convolution that does what the given one and this norm do.
    fn fold(&self, weight: Tensor, bias: Option<Tensor>) -> Result<(Tensor, Tensor)> {
        let outputs = weight.dim(0)?;
        let get = |name: &str| self.vb.get(outputs, name);
        let (gain, shift, mean, variance) =
            (get("weight")?, get("bias")?, get("running_mean")?, get("running_var")?);
        if is_outline(&weight) {
            return Ok((weight, shift));
        }
        let dtype = weight.dtype();
        let wide = |t: &Tensor| t.to_dtype(DType::F64); // once, at load: the folded weight is rounded once
        let scale = wide(&gain)?.div(&(wide(&variance)? + self.eps)?.sqrt()?)?;
        let centre = match &bias {
            Some(bias) => (wide(&mean)? - wide(bias)?)?,
            None => wide(&mean)?,
        };
        let bias = (wide(&shift)? - centre.mul(&scale)?)?.to_dtype(dtype)?;
        let weight = wide(&weight)?.broadcast_mul(&scale.reshape((outputs, 1, 1, 1))?)?.to_dtype(dtype)?;
        Ok((weight, bias))
    }
}

#[derive(Clone, Debug)]
pub struct Conv2d {
    held: Held,
    inputs: usize,
    outputs: usize,
    cfg: ConvConfig,
}

impl Conv2d {
    /// weight: (o, c / groups, kh, kw), bias: (o,)
    pub fn new(weight: Tensor, bias: Option<Tensor>, cfg: ConvConfig) -> Result<Self> {
        let (outputs, per_group, kh, kw) = weight.dims4()?;
        let inputs = per_group * cfg.groups;
        cfg.check(inputs, outputs)?;
        if (kh, kw) != cfg.kernel {
            bail!("a convolution of {:?} was given a weight of {:?}", cfg.kernel, weight.dims());
        }
        Ok(Self { held: Held::of(weight, bias, cfg)?, inputs, outputs, cfg })
    }

    pub fn load(inputs: usize, outputs: usize, cfg: ConvConfig, vb: VarBuilder) -> Result<Self> {
        Self::new(Self::weight((inputs, outputs), cfg, &vb)?, cfg.load_bias(outputs, &vb)?, cfg)
    }

    /// The convolution at `vb` with the batch norm behind it folded in.
    pub fn load_normed(
        channels: (usize, usize),
        cfg: ConvConfig,
        vb: VarBuilder,
        norm: BatchNorm,
    ) -> Result<Self> {
        let (weight, bias) = norm.fold(Self::weight(channels, cfg, &vb)?, cfg.load_bias(channels.1, &vb)?)?;
        Self::new(weight, Some(bias), ConvConfig { bias: Bias::Yes, ..cfg })
    }

    fn weight((inputs, outputs): (usize, usize), cfg: ConvConfig, vb: &VarBuilder) -> Result<Tensor> {
        cfg.check(inputs, outputs)?;
        vb.get((outputs, inputs / cfg.groups, cfg.kernel.0, cfg.kernel.1), "weight")
    }

    /// x: (b, h, w, c) -> (b, h', w', o)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let shape = self.shape(x)?;
        match &self.held {
            Held::Tensors { weight, bias } => reference::conv2d(x, weight, bias.as_ref(), &self.cfg),
            Held::Card(convolution) => on_card(convolution, x, None, None),
            Held::Kernel(_) => {
                let x_f32 = x.to_dtype(DType::F32)?;
                cpu::make(&shape, |y| self.write(&x_f32, y, Finish::default()))?.to_dtype(x.dtype())
            }
        }
    }

    /// x: (b, h, w, c), addend: (b, h', w', o) -> the convolution of x plus the addend
    pub fn forward_plus(&self, x: &Tensor, addend: &Tensor) -> Result<Tensor> {
        let shape = self.shape(x)?;
        if addend.dims() != shape {
            bail!("a convolution to {shape:?} cannot be added to {:?}", addend.dims());
        }
        match &self.held {
            Held::Kernel(_) if cpu::takes(x) && cpu::takes(addend) => {
                cpu::make(&shape, |y| cpu::lend(addend, |rows| self.write(x, y, Finish::residual(rows))))
            }
            Held::Card(convolution) => on_card(convolution, x, None, Some(addend)),
            _ => self.forward(x)? + addend,
        }
    }

    /// The convolution of x and an activation. x: (b, h, w, c) -> (b, h', w', o)
    pub fn forward_then(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        match &self.held {
            Held::Kernel(_) if cpu::takes(x) => {
                let shape = self.shape(x)?;
                cpu::make(&shape, |y| self.write(x, y, Finish::act(activation.kernel())))
            }
            Held::Card(convolution) => on_card(convolution, x, Some(activation), None),
            _ => activation.forward(&self.forward(x)?),
        }
    }

    /// The shape of the convolution of x.
    pub(crate) fn shape(&self, x: &Tensor) -> Result<[usize; 4]> {
        let &[b, h, w, c] = x.dims() else {
            bail!("a convolution takes pictures, (b, h, w, c), not {:?}", x.dims())
        };
        if c != self.inputs {
            bail!(
                "a convolution of {} channels was given {:?}; pictures are (b, h, w, c)",
                self.inputs,
                x.dims()
            );
        }
        let (h, w) = self.cfg.output((h, w))?;
        Ok([b, h, w, self.outputs])
    }

    /// Whether `write` can be called for such a picture.
    pub(crate) fn writes(&self, x: &Tensor) -> bool {
        matches!(self.held, Held::Kernel(_)) && cpu::takes(x)
    }

    /// x: (b, h, w, c) in f32, y: (b, h', w', o)
    pub(crate) fn write(&self, x: &Tensor, y: &mut [f32], finish: Finish) -> Result<()> {
        let Held::Kernel(kernel) = &self.held else {
            bail!("only a convolution of f32 on the CPU writes into a slice")
        };
        let (b, h, w, _) = x.dims4()?;
        cpu::read(x, |x| kernel.forward(x, kernels::Size::new(b, h, w), y, finish))
    }
}

/// Pictures as clips of one frame. x: (b, h, w, c) -> (b, h', w', o)
fn on_card(
    convolution: &Convolution,
    x: &Tensor,
    activation: Option<Activation>,
    addend: Option<&Tensor>,
) -> Result<Tensor> {
    let addend = addend.map(|addend| addend.unsqueeze(1)).transpose()?;
    convolution.forward(&x.unsqueeze(1)?, activation, addend.as_ref())?.squeeze(1)
}

#[derive(Clone, Debug)]
pub struct Conv1d {
    held: Held,
    inputs: usize,
    outputs: usize,
    cfg: ConvConfig,
}

impl Conv1d {
    /// weight: (o, c / groups, k), bias: (o,)
    pub fn new(weight: Tensor, bias: Option<Tensor>, cfg: ConvConfig) -> Result<Self> {
        let (outputs, per_group, k) = weight.dims3()?;
        let inputs = per_group * cfg.groups;
        cfg.check(inputs, outputs)?;
        if k != cfg.kernel.1 {
            bail!("a convolution of {} taps was given a weight of {:?}", cfg.kernel.1, weight.dims());
        }
        let cfg = cfg.line();
        Ok(Self { held: Held::of(weight, bias, cfg)?, inputs, outputs, cfg })
    }

    pub fn load(inputs: usize, outputs: usize, cfg: ConvConfig, vb: VarBuilder) -> Result<Self> {
        cfg.check(inputs, outputs)?;
        let weight = vb.get((outputs, inputs / cfg.groups, cfg.kernel.1), "weight")?;
        Self::new(weight, cfg.load_bias(outputs, &vb)?, cfg)
    }

    /// x: (b, l, c) -> (b, l', o)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let inputs = self.inputs;
        if x.rank() != 3 || x.dim(2)? != inputs {
            bail!("a convolution of {inputs} channels was given {:?}; sequences are (b, l, c)", x.dims());
        }
        let (b, l, _) = x.dims3()?;
        let (_, steps) = self.cfg.output((1, l))?;
        match &self.held {
            Held::Tensors { weight, bias } => reference::conv1d(x, weight, bias.as_ref(), &self.cfg),
            Held::Card(convolution) => on_card(convolution, &x.unsqueeze(1)?, None, None)?.squeeze(1),
            Held::Kernel(kernel) => cpu::make(&[b, steps, self.outputs], |y| {
                let x = x.to_dtype(DType::F32)?;
                cpu::read(&x, |x| kernel.forward(x, kernels::Size::new(b, 1, l), y, Finish::default()))
            })?
            .to_dtype(x.dtype()),
        }
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
            // Winograd's F(4,3) may be picked: values here reach 10
            (ConvConfig::square(3), DType::F32, 1e-4),
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
            let mut parameters = HashMap::from([("weight".to_owned(), wave(&[6, 6, 3, 3], 0.91))]);
            parameters.extend(bias.map(|bias| ("bias".to_owned(), bias)));
            let vb = VarBuilder::from_tensors(parameters, DType::F32, &Device::Cpu);
            let x = wave(&[1, 5, 5, 6], 0.37);
            let plain = Conv2d::load(6, 6, cfg, vb.clone()).unwrap().forward(&x).unwrap();
            let deviation = (&tensors["running_var"] + 1e-5).unwrap().sqrt().unwrap();
            let want = plain
                .broadcast_sub(&tensors["running_mean"])
                .and_then(|y| y.broadcast_div(&deviation))
                .and_then(|y| y.broadcast_mul(&tensors["weight"]))
                .and_then(|y| y.broadcast_add(&tensors["bias"]))
                .unwrap();
            let norm = BatchNorm { eps: 1e-5, vb: norm.clone() };
            let got = Conv2d::load_normed((6, 6), cfg, vb, norm).unwrap().forward(&x).unwrap();
            for (got, want) in flat(&got).iter().zip(flat(&want)) {
                // either may be computed by another variant, the loosest of which is Winograd's F(4,3)
                assert!((got - want).abs() < 2e-5 * (1.0 + want.abs()), "{got} is not {want}");
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
