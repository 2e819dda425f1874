//! Named bytes on this machine: a user's input, checked (`Asset`), and a take that appears under its name only when it
//! is complete (`Draft`). Never reads what is in a file.

mod asset;
mod draft;
mod room;
mod store;

pub use asset::Asset;
pub use draft::{Draft, Existing};
pub use room::free_bytes;
pub use store::{FetchLimits, Reading, Remote, Store, StoreConfig, Stored};
