//! An upload on its way into the store: the record knows its key before the file is there, so that no file is nobody's.

use std::path::PathBuf;
use std::sync::Arc;

use contract::Complaint;
use store::Writing;

use super::Inner;
use crate::Source;
use crate::order::Role;
use crate::record::keep::UploadAge;
use crate::record::{broken, keep};

/// Longest file name that is kept, in bytes.
const NAME_LIMIT: usize = 100;

/// An upload that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub source: Source,
    /// `uploads/<ulid>/<safe file name>`.
    pub key: String,
    pub bytes: u64,
    /// hex
    pub sha256: String,
    /// Where it lies on this machine.
    pub path: PathBuf,
}

/// An upload that is being written. Dropped before `finish`, it leaves nothing.
pub struct Upload {
    inner: Arc<Inner>,
    key: String,
    writing: Writing,
}

impl Upload {
    pub(super) async fn begin(inner: Arc<Inner>, key: String, limit: u64) -> Result<Self, Complaint> {
        let writing = inner.store.write(&key, limit).await?;
        Ok(Self { inner, key, writing })
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Complaint> {
        self.writing.write(bytes).await
    }

    /// Complete, and a picture: what is kept is a new JPEG of it. What cannot be decoded as a picture is refused.
    pub async fn finish_picture(self) -> Result<Received, Complaint> {
        let inner = Arc::clone(&self.inner);
        let name = self.key.rsplit('/').next().unwrap_or_default().to_owned();
        let sent = self.hold().await?;
        let developed = develop(&inner, &sent, &name).await;
        // whatever came of it, the sender's own bytes are not kept
        sent.discard().await?;
        developed
    }

    /// Complete: from now on `Source::Stored`, until retention takes it.
    pub async fn finish(self) -> Result<Received, Complaint> {
        Ok(self.hold().await?.keep())
    }

    /// Complete, but it goes again unless somebody keeps it. Whoever hangs up meanwhile leaves nothing either.
    pub async fn hold(self) -> Result<Held, Complaint> {
        let name = self.key.clone();
        // on a task of its own, so that no half of it is left undone: what it answers to nobody is dropped, and goes
        let work = tokio::spawn(async move {
            let inner = Arc::clone(&self.inner);
            let received = self.complete().await?;
            Ok(Held { received, inner, kept: false })
        });
        work.await.unwrap_or_else(|_| {
            let message = format!("the upload `{name}` broke off");
            Err(Complaint::new("upload_broken", message, "send it again"))
        })
    }

    async fn complete(self) -> Result<Received, Complaint> {
        let Self { inner, key, writing } = self;
        let known = keep::add_upload(&inner.record.write, &key, inner.clock.now_ms()).await;
        known.map_err(|error| broken(&error))?;
        let stored = writing.finish().await?;
        // uploads are always files of this machine: nothing is copied
        let path = inner.store.local(&key, inner.store.folder()).await?;
        Ok(Received {
            source: Source::Stored(key.clone()),
            key,
            bytes: stored.bytes,
            sha256: stored.sha256,
            path,
        })
    }
}

/// A new one for a file of this name: nobody guesses it.
pub(super) fn key(file_name: &str) -> String {
    format!("uploads/{}/{}", ulid::Ulid::new().to_string().to_lowercase(), safe(file_name))
}

/// An upload that goes when this is dropped, unless it is kept.
pub struct Held {
    received: Received,
    inner: Arc<Inner>,
    kept: bool,
}

impl Held {
    pub fn keep(mut self) -> Received {
        self.kept = true;
        self.received.clone()
    }

    /// Removes it now.
    pub async fn discard(mut self) -> Result<(), Complaint> {
        let outcome = discard(&self.inner, &self.received.key).await;
        self.kept = true;
        outcome
    }
}

impl std::ops::Deref for Held {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.received
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (inner, key) = (Arc::clone(&self.inner), self.received.key.clone());
        // a drop cannot wait; outside a runtime (the server is gone) retention does it
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { put_back(&inner, &[key]).await });
        }
    }
}

/// The file first: a row without one goes with retention, a file without a row would stay.
pub(super) async fn discard(inner: &Inner, key: &str) -> Result<(), Complaint> {
    if inner.store.remove(key).await? || inner.store.read(key).await?.is_none() {
        keep::forget_upload(&inner.record.write, key, UploadAge::ANY)
            .await
            .map_err(|error| broken(&error))?;
    }
    Ok(())
}

/// Puts what an order carries in itself (`data:` URLs) into the store: a row holds words, not files. Returns the keys.
pub(super) async fn shelve(
    inner: &Arc<Inner>,
    sources: Vec<(Role, &mut Source)>,
) -> Result<Vec<String>, Complaint> {
    let mut shelved = Vec::new();
    for (role, source) in sources {
        let Source::Url(url) = source else { continue };
        if !store::is_data_uri(url) {
            continue;
        }
        match shelve_one(inner, url, carried(role)).await {
            Ok(key) => {
                *source = Source::Stored(key.clone());
                shelved.push(key);
            }
            Err(complaint) => {
                put_back(inner, &shelved).await;
                return Err(complaint);
            }
        }
    }
    Ok(shelved)
}

/// By what the user knows it in a complaint.
fn carried(role: Role) -> &'static str {
    match role {
        Role::Person => "data-url-of-the-person",
        Role::Voice => "data-url-of-the-voice",
    }
}

async fn shelve_one(inner: &Inner, url: &str, name: &str) -> Result<String, Complaint> {
    let scratch = inner.store.scratch()?;
    let file = inner.store.fetch(url, scratch.path()).await?;
    let key = key(name);
    let known = keep::add_upload(&inner.record.write, &key, inner.clock.now_ms()).await;
    known.map_err(|error| broken(&error))?;
    inner.store.put(&file, &key).await?;
    Ok(key)
}

/// No job needs them after all. What stays goes with retention.
pub(super) async fn put_back(inner: &Inner, keys: &[String]) {
    for key in keys {
        if let Err(complaint) = discard(inner, key).await {
            tracing::warn!(key, %complaint, "what a request carried could not be removed");
        }
    }
}

async fn develop(inner: &Arc<Inner>, sent: &Received, name: &str) -> Result<Received, Complaint> {
    let scratch = inner.store.scratch()?;
    let path = scratch.path().join("developed.jpg");
    inner.darkroom.develop(sent.path.clone(), path.clone()).await?;
    let bytes = tokio::fs::read(&path).await.map_err(|error| {
        let message = format!("the developed picture cannot be read: {error}");
        Complaint::new("upload_broken", message, "send it again")
    })?;
    let mut upload = Upload::begin(Arc::clone(inner), key(name), bytes.len() as u64).await?;
    upload.write(&bytes).await?;
    upload.finish().await
}

/// A name that is safe in every path and URL, with the extension of the original.
fn safe(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' })
        .collect();
    let kept = &plain[plain.len().saturating_sub(NAME_LIMIT)..];
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
