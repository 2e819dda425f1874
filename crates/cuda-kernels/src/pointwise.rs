//! What touches every value once: `cu/pointwise.cu`.

use crate::{Address, Dtype, Launch, walk};

/// y = act(x + bias) + addend, over rows of `channels`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FinishParams {
    pub x: Address,
    /// Zero where there is none.
    pub bias: Address,
    pub addend: Address,
    pub y: Address,
    pub count: u64,
    pub channels: u32,
    pub act: u32,
}

/// y = x + a * gate, over rows of `channels`; the gate is f32.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GatedParams {
    pub x: Address,
    pub a: Address,
    pub gate: Address,
    pub y: Address,
    pub count: u64,
    pub channels: u32,
}

/// (rows, 2 channels) -> (rows, channels)
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GegluParams {
    pub x: Address,
    pub y: Address,
    /// Of y.
    pub count: u64,
    pub channels: u32,
}

/// (b, l, n, d), with tables of (l, d / 2) in f32.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RopeParams {
    pub x: Address,
    pub cos: Address,
    pub sin: Address,
    pub y: Address,
    /// b l n d / 2
    pub pairs: u64,
    pub positions: u32,
    pub heads: u32,
    /// d / 2
    pub half: u32,
    /// 1 where the two of a pair lie d / 2 apart, 0 where they are neighbours.
    pub halves: u32,
}

pub fn finish(dtype: Dtype, count: usize, channels: usize) -> Launch {
    let name = dtype.name();
    if channels.is_multiple_of(4) {
        walk(format!("finish4_{name}"), count / 4)
    } else {
        walk(format!("finish_{name}"), count)
    }
}

pub fn gated(dtype: Dtype, count: usize, channels: usize) -> Launch {
    let name = dtype.name();
    if channels.is_multiple_of(4) {
        walk(format!("gated4_{name}"), count / 4)
    } else {
        walk(format!("gated_{name}"), count)
    }
}

pub fn geglu(dtype: Dtype, count: usize) -> Launch {
    walk(format!("geglu_{}", dtype.name()), count)
}

pub fn rope(dtype: Dtype, pairs: usize) -> Launch {
    walk(format!("rope_{}", dtype.name()), pairs)
}
