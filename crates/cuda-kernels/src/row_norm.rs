//! Layer norm and RMS norm of rows: `cu/row_norm.cu`.

use crate::{Address, Dtype, Launch, Refusal, THREADS, count};

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct RowNormParams {
    pub x: Address,
    /// Zero where there is none.
    pub gain: Address,
    pub shift: Address,
    pub y: Address,
    pub channels: u32,
    /// 1 for RMS norm, 0 for layer norm.
    pub rms: u32,
    pub act: u32,
    pub eps: f32,
    /// 1 where gain and shift are f32, one is added to the gain, and what the norm gives is rounded before it is scaled.
    pub modulated: u32,
}

pub fn row_norm(dtype: Dtype, rows: usize, channels: usize) -> Result<Launch, Refusal> {
    const KERNEL: &str = "a norm of rows";
    count(channels, "a number of channels of", KERNEL)?;
    let rows = count(rows, "a number of rows of", KERNEL)?;
    let threads = channels.div_ceil(4).next_multiple_of(32).clamp(32, THREADS); // four values each, whole warps
    Ok(Launch {
        kernel: format!("row_norm_{}", dtype.name()),
        grid: [rows, 1, 1],
        block: [threads as u32, 1, 1],
    })
}
