//! Named bytes: a user's input, checked (`Asset`), a take that appears under its name only when it is complete (`Draft`),
//! and the store proper (`Store`): what Talkie keeps, on this machine or in S3, and the guarded way in for users' URLs,
//! `s3:` names and local paths. Never reads what is in a file.

mod address;
mod asset;
mod buckets;
mod data_uri;
mod downloads;
mod draft;
mod fetch;
mod guard;
mod key;
mod local;
mod reading;
mod refused;
mod room;
mod roots;
mod s3;
mod store;
mod transport;
mod writing;

pub use asset::Asset;
pub use data_uri::is_data_uri;
pub use downloads::Downloads;
pub use draft::{Draft, Existing};
pub use reading::Reading;
pub use room::free_bytes;
pub use store::{FetchLimits, Remote, Store, StoreConfig, Stored};
pub use writing::Writing;
