//! The MuseTalk server's words.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    pub status: &'static str,
    pub models: Models,
    pub loaded_avatars: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Models {
    pub loaded: bool,
    pub device: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preprocessed {
    pub message: &'static str,
    pub avatar_id: String,
    pub info: Info,
}

/// Also what the record keeps of an avatar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Info {
    pub avatar_id: String,
    pub video_path: String,
    pub bbox_shift: i64,
    pub version: String,
    /// Ours: who made it.
    pub engine: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deleted {
    pub message: &'static str,
    pub avatar_id: String,
}

/// Ours: a voice that is waiting to be played.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ticket {
    pub ticket: String,
    /// For an `<img>`.
    pub stream_url: String,
    /// For a `<video>`, with sound.
    pub video_url: String,
    pub expires_in: i64,
}

/// How a stream is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// JPEGs, without sound.
    Pictures,
    /// A fragmented MP4, with sound.
    Film,
}
