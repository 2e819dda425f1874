//! A user's own file, named by path: there, readable, a file, not empty. What it holds is `media`'s business.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use contract::Complaint;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    path: PathBuf,
    bytes: u64,
}

impl Asset {
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Complaint> {
        let path = path.as_ref();
        let shown = path.display();
        // looked at before it is opened: opening a pipe waits for its writer, and some devices act on being opened
        let meta = path.metadata().map_err(|error| unreadable(path, &error))?;
        let kind = meta.file_type();
        if kind.is_dir() {
            let message = format!("{shown} is a folder, a file is needed");
            return Err(Complaint::new("not_a_file", message, "name one file in it"));
        }
        if !kind.is_file() {
            let what = if kind.is_fifo() {
                "a pipe"
            } else if kind.is_socket() {
                "a socket"
            } else {
                "a device"
            };
            let message = format!("{shown} is {what}, a file is needed");
            return Err(Complaint::new("not_a_file", message, "save its content to a file first"));
        }
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        OpenOptions::new()
            .read(true)
            .custom_flags(nonblocking)
            .open(path)
            .map_err(|e| unreadable(path, &e))?;
        if meta.len() == 0 {
            let message = format!("{shown} is empty: it has 0 bytes");
            return Err(Complaint::new("file_empty", message, "check how it was made or copied"));
        }
        Ok(Self { path: path.to_owned(), bytes: meta.len() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Complaint {
    let shown = path.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Complaint::new("file_missing", format!("there is no file {shown}"), "check its name and folder")
        }
        ErrorKind::PermissionDenied => Complaint::new(
            "file_unreadable",
            format!("{shown} may not be read by this user"),
            "give the right to read it: chmod +r, also +x on its folders",
        ),
        _ => Complaint::new(
            "file_unreadable",
            format!("{shown} cannot be read: {error}"),
            "check the disk it is on",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(path: impl AsRef<Path>) -> &'static str {
        let complaint = Asset::open(path).unwrap_err();
        assert!(!complaint.hint.is_empty() && !complaint.to_string().contains('\n'), "{complaint}");
        complaint.code
    }

    #[test]
    fn what_is_no_usable_file_is_refused_by_kind() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("good"), b"bytes").unwrap();
        std::fs::write(at("empty"), b"").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        let rows = [
            ("missing", "file_missing"),
            ("dangling", "file_missing"),
            ("good/below", "file_missing"),
            ("", "not_a_file"),
            ("pipe", "not_a_file"),
            ("empty", "file_empty"),
        ];
        for (name, expected) in rows {
            assert_eq!(code(at(name)), expected, "{name}");
        }
        assert_eq!(code("/dev/null"), "not_a_file");
        assert_eq!(Asset::open(at("good")).unwrap().bytes(), 5);
    }

    #[test]
    fn a_refusal_of_the_system_is_told_as_such() {
        // root may read everything, so the mapping is tested, not the file system
        let told = |errno| unreadable(Path::new("a.wav"), &io::Error::from_raw_os_error(errno)).to_string();
        assert!(told(rustix::io::Errno::ACCESS.raw_os_error()).contains("may not be read"));
        assert!(told(rustix::io::Errno::IO.raw_os_error()).contains("cannot be read"));
    }
}
