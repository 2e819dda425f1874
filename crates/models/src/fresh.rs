//! A file that appears under its name only when it is whole and on the disk.

use std::fs::File;
use std::path::{Path, PathBuf};

use contract::Complaint;

/// Not that of a download: one that is to go on may lie beside it.
pub const ENDING: &str = ".draft";

/// Written under another name in the same folder; dropped unfinished, it is removed.
pub struct Fresh {
    pub file: File,
    draft: PathBuf,
    name: PathBuf,
    finished: bool,
}

impl Fresh {
    /// Makes the folder too.
    pub fn create(name: &Path) -> Result<Self, Complaint> {
        if let Some(folder) = name.parent() {
            std::fs::create_dir_all(folder).map_err(|error| unwritable(name, &error))?;
        }
        let draft = with_ending(name, ENDING);
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&draft);
        let file = file.map_err(|error| unwritable(name, &error))?;
        Ok(Self { file, draft, name: name.to_owned(), finished: false })
    }

    pub fn finish(mut self) -> Result<(), Complaint> {
        self.file.sync_all().map_err(|error| unwritable(&self.name, &error))?;
        into_place(&self.draft, &self.name).map_err(|error| unwritable(&self.name, &error))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.finished {
            // what cannot be removed now is overwritten by whoever comes next
            let _ = std::fs::remove_file(&self.draft);
        }
    }
}

/// The same name with an ending behind it.
pub fn with_ending(name: &Path, ending: &str) -> PathBuf {
    let mut text = name.as_os_str().to_owned();
    text.push(ending);
    text.into()
}

/// Renames a synced file, and syncs the folder, without which the new name may be lost with the power.
pub fn into_place(draft: &Path, name: &Path) -> std::io::Result<()> {
    std::fs::rename(draft, name)?;
    match name.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

pub fn unwritable(name: &Path, error: &std::io::Error) -> Complaint {
    let message = format!("{} cannot be written: {error}", name.display());
    let hint = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "free some space",
        _ => "check that the folder may be written, or name another with --models",
    };
    Complaint::new("file_unwritable", message, hint)
}
