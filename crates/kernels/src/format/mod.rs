//! Number formats that weights come in, beside f32.

pub mod bf16;
pub mod q8_0;
