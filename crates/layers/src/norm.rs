//! Norms. Statistics are made in f32 in two passes (mean, then variance), so that nearly constant inputs keep their small variance
//! and the epsilon of a net shows.

use std::sync::Arc;

use candle_core::{D, DType, Error, Result, Tensor, bail};
use candle_nn::VarBuilder;
use kernels::{RowKind, RowNorm};

use crate::activation::Activation;
use crate::blend::add_each;
use crate::card::Card;
use crate::conv::Bias;
use crate::{cpu, reference};

/// Group norm over channels-last tensors (b, …, c).
#[derive(Clone, Debug)]
pub struct GroupNorm {
    held: Held,
    channels: usize,
    groups: usize,
    eps: f64,
}

#[derive(Clone, Debug)]
enum Held {
    Tensors { weight: Tensor, bias: Tensor },
    Kernel(Arc<kernels::GroupNorm>),
}

impl GroupNorm {
    pub fn load(groups: usize, channels: usize, eps: f64, vb: VarBuilder) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            bail!("{channels} channels cannot be split into {groups} groups");
        }
        let (weight, bias) = (vb.get(channels, "weight")?, vb.get(channels, "bias")?);
        let held = if cpu::packs(&weight) {
            let (gain, shift) = (cpu::owned(&weight)?, cpu::owned(&bias)?);
            let kernel = kernels::GroupNorm::new(groups, eps as f32, gain, shift).map_err(Error::wrap)?;
            Held::Kernel(Arc::new(kernel))
        } else {
            Held::Tensors { weight, bias }
        };
        Ok(Self { held, channels, groups, eps })
    }

    /// x: (b, …, c) -> the same
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_act(x, None)
    }

    /// The norm and SiLU as one operation. x: (b, …, c) -> the same
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_act(x, Some(Activation::Silu))
    }

    /// The same of x to which something is added first, as nets do that are told a time. x: (b, …, c), added: (g, c), where each row is for b / g
    /// entries of x that follow each other -> as x
    pub fn forward_silu_of_sum(&self, x: &Tensor, added: &Tensor) -> Result<Tensor> {
        let (g, c) = added.dims2()?;
        if g == 0 || c != self.channels || !x.dim(0)?.is_multiple_of(g) {
            bail!("{:?} cannot be added to {:?} before a norm", added.dims(), x.dims());
        }
        if let Held::Kernel(kernel) = &self.held
            && cpu::takes(x)
            && x.dims().last() == Some(&self.channels)
        {
            let (ctx, added) = (cpu::context()?, cpu::owned(added)?);
            let pictures = kernels::Pictures { n: x.dim(0)?, act: kernels::Act::Silu, added: Some(&added) };
            return cpu::make(x.dims(), |y| cpu::read(x, |x| kernel.forward_of(ctx, pictures, x, y)));
        }
        self.forward_silu(&add_each(x, added)?)
    }

    fn forward_act(&self, x: &Tensor, act: Option<Activation>) -> Result<Tensor> {
        if x.rank() < 2 || x.dims().last() != Some(&self.channels) {
            bail!("a group norm of {} channels was given {:?}", self.channels, x.dims());
        }
        match &self.held {
            Held::Tensors { weight, bias } => {
                if let Some(card) = Card::of(&[x, weight, bias]) {
                    return card.group_norm(x, self.groups, (weight, bias), (self.eps, act));
                }
                let y = reference::group_norm(x, self.groups, (weight, bias), self.eps)?;
                act.map_or(Ok(y.clone()), |act| act.forward(&y))
            }
            Held::Kernel(kernel) => {
                let (ctx, x_f32) = (cpu::context()?, x.to_dtype(DType::F32)?);
                let how = (x.dim(0)?, act.map_or(kernels::Act::Identity, Activation::kernel));
                cpu::make(x.dims(), |y| cpu::read(&x_f32, |x| kernel.forward(ctx, how, x, y)))?
                    .to_dtype(x.dtype())
            }
        }
    }
}

/// Norms rows of x on the CPU.
fn by_kernel(
    x: &Tensor,
    (kind, act): (RowKind, kernels::Act),
    (weight, bias): (Option<&Tensor>, Option<&Tensor>),
    eps: f64,
) -> Result<Tensor> {
    let (ctx, c) = (cpu::context()?, x.dim(D::Minus1)?);
    let values = |t: Option<&Tensor>| t.map(cpu::owned).transpose();
    let (gamma, beta) = (values(weight)?, values(bias)?);
    let norm = RowNorm { kind, eps: eps as f32, gamma: gamma.as_deref(), beta: beta.as_deref(), act };
    cpu::make(x.dims(), |y| cpu::read(x, |x| norm.forward(ctx, c, x, y)))
}

