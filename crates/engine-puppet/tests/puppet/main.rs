//! The engine from outside, on drawn faces: what frames look like, and how sessions run and end.

mod drawn;
mod look;
mod sessions;
