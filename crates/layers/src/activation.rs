//! Activations, by the names the published configs give them. An unknown name is refused when the net is loaded.

use candle_core::{D, Result, Tensor, bail};

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

    /// x: any shape -> the same
    pub fn forward(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Silu => x.silu(),
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
            Self::Relu => x.relu(),
        }
    }
}

/// x: (…, 2c) -> (…, c): the first half times the GELU (with the error function) of the second, as in diffusers' GEGLU.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    let halves = x.chunk(2, D::Minus1)?;
    let [value, gate] = halves.as_slice() else {
        bail!("GEGLU needs an even number of channels, not {:?}", x.dims())
    };
    value * gate.contiguous()?.gelu_erf()?
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
