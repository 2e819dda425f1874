//! What `pull` writes down of each file it fetched: where it came from and the hub's own checksum, so that `check` has
//! something to compare with where the catalogue knows no checksum.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use contract::Complaint;
use serde::{Deserialize, Serialize};

use crate::fresh::{Fresh, unwritable, with_ending};
use crate::name::Name;
use crate::pull::OWN_FOLDER;
use crate::sum::{Sum, is_git_blob, is_sha256};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    pub source: String,
    /// The commit the hub answered for.
    pub commit: Option<String>,
    pub bytes: u64,
    /// The file's time of change when it had come (seconds, nanoseconds): one with another time may hold something else.
    #[serde(default)]
    pub changed: Option<(i64, i64)>,
    /// The hub's SHA-256 of a large file, or git's name of a small one; nothing for other sources.
    pub sum: Option<String>,
    /// The user took the source's word over the catalogue's.
    #[serde(default)]
    pub trusted: bool,
}

impl Receipt {
    pub fn read(root: &Path, place: &Name) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path(root, place)).ok()?).ok()
    }

    pub fn write(&self, root: &Path, place: &Name) -> Result<(), Complaint> {
        let path = path(root, place);
        let fresh = Fresh::create(&path)?;
        serde_json::to_writer_pretty(&fresh.file, self).map_err(|error| unwritable(&path, &error.into()))?;
        fresh.finish()
    }

    /// Whether the file is still as it had come.
    pub fn is_of(&self, file: &Metadata) -> bool {
        self.bytes == file.len() && self.changed == Some((file.mtime(), file.mtime_nsec()))
    }

    pub fn sum(&self) -> Option<Sum> {
        match &self.sum {
            Some(text) if is_sha256(text) => Some(Sum::Sha256(text.clone())),
            Some(text) if is_git_blob(text) => Some(Sum::GitBlob(text.clone())),
            _ => None,
        }
    }
}

fn path(root: &Path, place: &Name) -> PathBuf {
    with_ending(&place.under(&root.join(OWN_FOLDER).join("receipts")), ".json")
}
