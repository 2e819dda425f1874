//! The words of the MuseTalk S3 API.

use serde::{Deserialize, Serialize};

/// A request that has been read. What names programs, models and devices of the original's machine (`ffmpeg_path`,
/// `unet_config`, `whisper_dir`, `gpu_id`, …) was checked for its kind and is not kept: nothing of it is run or loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct InferenceRequest {
    pub avatar_id: String,
    pub audio_id: String,
    pub preparation: bool,
    pub video_path: String,
    pub audio_path: String,
    /// The avatar's own, or 0 where the version ignores it.
    pub bbox_shift: i64,
    pub version: String,
    pub fps: i64,
    pub batch_size: i64,
    pub extra_margin: i64,
    pub parsing_mode: String,
    pub left_cheek_width: i64,
    pub right_cheek_width: i64,
    pub audio_padding_length_left: i64,
    pub audio_padding_length_right: i64,
    pub result_dir: String,
    pub output_vid_name: Option<String>,
    pub s3_bucket: Option<String>,
    pub s3_prefix: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InferenceResponse {
    pub avatar_id: String,
    pub audio_id: String,
    pub output_path: Option<String>,
    pub s3_output_path: Option<String>,
    pub message: &'static str,
    /// Ours: who made it, with which weights.
    pub engine: String,
    pub weights: String,
}

/// What the record keeps of an avatar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AvatarNote {
    pub video_path: String,
    pub bbox_shift: i64,
    pub version: String,
}
