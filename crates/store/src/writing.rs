//! A file on its way into the store, in pieces: counted, hashed, and below its key only when it is complete. Dropped
//! before `finish`, it leaves nothing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use contract::Complaint;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::Stored;
use crate::key::Key;
use crate::local::refusal;
use crate::store::Store;

/// What is gathered before a blocking thread writes it.
const GATHER: usize = 256 << 10;

pub struct Writing {
    store: Store,
    key: Key,
    limit: u64,
    draft: Option<Draft>,
    gathered: Vec<u8>,
    bytes: u64,
}

struct Draft {
    file: NamedTempFile,
    hash: Sha256,
}

impl Draft {
    fn append(mut self, bytes: &[u8]) -> (Self, io::Result<()>) {
        self.hash.update(bytes);
        let written = self.file.write_all(bytes);
        (self, written)
    }
}

impl Writing {
    pub(crate) fn new(store: Store, key: Key, limit: u64, file: NamedTempFile) -> Self {
        let draft = Some(Draft { file, hash: Sha256::new() });
        Self { store, key, limit, draft, gathered: Vec::new(), bytes: 0 }
    }

    /// After an error nothing more can be written.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Complaint> {
        if self.draft.is_none() {
            return Err(broken_off(self.key.file_name()));
        }
        let total = self.bytes.saturating_add(bytes.len() as u64);
        if total > self.limit {
            self.draft = None;
            return Err(too_large(self.key.file_name(), total, self.limit));
        }
        self.bytes = total;
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHER { self.flush().await } else { Ok(()) }
    }

    /// Complete: below its key from now on.
    pub async fn finish(mut self) -> Result<Stored, Complaint> {
        self.flush().await?;
        let Some(Draft { file, hash }) = self.draft.take() else {
            return Err(broken_off(self.key.file_name()));
        };
        let stored = Stored { bytes: self.bytes, sha256: hex::encode(hash.finalize()) };
        let (_file, path) = file.into_parts();
        self.store.place(&path, &self.key).await?;
        Ok(stored)
    }

    async fn flush(&mut self) -> Result<(), Complaint> {
        let Some(draft) = self.draft.take() else {
            return Err(broken_off(self.key.file_name()));
        };
        let gathered = std::mem::take(&mut self.gathered);
        let task = tokio::task::spawn_blocking(move || (draft.append(&gathered), gathered));
        let ((draft, written), mut gathered) = task.await.map_err(|_| broken_off(self.key.file_name()))?;
        gathered.clear();
        self.gathered = gathered;
        written.map_err(|error| refusal("an upload", draft.file.path(), &error))?;
        self.draft = Some(draft);
        Ok(())
    }
}

fn broken_off(name: &str) -> Complaint {
    Complaint::new("upload_broken", format!("the upload of `{name}` broke off"), "send it again")
}

/// `bytes` is what is known of its size: it may be larger still.
pub(crate) fn too_large(name: &str, bytes: u64, limit: u64) -> Complaint {
    let message = format!("`{name}` has at least {bytes} bytes, the limit is {limit}");
    Complaint::new("file_too_large", message, "send a smaller file, or ask the operator to raise the limit")
}

/// Size and hash of a complete file. Blocks.
pub(crate) fn measure(path: &Path) -> io::Result<Stored> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; GATHER];
    let mut bytes = 0;
    loop {
        let n = file.read(&mut piece)?;
        if n == 0 {
            return Ok(Stored { bytes, sha256: hex::encode(hash.finalize()) });
        }
        bytes += n as u64;
        hash.update(&piece[..n]);
    }
}
