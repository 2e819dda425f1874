//! The InfiniteTalk API server's words.

use serde::{Deserialize, Serialize};

pub const VERSION: &str = "1.0.0";

/// A request that has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateRequest {
    pub audio_path: String,
    pub image_path: String,
    pub prompt: String,
    pub resolution: Resolution,
    pub seed: i64,
    /// Left out, the usual of the weights that are loaded.
    pub diffusion_steps: Option<i64>,
    pub text_guide_scale: Option<f64>,
    pub audio_guide_scale: Option<f64>,
    pub motion_frame: i64,
    pub use_color_correction: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    P480,
    P720,
}

impl Resolution {
    pub fn name(self) -> &'static str {
        match self {
            Resolution::P480 => "infinitetalk-480",
            Resolution::P720 => "infinitetalk-720",
        }
    }

    /// Longest side of its widest bucket.
    pub fn longest(self) -> i64 {
        match self {
            Resolution::P480 => 832,
            Resolution::P720 => 1280,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GenerateResponse {
    pub video_path: String,
    pub duration_seconds: f64,
    pub resolution: String,
    pub frame_count: u64,
    pub metadata: Metadata,
}

/// All values are texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    pub seed: String,
    pub diffusion_steps: String,
    pub text_guide_scale: String,
    pub audio_guide_scale: String,
    pub resolution_bucket: String,
    pub actual_resolution: String,
    pub motion_frame: String,
    pub color_correction: String,
    pub timestamp: String,
    /// Ours: who made it, with which weights.
    pub engine: String,
    pub weights: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    pub status: &'static str,
    pub model_loaded: bool,
    pub gpu_available: bool,
    pub version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Index {
    pub name: &'static str,
    pub version: &'static str,
    pub description: &'static str,
    pub endpoints: Endpoints,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Endpoints {
    pub health: &'static str,
    pub generate: &'static str,
}
