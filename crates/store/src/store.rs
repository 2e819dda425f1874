//! The store: what Talkie keeps (uploads, takes, avatars) by key, on this machine or in S3, and the way in for users'
//! URLs, `s3:` names and local paths.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::Complaint;

use crate::key::Key;
use crate::local::{LocalShelf, refusal};
use crate::reading::{From, Readers, Reading};
use crate::roots::Roots;
use crate::writing::{Writing, measure};

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
pub struct Store(Arc<Rooms>);

struct Rooms {
    local: LocalShelf,
    readers: Readers,
    roots: Roots,
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
        let roots = Roots::open(&config.media_roots)?;
        let local = LocalShelf::open(&config.folder)?;
        Ok(Self(Arc::new(Rooms { local, readers: Readers::default(), roots })))
    }

    /// Moves a complete local file below `key`: there whole or not at all. Replaces what was there.
    pub async fn put(&self, local: &Path, key: &str) -> Result<Stored, Complaint> {
        let key = Key::parse(key)?;
        let from = local.to_owned();
        let stored =
            blocking(move || measure(&from).map_err(|error| refusal("a file for the store", &from, &error)))
                .await?;
        self.place(local, &key).await?;
        Ok(stored)
    }

    /// A file that is written in pieces, at most `limit` bytes; below `key` once it is finished.
    pub async fn write(&self, key: &str, limit: u64) -> Result<Writing, Complaint> {
        let key = Key::parse(key)?;
        let file = self.with_local(|local| local.draft()).await?;
        Ok(Writing::new(self.clone(), key, limit, file))
    }

    pub async fn read(&self, key: &str) -> Result<Option<Reading>, Complaint> {
        let key = Key::parse(key)?;
        let Some(reader) = self.0.readers.enter(key.as_str()) else {
            return Ok(None);
        };
        let found = self.with_local(move |local| local.read(&key)).await?;
        Ok(found
            .map(|(file, bytes, modified_ms)| Reading::new(From::Local(file), reader, bytes, modified_ms)))
    }

    /// A local file with the bytes of `key`: itself where it lies, or a copy in `scratch`. A folder likewise, with all that is in it.
    pub async fn local(&self, key: &str, scratch: &Path) -> Result<PathBuf, Complaint> {
        let key = Key::parse(key)?;
        let _ = scratch;
        let path = self.0.local.path(&key);
        blocking(move || match path.symlink_metadata() {
            Ok(_) => Ok(path),
            Err(error) => Err(refusal("a file of the store", &path, &error)),
        })
        .await
    }

    /// Removes the key and everything below it; false if there was nothing, or if it is being read (then it stays).
    pub async fn remove(&self, key: &str) -> Result<bool, Complaint> {
        let key = Key::parse(key)?;
        let Some(_leaving) = self.0.readers.leave(key.as_str()) else {
            return Ok(false);
        };
        self.with_local(move |local| local.remove(&key)).await
    }

    /// A fresh private folder for one attempt at one job; the caller removes it.
    pub fn scratch(&self) -> Result<tempfile::TempDir, Complaint> {
        self.0.local.scratch()
    }

    /// Removes what an earlier run left in scratch. For the one process that owns the data folder, before it starts workers.
    pub async fn clear_scratch(&self) -> Result<(), Complaint> {
        self.with_local(|local| local.clear_scratch()).await
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
        let _ = valid;
        Key::parse(key)?;
        Ok(None)
    }

    /// A local path of a request: below a media root after its symbolic links are resolved, else a complaint that
    /// does not tell whether the file exists. Below a root, a file that is not there is `file_missing`.
    pub fn allow_path(&self, path: &str) -> Result<PathBuf, Complaint> {
        self.0.roots.allow(path)
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
        self.0.local.folder()
    }

    pub(crate) async fn place(&self, from: &Path, key: &Key) -> Result<(), Complaint> {
        let (from, key) = (from.to_owned(), key.clone());
        self.with_local(move |local| local.put(&from, &key)).await
    }

    async fn with_local<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LocalShelf) -> Result<T, Complaint> + Send + 'static,
    ) -> Result<T, Complaint> {
        let rooms = Arc::clone(&self.0);
        blocking(move || work(&rooms.local)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Complaint> + Send + 'static,
) -> Result<T, Complaint> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Complaint::new("internal", "a task of the store broke off", "this is a bug in talkie")),
    }
}
