//! The one matrix product under all kernels: rows of A where they lie, B packed into panels as wide as the registers.

pub(crate) mod matrix;
pub(crate) mod panels;
pub(crate) mod product;
pub(crate) mod tile;
