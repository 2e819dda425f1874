//! A take under way: written under a hidden name beside its target, and there under its own name only when complete.
//! Whatever goes wrong before `commit`, nothing is left.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use contract::Complaint;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempPath;

/// What to do about a file that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    Refuse,
    Replace,
}

/// Dropped without `commit`, it removes what was written.
#[derive(Debug)]
pub struct Draft {
    hidden: TempPath,
    target: PathBuf,
    existing: Existing,
}

impl Draft {
    pub fn create(target: impl AsRef<Path>, existing: Existing) -> Result<Self, Complaint> {
        let target = target.as_ref();
        let shown = target.display();
        // what a symbolic link points to decides; a dangling one counts as there
        match (target.metadata(), target.symlink_metadata()) {
            (Ok(meta), _) if meta.is_dir() => {
                let message = format!("{shown} is a folder, the output must be a file");
                return Err(Complaint::new("output_is_folder", message, "name a file in it"));
            }
            (Ok(meta), _) if !meta.is_file() => {
                let message = format!("{shown} is a device or pipe, the output must be a file");
                return Err(Complaint::new("bad_output", message, "name a file, or use --out - to stream"));
            }
            (_, Ok(_)) if existing == Existing::Refuse => return Err(there_already(target)),
            _ => {}
        }
        let Some(name) = target.file_name() else {
            let message = format!("`{shown}` is no name for a file");
            return Err(Complaint::new("bad_output", message, "name a file: --out take.mp4"));
        };
        let folder = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        // a name near the file system's limit leaves no room for a longer one
        let prefix = if prefix.len() > 200 { OsString::from(".talkie.") } else { prefix };
        let hidden = tempfile::Builder::new().prefix(&prefix).suffix(".draft").tempfile_in(folder);
        let hidden = hidden.map_err(|error| unwritable(target, folder, &error))?.into_temp_path();
        Ok(Self { hidden, target: target.to_owned(), existing })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        &self.hidden
    }

    /// Puts the complete file under its name, at once and whole.
    pub fn commit(self) -> Result<(), Complaint> {
        let Self { hidden, target, existing } = self;
        let folder = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let failed = |error: io::Error| unwritable(&target, folder, &error);
        let file = File::open(&hidden).map_err(failed)?;
        open_to_others(&file);
        file.sync_all().map_err(failed)?;
        match existing {
            Existing::Replace => std::fs::rename(&hidden, &target).map_err(failed)?,
            Existing::Refuse => place(&hidden, &target).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => there_already(&target),
                _ => failed(error),
            })?,
        }
        // the name too must survive a power cut; a file system that cannot sync a folder keeps the take all the same
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

/// Temporary files are private; a take gets the rights any new file would get.
fn open_to_others(file: &File) {
    let mask = umask();
    let _ = rustix::fs::fchmod(file, rustix::fs::Mode::from_raw_mode(0o666 & !mask));
}

/// Read where Linux shows it: setting and restoring it would race with other threads.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o022)
}

/// Renames without replacing, or where the file system cannot, links.
fn place(hidden: &Path, target: &Path) -> io::Result<()> {
    match renameat_with(CWD, hidden, CWD, target, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::hard_link(hidden, target).and_then(|()| std::fs::remove_file(hidden))
        }
        outcome => Ok(outcome?),
    }
}

fn there_already(target: &Path) -> Complaint {
    let message = format!("{} exists already", target.display());
    Complaint::new("output_exists", message, "choose another name, or replace it with --overwrite")
}

