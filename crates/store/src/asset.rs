//! An input file, checked before anything is started for it: it is there, it is a plain file, it can be read, it is not empty.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use contract::Complaint;

/// A readable, non-empty, plain file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    path: PathBuf,
    bytes: u64,
}

impl Asset {
    pub fn open(path: &Path) -> Result<Self, Complaint> {
        let name = path.display();
        let refuse = |code, why: &str, hint: &str| Err(Complaint::new(code, format!("{name} {why}"), hint));
        // a pipe would block an ordinary open until someone writes into it
        let opened =
            OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(path);
        let about = match opened.and_then(|file: File| file.metadata()) {
            Ok(about) => about,
            Err(error) => return Err(unreadable(path, &error)),
        };
        if about.is_dir() {
            return refuse("is_folder", "is a folder, not a file", "name the file in it");
        }
        if !about.is_file() {
            return refuse(
                "not_a_file",
                "is a device or a pipe, not a file",
                "copy what it holds into a file",
            );
        }
        if about.len() == 0 {
            return refuse("file_empty", "is empty (0 bytes)", "give a file with something in it");
        }
        Ok(Self { path: path.to_owned(), bytes: about.len() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Complaint {
    let name = path.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Complaint::new("file_missing", format!("{name} does not exist"), "check the name")
        }
        io::ErrorKind::PermissionDenied => Complaint::new(
            "file_unreadable",
            format!("{name} may not be read: {error}"),
            "give this user the right to read it (chmod +r)",
        ),
        _ => Complaint::new("file_unreadable", format!("{name} cannot be read: {error}"), "check the file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &Path, code: &str, word: &str) {
        let complaint = Asset::open(path).unwrap_err();
        assert_eq!(complaint.code, code);
        assert!(complaint.message.contains(word) && !complaint.hint.is_empty(), "{complaint}");
    }

    #[test]
    fn what_is_no_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("empty.wav"), "").unwrap();
        std::fs::write(at("full.wav"), "sound").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        check(&at("nothing.png"), "file_missing", "nothing.png");
        check(&at("full.wav/x"), "file_missing", "full.wav/x");
        check(folder.path(), "is_folder", "folder");
        check(&at("pipe"), "not_a_file", "pipe");
        check(Path::new("/dev/zero"), "not_a_file", "/dev/zero");
        check(&at("empty.wav"), "file_empty", "0 bytes");
        assert_eq!(Asset::open(&at("full.wav")).unwrap().bytes(), 5);
    }

    #[test]
    fn a_forbidden_file_is_told_as_such() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let complaint = unreadable(Path::new("secret.png"), &denied);
        assert_eq!(complaint.code, "file_unreadable");
        assert!(complaint.message.contains("secret.png") && complaint.hint.contains("chmod"), "{complaint}");
    }
}
