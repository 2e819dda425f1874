//! The store: what Talkie keeps (uploads, takes, avatars) by key, on this machine or in S3, and the way in for users'
//! URLs, `s3:` names and local paths.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use contract::Complaint;
use futures_util::stream::BoxStream;

/// Where things are kept, and what is let in.
#[derive(Clone, Debug, Default)]
pub struct StoreConfig {
    /// The data folder: uploads, scratch files and, without `remote`, takes and avatars.
    pub folder: PathBuf,
    /// Takes and avatars go to S3 or something compatible.
    pub remote: Option<Remote>,
    /// Folders below which local paths of requests may lie.
    pub media_roots: Vec<PathBuf>,
    /// Dialect -> `s3://bucket/prefix` that its requests may name, for reading and writing.
    pub s3_allowed: BTreeMap<String, Vec<String>>,
    /// `AWS_ENDPOINT_URL_S3`, else `AWS_ENDPOINT_URL`.
    pub s3_endpoint: Option<String>,
    pub s3_region: Option<String>,
    /// `https://endpoint/bucket/key` instead of `https://bucket.endpoint/key`.
    pub s3_path_style: bool,
    pub fetch: FetchLimits,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub bucket: String,
    pub prefix: String,
}

/// What a user's URL may cost.
#[derive(Clone, Debug)]
pub struct FetchLimits {
    pub bytes: u64,
    /// From the first to the last byte.
    pub total: Duration,
    /// Without any byte.
    pub idle: Duration,
    pub redirects: u32,
    /// Networks (CIDR) that may be reached although they are private.
    pub allowed_networks: Vec<String>,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self {
            bytes: 512 << 20,
            total: Duration::from_secs(300),
            idle: Duration::from_secs(20),
            redirects: 3,
            allowed_networks: Vec::new(),
        }
    }
}

/// Clones are one store.
#[derive(Clone)]
pub struct Store {}

/// A stored file that is open: retention leaves it until this is dropped.
pub struct Reading {
    pub bytes: u64,
    /// Milliseconds since the epoch.
    pub modified_ms: i64,
}

impl Reading {
    /// `len` bytes from `start`, in pieces.
    pub async fn range(&self, start: u64, len: u64) -> BoxStream<'static, std::io::Result<Bytes>> {
        let _ = (start, len);
        todo!()
    }
}

/// What `put` knows of a file afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub bytes: u64,
    /// hex
    pub sha256: String,
}

impl Store {
    pub async fn open(config: StoreConfig) -> Result<Self, Complaint> {
        let _ = config;
        todo!()
    }

    /// Moves a complete local file below `key`: there whole or not at all. Replaces what was there.
    pub async fn put(&self, local: &Path, key: &str) -> Result<Stored, Complaint> {
        let _ = (local, key);
        todo!()
    }

    pub async fn read(&self, key: &str) -> Result<Option<Reading>, Complaint> {
        let _ = key;
        todo!()
    }

    /// A local file with the bytes of `key`: itself where it lies, or a copy in `scratch`.
    pub async fn local(&self, key: &str, scratch: &Path) -> Result<PathBuf, Complaint> {
        let _ = (key, scratch);
        todo!()
    }

    /// Removes the key and everything below it; false if there was nothing, or if it is being read (then it stays).
    pub async fn remove(&self, key: &str) -> Result<bool, Complaint> {
        let _ = key;
        todo!()
    }

    /// A fresh private folder for one attempt at one job; the caller removes it.
    pub fn scratch(&self) -> Result<tempfile::TempDir, Complaint> {
        todo!()
    }

    /// Fetches `http:`, `https:` and `data:` URLs into `folder`, under the guard.
    pub async fn fetch(&self, url: &str, folder: &Path) -> Result<PathBuf, Complaint> {
        let _ = (url, folder);
        todo!()
    }

    /// `s3://bucket/key` into `folder`.
    pub async fn download(&self, s3: &str, folder: &Path) -> Result<PathBuf, Complaint> {
        let _ = (s3, folder);
        todo!()
    }

    /// A local file to `s3://bucket/key`.
    pub async fn upload(&self, local: &Path, s3: &str) -> Result<(), Complaint> {
        let _ = (local, s3);
        todo!()
    }

    /// A URL under which the key can be read for `valid`, without credentials; `None` for a local store.
    pub async fn presign(&self, key: &str, valid: Duration) -> Result<Option<String>, Complaint> {
        let _ = (key, valid);
        todo!()
    }

    /// A local path of a request: below a media root after its symbolic links are resolved, else a complaint that
    /// does not tell whether the file exists.
    pub fn allow_path(&self, path: &str) -> Result<PathBuf, Complaint> {
        let _ = path;
        todo!()
    }

    /// A URL whose form alone is acceptable (scheme, host, port, length); what it resolves to is checked when it is fetched.
    pub fn allow_url(&self, url: &str) -> Result<(), Complaint> {
        let _ = url;
        todo!()
    }

    /// An `s3:` name in a bucket and prefix allowed for `dialect`.
    pub fn allow_s3(&self, dialect: &str, s3: &str) -> Result<(), Complaint> {
        let _ = (dialect, s3);
        todo!()
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        todo!()
    }
}
