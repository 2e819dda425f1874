//! Which bytes a file of weights holds: its SHA-256, for the report of whatever is made with it. Where a pull wrote it down that is taken, else it is
//! computed once and remembered as long as the file's length and time of change stay.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use contract::{Complaint, Stop};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::fresh::Fresh;
use crate::places::Found;
use crate::pull::OWN_FOLDER;
use crate::sum::{Sum, unreadable};

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    bytes: u64,
    changed_s: i64,
    changed_ns: i64,
    sha256: String,
}

/// `root`: the models folder, where what was computed is remembered; `hashing` hears of it before a file is read whole.
pub fn identity(root: &Path, found: &Found, hashing: &mut dyn FnMut(&Path)) -> Result<String, Complaint> {
    let path = std::fs::canonicalize(&found.path).map_err(|error| unreadable(&found.path, &error))?;
    let metadata = std::fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
    let known =
        found.receipt.as_ref().filter(|receipt| receipt.is_of(&metadata)).and_then(|receipt| receipt.sum());
    if let Some(Sum::Sha256(sum)) = known {
        return Ok(sum);
    }
    let place = remembered_at(root, &path);
    let as_it_is = |sha256: String| Remembered {
        bytes: metadata.len(),
        changed_s: metadata.mtime(),
        changed_ns: metadata.mtime_nsec(),
        sha256,
    };
    let text = std::fs::read(&place).unwrap_or_default();
    if let Ok(before) = serde_json::from_slice::<Remembered>(&text)
        && before == as_it_is(before.sha256.clone())
    {
        return Ok(before.sha256);
    }
    hashing(&path);
    let sum = Sum::Sha256(String::new()).of(&path, &Stop::new(), &mut |_| {})?;
    // a folder that cannot be written to costs the time again, nothing else
    let _ = remember(&place, &as_it_is(sum.clone()));
    Ok(sum)
}

/// Of a file so large that to read it whole would take minutes: the SHA-256 of its length and of parts of it, which are spread evenly from its
/// first byte to its last.
pub fn sample(path: &Path) -> Result<String, Complaint> {
    use std::os::unix::fs::FileExt;
    let failed = |error: std::io::Error| unreadable(path, &error);
    let file = std::fs::File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut sum = Sha256::new();
    sum.update(length.to_le_bytes());
    let last = length.saturating_sub(PART);
    let mut part = vec![0; PART.min(length) as usize];
    for at in 0..PARTS {
        let from = (u128::from(last) * u128::from(at) / u128::from(PARTS - 1)) as u64;
        file.read_exact_at(&mut part, from).map_err(failed)?;
        sum.update(&part);
    }
    Ok(hex::encode(sum.finalize()))
}

/// Bytes of a part of a sample, and how many there are: a header of a safetensors file, which names every tensor, is in the first.
const PART: u64 = 1 << 20;
const PARTS: u64 = 64;

fn remembered_at(root: &Path, path: &Path) -> PathBuf {
    let name = hex::encode(Sha256::digest(path.as_os_str().as_encoded_bytes()));
    root.join(OWN_FOLDER).join("sums").join(format!("{name}.json"))
}

fn remember(place: &Path, what: &Remembered) -> Result<(), Complaint> {
    let fresh = Fresh::create(place)?;
    serde_json::to_writer(&fresh.file, what).map_err(|error| unreadable(place, &error.into()))?;
    fresh.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Kind;
    use crate::receipt::Receipt;

    #[test]
    fn a_sample_is_that_of_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bin");
        let mut bytes = vec![7; 3 << 20];
        let mut sums = std::collections::BTreeSet::new();
        for (at, byte) in [(0, 7), (0, 8), (1 << 20, 9), ((3 << 20) - 1, 1)] {
            bytes[at] = byte;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(sample(&path), sample(&path));
            sums.insert(sample(&path).unwrap());
        }
        std::fs::write(&path, &bytes[..100]).unwrap();
        sums.insert(sample(&path).unwrap());
        std::fs::write(&path, []).unwrap();
        sums.insert(sample(&path).unwrap());
        assert_eq!(sums.len(), 6);
        assert!(sample(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_file_is_read_once_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bin");
        std::fs::write(&path, "abc").unwrap();
        let found =
            |bytes| Found { path: path.clone(), kind: Kind::Folder, bytes, hub_sha256: None, receipt: None };
        let mut read = 0;
        let mut sum = |bytes| identity(folder.path(), &found(bytes), &mut |_| read += 1).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!([sum(3), sum(3)], [abc, abc]);
        std::fs::write(&path, "abcd").unwrap();
        assert_ne!(sum(4), abc);
        assert_eq!(read, 2);
    }

    #[test]
    fn a_receipt_is_good_until_the_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bin");
        std::fs::write(&path, "abc").unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        let pulled = Receipt {
            bytes: 3,
            changed: Some((metadata.mtime(), metadata.mtime_nsec())),
            sum: Some("0".repeat(64)),
            ..Receipt::default()
        };
        let sum = |receipt: &Receipt| {
            let found = Found {
                path: path.clone(),
                kind: Kind::Folder,
                bytes: 3,
                hub_sha256: None,
                receipt: Some(receipt.clone()),
            };
            identity(folder.path(), &found, &mut |_| {}).unwrap()
        };
        assert_eq!(sum(&pulled), "0".repeat(64));
        assert!(sum(&Receipt { changed: None, ..pulled.clone() }).starts_with("ba7816bf"));
        let own = folder.path().join("own.bin");
        std::fs::write(&own, "xyz").unwrap();
        // file systems tell times by ticks: in one of them two files may have been written
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::options().append(true).open(&own).unwrap().set_modified(later).unwrap();
        std::fs::rename(&own, &path).unwrap();
        assert!(sum(&pulled).starts_with("3608bca1"), "another of the same length");
    }
}
