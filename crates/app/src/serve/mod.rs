//! `talkie serve`.

pub mod keys;
mod listener;
mod log;
mod originals;
mod probes;
pub mod settings;
mod tls;
