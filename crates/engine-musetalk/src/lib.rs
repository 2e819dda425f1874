//! MuseTalk: lip-sync of a clip to speech by a latent inpainting net. Its nets, each proven against the official implementation; the engine
//! itself is not here yet.

pub mod goldens;
pub mod nets;
