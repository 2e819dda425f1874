//! What happens to a sum before it is stored: something added, an activation.

use crate::activation::{Act, Apply};
use crate::context::Context;
use crate::error::{Result, check_len};
use crate::gemm::tile::Init;
use crate::memory::Shared;

/// What is added to a product before its activation.
#[derive(Debug, Clone, Copy, Default)]
pub enum Add<'a> {
    #[default]
    Nothing,
    /// what the output holds: y += …
    Output,
    /// values of the output's shape
    Rows(&'a [f32]),
}

/// y = act(product + bias + add)
#[derive(Debug, Clone, Copy, Default)]
pub struct Finish<'a> {
    pub add: Add<'a>,
    pub act: Act,
}

impl<'a> Finish<'a> {
    pub fn act(act: Act) -> Self {
        Self { add: Add::Nothing, act }
    }

    /// y += product + bias
    pub fn accumulate() -> Self {
        Self { add: Add::Output, act: Act::Identity }
    }

    pub fn residual(rows: &'a [f32]) -> Self {
        Self { add: Add::Rows(rows), act: Act::Identity }
    }

    pub(crate) fn check(&self, out: usize) -> Result<()> {
        match self.add {
            Add::Rows(rows) => check_len("residual", rows.len(), out),
            Add::Nothing | Add::Output => Ok(()),
        }
    }

    /// Where the sum of output values from `offset` on starts.
    pub(crate) fn init(&self, out: Shared<f32>, offset: usize, stride: usize) -> Init {
        match self.add {
            Add::Nothing => Init::Zero,
            Add::Output => Init::Rows(out.ptr().wrapping_add(offset), stride),
            Add::Rows(rows) => Init::Rows(rows.as_ptr().wrapping_add(offset), stride),
        }
    }

    /// Applies the activation to columns of rows that are complete.
    ///
    /// # Safety
    /// `rows` rows of `columns` values, `stride` apart, lie at `c` and nobody else touches them.
    pub(crate) unsafe fn complete(
        &self,
        ctx: &Context,
        c: *mut f32,
        (rows, columns): (usize, usize),
        stride: usize,
    ) {
        if self.act == Act::Identity {
            return;
        }
        let (rows, columns) = if columns == stride { (1, rows * columns) } else { (rows, columns) };
        for row in 0..rows {
            // SAFETY: the caller's promise; the context's set runs on this machine.
            unsafe { ctx.isa().run(Apply { act: self.act, x: c.add(row * stride), len: columns }) }
        }
    }
}