/// Layer norm over the last axis, with or without scale and shift.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    eps: f64,
}

impl LayerNorm {
    pub fn load(channels: usize, eps: f64, bias: Bias, vb: VarBuilder) -> Result<Self> {
        let weight = Some(vb.get(channels, "weight")?);
        let bias = match bias {
            Bias::Yes => Some(vb.get(channels, "bias")?),
            Bias::No => None,
        };
        Ok(Self { weight, bias, eps })
    }

    /// Without parameters, as where a modulation follows.
    pub fn plain(eps: f64) -> Self {
        Self { weight: None, bias: None, eps }
    }

    /// x: (…, c) -> the same
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
        if cpu::takes(x) && weight.is_none_or(cpu::takes) {
            return by_kernel(x, (RowKind::Layer, kernels::Act::Identity), (weight, bias), self.eps);
        }
        let involved: Vec<&Tensor> = [Some(x), weight, bias].into_iter().flatten().collect();
        if let Some(card) = Card::of(&involved) {
            return card.layer_norm(x, (weight, bias), self.eps);
        }
        reference::layer_norm(x, weight.map(|weight| (weight, bias)), self.eps)
    }
}

impl LayerNorm {
    /// The norm times (1 + scale) plus shift, both (c,) in f32, as nets do that are told a time. What the norm gives is rounded to the dtype of
    /// x, and what comes after it is f32 until the end. x: (…, c) -> the same
    pub fn forward_modulated(&self, x: &Tensor, shift: &Tensor, scale: &Tensor) -> Result<Tensor> {
        let c = x.dim(D::Minus1)?;
        if shift.dims() != [c] || scale.dims() != [c] {
            bail!("{:?} cannot be scaled by {:?} and shifted by {:?}", x.dims(), scale.dims(), shift.dims());
        }
        if self.weight.is_none()
            && let Some(card) = Card::of(&[x])
            && Card::of(&[shift, scale]).is_some()
            && scale.dtype() == DType::F32
        {
            return card.modulated_norm(x, (shift, scale), self.eps);
        }
        let scale = (scale + 1.0)?;
        if self.weight.is_none() && cpu::takes(x) {
            let affine = (Some(&scale), Some(shift));
            return by_kernel(x, (RowKind::Layer, kernels::Act::Identity), affine, self.eps);
        }
        let y = self.forward(x)?.to_dtype(DType::F32)?;
        y.broadcast_mul(&scale)?.broadcast_add(shift)?.to_dtype(x.dtype())
    }
}

/// x / sqrt(mean(x^2) + eps) * weight over the last axis.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f64,
}

impl RmsNorm {
    /// weight: (c,)
    pub fn new(weight: Tensor, eps: f64) -> Self {
        Self { weight, eps }
    }

