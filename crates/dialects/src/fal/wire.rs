//! fal's words.

use serde::{Deserialize, Serialize};

/// A request in the queue, and what became of it. `COMPLETED` is the end, whatever end: then `error` tells of a bad one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    pub status: &'static str,
    pub request_id: String,
    pub response_url: String,
    pub status_url: String,
    pub cancel_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<u64>,
    /// `null` unless they were asked for.
    pub logs: Option<Vec<Log>>,
    pub metrics: Metrics,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// Where a webhook was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_request_id: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_time: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Log {
    pub timestamp: String,
    pub message: String,
    pub level: &'static str,
    pub source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct File {
    pub url: String,
    pub content_type: &'static str,
    pub file_name: String,
    pub file_size: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Output {
    pub video: File,
    pub seed: i64,
    /// Ours: who made it.
    pub engine: String,
    pub weights: String,
}

/// What the record keeps of a request besides its work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub app: String,
    /// Billable units a second.
    pub rate: f64,
    /// Where answers of the request that asked for it lie.
    pub cdn: String,
    /// Of a request that was wrong: what its result says, as fal tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UploadToken {
    pub token: String,
    pub token_type: &'static str,
    pub base_url: String,
    /// ISO 8601 with an offset.
    pub expires_at: String,
}

/// Events of `/stream`, before the output.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Telling {
    Progress { request_id: String, stage: &'static str, done: u64, of: u64, eta_seconds: Option<f64> },
    Waiting { request_id: String, queue_position: u64 },
    Preview { request_id: String, image: Preview, frame: u64 },
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preview {
    /// `data:image/jpeg;base64,…`
    pub url: String,
    pub content_type: &'static str,
}
