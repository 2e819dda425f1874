//! Batched products of two activations, of bf16 values where the profile allows it and the machine has AMX.

use crate::amx::{Target, TileWeights, multiply_rows};
use crate::context::{Context, Profile};
use crate::error::{Result, check_len, check_positive};
use crate::finish::Finish;
use crate::gemm::matrix::Matrix;
use crate::gemm::panels::Layout;
use crate::gemm::product::{Product, multiply};
use crate::isa::Isa;
use crate::memory::Shared;

/// How the right side lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// (batch, k, n)
    Plain,
    /// (batch, n, k)
    Transposed,
}

/// (batch, m, k) x (batch, k, n) -> (batch, m, n)
#[derive(Debug, Clone, Copy)]
pub struct Matmul {
    pub batch: usize,
    pub m: usize,
    pub k: usize,
    pub n: usize,
    pub right: Right,
}

impl Matmul {
    pub fn run(&self, ctx: &Context, a: &[f32], b: &[f32], c: &mut [f32]) -> Result<()> {
        let Self { batch, m, k, n, right } = *self;
        check_positive("k of a product", k)?;
        check_len("left side", a.len(), batch * m * k)?;
        check_len("right side", b.len(), batch * k * n)?;
        check_len("product", c.len(), batch * m * n)?;
        if c.is_empty() {
            return Ok(());
        }
        for (i, c) in c.chunks_exact_mut(m * n).enumerate() {
            let b = &b[i * k * n..][..k * n];
            if ctx.isa() == Isa::Amx && ctx.profile() == Profile::Fast {
                let tiles = match right {
                    Right::Plain => TileWeights::of_rows(ctx, k, n, b),
                    Right::Transposed => TileWeights::of_columns(ctx, k, n, b),
                };
                let target = Target { c: Shared::new(c), bias: None, finish: Finish::default() };
                // SAFETY: all lengths were checked above.
                unsafe { multiply_rows(ctx, (&a[i * m * k..][..m * k], k), &tiles, target) };
                continue;
            }
            let layout = Layout::new(ctx.isa(), k, n);
            let matrix = match right {
                Right::Plain => Matrix::of_rows(layout, b, n),
                Right::Transposed => Matrix::of_columns(layout, b, k),
            };
            let product = Product {
                rows: m,
                a: &a[i * m * k..][..m * k],
                a_stride: k,
                c: Shared::new(c),
                c_stride: n,
                bias: None,
                finish: Finish::default(),
            };
            // SAFETY: all lengths were checked above.
            unsafe { multiply(ctx, product, &matrix) };
        }
        Ok(())
    }
}
