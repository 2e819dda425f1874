//! Pictures before the nets, in the two forms they take them in, and frames behind them.

pub mod canvas;
pub mod clip_input;
pub mod consistency;