    pub fn load(channels: usize, eps: f64, vb: VarBuilder) -> Result<Self> {
        Ok(Self::new(vb.get(channels, "weight")?, eps))
    }

    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
    }

    pub(crate) fn eps(&self) -> f64 {
        self.eps
    }

    /// x: (…, c) -> the same
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_act(x, None)
    }

    /// The norm and SiLU as one operation. x: (…, c) -> the same
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_act(x, Some(Activation::Silu))
    }

    fn forward_act(&self, x: &Tensor, act: Option<Activation>) -> Result<Tensor> {
        if cpu::takes(x) && cpu::takes(&self.weight) {
            let act = act.map_or(kernels::Act::Identity, Activation::kernel);
            return by_kernel(x, (RowKind::Rms, act), (Some(&self.weight), None), self.eps);
        }
        if let Some(card) = Card::of(&[x, &self.weight]) {
            return card.rms_norm(x, &self.weight, (self.eps, act));
        }
        let y = reference::rms_norm(x, &self.weight, self.eps)?;
        act.map_or(Ok(y.clone()), |act| act.forward(&y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use std::collections::HashMap;

    fn affine(channels: usize) -> VarBuilder<'static> {
        let values =
            |f: fn(usize) -> f32| Tensor::from_vec((0..channels).map(f).collect(), channels, &Device::Cpu);
        let tensors = HashMap::from([
            ("weight".to_owned(), values(|i| 1.0 + i as f32 * 0.1).unwrap()),
            ("bias".to_owned(), values(|i| i as f32 * 0.05).unwrap()),
        ]);
        VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)
    }

    /// Nearly constant: a mean of 1, a deviation of 1e-3, so that its variance is as small as an epsilon.
    fn nearly_constant(shape: &[usize]) -> (Tensor, Vec<f64>) {
        let n: usize = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| 1.0 + ((i * 37 % 17) as f32 - 8.0) * 2f32.powi(-12)).collect();
        let wide = values.iter().map(|&v| f64::from(v)).collect();
        (Tensor::from_vec(values, shape, &Device::Cpu).unwrap(), wide)
    }

    fn close(got: &Tensor, want: &[f64]) {
        let got: Vec<f32> = got.flatten_all().unwrap().to_vec1().unwrap();
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((f64::from(*got) - want).abs() < 2e-3, "[{i}] {got} is not {want}");
        }
    }

    #[test]
    fn epsilon_shows_in_a_group_norm() {
        let (x, wide) = nearly_constant(&[1, 3, 5, 6]);
        let mut answers = Vec::new();
        for eps in [1e-5, 1e-6] {
            let norm = GroupNorm::load(2, 6, eps, affine(6)).unwrap();
            let mut want = vec![0f64; wide.len()];
            for group in 0..2 {
                let mine = |i: &usize| i % 6 / 3 == group;
                let values: Vec<f64> = (0..wide.len()).filter(mine).map(|i| wide[i]).collect();
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
                for i in (0..wide.len()).filter(mine) {
                    let (gain, shift) = (1.0 + (i % 6) as f64 * 0.1, (i % 6) as f64 * 0.05);
                    want[i] = (wide[i] - mean) / (variance + eps).sqrt() * gain + shift;
                }
            }
            let got = norm.forward(&x).unwrap();
            close(&got, &want);
            close(
                &norm.forward_silu(&x).unwrap(),
                &want.iter().map(|v| v / (1.0 + (-v).exp())).collect::<Vec<_>>(),
            );
            answers.push(want[0]);
        }
        assert!(
            (answers[0] - answers[1]).abs() > 0.05,
            "the test does not tell the epsilons apart: {answers:?}"
        );
    }

    #[test]
    fn epsilon_shows_in_a_layer_norm() {
        let (x, wide) = nearly_constant(&[2, 8]);
        for eps in [1e-5, 1e-6] {
            let mut want = Vec::new();
            for row in wide.chunks(8) {
                let mean = row.iter().sum::<f64>() / 8.0;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 8.0;
                want.extend(row.iter().map(|v| (v - mean) / (variance + eps).sqrt()));
            }
            close(&LayerNorm::plain(eps).forward(&x).unwrap(), &want);
            let affine_want: Vec<f64> = want
                .iter()
                .enumerate()
                .map(|(i, v)| v * (1.0 + (i % 8) as f64 * 0.1) + (i % 8) as f64 * 0.05)
                .collect();
            close(&LayerNorm::load(8, eps, Bias::Yes, affine(8)).unwrap().forward(&x).unwrap(), &affine_want);
        }
    }

    #[test]
    fn a_time_scales_and_shifts() {
        let tensor = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
        let (shift, scale) = (tensor(&[0.5, -1.0, 2.0, 0.0]), tensor(&[1.0, 0.0, -0.5, -1.0]));
        let x = Tensor::new(&[[1f32, 3.0, 5.0, 7.0], [-2.0, 0.0, 0.0, 2.0]], &Device::Cpu).unwrap();
        let (a, b) = (20f64.sqrt().recip(), 2f64.sqrt());
        let want = [0.5 - 12.0 * a, -1.0 - 2.0 * a, 2.0 + a, 0.0, 0.5 - 2.0 * b, -1.0, 2.0, 0.0];
        let norm = LayerNorm::plain(1e-12);
        close(&norm.forward_modulated(&x, &shift, &scale).unwrap(), &want);
        let half = norm.forward_modulated(&x.to_dtype(DType::BF16).unwrap(), &shift, &scale).unwrap();
        assert_eq!(half.dtype(), DType::BF16);
        let half: Vec<f32> = half.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(half.iter().zip(want).all(|(h, w)| (f64::from(*h) - w).abs() < 0.03), "{half:?}");
        assert!(norm.forward_modulated(&x, &shift, &scale.narrow(0, 0, 1).unwrap()).is_err());
    }

    #[test]
    fn root_mean_square() {
        let x = Tensor::new(&[[3e-3f32, -4e-3]], &Device::Cpu).unwrap();
        let got = RmsNorm::load(2, 1e-6, affine(2)).unwrap().forward(&x).unwrap();
        let scale = (12.5e-6f64 + 1e-6).sqrt();
        close(&got, &[3e-3 / scale, -4e-3 / scale * 1.1]);
    }

    #[test]
    fn refuses_what_does_not_divide() {
        assert!(GroupNorm::load(4, 6, 1e-5, affine(6)).is_err());
        let (x, _) = nearly_constant(&[1, 2, 5]);
        assert!(GroupNorm::load(2, 6, 1e-5, affine(6)).unwrap().forward(&x).is_err());
    }
}
