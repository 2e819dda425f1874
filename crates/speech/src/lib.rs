//! Sound to mouth: mel front end, VisNet (a small causal conv net), and the post-processing that turns its answers into one
//! mouth pose a video frame. Streaming, with state; no tensor framework.

mod pose;

pub use pose::MouthPose;
