//! An upload on its way into the store: counted and hashed as it comes, in the store under its key only when it is complete.

use std::path::PathBuf;
use std::sync::Arc;

use contract::Complaint;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::intake::hex;
use super::{Inner, Received};
use crate::Source;
use crate::record::{broken, keep};

/// Longest file name that is kept, in bytes.
const NAME_LIMIT: usize = 100;

/// An upload that is being written. Dropped before `finish`, it leaves nothing.
pub struct Upload {
    inner: Arc<Inner>,
    scratch: tempfile::TempDir,
    path: PathBuf,
    file: File,
    name: String,
    limit: u64,
    bytes: u64,
    sha256: Sha256,
}

impl Upload {
    pub(super) async fn begin(inner: Arc<Inner>, file_name: &str, limit: u64) -> Result<Self, Complaint> {
        let scratch = inner.store.scratch()?;
        let path = scratch.path().join("upload");
        let file = File::create(&path).await.map_err(|error| unwritten(&error))?;
        let name = safe(file_name);
        Ok(Self { inner, scratch, path, file, name, limit, bytes: 0, sha256: Sha256::new() })
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Complaint> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.limit {
            let message = format!("the upload has more than {} bytes, the limit", self.limit);
            return Err(Complaint::new(
                "upload_too_large",
                message,
                "send a smaller file, or raise the limit",
            ));
        }
        self.sha256.update(bytes);
        self.file.write_all(bytes).await.map_err(|error| unwritten(&error))
    }

    /// Complete: from now on `Source::Stored`, until retention takes it.
    pub async fn finish(mut self) -> Result<Received, Complaint> {
        self.file.flush().await.map_err(|error| unwritten(&error))?;
        let inner = &self.inner;
        let key = format!("uploads/{}/{}", ulid::Ulid::new().to_string().to_lowercase(), self.name);
        let record = &inner.record.write;
        // known before it is there: a file in the store that the record does not know would stay for ever
        keep::add_upload(record, &key, inner.clock.now_ms()).await.map_err(|error| broken(&error))?;
        inner.store.put(&self.path, &key).await?;
        let path = inner.store.local(&key, self.scratch.path()).await?;
        Ok(Received {
            source: Source::Stored(key.clone()),
            key,
            bytes: self.bytes,
            sha256: hex(&self.sha256.finalize()),
            path,
        })
    }
}

fn unwritten(error: &std::io::Error) -> Complaint {
    if error.kind() == std::io::ErrorKind::StorageFull {
        let message = "the disk of the data folder is full";
        return Complaint::new("disk_full", message, "free some space, or send the request later");
    }
    let message = format!("the upload cannot be written: {error}");
    Complaint::new("upload_unwritable", message, "check the data folder and its rights")
}

/// A name that is safe in every path and URL, with the extension of the original.
fn safe(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' })
        .collect();
    let kept = plain.trim_start_matches('.');
    let kept = &kept[kept.len().saturating_sub(NAME_LIMIT)..];
    let kept = kept.trim_start_matches('.');
    if kept.is_empty() { "upload".to_owned() } else { kept.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_safe() {
        let long = format!("{}.wav", "x".repeat(300));
        let rows = [
            ("a.wav", "a.wav"),
            ("../../etc/passwd", "passwd"),
            ("C:\\voices\\my voice.mp3", "my_voice.mp3"),
            ("..", "upload"),
            ("", "upload"),
            (".hidden", "hidden"),
            ("héllo\n.png", "h_llo_.png"),
        ];
        for (name, expected) in rows {
            assert_eq!(safe(name), expected, "{name}");
        }
        assert!(safe(&long).len() == NAME_LIMIT && safe(&long).ends_with("x.wav"));
    }
}
