//! Finds a face and its landmarks in a picture, classically: SeetaFace boxes (`rustface`), then eyes, mouth line and lids
//! by image measurements. No learned landmarks, no weights to download.

mod model;

pub use model::{Canon, Eye, Face, FaceBox, Gates, MouthLine, Similarity};
