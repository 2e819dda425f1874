//! An unfinished download: `<name>.part` with the bytes, `<name>.part.json` with which of them are there and what they are of.
//! The state never claims a byte that is not on the disk; another file's part is thrown away.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use contract::Complaint;
use serde::{Deserialize, Serialize};

use crate::fresh::{into_place, unwritable, with_ending};
use crate::ranges::Ranges;

pub const ENDING: &str = ".part";
pub const STATE_ENDING: &str = ".part.json";

/// What a part is of: a part of anything else is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What the publisher tells the file's content by.
    pub etag: Option<String>,
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct State {
    identity: Identity,
    /// The ETag of the host that sends the bytes, for `If-Range`.
    entity: Option<String>,
    done: Ranges,
}

pub struct Part {
    file: File,
    path: PathBuf,
    name: PathBuf,
    state: Mutex<State>,
}

/// What of a part was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    Nothing,
    Bytes(u64),
    /// A part of a file that has changed since.
    Another,
}

/// Bytes of a part that can be used for a file of this identity.
pub fn usable_bytes(name: &Path, identity: &Identity) -> u64 {
    let length = std::fs::metadata(with_ending(name, ENDING)).map_or(0, |part| part.len());
    match read_state(name) {
        Some(state) if state.is_usable(identity, length) => state.done.bytes(),
        _ => 0,
    }
}

impl State {
    /// For a file of this identity, when so many bytes of its part are there.
    fn is_usable(&self, identity: &Identity, length: u64) -> bool {
        // without an ETag nobody can tell whether it is the same file
        self.identity == *identity && identity.etag.is_some() && self.done.is_sound(length)
    }
}

impl Part {
    pub fn open(name: &Path, identity: &Identity) -> Result<(Self, Before), Complaint> {
        let wrong = |error: std::io::Error| unwritable(name, &error);
        if let Some(folder) = name.parent() {
            std::fs::create_dir_all(folder).map_err(wrong)?;
        }
        let path = with_ending(name, ENDING);
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(wrong)?;
        let length = file.metadata().map_err(wrong)?.len();
        let fresh = || State { identity: identity.clone(), entity: None, done: Ranges::default() };
        let (state, before) = match read_state(name) {
            Some(state) if state.is_usable(identity, length) => {
                let before = state.done.bytes();
                (state, if before > 0 { Before::Bytes(before) } else { Before::Nothing })
            }
            Some(_) => (fresh(), Before::Another),
            None => (fresh(), Before::Nothing),
        };
        let part = Self { file, path, name: name.to_owned(), state: Mutex::new(state) };
        if !matches!(before, Before::Bytes(_)) {
            part.forget()?;
        }
        Ok((part, before))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // the state is a list of what was written: a panic elsewhere cannot make it claim more
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn entity(&self) -> Option<String> {
        self.state().entity.clone()
    }

    pub fn set_entity(&self, entity: Option<String>) {
        self.state().entity = entity;
    }

    pub fn bytes(&self) -> u64 {
        self.state().done.bytes()
    }

    pub fn missing(&self, piece: u64) -> impl Iterator<Item = Range<u64>> + use<> {
        let state = self.state();
        state.done.missing(state.identity.bytes, piece)
    }

    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Complaint> {
        self.file.write_all_at(bytes, at).map_err(|error| unwritable(&self.name, &error))?;
        self.state().done.add(at..at + bytes.len() as u64);
        Ok(())
    }

    /// Writes down what is there. The bytes are made durable first, so that the state is never ahead of them.
    pub fn save(&self) -> Result<(), Complaint> {
        let wrong = |error: std::io::Error| unwritable(&self.name, &error);
        let text = serde_json::to_vec(&*self.state()).map_err(|error| wrong(error.into()))?;
        self.file.sync_data().map_err(wrong)?;
        let path = with_ending(&self.name, STATE_ENDING);
        let draft = with_ending(&path, "~");
        let mut file = File::create(&draft).map_err(wrong)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(wrong)?;
        into_place(&draft, &path).map_err(wrong)
    }

    /// Begins anew.
    pub fn forget(&self) -> Result<(), Complaint> {
        let mut state = self.state();
        (state.done, state.entity) = (Ranges::default(), None);
        remove(&with_ending(&self.name, STATE_ENDING))
            .and_then(|()| self.file.set_len(0))
            .map_err(|error| unwritable(&self.name, &error))
    }

    /// Where the bytes lie now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the whole file its name.
    pub fn finish(self) -> Result<(), Complaint> {
        let wrong = |error: std::io::Error| unwritable(&self.name, &error);
        self.file.sync_all().map_err(wrong)?;
        into_place(&self.path, &self.name).map_err(wrong)?;
        remove(&with_ending(&self.name, STATE_ENDING)).map_err(wrong)
    }

    /// Removes it: its bytes are wrong.
    pub fn discard(self) -> Result<(), Complaint> {
        let wrong = |error: std::io::Error| unwritable(&self.name, &error);
        remove(&with_ending(&self.name, STATE_ENDING)).and_then(|()| remove(&self.path)).map_err(wrong)
    }
}

fn read_state(name: &Path) -> Option<State> {
    serde_json::from_slice(&std::fs::read(with_ending(name, STATE_ENDING)).ok()?).ok()
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_goes_on_only_for_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("deep/x.bin");
        let identity = |etag: &str, bytes| Identity { etag: Some(etag.to_owned()), bytes };
        let (part, before) = Part::open(&name, &identity("a", 6)).unwrap();
        assert_eq!(before, Before::Nothing);
        part.write(3, b"def").unwrap();
        part.set_entity(Some("\"e\"".to_owned()));
        part.save().unwrap();
        drop(part);
        assert_eq!(usable_bytes(&name, &identity("a", 6)), 3);

        let (part, before) = Part::open(&name, &identity("a", 6)).unwrap();
        assert_eq!((before, part.missing(2).collect::<Vec<_>>()), (Before::Bytes(3), vec![0..2, 2..3]));
        assert_eq!(part.entity().as_deref(), Some("\"e\""));
        part.write(0, b"abc").unwrap();
        part.finish().unwrap();
        assert_eq!(std::fs::read(&name).unwrap(), b"abcdef");
        assert_eq!(std::fs::read_dir(name.parent().unwrap()).unwrap().count(), 1);

        for other in [identity("b", 6), identity("a", 7), Identity { etag: None, bytes: 6 }] {
            let (part, _) = Part::open(&name, &identity("a", 6)).unwrap();
            part.write(0, b"abc").unwrap();
            part.save().unwrap();
            drop(part);
            assert_eq!(usable_bytes(&name, &other), 0);
            let (part, before) = Part::open(&name, &other).unwrap();
            assert_eq!((before, part.bytes()), (Before::Another, 0));
        }
    }

    #[test]
    fn a_state_that_claims_more_than_the_file_has_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("x.bin");
        let identity = Identity { etag: Some("a".to_owned()), bytes: 6 };
        let (part, _) = Part::open(&name, &identity).unwrap();
        part.write(0, b"abcd").unwrap();
        part.save().unwrap();
        std::fs::write(part.path(), "ab").unwrap();
        drop(part);
        assert_eq!(Part::open(&name, &identity).unwrap().1, Before::Another);
    }
}
