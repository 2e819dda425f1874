//! Activations, by the names the published configs give them. An unknown name is refused when the net is loaded.

use candle_core::{Result, Tensor, bail};

use crate::card::Card;
use crate::{cpu, reference};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x * sigmoid(x)
    Silu,
    /// x * Phi(x), with the error function
    Gelu,
    /// the tanh approximation of GELU (Hendrycks and Gimpel 2016, section 2)
    GeluTanh,
    /// x * sigmoid(1.702 x), as in the first CLIP
    QuickGelu,
    Relu,
}

impl Activation {
    /// `name`: what a config.json calls it (`act_fn`, `hidden_act`, `activation_function`).
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "silu" | "swish" => Ok(Self::Silu),
            "gelu" => Ok(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_tanh" => Ok(Self::GeluTanh),
            "quick_gelu" => Ok(Self::QuickGelu),
            "relu" => Ok(Self::Relu),
            other => bail!(
                "activation `{other}` is not known; known are silu, gelu, gelu_new, gelu_pytorch_tanh, quick_gelu and relu"
            ),
        }
    }

    pub(crate) fn kernel(self) -> kernels::Act {
        match self {
            Self::Silu => kernels::Act::Silu,
            Self::Gelu => kernels::Act::Gelu,
            Self::GeluTanh => kernels::Act::GeluTanh,
            Self::QuickGelu => kernels::Act::QuickGelu,
            Self::Relu => kernels::Act::Relu,
        }
    }

    /// x: any shape -> the same
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        if let Some(card) = Card::of(&[x]) {
            return card.activation(x, self);
        }
        if !cpu::takes(x) {
            return reference::activation(x, self);
        }
        let mut values = cpu::owned(x)?;
        kernels::activate(cpu::context()?, self.kernel(), &mut values);
        Tensor::from_vec(values, x.shape(), x.device())
    }
}

/// x: (…, 2c) -> (…, c): the first half times the GELU (with the error function) of the second, as in diffusers' GEGLU.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let Some(last) = dims.last_mut().filter(|last| **last > 0 && last.is_multiple_of(2)) else {
        bail!("GEGLU needs an even number of channels, not {:?}", x.dims())
    };
    *last /= 2;
    if let Some(card) = Card::of(&[x]) {
        return card.geglu(x);
    }
    if !cpu::takes(x) {
        return reference::geglu(x);
    }
    let (c, ctx) = (*last, cpu::context()?);
    cpu::make(&dims, |y| cpu::read(x, |x| kernels::gated(ctx, kernels::Act::Gelu, c, x, y)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn values_at_one_and_minus_two() {
        let x = Tensor::new(&[1f32, -2.0], &Device::Cpu).unwrap();
        for (name, want) in [
            ("silu", [0.731_058_6, -0.238_405_84]),
            ("gelu", [0.841_344_8, -0.045_500_26]),
            ("gelu_new", [0.841_192, -0.045_402_3]),
            ("quick_gelu", [0.845_795_6, -0.064_339_5]),
            ("relu", [1.0, 0.0]),
        ] {
            let y: Vec<f32> = Activation::named(name).unwrap().forward(&x).unwrap().to_vec1().unwrap();
            for (got, want) in y.iter().zip(want) {
                assert!((got - want).abs() < 2e-6, "{name}: {got} is not {want}");
            }
        }
        assert!(Activation::named("mish").unwrap_err().to_string().contains("mish"));
    }

    #[test]
    fn geglu_gates_with_the_second_half() {
        let x = Tensor::new(&[[3f32, 5.0, 1.0, -2.0]], &Device::Cpu).unwrap();
        let y: Vec<Vec<f32>> = geglu(&x).unwrap().to_vec2().unwrap();
        assert!(
            (y[0][0] - 3.0 * 0.841_344_8).abs() < 1e-5 && (y[0][1] + 5.0 * 0.045_500_26).abs() < 1e-5,
            "{y:?}"
        );
    }
}
