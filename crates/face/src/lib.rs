//! Finds a face and its landmarks in a picture, classically: SeetaFace boxes (`rustface`), then eyes, mouth line and lids
//! by image measurements. No learned landmarks, no weights to download.

mod align;
mod blur;
mod canonical;
mod contour;
mod correlate;
mod detect;
mod eyes;
mod gradient;
mod lab;
mod lids;
mod lips;
mod measure;
mod model;
mod mouth_anchor;
mod mouth_line;
mod mouth_map;
mod plane;
mod resample;
mod spread;
mod track;

pub use detect::{Detector, Found, find};
pub use measure::{measure, with_landmarks};
pub use model::{CANON_WIDTH, EYE_DISTANCE, EYE_X, EYE_Y, Eye, Face, FaceBox, Gates, MouthLine, Similarity};
pub use track::{Tracked, Tracker};
