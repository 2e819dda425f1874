//! Checksums of files, read block by block: SHA-256, and git's name of a blob, which is all that the hub tells of small files.

use std::io::Read;
use std::path::Path;

use contract::{Complaint, Stop};
use sha1::Sha1;
use sha2::{Digest, Sha256};

const BLOCK: usize = 1 << 20;

/// What a file should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sum {
    /// Lower-case hex; the beginning of it where that is all that is known.
    Sha256(String),
    /// SHA-1 of `blob <bytes>\0` and the content.
    GitBlob(String),
}

pub fn is_sha256(text: &str) -> bool {
    is_hex(text, 64)
}

pub fn is_git_blob(text: &str) -> bool {
    is_hex(text, 40)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl Sum {
    pub fn text(&self) -> &str {
        match self {
            Sum::Sha256(text) | Sum::GitBlob(text) => text,
        }
    }

    /// The file's own sum of the same kind; `read` hears of the bytes.
    pub fn of(&self, path: &Path, stop: &Stop, read: &mut dyn FnMut(u64)) -> Result<String, Complaint> {
        match self {
            Sum::Sha256(_) => hash(Sha256::new(), path, stop, read),
            Sum::GitBlob(_) => {
                let bytes = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?.len();
                hash(Sha1::new_with_prefix(format!("blob {bytes}\0")), path, stop, read)
            }
        }
    }

    pub fn agrees(&self, is: &str) -> bool {
        is.starts_with(self.text())
    }
}

fn hash<D: Digest>(
    mut hasher: D,
    path: &Path,
    stop: &Stop,
    read: &mut dyn FnMut(u64),
) -> Result<String, Complaint> {
    let mut file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut block = vec![0; BLOCK];
    loop {
        if stop.is_stopped() {
            return Err(Complaint::new("canceled", "canceled", ""));
        }
        match file.read(&mut block).map_err(|error| unreadable(path, &error))? {
            0 => break,
            n => {
                hasher.update(&block[..n]);
                read(n as u64);
            }
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

pub fn unreadable(path: &Path, error: &std::io::Error) -> Complaint {
    Complaint::new(
        "file_unreadable",
        format!("{} cannot be read: {error}", path.display()),
        "check who may read it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_sha256sum_and_git() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "hello\n").unwrap();
        let rows = [
            Sum::Sha256("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03".to_owned()),
            Sum::GitBlob("ce013625030ba8dba906f756967f9e9ca394464a".to_owned()),
        ];
        for sum in rows {
            let mut bytes = 0;
            let is = sum.of(&path, &Stop::new(), &mut |n| bytes += n).unwrap();
            assert_eq!((is.as_str(), bytes), (sum.text(), 6));
        }
        assert!(Sum::Sha256("5891b5b5".to_owned()).agrees("5891b5b522"));
        let stopped = Stop::new();
        stopped.stop();
        let sum = Sum::Sha256(String::new());
        assert_eq!(sum.of(&path, &stopped, &mut |_| {}).unwrap_err().code, "canceled");
    }
}
