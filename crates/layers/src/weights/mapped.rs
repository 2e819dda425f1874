//! A file in memory without a copy: pages come from the disk when they are touched and are given back once a tensor has been read.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, UncheckedAdvice};

use super::error::WeightsError;

pub(super) struct Mapped {
    pub path: PathBuf,
    map: Mmap,
}

impl Mapped {
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let unreadable = |source| WeightsError::Unreadable { path: path.to_owned(), source };
        let file = File::open(path).map_err(unreadable)?;
        if !file.metadata().map_err(unreadable)?.is_file() {
            return Err(unreadable(std::io::Error::other("not a regular file")));
        }
        // SAFETY: the map is read-only and never handed out as anything but bytes, every value of which is valid. Another program that
        // writes to the file changes numbers; one that shortens it ends this process, as it would with any mapped file: engines run in a
        // process of their own, and checkpoints appear under their names only when they are complete.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        Ok(Self { path: path.to_owned(), map })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Gives the pages of a range back; they are read again when they are touched again.
    pub fn release(&self, offset: usize, len: usize) {
        if len == 0 {
            return;
        }
        // SAFETY: the map is shared and read-only, so a page that is dropped comes back from the file with the same bytes.
        // A refusal costs memory, not correctness.
        let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, len) };
    }
}
