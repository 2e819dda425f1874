//! An output under way: a hidden file beside its target, moved onto the target's name when it is complete, removed otherwise.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use contract::Complaint;
use rustix::fs::{CWD, RenameFlags};
use tempfile::TempPath;

/// What happens to a file that has the target's name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    Refuse,
    Replace,
}

#[derive(Debug)]
pub struct Draft {
    target: PathBuf,
    existing: Existing,
    file: TempPath,
}

impl Draft {
    /// Checks all that can be checked before the work begins.
    pub fn create(target: &Path, existing: Existing) -> Result<Self, Complaint> {
        let name = target.display();
        if target.is_dir() {
            let message = format!("{name} is a folder, the take needs the name of a file");
            return Err(Complaint::new("output_is_folder", message, "add a name, e.g. take.mp4"));
        }
        if existing == Existing::Refuse && target.symlink_metadata().is_ok() {
            return Err(exists(target));
        }
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        if !folder.is_dir() {
            let message =
                format!("the folder {} does not exist, so {name} cannot be written", folder.display());
            return Err(Complaint::new("output_folder_missing", message, "make the folder first (mkdir -p)"));
        }
        let file =
            tempfile::Builder::new().prefix(".talkie-").suffix(".part").rand_bytes(12).tempfile_in(folder);
        let file = file.map_err(|error| unwritable(folder, &error))?.into_temp_path();
        Ok(Self { target: target.to_owned(), existing, file })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.file
    }

    /// Makes it last, then gives it its name, in one step.
    pub fn commit(self) -> Result<(), Complaint> {
        let failed = |error: &io::Error| {
            let message = format!("{} cannot be completed: {error}", self.target.display());
            Complaint::new("output_unwritable", message, "check the disk and the rights on its folder")
        };
        File::open(&self.file).and_then(|file| file.sync_all()).map_err(|error| failed(&error))?;
        readable_by_umask(&self.file).map_err(|error| failed(&error))?;
        match self.existing {
            Existing::Replace => std::fs::rename(&self.file, &self.target).map_err(|error| failed(&error))?,
            Existing::Refuse => {
                // a file may have appeared since the check: it must not be lost
                match rustix::fs::renameat_with(CWD, &*self.file, CWD, &self.target, RenameFlags::NOREPLACE) {
                    Ok(()) => {}
                    Err(rustix::io::Errno::EXIST) => return Err(exists(&self.target)),
                    Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                        // a file system without NOREPLACE: a link does not replace either
                        std::fs::hard_link(&self.file, &self.target).map_err(|error| match error.kind() {
                            io::ErrorKind::AlreadyExists => exists(&self.target),
                            _ => failed(&error),
                        })?;
                        return Ok(()); // the draft's own name goes with `self`
                    }
                    Err(error) => return Err(failed(&error.into())),
                }
            }
        }
        // the name is gone: nothing is left to remove
        let _ = self.file.keep();
        Ok(())
    }
}

/// Temporary files are private; a finished one has the rights an ordinary new file would have.
fn readable_by_umask(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // asking the kernel by umask(2) would change it for every thread for a moment
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let told = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let mask = told.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o022);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666 & !mask))
}

/// Bytes that an ordinary user may still write to the file system of `path`.
pub fn free_bytes(path: &Path) -> Result<u64, Complaint> {
    let about = rustix::fs::statvfs(path).map_err(|error| {
        let message = format!("the free space of {} cannot be told: {error}", path.display());
        Complaint::new("disk_unknown", message, "check that the folder exists")
    })?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

fn exists(target: &Path) -> Complaint {
    let message = format!("{} exists already and is not replaced", target.display());
    Complaint::new("output_exists", message, "give --overwrite or another name")
}

fn unwritable(folder: &Path, error: &io::Error) -> Complaint {
    let name = folder.display();
    let (code, hint) = match error.kind() {
        io::ErrorKind::PermissionDenied => ("output_forbidden", "choose a folder this user may write to"),
        io::ErrorKind::ReadOnlyFilesystem => ("output_read_only", "choose a folder on a writable disk"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ("disk_full", "free some space or write elsewhere")
        }
        _ => ("output_unwritable", "choose another folder"),
    };
    let why = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "no space is left on its disk".to_owned()
        }
        _ => error.to_string(),
    };
    Complaint::new(code, format!("the folder {name} cannot be written to: {why}"), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_take_appears_only_when_complete() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("take.mp4");
        let draft = Draft::create(&target, Existing::Refuse).unwrap();
        std::fs::write(draft.path(), "half").unwrap();
        assert!(!target.exists());
        drop(draft);
        assert_eq!(names(folder.path()), Vec::<String>::new());

        let draft = Draft::create(&target, Existing::Refuse).unwrap();
        std::fs::write(draft.path(), "whole").unwrap();
        draft.commit().unwrap();
        assert_eq!(names(folder.path()), ["take.mp4"]);
        assert_eq!(std::fs::read(&target).unwrap(), b"whole");
    }

    #[test]
    fn what_is_there_stays_unless_it_may_go() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("take.mp4");
        let late = Draft::create(&target, Existing::Refuse).unwrap();
        std::fs::write(&target, "mine").unwrap();
        assert_eq!(Draft::create(&target, Existing::Refuse).unwrap_err().code, "output_exists");
        assert_eq!(late.commit().unwrap_err().code, "output_exists", "it appeared while the take was made");
        assert_eq!(std::fs::read(&target).unwrap(), b"mine");
        let draft = Draft::create(&target, Existing::Replace).unwrap();
        std::fs::write(draft.path(), "new").unwrap();
        draft.commit().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["take.mp4"]);
    }

    #[test]
    fn places_that_cannot_hold_a_take_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let rows = [
            (folder.path().to_owned(), "output_is_folder"),
            (folder.path().join("no/take.mp4"), "output_folder_missing"),
        ];
        for (target, code) in rows {
            assert_eq!(Draft::create(&target, Existing::Refuse).unwrap_err().code, code);
        }
        let kinds = [
            (io::ErrorKind::PermissionDenied, "output_forbidden"),
            (io::ErrorKind::ReadOnlyFilesystem, "output_read_only"),
            (io::ErrorKind::StorageFull, "disk_full"),
        ];
        for (kind, code) in kinds {
            let complaint = unwritable(Path::new("/there"), &io::Error::from(kind));
            assert_eq!(complaint.code, code);
            assert!(complaint.message.contains("/there"), "{complaint}");
        }
    }
}
