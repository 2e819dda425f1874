//! The store: what Talkie keeps (uploads, takes, avatars) by key, on this machine or in S3, and the way in for users'
//! URLs, `s3:` names and local paths.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::Complaint;

use crate::address::Addresses;
use crate::buckets::{Allowance, Buckets, Style, relative};
use crate::fetch::Fetcher;
use crate::guard::{Guard, SystemLookup};
use crate::key::{Key, Shelf};
use crate::local::{LocalShelf, refusal};
use crate::reading::{From, Readers, Reading};
use crate::roots::Roots;
use crate::s3::{S3Allowed, S3Name};
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

/// What we stored ourselves may be of any size.
const OURS: Allowance =
    Allowance { bytes: u64::MAX, total: Duration::from_secs(24 * 3600), idle: Duration::from_secs(60) };

/// Clones are one store.
#[derive(Clone)]
pub struct Store(Arc<Rooms>);

struct Rooms {
    local: LocalShelf,
    readers: Readers,
    roots: Roots,
    fetcher: Fetcher,
    s3_allowed: S3Allowed,
    buckets: Buckets,
    remote: Option<Remote>,
    allowance: Allowance,
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
        let addresses = Addresses::open(&config.fetch.allowed_networks)?;
        let s3_allowed = S3Allowed::open(&config.s3_allowed)?;
        if let Some(remote) = &config.remote {
            S3Name::parse(&format!("s3://{}/{}", remote.bucket, joined(&remote.prefix, "key")))?;
        }
        let FetchLimits { bytes, total, idle, .. } = config.fetch;
        let fetcher = Fetcher::new(Guard::new(addresses, Arc::new(SystemLookup)), config.fetch);
        let style = if config.s3_path_style { Style::Path } else { Style::Host };
        let local = blocking(move || LocalShelf::open(&config.folder)).await?;
        Ok(Self(Arc::new(Rooms {
            local,
            readers: Readers::default(),
            roots,
            fetcher,
            s3_allowed,
            buckets: Buckets::new(config.s3_endpoint, config.s3_region, style),
            remote: config.remote,
            allowance: Allowance { bytes, total, idle },
        })))
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
        if let Some(name) = self.remote(&key) {
            let found = self.0.buckets.read(&name).await?;
            return Ok(found.map(|(from, bytes, at)| Reading::new(From::Remote(from), reader, bytes, at)));
        }
        let found = self.with_local(move |local| local.read(&key)).await?;
        Ok(found.map(|(file, bytes, at)| Reading::new(From::Local(file), reader, bytes, at)))
    }

    /// A local file with the bytes of `key`: itself where it lies, or a copy in `scratch`. A folder likewise, with all that is in it.
    pub async fn local(&self, key: &str, scratch: &Path) -> Result<PathBuf, Complaint> {
        let key = Key::parse(key)?;
        if let Some(name) = self.remote(&key) {
            return self.copy(&name, scratch).await;
        }
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
        if let Some(name) = self.remote(&key) {
            return self.0.buckets.remove(&name).await;
        }
        self.with_local(move |local| local.remove(&key)).await
    }

    /// A fresh private folder for one attempt at one job; the caller removes it.
    pub fn scratch(&self) -> Result<tempfile::TempDir, Complaint> {
        self.0.local.scratch()
    }

    /// Fetches `http:`, `https:` and `data:` URLs into `folder`, under the guard.
    pub async fn fetch(&self, url: &str, folder: &Path) -> Result<PathBuf, Complaint> {
        self.0.fetcher.fetch(url, folder).await
    }

    /// Posts to a user's address, under the guard, within `patience`; the status of the answer. Redirects are not followed.
    pub async fn post(
        &self,
        url: &str,
        headers: http::HeaderMap,
        (body, patience): (bytes::Bytes, Duration),
    ) -> Result<u16, Complaint> {
        self.0.fetcher.post(url, headers, (body, patience)).await
    }

    /// `s3://bucket/key` into `folder`.
    pub async fn download(&self, s3: &str, folder: &Path) -> Result<PathBuf, Complaint> {
        let name = S3Name::parse(s3)?;
        keep(self.0.buckets.download(&name, folder, self.0.allowance).await?)
    }

    /// A local file to `s3://bucket/key`.
    pub async fn upload(&self, local: &Path, s3: &str) -> Result<(), Complaint> {
        self.0.buckets.upload(local, &S3Name::parse(s3)?).await
    }

    /// A local path of a request: below a media root after its symbolic links are resolved, else a complaint that
    /// does not tell whether the file exists. Below a root, a file that is not there is `file_missing`.
    pub fn allow_path(&self, path: &str) -> Result<PathBuf, Complaint> {
        self.0.roots.allow(path)
    }

    /// A URL whose form alone is acceptable (scheme, host, port, length); what it resolves to is checked when it is fetched.
    pub fn allow_url(&self, url: &str) -> Result<(), Complaint> {
        self.0.fetcher.allow(url)
    }

    /// An `s3:` name in a bucket and prefix allowed for `dialect`.
    pub fn allow_s3(&self, dialect: &str, s3: &str) -> Result<(), Complaint> {
        self.0.s3_allowed.allow(dialect, s3)
    }

    /// The data folder.
    pub fn folder(&self) -> &Path {
        self.0.local.folder()
    }

    pub(crate) async fn place(&self, from: &Path, key: &Key) -> Result<(), Complaint> {
        if let Some(name) = self.remote(key) {
            self.0.buckets.upload(from, &name).await?;
            return tokio::fs::remove_file(from)
                .await
                .map_err(|error| refusal("a stored file", from, &error));
        }
        let (from, key) = (from.to_owned(), key.clone());
        self.with_local(move |local| local.put(&from, &key)).await
    }

    /// Where a key lies in S3, if it does. What workers of this machine read stays here.
    fn remote(&self, key: &Key) -> Option<S3Name> {
        let remote = self.0.remote.as_ref()?;
        match key.shelf() {
            Shelf::Uploads => None,
            Shelf::Takes | Shelf::Avatars => {
                Some(S3Name { bucket: remote.bucket.clone(), key: joined(&remote.prefix, key.as_str()) })
            }
        }
    }

    /// A file or a folder from S3.
    async fn copy(&self, name: &S3Name, scratch: &Path) -> Result<PathBuf, Complaint> {
        let buckets = &self.0.buckets;
        let objects = buckets.under(name).await?;
        if objects.is_empty() {
            let hint = "it may have been removed by retention; send it again";
            return Err(Complaint::new(
                "file_missing",
                format!("a file of the store, {name}, is not there"),
                hint,
            ));
        }
        if objects.contains(name) {
            return keep(buckets.download(name, scratch, OURS).await?);
        }
        let failed = |error: std::io::Error| refusal("a folder of the store", scratch, &error);
        let folder = tempfile::Builder::new().prefix("folder-").tempdir_in(scratch).map_err(failed)?;
        for object in &objects {
            let Some(path) = relative(name, object) else { continue };
            let path = folder.path().join(path);
            let parent = path.parent().unwrap_or(folder.path());
            tokio::fs::create_dir_all(parent).await.map_err(failed)?;
            let file = buckets.download(object, scratch, OURS).await?;
            file.persist(&path).map_err(|error| failed(error.error))?;
        }
        Ok(folder.keep())
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

fn joined(prefix: &str, key: &str) -> String {
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() { key.to_owned() } else { format!("{prefix}/{key}") }
}

fn keep(file: tempfile::NamedTempFile) -> Result<PathBuf, Complaint> {
    let path = file.path().to_owned();
    let kept = file.into_temp_path().keep();
    kept.map_err(|error| refusal("a copied file", &path, &error.error))
}
