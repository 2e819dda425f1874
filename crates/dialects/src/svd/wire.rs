//! The words of the AI Video Generator backend.

use serde::{Deserialize, Serialize};

/// Always with all of its first eight keys, in this order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    pub id: String,
    pub character_image_url: String,
    pub script: String,
    pub duration: i64,
    pub quality: String,
    pub video_url: Option<String>,
    pub status: &'static str,
    pub created_at: String,
    /// Ours: who makes it, and what it cannot do.
    pub engine: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Ours: why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A request that has been read; also what the record keeps of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    pub character_image_url: String,
    pub script: String,
    pub duration: i64,
    pub quality: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Uploaded {
    pub image_url: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    pub status: &'static str,
    pub service: &'static str,
}
