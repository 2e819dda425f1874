//! NVIDIA cards behind the operations: our kernels (`cuda-kernels`), cuBLAS through candle for products, cuDNN for convolutions where it is installed.
//! What they must answer to is `reference`, which still computes what no kernel takes (f32 attention, mixed dtypes).
//! Products are of the tensors' own dtype with sums in f32, and f32 stays f32: no TF32.

mod attention;
mod convolution;
mod cudnn;
mod device;
mod launch;
mod norm;
mod pointwise;
#[cfg(test)]
mod tests;

use candle_core::{DType, Device, Tensor};
use cuda_kernels::{Act, Dtype};

use crate::activation::Activation;

pub(crate) use convolution::Convolution;
pub use device::{free_memory, open};

/// The card on which some tensors lie, all of one dtype that the kernels know.
#[derive(Clone, Copy)]
pub(crate) struct Card {
    dtype: Dtype,
}

impl Card {
    pub(crate) fn of(tensors: &[&Tensor]) -> Option<Self> {
        let first = tensors.first()?;
        let dtype = match first.dtype() {
            DType::F32 => Dtype::F32,
            DType::BF16 => Dtype::Bf16,
            DType::F16 => Dtype::F16,
            _ => return None,
        };
        let alike = |x: &&Tensor| {
            let here = matches!(x.device(), Device::Cuda(_)) && x.device().same_device(first.device());
            here && x.dtype() == first.dtype() && x.elem_count() > 0
        };
        tensors.iter().all(alike).then_some(Self { dtype })
    }
}

fn act(activation: Option<Activation>) -> Act {
    match activation {
        None => Act::Identity,
        Some(Activation::Silu) => Act::Silu,
        Some(Activation::Gelu) => Act::Gelu,
        Some(Activation::GeluTanh) => Act::GeluTanh,
        Some(Activation::QuickGelu) => Act::QuickGelu,
        Some(Activation::Relu) => Act::Relu,
    }
}