fn unwritable(target: &Path, folder: &Path, error: &io::Error) -> Complaint {
    let (target, folder) = (target.display(), folder.display());
    match error.kind() {
        ErrorKind::NotFound => {
            let message = format!("there is no folder {folder} for {target}");
            Complaint::new("no_output_folder", message, format!("make it: mkdir -p {folder}"))
        }
        ErrorKind::NotADirectory => {
            let message = format!("{folder} is a file, not a folder for {target}");
            Complaint::new("no_output_folder", message, "name another folder")
        }
        ErrorKind::PermissionDenied => {
            let message = format!("the folder {folder} may not be written to by this user");
            Complaint::new("output_unwritable", message, "write to another folder, or change its rights")
        }
        ErrorKind::ReadOnlyFilesystem => {
            let message = format!("the folder {folder} is on a read-only file system");
            Complaint::new("output_unwritable", message, "write to another folder")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            let message = format!("the disk of {folder} is full");
            Complaint::new("disk_full", message, "free some space or write elsewhere")
        }
        _ => {
            let message = format!("{target} cannot be written: {error}");
            Complaint::new("output_unwritable", message, "write to another folder")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_take_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("take.mp4");
        let draft = Draft::create(&target, Existing::Refuse).unwrap();
        std::fs::write(draft.path(), b"half").unwrap();
        assert!(!target.exists());
        assert!(names(folder.path())[0].starts_with(".take.mp4."));
        drop(draft);
        assert!(names(folder.path()).is_empty());

        let draft = Draft::create(&target, Existing::Refuse).unwrap();
        std::fs::write(draft.path(), b"whole").unwrap();
        draft.commit().unwrap();
        assert_eq!(names(folder.path()), ["take.mp4"]);
        assert_eq!(std::fs::read(&target).unwrap(), b"whole");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(target.metadata().unwrap().permissions().mode() & 0o777, 0o666 & !umask());
    }

    #[test]
    fn an_existing_file_is_kept_or_replaced_as_told() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("take.mp4");
        let draft = Draft::create(&target, Existing::Refuse).unwrap();
        std::fs::write(draft.path(), b"new").unwrap();
        std::fs::write(&target, b"appeared meanwhile").unwrap();
        assert_eq!(draft.commit().unwrap_err().code, "output_exists");
        assert_eq!(std::fs::read(&target).unwrap(), b"appeared meanwhile");
        assert_eq!(names(folder.path()), ["take.mp4"], "the draft is gone");
        assert_eq!(Draft::create(&target, Existing::Refuse).unwrap_err().code, "output_exists");

        let draft = Draft::create(&target, Existing::Replace).unwrap();
        std::fs::write(draft.path(), b"new").unwrap();
        assert_eq!(
            std::fs::read(&target).unwrap(),
            b"appeared meanwhile",
            "kept until the new one is complete"
        );
        draft.commit().unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn an_impossible_place_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), b"x").unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        let rows = [
            (folder.path().to_owned(), "output_is_folder"),
            (at("no/such/take.mp4"), "no_output_folder"),
            (at("file/take.mp4"), "no_output_folder"),
            (at("dangling"), "output_exists"),
            ("/dev/null".into(), "bad_output"),
            ("/".into(), "output_is_folder"),
            ("..".into(), "output_is_folder"),
            ("".into(), "bad_output"),
            ("/proc/take.mp4".into(), "no_output_folder"),
        ];
        for (target, expected) in rows {
            let complaint = Draft::create(&target, Existing::Refuse).map(drop).unwrap_err();
            assert_eq!(complaint.code, expected, "{} {complaint}", target.display());
            assert!(!complaint.hint.is_empty());
        }
        assert_eq!(names(folder.path()), ["dangling", "file"]);
    }

    #[test]
    fn a_name_near_the_limit_still_has_a_draft() {
        let folder = tempfile::tempdir().unwrap();
        let draft = Draft::create(folder.path().join("n".repeat(250)), Existing::Refuse).unwrap();
        draft.commit().unwrap();
        assert_eq!(names(folder.path())[0].len(), 250);
    }

    #[test]
    fn refusals_of_the_system_are_told_apart() {
        use rustix::io::Errno;
        let rows = [
            (Errno::ACCESS, "output_unwritable"),
            (Errno::ROFS, "output_unwritable"),
            (Errno::NOSPC, "disk_full"),
            (Errno::DQUOT, "disk_full"),
            (Errno::NOENT, "no_output_folder"),
        ];
        for (errno, expected) in rows {
            let complaint = unwritable(Path::new("d/t.mp4"), Path::new("d"), &errno.into());
            assert_eq!(complaint.code, expected);
        }
    }
}
