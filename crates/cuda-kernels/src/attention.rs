//! Attention in one pass over the keys: `cu/attention.cu`.

use crate::{Address, Dtype, GRID_SIDE, Launch, Refusal, count};

/// Queries of a block and its threads (`QUERIES`, `WARPS`).
const QUERIES: usize = 64;
const THREADS: u32 = 128;

/// The head sizes that have a kernel; smaller heads are filled up with zeros.
const ROOMS: [usize; 5] = [48, 64, 80, 128, 160];

/// Strides in values. `y` is dense: (b, lq, n, d), or (l, n, d) of sequences one behind the other.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct AttentionParams {
    pub q: Address,
    pub k: Address,
    pub v: Address,
    pub y: Address,
    /// Zero, or f32 added to the scaled logits.
    pub bias: Address,
    /// Zero, or one u32 for each of the batch: its true number of keys.
    pub lengths: Address,
    /// Zero, or b + 1 u32 and b + 1 more: where the queries of each of b sequences begin, and the last ones end, then the same of
    /// their keys. The batch strides are zero then, and `queries` and `keys` are those of the longest.
    pub starts: Address,
    pub bias_batch: u64,
    pub bias_head: u64,
    pub bias_query: u64,
    pub q_batch: u64,
    pub q_row: u64,
    pub q_head: u64,
    pub k_batch: u64,
    pub k_row: u64,
    pub k_head: u64,
    pub v_batch: u64,
    pub v_row: u64,
    pub v_head: u64,
    pub queries: u32,
    pub keys: u32,
    pub heads: u32,
    pub dim: u32,
    /// 1 where `packs` finds it so.
    pub packed: u32,
    pub scale: f32,
}

impl AttentionParams {
    /// With `packed` set, where keys and values can be moved in packs of eight values, which are 16 bytes.
    pub fn packs(self) -> Self {
        let strides = [self.k_batch, self.k_row, self.k_head, self.v_batch, self.v_row, self.v_head];
        let whole = [self.k, self.v].iter().all(|at| at.is_multiple_of(16))
            && strides.iter().all(|stride| stride.is_multiple_of(8))
            && self.dim.is_multiple_of(8);
        Self { packed: u32::from(whole), ..self }
    }
}

/// `dtype` is bf16 or f16: sums of f32 products are not what the tensor cores make.
pub fn attention(
    dtype: Dtype,
    (batch, queries, keys): (usize, usize, usize),
    (heads, dim): (usize, usize),
) -> Result<Launch, Refusal> {
    const KERNEL: &str = "attention";
    let widest = ROOMS[ROOMS.len() - 1];
    let room = if dtype == Dtype::F32 { None } else { ROOMS.into_iter().find(|room| *room >= dim) };
    let Some(room) = room else {
        let limit = if dtype == Dtype::F32 { 0 } else { widest };
        return Err(Refusal { kernel: KERNEL, what: "a head of", value: dim, limit });
    };
    for (what, value) in [("a number of heads of", heads), ("a batch of", batch)] {
        if value > GRID_SIDE {
            return Err(Refusal { kernel: KERNEL, what, value, limit: GRID_SIDE });
        }
    }
    count(keys, "a number of keys of", KERNEL)?;
    let queries = count(queries, "a number of queries of", KERNEL)?;
    Ok(Launch {
        kernel: format!("attention{room}_{}", dtype.name()),
        grid: [queries.div_ceil(QUERIES as u32), heads as u32, batch as u32],
        block: [THREADS, 1, 1],
    })
}
