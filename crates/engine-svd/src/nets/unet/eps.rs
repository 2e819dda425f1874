//! The epsilons of the UNet's norms, in one table: no published tolerance would show a wrong one. As diffusers 0.42.1 has them
//! (`unet_3d_blocks.py`, `transformer_temporal.py`); the original code has 1e-5 in every residual block.

use super::config::Kind;

/// Of the group norm before a transformer (`TransformerSpatioTemporalModel`).
pub const TRANSFORMER: f64 = 1e-6;
/// Of every layer norm in a transformer.
pub const LAYER_NORM: f64 = 1e-5;
/// Of `conv_norm_out`.
pub const OUT: f64 = 1e-5;
/// Of the residual blocks in the middle.
pub const MIDDLE: f64 = 1e-5;

/// Of the residual blocks of a block of the way down, within frames and over them.
pub const fn down(kind: Kind) -> f64 {
    match kind {
        Kind::Attends => 1e-6,
        Kind::Plain => 1e-5,
    }
}

/// The same of the way up.
pub const UP: f64 = 1e-6;
