//! What every dialect stands behind: the door (hosts, keys, rates, CORS), bodies and forms read as FastAPI reads them, files
//! and held-open answers out, and the documents. Nothing here knows a dialect's words; `house.rs` only holds what each dialect is configured with.

pub mod aside;
pub mod body;
pub mod dates;
pub mod docs;
pub mod errand;
pub mod files;
pub mod form;
pub mod guard;
pub mod hold;
pub mod house;
pub mod json;
pub mod keys;
pub mod leftover;
pub mod model;
pub mod pace;
pub mod refused;
pub mod table;
pub mod tally;

pub use house::{
    Casting, Common, Hosts, House, InfiniteTalk, KeepAlive, Limits, MuseTalk, MuseTalkS3, OnHangup,
};
pub use keys::{Key, Keys};
