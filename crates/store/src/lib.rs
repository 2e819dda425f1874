//! A user's files by name: `Asset` is an input that can be read, `Draft` is an output that appears under its name only
//! when it is complete. Local files; the object store moves in here when the server comes.

mod asset;
mod draft;

pub use asset::Asset;
pub use draft::{Draft, Existing, free_bytes};
