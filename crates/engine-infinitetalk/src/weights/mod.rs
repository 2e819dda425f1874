//! InfiniteTalk's weights as files: the official layout to one `VarBuilder` a net. A net never knows whether its values came out of a
//! shard, a quantised tensor, a LoRA that was merged on the way, or a seeded source.

mod error;
mod files;
mod lora;
#[cfg(test)]
mod made;
mod open;
mod quanto;
mod shapes;
mod source;

pub use error::BadWeights;
pub use files::{Base, DitFiles, Files, Named, Pair, Persons, Umt5Files, Wav2VecFiles, WeightsFile, Wish};
pub use lora::{Lora, Loras, Rules};
pub(crate) use open::dit_keys;
pub use open::{Form, Opened};
pub use quanto::{Kind, Quanto};
pub use source::{Computed, Int8, Quantised, Source, Tensors};
