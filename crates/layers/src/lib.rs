//! The building blocks of every neural net in this house: operations with one meaning each, and the checkpoints they are loaded from.
//!
//! Conv nets run channels-last: pictures are (b, h, w, c), sound is (b, l, c), video is (b, t, h, w, c). Checkpoints keep their
//! own order (OIHW). Device and dtype are those of the weights. What an operation means is written once, in `reference`; on the CPU it is
//! done by `kernels`, on an NVIDIA card by `card`, which exists with the feature `cuda`.

mod activation;
mod attention;
mod blend;
#[cfg(feature = "cuda")]
mod card;
#[cfg(not(feature = "cuda"))]
#[path = "no_card.rs"]
mod card;
mod card_error;
mod conv;
mod conv3d;
mod cpu;
mod finite;
mod frame_attention;
mod frame_conv;
pub mod free_memory;
mod gated;
mod linear;
#[cfg(test)]
mod noise;
mod norm;
mod probe;
mod projection;
mod reference;
mod rope;
pub mod shelf;
mod steps;
mod timestep;
mod upsample;
pub mod weights;

pub use activation::{Activation, geglu};
pub use attention::{Mask, Sequences, attention, attention_of};
pub use blend::{add_each, mix};
pub use card::open as open_card;
pub use card_error::CardError;
pub use conv::{BatchNorm, Bias, Conv1d, Conv2d, ConvConfig, Padding};
pub use conv3d::{CausalConv3d, Conv3dConfig, Past};
pub use cpu::{configure, each, instruction_set, keep_free, learn, learned, strictly};
pub use finite::is_finite;
pub use frame_attention::frame_attention;
pub use frame_conv::FrameConv;
pub use gated::add_gated;
pub use kernels;
pub use linear::Linear;
pub use norm::{GroupNorm, LayerNorm, RmsNorm};
pub use probe::Probe;
pub use projection::Projection;
pub use rope::{Pairing, RopeTable};
pub use steps::Steps;
pub use timestep::{TimestepConfig, timestep_embedding};
pub use upsample::{upsample_nearest, upsample_nearest_to};
