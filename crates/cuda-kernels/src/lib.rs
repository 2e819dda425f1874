//! What neural nets cost on an NVIDIA card, where candle has no kernel or only a row of them: group norm with activation, row norms,
//! bias with activation and addend, gated sums, GEGLU, rotary embedding, the windows of a convolution, attention. Written in CUDA (`cu/`), one module of PTX; here are
//! the arguments as the kernels take them and the geometry of every launch. No tensors, no driver: `layers` launches.
//! A shape that a kernel cannot take is refused with the reason.

mod attention;
mod columns;
mod group_norm;
mod pointwise;
mod row_norm;

use thiserror::Error;

pub use attention::{AttentionParams, attention};
pub use columns::{ColumnsParams, columns};
pub use group_norm::{GroupNormParams, GroupNormPlan, group_norm};
pub use pointwise::{FinishParams, GatedParams, GegluParams, RopeParams, finish, gated, geglu, rope};
pub use row_norm::{RowNormParams, row_norm};

/// The kernels, for a driver to compile.
#[cfg(feature = "ptx")]
pub const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

/// An address on the card; zero is none.
pub type Address = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    F32,
    Bf16,
    F16,
}

impl Dtype {
    /// As kernels are named.
    const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

/// Numbered as in `cu/number.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Act {
    Identity = 0,
    Silu = 1,
    /// With the error function.
    Gelu = 2,
    GeluTanh = 3,
    QuickGelu = 4,
    Relu = 5,
}

/// One kernel and how many of its threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    pub kernel: String,
    pub grid: [u32; 3],
    pub block: [u32; 3],
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what} {value} is more than the {limit} that {kernel} on a card takes")]
pub struct Refusal {
    kernel: &'static str,
    what: &'static str,
    value: usize,
    limit: usize,
}

/// Threads of a block where nothing speaks for another number.
const THREADS: usize = 256;

/// Blocks that walk over all the work: enough to fill any card several times.
const BLOCKS: usize = 4096;

/// The most blocks along the second and third axis of a grid (CUDA Programming Guide, compute capabilities).
const GRID_SIDE: usize = 65535;

/// As the kernels count it.
fn count(value: usize, what: &'static str, kernel: &'static str) -> Result<u32, Refusal> {
    let limit = i32::MAX as usize; // also what they may do signed arithmetic with
    match u32::try_from(value) {
        Ok(fits) if value <= limit => Ok(fits),
        _ => Err(Refusal { kernel, what, value, limit }),
    }
}

/// A thread for each of `pieces`, or as many as are worth having.
fn walk(kernel: String, pieces: usize) -> Launch {
    let blocks = pieces.div_ceil(THREADS).clamp(1, BLOCKS) as u32;
    Launch { kernel, grid: [blocks, 1, 1], block: [THREADS as u32, 1, 1] }
}
