//! A stored file that is open, and the book of who reads what: what is being read is not removed, and what is being
//! removed is not opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use crate::key::is_below;

/// Bytes of one piece of a range: large enough that the hop to a blocking thread does not show, small enough that a
/// hundred slow readers cost little memory.
const PIECE: u64 = 256 << 10;

/// A stored file that is open: retention leaves it until this and every stream made from it are dropped.
pub struct Reading {
    pub bytes: u64,
    /// Milliseconds since the epoch.
    pub modified_ms: i64,
    open: Arc<Open>,
}

struct Open {
    from: From,
    _reader: Reader,
}

pub(crate) enum From {
    Local(File),
    Remote(opendal::Reader),
}

impl Reading {
    pub(crate) fn new(from: From, reader: Reader, bytes: u64, modified_ms: i64) -> Self {
        Self { bytes, modified_ms, open: Arc::new(Open { from, _reader: reader }) }
    }

    /// `len` bytes from `start`, in pieces; what lies beyond the end is left out.
    pub async fn range(&self, start: u64, len: u64) -> BoxStream<'static, io::Result<Bytes>> {
        let end = start.saturating_add(len).min(self.bytes);
        let start = start.min(end);
        let open = Arc::clone(&self.open);
        match &self.open.from {
            From::Local(_) => local(open, start, end),
            From::Remote(reader) => remote(reader.clone(), open, start, end).await,
        }
    }
}

fn local(open: Arc<Open>, start: u64, end: u64) -> BoxStream<'static, io::Result<Bytes>> {
    stream::try_unfold((open, start), move |(open, at)| async move {
        if at >= end {
            return Ok(None);
        }
        let len = PIECE.min(end - at) as usize;
        let task = tokio::task::spawn_blocking(move || {
            let From::Local(file) = &open.from else {
                return Err(io::Error::other("not a local file"));
            };
            let mut piece = vec![0; len];
            file.read_exact_at(&mut piece, at)?;
            Ok((Bytes::from(piece), open))
        });
        let (piece, open) = task.await.map_err(io::Error::other)??;
        let next = at + piece.len() as u64;
        Ok(Some((piece, (open, next))))
    })
    .boxed()
}

async fn remote(
    reader: opendal::Reader,
    open: Arc<Open>,
    start: u64,
    end: u64,
) -> BoxStream<'static, io::Result<Bytes>> {
    if start >= end {
        return stream::empty().boxed();
    }
    match reader.into_bytes_stream(start..end).await {
        Ok(stream) => stream
            .map(move |piece| {
                let _held = &open;
                piece
            })
            .boxed(),
        Err(error) => stream::once(async move { Err(io::Error::other(error)) }).boxed(),
    }
}

/// Who reads what, and what is just being removed. Clones are one book.
#[derive(Clone, Default)]
pub(crate) struct Readers(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    reading: BTreeMap<String, usize>,
    leaving: BTreeSet<String>,
}

impl Readers {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: it is being removed.
    pub(crate) fn enter(&self, key: &str) -> Option<Reader> {
        let mut book = self.book();
        if book.leaving.iter().any(|leaving| is_below(key, leaving)) {
            return None;
        }
        *book.reading.entry(key.to_owned()).or_default() += 1;
        Some(Reader { readers: self.clone(), key: key.to_owned() })
    }

    /// `None`: it, or something below it, is being read, or somebody else removes it.
    pub(crate) fn leave(&self, key: &str) -> Option<Leaving> {
        let mut book = self.book();
        if book.reading.keys().any(|reading| is_below(reading, key)) || !book.leaving.insert(key.to_owned()) {
            return None;
        }
        Some(Leaving { readers: self.clone(), key: key.to_owned() })
    }
}

pub(crate) struct Reader {
    readers: Readers,
    key: String,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut book = self.readers.book();
        if let Some(count) = book.reading.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                book.reading.remove(&self.key);
            }
        }
    }
}

pub(crate) struct Leaving {
    readers: Readers,
    key: String,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.readers.book().leaving.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_does_not_leave_and_what_leaves_is_not_read() {
        let readers = Readers::default();
        let first = readers.enter("takes/1/a.mp4").unwrap();
        let second = readers.enter("takes/1/a.mp4").unwrap();
        for key in ["takes/1/a.mp4", "takes/1"] {
            assert!(readers.leave(key).is_none(), "{key}");
        }
        assert!(readers.leave("takes/1/a.mp").is_some(), "a name that only begins alike is another");
        drop(first);
        assert!(readers.leave("takes/1").is_none());
        drop(second);
        let leaving = readers.leave("takes/1").unwrap();
        assert!(readers.leave("takes/1").is_none(), "one remover at a time");
        assert!(readers.enter("takes/1/a.mp4").is_none());
        assert!(readers.enter("takes/10/a.mp4").is_some());
        drop(leaving);
        assert!(readers.enter("takes/1/a.mp4").is_some());
        assert!(readers.book().reading.is_empty() && readers.book().leaving.is_empty());
    }
}
