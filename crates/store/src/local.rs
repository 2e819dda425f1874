//! The shelf on this machine: the data folder. A file is below its key whole or not at all, also after a power cut.
//! Everything here blocks; the store calls it on blocking threads.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use contract::Complaint;
use tempfile::{NamedTempFile, TempDir};

use crate::key::{Key, Shelf};

const SCRATCH: &str = "scratch";

#[derive(Debug)]
pub(crate) struct LocalShelf {
    folder: PathBuf,
}

impl LocalShelf {
    pub(crate) fn open(folder: &Path) -> Result<Self, Complaint> {
        fs::create_dir_all(folder).map_err(|error| refusal("the data folder", folder, &error))?;
        // tasks change no working directory, but a worker may be started in another one
        let folder = folder.canonicalize().map_err(|error| refusal("the data folder", folder, &error))?;
        for name in Shelf::ALL.map(Shelf::name).into_iter().chain([SCRATCH]) {
            let path = folder.join(name);
            private_folder(&path).map_err(|error| refusal("a folder of the store", &path, &error))?;
        }
        Ok(Self { folder })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, key: &Key) -> PathBuf {
        key.below(&self.folder)
    }

    /// A fresh private folder; removed when dropped.
    pub(crate) fn scratch(&self) -> Result<TempDir, Complaint> {
        let folder = self.folder.join(SCRATCH);
        let made = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir_in(&folder);
        made.map_err(|error| refusal("scratch space", &folder, &error))
    }

    /// A fresh private file; removed when dropped.
    pub(crate) fn draft(&self) -> Result<NamedTempFile, Complaint> {
        let folder = self.folder.join(SCRATCH);
        tempfile::Builder::new()
            .tempfile_in(&folder)
            .map_err(|error| refusal("scratch space", &folder, &error))
    }

    /// Moves `from` below `key`. Over file systems it is copied beside its target first.
    pub(crate) fn put(&self, from: &Path, key: &Key) -> Result<(), Complaint> {
        let target = self.path(key);
        let failed = |error: io::Error| refusal("a file of the store", &target, &error);
        let file = File::open(from).map_err(|error| refusal("a file for the store", from, &error))?;
        file.sync_all().map_err(failed)?;
        // another task may prune a folder between its making and its use
        let mut tries = 0;
        loop {
            self.make_folders(&target).map_err(failed)?;
            match place(from, &target) {
                Err(error) if error.kind() == ErrorKind::NotFound && tries < 8 => tries += 1,
                outcome => break outcome.map_err(failed)?,
            }
        }
        sync_parent(&target);
        Ok(())
    }

    /// `None`: there is no such file.
    pub(crate) fn read(&self, key: &Key) -> Result<Option<(File, u64, i64)>, Complaint> {
        let path = self.path(key);
        let failed = |error: io::Error| refusal("a file of the store", &path, &error);
        let file = match File::open(&path) {
            Err(error) if is_absent(&error) => return Ok(None),
            file => file.map_err(failed)?,
        };
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Ok(None);
        }
        let since = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let modified_ms = since.map_or(0, |since| since.as_millis() as i64);
        Ok(Some((file, meta.len(), modified_ms)))
    }

    /// The file or everything in the folder; false if there was nothing.
    pub(crate) fn remove(&self, key: &Key) -> Result<bool, Complaint> {
        let path = self.path(key);
        let failed = |error: io::Error| refusal("a file of the store", &path, &error);
        let meta = match path.symlink_metadata() {
            Err(error) if is_absent(&error) => return Ok(false),
            meta => meta.map_err(failed)?,
        };
        match meta.is_dir() {
            true => fs::remove_dir_all(&path).map_err(failed)?,
            false => fs::remove_file(&path).map_err(failed)?,
        }
        // folders that are empty now; the shelf's own stays
        let shelf = self.folder.join(key.shelf().name());
        let parents = path.ancestors().skip(1).take_while(|parent| *parent != shelf);
        for parent in parents {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(true)
    }

    fn make_folders(&self, target: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = target
            .ancestors()
            .skip(1)
            .take_while(|folder| !folder.is_dir() && *folder != self.folder)
            .collect();
        for folder in missing.into_iter().rev() {
            private_folder(folder)?;
            sync_parent(folder);
        }
        Ok(())
    }
}

/// Like `create_dir`, but one that is there already is fine.
fn private_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        outcome => outcome,
    }
}

fn place(from: &Path, target: &Path) -> io::Result<()> {
    match fs::rename(from, target) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => copy_over(from, target),
        outcome => outcome,
    }
}

fn copy_over(from: &Path, target: &Path) -> io::Result<()> {
    let folder = target.parent().unwrap_or(Path::new("/"));
    let mut copy = tempfile::Builder::new().prefix(".talkie.").tempfile_in(folder)?;
    io::copy(&mut File::open(from)?, copy.as_file_mut())?;
    copy.as_file().sync_all()?;
    copy.persist(target).map_err(|error| error.error)?;
    fs::remove_file(from)
}

/// A name too must survive a power cut; a file system that cannot sync a folder keeps it all the same.
fn sync_parent(path: &Path) {
    if let Some(parent) = path.parent() {
        let _ = File::open(parent).and_then(|folder| folder.sync_all());
    }
}

pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// What the system refused, told so that it can be mended.
pub(crate) fn refusal(what: &str, path: &Path, error: &io::Error) -> Complaint {
    let shown = path.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            let message = format!("the disk is full: {what}, {shown}, cannot be written");
            Complaint::new("disk_full", message, "free some space, or shorten retention")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            let message = format!("{what}, {shown}, may not be used by this user: {error}");
            Complaint::new(
                "store_denied",
                message,
                "change the folder's owner or rights, or choose another with --data",
            )
        }
        ErrorKind::NotFound => {
            let message = format!("{what}, {shown}, is not there");
            Complaint::new("file_missing", message, "it may have been removed by retention; send it again")
        }
        _ => {
            let message = format!("{what}, {shown}, cannot be used: {error}");
            Complaint::new("store_broken", message, "check the disk of the data folder")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::parse(text).unwrap()
    }

    fn shelf() -> (TempDir, LocalShelf) {
        let folder = tempfile::tempdir().unwrap();
        let shelf = LocalShelf::open(&folder.path().join("data")).unwrap();
        (folder, shelf)
    }

    #[test]
    fn put_moves_and_replaces() {
        let (folder, shelf) = shelf();
        let from = folder.path().join("draft");
        for content in ["first", "second"] {
            fs::write(&from, content).unwrap();
            shelf.put(&from, &key("takes/1/a.mp4")).unwrap();
            assert!(!from.exists());
            let (file, bytes, modified_ms) = shelf.read(&key("takes/1/a.mp4")).unwrap().unwrap();
            assert_eq!(io::read_to_string(file).unwrap(), content);
            assert_eq!(bytes, content.len() as u64);
            assert!(modified_ms > 1_600_000_000_000);
        }
        let complaint = shelf.put(&from, &key("takes/1/b.mp4")).unwrap_err();
        assert_eq!(complaint.code, "file_missing");
    }

    #[test]
    fn what_cannot_be_renamed_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (from, target) = (folder.path().join("draft"), folder.path().join("there/a.mp4"));
        fs::create_dir(folder.path().join("there")).unwrap();
        fs::write(&from, "moved").unwrap();
        copy_over(&from, &target).unwrap();
        assert!(!from.exists());
        assert_eq!(fs::read_to_string(&target).unwrap(), "moved");
        let names = fs::read_dir(folder.path().join("there")).unwrap().count();
        assert_eq!(names, 1, "no copy is left beside it");
    }

    #[test]
    fn remove_takes_a_file_or_a_folder_and_prunes_what_is_empty() {
        let (folder, shelf) = shelf();
        for name in ["takes/1/a.mp4", "takes/1/b.mp4", "avatars/x/deep/part", "avatars/y/part"] {
            let from = folder.path().join("draft");
            fs::write(&from, name).unwrap();
            shelf.put(&from, &key(name)).unwrap();
        }
        assert!(shelf.remove(&key("takes/1/a.mp4")).unwrap());
        assert!(!shelf.remove(&key("takes/1/a.mp4")).unwrap());
        assert!(shelf.folder().join("takes/1").exists());
        assert!(shelf.remove(&key("takes/1/b.mp4")).unwrap());
        assert!(!shelf.folder().join("takes/1").exists());
        assert!(shelf.folder().join("takes").exists());
        assert!(shelf.remove(&key("avatars/x")).unwrap());
        assert!(shelf.read(&key("avatars/x/deep/part")).unwrap().is_none());
        assert!(shelf.read(&key("avatars/y/part")).unwrap().is_some());
        assert!(shelf.read(&key("avatars/y")).unwrap().is_none(), "a folder is not a file");
        assert!(!shelf.remove(&key("avatars/y/part/more")).unwrap());
    }

    #[test]
    fn a_key_may_be_put_while_its_folder_is_pruned() {
        let (folder, shelf) = shelf();
        std::thread::scope(|scope| {
            for n in 0..4 {
                let (shelf, folder) = (&shelf, &folder);
                scope.spawn(move || {
                    let name = key(&format!("takes/same/{n}"));
                    for _ in 0..50 {
                        let from = folder.path().join(format!("draft-{n}"));
                        fs::write(&from, "x").unwrap();
                        shelf.put(&from, &name).unwrap();
                        assert!(shelf.remove(&name).unwrap());
                    }
                });
            }
        });
        assert!(!shelf.folder().join("takes/same").exists());
    }

    #[test]
    fn scratch_is_private_and_goes() {
        let (_folder, shelf) = shelf();
        let scratch = shelf.scratch().unwrap();
        assert_eq!(scratch.path().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        let left = scratch.path().to_owned();
        fs::write(left.join("half"), "x").unwrap();
        drop(scratch);
        assert!(!left.exists());
    }

    #[test]
    fn what_the_system_refuses_is_told_apart() {
        use rustix::io::Errno;
        let rows = [
            (Errno::NOSPC, "disk_full"),
            (Errno::DQUOT, "disk_full"),
            (Errno::ACCESS, "store_denied"),
            (Errno::ROFS, "store_denied"),
            (Errno::NOENT, "file_missing"),
            (Errno::IO, "store_broken"),
        ];
        for (errno, code) in rows {
            assert_eq!(refusal("a file", Path::new("/d/f"), &errno.into()).code, code);
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert_eq!(LocalShelf::open(&file).unwrap_err().code, "store_broken");
    }
}
