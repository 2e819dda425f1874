//! CPU kernels of the neural engines: f32 slices in and out, channels last (NHWC) between convolutions. Each kernel is written
//! once over a vector type and compiled for AVX-512 (with and without bf16 products), AVX2 and any other machine; products of
//! bf16 have a form for AMX's tiles too. Which one runs is decided at run time (`Isa`). Refuses slices whose lengths do not fit. No tensor type, no graph, no files: that is `layers`.

// registers are arrays of a fixed length, two or three of them indexed at once: iterators would hide which
#![allow(clippy::needless_range_loop)]

mod activation;
mod amx;
mod attention;
mod blend;
mod context;
mod conv;
mod error;
mod finish;
mod finite;
mod format;
mod frames;
mod gated;
mod gemm;
mod isa;
mod linear;
mod matmul;
mod memory;
mod norm;
mod simd;
mod turn;
mod upsample;

pub use activation::{Act, activate, gated};
pub use attention::{Attention, Mask, Shape, Strides, View};
pub use blend::{add_each, mix};
pub use context::{Choice, Config, Context, KeptFree, Profile};
pub use conv::Conv2d;
pub use conv::geometry::{ConvSpec, Padding, Size};
pub use conv::pick::Variant;
pub use error::{Error, Result};
pub use finish::{Add, Finish};
pub use finite::is_finite;
pub use format::{bf16, q8_0};
pub use frames::{Clips, FrameConv};
pub use gated::add_gated;
pub use isa::Isa;
pub use linear::{Linear, Weight};
pub use matmul::{Matmul, Right};
pub use memory::room;
pub use norm::{GroupNorm, Pictures, RowKind, RowNorm};
pub use turn::{Pairs, Rms, Turn};
pub use upsample::upsample2;
