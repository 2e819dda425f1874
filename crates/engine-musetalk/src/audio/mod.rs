//! From a voice to what MuseTalk's UNet hears: log-mel, Whisper's hidden states, and of them a window for each video frame. `ear` is what a
//! session uses; the rest are its parts.

pub mod ear;
pub mod features;
pub mod listener;
pub mod live;
pub mod mel;
pub mod overlapped;
pub mod segments;
pub mod silence;
pub mod whole;
pub mod windows;

/// Of every voice here.
pub const RATE_HZ: u32 = 16_000;
/// Samples of a feature row, 20 ms.
pub const ROW: usize = 320;
/// Rows of the 30 s that Whisper encodes at once.
pub const SEGMENT_ROWS: usize = 1500;
