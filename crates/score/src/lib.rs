//! Lip-sync and picture metrics for the output of any engine: does the mouth follow the voice, do the lips shut for p, b and m,
//! does everything else keep still. No learned judge: a face found classically, template tracking, correlation (spec, section 5).

mod gates;
mod geometry;
mod meter;
mod mouth;
mod patch;
mod picture;
mod reference;
mod scores;
mod series;
mod sync;
mod track;
mod truth;
mod video;

#[cfg(test)]
mod actor;
#[cfg(test)]
mod trial;

pub use gates::{Bar, Gate, Limit};
pub use scores::{Scores, SyncReference, SyncSeries};
pub use sync::Control;
pub use truth::Truth;
pub use video::{Request, score};
