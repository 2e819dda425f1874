//! A private folder (0700) for what must be a file for a moment; gone when dropped.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::MediaError;
use crate::error::machine;

pub struct Scratch {
    folder: TempDir,
}

impl Scratch {
    /// In the system's temporary folder.
    pub fn new() -> Result<Self, MediaError> {
        // tempfile makes folders 0700 on Unix
        let folder = tempfile::Builder::new().prefix("talkie-").tempdir();
        folder.map(|folder| Self { folder }).map_err(|e| machine("cannot make a temporary folder", &e))
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path of a file of this name in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
