//! Scratch folders of attempts: private, removed with the attempt; what a killed worker left is swept by its successor.

use std::fs::File;
use std::path::Path;

use contract::Complaint;
use store::Store;

/// Locked by the attempt that uses the folder; the lock ends with its process, however that ends.
const HELD: &str = ".held";

pub struct Scratch {
    folder: tempfile::TempDir,
    _held: File,
}

impl Scratch {
    pub fn new(store: &Store) -> Result<Self, Complaint> {
        let folder = store.scratch()?;
        let held = File::create(folder.path().join(HELD)).and_then(|held| held.lock().map(|()| held));
        let held = held.map_err(|error| failed(folder.path(), &error))?;
        Ok(Self { folder, _held: held })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A fresh folder in it, for one input.
    pub fn room(&self, name: &str) -> Result<std::path::PathBuf, Complaint> {
        let room = self.folder.path().join(name);
        std::fs::create_dir_all(&room).map_err(|error| failed(&room, &error))?;
        Ok(room)
    }
}

pub fn failed(path: &Path, error: &std::io::Error) -> Complaint {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "disk_full",
        _ => "scratch_failed",
    };
    let message = format!("{} cannot be written: {error}", path.display());
    Complaint::new(code, message, "free some space below the data folder and check its rights")
}

/// Removes everything but the folders of attempts under way: for a server that begins, and so knows that nobody else does.
pub fn clear(store: &Store) {
    let Ok(entries) = store.folder().join("scratch").read_dir() else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // a worker of the server before may be at its last words
        if is_folder && File::open(path.join(HELD)).is_ok_and(|held| held.try_lock().is_err()) {
            continue;
        }
        let removed = if is_folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Ok(()) => tracing::info!(path = %path.display(), "removed what an earlier server left"),
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot be removed"),
        }
    }
}

/// Removes the folders of attempts that nobody works on any more.
pub fn sweep(store: &Store) {
    let Ok(folders) = store.folder().join("scratch").read_dir() else { return };
    for folder in folders.flatten().map(|entry| entry.path()) {
        let Ok(held) = File::open(folder.join(HELD)) else { continue }; // not an attempt's
        if held.try_lock().is_ok() {
            match std::fs::remove_dir_all(&folder) {
                Ok(()) => tracing::info!(folder = %folder.display(), "removed what a dead worker left"),
                Err(error) => tracing::warn!(folder = %folder.display(), %error, "cannot be removed"),
            }
        }
    }
}
