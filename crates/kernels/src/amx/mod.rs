//! Products of bf16 by AMX: a tile is 16 rows of 64 bytes, and one instruction multiplies two of them into a third. Only the fast
//! profile uses it: both sides are rounded to bf16 (values below 2^-126 count as zero), sums are f32.

mod left;
mod product;
mod tiles;
mod weights;

pub(crate) use left::{Left, Rounded, Rows, round};
pub(crate) use product::{LEFT_BYTES, Target, multiply, multiply_rows, shares};
pub(crate) use tiles::{Block, Configured, Lines, Tall, Wide, block, is_granted};
pub(crate) use weights::{Paired, TileWeights};

/// Rows of a tile.
pub(crate) const ROWS: usize = 16;
/// Values of k that a row of a tile holds.
pub(crate) const DEPTH: usize = 32;
/// Bytes of a row of a tile.
pub(crate) const ROW_BYTES: usize = 64;
/// Columns of C that a tile of sums holds.
pub(crate) const COLUMNS: usize = 16;
