//! Checkpoints: safetensors (also sharded) and PyTorch's pickles (zip and legacy), as one thing: named tensors that lie somewhere in
//! mapped files and are read one at a time. What a file holds is checked when it is opened; anything not understood is an
//! error that names the key, nothing is skipped, and a pickle is never executed.

mod checkpoint;
mod decode;
mod error;
mod int8;
mod inventory;
mod mapped;
mod outline;
mod shards;
mod torch;

pub use checkpoint::{Checkpoint, Entry};
pub use error::{WeightsError, WrongCheckpoint};
pub use int8::{INT8, Int8Names};
pub use inventory::Inventory;
pub use outline::{Outline, is_outline};
pub use safetensors::Dtype;
