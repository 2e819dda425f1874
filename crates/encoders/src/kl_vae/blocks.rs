//! What encoder and decoder are made of.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use layers::{Bias, Conv2d, ConvConfig, GroupNorm, Linear, Mask, attention};

use super::NORM_EPS;

/// `ResnetBlock2D` without a time embedding.
#[derive(Debug)]
pub struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    /// Where the number of channels changes.
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    pub fn load((inputs, outputs): (usize, usize), groups: usize, vb: VarBuilder) -> Result<Self> {
        let three = ConvConfig::square(3);
        let conv_shortcut = match inputs == outputs {
            true => None,
            false => Some(Conv2d::load(inputs, outputs, ConvConfig::square(1), vb.pp("conv_shortcut"))?),
        };
        Ok(Self {
            norm1: GroupNorm::load(groups, inputs, NORM_EPS, vb.pp("norm1"))?,
            conv1: Conv2d::load(inputs, outputs, three, vb.pp("conv1"))?,
            norm2: GroupNorm::load(groups, outputs, NORM_EPS, vb.pp("norm2"))?,
            conv2: Conv2d::load(outputs, outputs, three, vb.pp("conv2"))?,
            conv_shortcut,
        })
    }

    /// x: (b, h, w, i) -> (b, h, w, o)
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.conv1.forward(&self.norm1.forward_silu(x)?)?; // (b, h, w, o)
        let y = self.norm2.forward_silu(&y)?;
        match &self.conv_shortcut {
            Some(conv) => self.conv2.forward_plus(&y, &conv.forward(x)?),
            None => self.conv2.forward_plus(&y, x),
        }
    }
}

/// One head over all pixels, with a residual.
#[derive(Debug)]
pub struct SpatialAttention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    channels: usize,
}

impl SpatialAttention {
    pub fn load(channels: usize, groups: usize, vb: VarBuilder) -> Result<Self> {
        // diffusers renamed these in 0.14; the files of sd-vae-ft-mse have the old names
        let names = match vb.contains_tensor("to_q.weight") {
            true => ["to_q", "to_k", "to_v", "to_out.0"],
            false => ["query", "key", "value", "proj_attn"],
        };
        let linear = |name: &str| Linear::load(channels, channels, Bias::Yes, vb.pp(name));
        Ok(Self {
            group_norm: GroupNorm::load(groups, channels, NORM_EPS, vb.pp("group_norm"))?,
            to_q: linear(names[0])?,
            to_k: linear(names[1])?,
            to_v: linear(names[2])?,
            to_out: linear(names[3])?,
            channels,
        })
    }

    /// x: (b, h, w, c) -> the same
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let y = self.group_norm.forward(x)?.reshape((b, h * w, c))?;
        let head = |linear: &Linear| linear.forward(&y)?.reshape((b, h * w, 1, c)); // (b, l, 1, c)
        let (q, k, v) = (head(&self.to_q)?, head(&self.to_k)?, head(&self.to_v)?);
        let y = attention(&q, &k, &v, &Mask::Full, (self.channels as f64).powf(-0.5))?;
        self.to_out.forward_plus(&y.reshape((b, h, w, c))?, x)
    }
}

#[derive(Debug)]
pub struct MidBlock {
    first: ResnetBlock,
    attention: SpatialAttention,
    second: ResnetBlock,
}

impl MidBlock {
    pub fn load(channels: usize, groups: usize, vb: VarBuilder) -> Result<Self> {
        let resnet = |i: usize| ResnetBlock::load((channels, channels), groups, vb.pp("resnets").pp(i));
        Ok(Self {
            first: resnet(0)?,
            attention: SpatialAttention::load(channels, groups, vb.pp("attentions").pp(0))?,
            second: resnet(1)?,
        })
    }

    /// x: (b, h, w, c) -> the same
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.second.forward(&self.attention.forward(&self.first.forward(x)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use golden::Seeded;

    /// How large a signal of 1e-3 around nothing leaves a norm: its variance is as small as an epsilon, so this tells which one is used.
    fn strength(norm: impl Fn(&Tensor) -> Result<Tensor>, shape: &[usize]) -> f32 {
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|i| if i % 2 == 0 { 1e-3 } else { -1e-3 }).collect();
        let y = norm(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap();
        y.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap().sqrt()
    }

    #[test]
    fn norms_have_an_epsilon_of_1e_6() {
        let vb = Seeded::new("vae").builder(DType::F32, &Device::Cpu);
        let mid = MidBlock::load(64, 32, vb).unwrap();
        for norm in [&mid.first.norm1, &mid.first.norm2, &mid.attention.group_norm] {
            let strength = strength(|x| norm.forward(x), &[1, 4, 4, 64]);
            let want = 1e-3 / f32::sqrt(1e-6 + 1e-6);
            assert!((strength - want).abs() < 0.1, "{strength} {want}");
        }
    }

    #[test]
    fn old_and_new_names_of_the_attention_are_one_net() {
        let run = |names: [&str; 4], absent: &str| {
            let seeded = Seeded::new("vae");
            let shape = |name: &str| if name.ends_with("weight") { vec![64, 64] } else { vec![64] };
            let mut tensors = std::collections::HashMap::new();
            let mut put = |name: String, tensor: Tensor| tensors.insert(name, tensor);
            for leaf in ["weight", "bias"] {
                let made =
                    |key: &str, shape: &[usize]| seeded.tensor(key, shape, DType::F32, &Device::Cpu).unwrap();
                put(format!("group_norm.{leaf}"), made(&format!("group_norm.{leaf}"), &[64]));
                for (i, name) in names.iter().enumerate() {
                    put(format!("{name}.{leaf}"), made(&format!("{i}.{leaf}"), &shape(leaf)));
                }
            }
            assert!(!tensors.keys().any(|key| key.starts_with(absent)));
            let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
            let x = seeded.tensor("x", &[1, 3, 2, 64], DType::F32, &Device::Cpu).unwrap();
            let y = SpatialAttention::load(64, 32, vb).unwrap().forward(&x).unwrap();
            y.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let old = run(["query", "key", "value", "proj_attn"], "to_");
        assert_eq!(old, run(["to_q", "to_k", "to_v", "to_out.0"], "query"));
    }
}
