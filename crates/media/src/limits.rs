//! What an input may cost. Every complaint about one of these names the value, the limit and the remedy.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of an input file.
    pub file_bytes: u64,
    /// Width times height of a picture or of a clip's frame.
    pub picture_pixels: u64,
    /// Longer side of a picture or of a clip's frame, in pixels.
    pub picture_side: u32,
    /// Shorter side, in pixels.
    pub picture_min_side: u32,
    /// Longest sound a take may be made of, after `start` and `duration`, in seconds.
    pub audio_seconds: f64,
    /// Shortest, in seconds.
    pub audio_min_seconds: f64,
    /// Longest part of a clip that may be used, after `start` and `duration`, in seconds.
    pub clip_seconds: f64,
    /// Streams in one file.
    pub streams: u32,
    /// Address space of one decoder process. ffmpeg's libraries alone map about 300 MB.
    pub decode_memory_bytes: u64,
    /// CPU time of one decoder process.
    pub decode_cpu_seconds: u64,
    /// A child process that moves no byte for this long while one waits for it is killed.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 4 << 30,
            picture_pixels: 100_000_000,
            picture_side: 16_384,
            picture_min_side: 16,
            audio_seconds: 3600.0,
            audio_min_seconds: 0.1,
            clip_seconds: 3600.0,
            streams: 32,
            decode_memory_bytes: 3 << 30,
            decode_cpu_seconds: 3600,
            idle_timeout: Duration::from_secs(30),
        }
    }
}
