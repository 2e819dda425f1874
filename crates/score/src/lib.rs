//! Lip-sync and picture metrics for the output of any engine.

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

#[cfg(test)]
mod actor;
#[cfg(test)]
mod trial;

pub use gates::{Bar, Gate, Limit};
pub use scores::{Scores, SyncReference, SyncSeries};
pub use sync::Control;
pub use truth::Truth;
