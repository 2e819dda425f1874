//! Group norm over channels-last pictures: `cu/group_norm.cu`.

use crate::{Act, Address, BLOCKS, Dtype, GRID_SIDE, Launch, Refusal, THREADS, count};

/// What a block has room for (`MOST_CHANNELS`).
const MOST_CHANNELS: usize = 4096;

/// Blocks over a batch that keep a large card busy while the moments are made.
const PIECES: usize = 1024;

/// Pixels of a piece at least, so that merging does not cost more than summing.
const FEWEST_PIXELS: usize = 16;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupNormParams {
    pub x: Address,
    pub gain: Address,
    pub shift: Address,
    pub y: Address,
    /// f32, `GroupNormPlan::pieces` of them.
    pub pieces: Address,
    /// f32, `GroupNormPlan::stats` of them.
    pub stats: Address,
    pub pixels: u32,
    pub channels: u32,
    pub groups: u32,
    /// Pixels of a piece, and pieces of a picture; of the plan, as is what follows.
    pub chunk: u32,
    pub chunks: u32,
    pub act: u32,
    pub eps: f32,
}

#[derive(Debug)]
pub struct GroupNormPlan {
    /// One after the other, all with `params` and its addresses filled in.
    pub launches: [Launch; 3],
    pub params: GroupNormParams,
    /// Values of f32 to borrow.
    pub pieces: usize,
    pub stats: usize,
}

/// Of `batch` pictures of `pixels` x `channels`.
pub fn group_norm(
    dtype: Dtype,
    (batch, pixels, channels): (usize, usize, usize),
    groups: usize,
    (eps, act): (f32, Act),
) -> Result<GroupNormPlan, Refusal> {
    const KERNEL: &str = "group norm";
    for (what, value, limit) in
        [("a number of channels of", channels, MOST_CHANNELS), ("a batch of", batch, GRID_SIDE)]
    {
        if value > limit {
            return Err(Refusal { kernel: KERNEL, what, value, limit });
        }
    }
    let chunk = (pixels * batch).div_ceil(PIECES).max(FEWEST_PIXELS);
    let chunks = pixels.div_ceil(chunk).max(1);
    let params = GroupNormParams {
        pixels: count(pixels, "a number of pixels of", KERNEL)?,
        channels: channels as u32,
        groups: groups as u32,
        chunk: chunk as u32,
        chunks: chunks as u32,
        act: act as u32,
        eps,
        ..GroupNormParams::default()
    };
    let (name, width) = (dtype.name(), if channels.is_multiple_of(4) { 4 } else { 1 });
    let values = if width == 4 { format!("group_values4_{name}") } else { format!("group_values_{name}") };
    let blocks = (pixels * channels).div_ceil(width * THREADS).clamp(1, BLOCKS);
    let launch = |kernel: String, across: usize, threads: usize| Launch {
        kernel,
        grid: [across as u32, batch as u32, 1],
        block: [threads as u32, 1, 1],
    };
    Ok(GroupNormPlan {
        launches: [
            launch(format!("group_pieces_{name}"), chunks, THREADS),
            launch("group_stats".into(), groups, 32),
            launch(values, blocks, THREADS),
        ],
        params,
        pieces: 2 * batch * groups * chunks,
        stats: 2 * batch * groups,
    })
}
