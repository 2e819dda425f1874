//! Objects in S3 and what speaks like it, through OpenDAL: AWS's default chain of credentials, which the library reads from
//! the environment, files and metadata services itself. Everything streams; an object is there whole or not at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use contract::Complaint;
use futures_util::StreamExt;
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::services::S3;
use opendal::{HttpTransporter, OperationContext, Operator, Writer};
use tempfile::NamedTempFile;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::key::is_below;
use crate::local::refusal;
use crate::refused::{Doing, refused};
use crate::s3::S3Name;
use crate::transport::Transport;
use crate::writing::too_large;

/// Bytes of one part of an upload, of which one is under way at a time; S3 takes 10,000 parts, so files up to 80 GB.
const PART: usize = 8 << 20;
const PIECE: usize = 1 << 20;

/// Of one attempt at a request that carries little.
const CONTROL: Duration = Duration::from_secs(20);
/// Of one part.
const PART_TIME: Duration = Duration::from_secs(120);
/// After the first attempt.
const RETRIES: usize = 2;

/// Used where the operator names an endpoint but no region: servers that speak like S3 expect it.
const DEFAULT_REGION: &str = "us-east-1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `https://endpoint/bucket/key`
    Path,
    /// `https://bucket.endpoint/key`
    Host,
}

/// What a download may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    pub(crate) bytes: u64,
    pub(crate) total: Duration,
    pub(crate) idle: Duration,
}

pub(crate) struct Buckets {
    endpoint: Option<String>,
    region: Option<String>,
    style: Style,
    /// Made at the first use: reading the certificates takes longer than all else at the start.
    transport: OnceLock<HttpTransporter>,
    open: Mutex<BTreeMap<String, Operator>>,
}

impl Buckets {
    pub(crate) fn new(endpoint: Option<String>, region: Option<String>, style: Style) -> Self {
        Self { endpoint, region, style, transport: OnceLock::new(), open: Mutex::default() }
    }

    pub(crate) async fn upload(&self, from: &Path, name: &S3Name) -> Result<(), Complaint> {
        let failed = |error: io::Error| refusal("a file for S3", from, &error);
        let file = File::open(from).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let operator = self.operator(&name.bucket)?;
        let (giving_up, given_up) = watch::channel(());
        let sending = Sending { operator, file: Arc::new(file), bytes, name: name.clone(), given_up };
        // in a task of its own: a part that comes after S3 has forgotten the upload would stay for ever
        let sent = tokio::spawn(sending.run()).await.map_err(|_| internal())?;
        drop(giving_up);
        sent.map_err(|error| match error {
            SendError::File(error) => failed(error),
            SendError::Bucket(error) => refused(Doing::Write, name, &error),
        })
    }

    /// A file in `folder` with the bytes of the object.
    pub(crate) async fn download(
        &self,
        name: &S3Name,
        folder: &Path,
        allowance: Allowance,
    ) -> Result<NamedTempFile, Complaint> {
        let doing = |error: opendal::Error| refused(Doing::Read, name, &error);
        let failed = |error: io::Error| refusal("a file from S3", folder, &error);
        let deadline = Instant::now() + allowance.total;
        let slow = |what: &str, limit: Duration| {
            let message =
                format!("reading {name} took too long: the limit is {} s {what}", limit.as_secs_f64());
            Complaint::new("s3_timeout", message, "try again, or use a smaller file")
        };
        let late = |_| slow("in all", allowance.total);
        let operator = self.operator(&name.bucket)?;
        let told = timeout_at(deadline, operator.stat(&name.key)).await.map_err(late)?.map_err(doing)?;
        let bytes = told.content_length();
        if bytes > allowance.bytes {
            return Err(too_large(&name.to_string(), bytes, allowance.bytes));
        }
        let mut file = tempfile::Builder::new().prefix("input-").tempfile_in(folder).map_err(failed)?;
        if bytes == 0 {
            return Ok(file);
        }
        let opening = async { operator.reader(&name.key).await?.into_stream(0..bytes).await };
        let mut stream = timeout_at(deadline, opening).await.map_err(late)?.map_err(doing)?;
        let mut at = 0;
        loop {
            let idle = Instant::now() + allowance.idle;
            let piece = match timeout_at(idle.min(deadline), stream.next()).await {
                Ok(Some(piece)) => piece.map_err(doing)?,
                Ok(None) if at == bytes => return Ok(file),
                Ok(None) => {
                    let message = format!("{name} broke off after {at} of {bytes} bytes");
                    return Err(Complaint::new("s3_broken", message, "try again"));
                }
                Err(_) if deadline <= idle => return Err(slow("in all", allowance.total)),
                Err(_) => return Err(slow("without a byte", allowance.idle)),
            };
            at += piece.len() as u64;
            let task = tokio::task::spawn_blocking(move || {
                let written = piece.into_iter().try_for_each(|part| file.write_all(&part));
                (file, written)
            });
            let written;
            (file, written) = task.await.map_err(|_| internal())?;
            written.map_err(failed)?;
        }
    }

    /// Size and time of an object, and a way to read it; `None` if there is none.
    pub(crate) async fn read(&self, name: &S3Name) -> Result<Option<(opendal::Reader, u64, i64)>, Complaint> {
        let operator = self.operator(&name.bucket)?;
        let told = match operator.stat(&name.key).await {
            Ok(told) => told,
            Err(error) if error.kind() == opendal::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(refused(Doing::Read, name, &error)),
        };
        let reader = operator.reader(&name.key).await.map_err(|error| refused(Doing::Read, name, &error))?;
        let modified_ms = told.last_modified().map_or(0, |at| at.into_inner().as_millisecond());
        Ok(Some((reader, told.content_length(), modified_ms)))
    }

    /// The object, or the objects below it as a folder.
    pub(crate) async fn under(&self, name: &S3Name) -> Result<Vec<S3Name>, Complaint> {
        let listing = self.operator(&name.bucket)?.list_with(&name.key).recursive(true).await;
        let listed = listing.map_err(|error| refused(Doing::Read, name, &error))?;
        // other names may begin alike
        let files = listed
            .into_iter()
            .filter(|entry| entry.metadata().is_file() && is_below(entry.path(), &name.key));
        Ok(files.map(|entry| S3Name { bucket: name.bucket.clone(), key: entry.path().to_owned() }).collect())
    }

    /// The object, or everything below it as a folder; false if there was neither.
    pub(crate) async fn remove(&self, name: &S3Name) -> Result<bool, Complaint> {
        let keys: Vec<String> = self.under(name).await?.into_iter().map(|object| object.key).collect();
        let found = !keys.is_empty();
        let gone = self.operator(&name.bucket)?.delete_iter(keys).await;
        gone.map_err(|error| refused(Doing::Write, name, &error))?;
        Ok(found)
    }

    fn operator(&self, bucket: &str) -> Result<Operator, Complaint> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(operator) = open.get(bucket) {
            return Ok(operator.clone());
        }
        let operator = match (self.build(bucket, self.region.as_deref()), &self.region, &self.endpoint) {
            // the library has looked for a region in the environment and found none
            (Err(_), None, Some(_)) => self.build(bucket, Some(DEFAULT_REGION)),
            (built, _, _) => built,
        };
        let operator = operator.map_err(|error| {
            let message = format!("the bucket {bucket} cannot be used: {}", error.message());
            Complaint::new("s3_misconfigured", message, "set the region: AWS_REGION, or region in [store]")
        })?;
        let context = OperationContext::new().with_http_transport(self.transport()?);
        let timeout = TimeoutLayer::new().with_timeout(CONTROL).with_io_timeout(PART_TIME);
        let retry = RetryLayer::new()
            .with_max_times(RETRIES)
            .with_min_delay(Duration::from_millis(200))
            .with_jitter();
        let operator = operator.with_context(context).layer(timeout).layer(retry);
        open.insert(bucket.to_owned(), operator.clone());
        Ok(operator)
    }

    fn build(&self, bucket: &str, region: Option<&str>) -> opendal::Result<Operator> {
        let mut builder = S3::default().bucket(bucket);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.endpoint(endpoint);
        }
        if let Some(region) = region {
            builder = builder.region(region);
        }
        // a name with dots does not fit a certificate, and an address has no names below it
        if self.style == Style::Host
            && !bucket.contains('.')
            && !self.endpoint.as_deref().is_some_and(is_address)
        {
            builder = builder.enable_virtual_host_style();
        }
        Operator::new(builder)
    }

    fn transport(&self) -> Result<HttpTransporter, Complaint> {
        if let Some(transport) = self.transport.get() {
            return Ok(transport.clone());
        }
        let transport = Transport::new().map_err(|error| {
            let message = format!("S3 cannot be reached from this machine: {error}");
            Complaint::new(
                "s3_misconfigured",
                message,
                "install the CA certificates: apt-get install ca-certificates",
            )
        })?;
        Ok(self.transport.get_or_init(|| HttpTransporter::new(transport)).clone())
    }
}

/// An upload under way, part by part. Given up, it lets the part under way arrive and then takes all of them back.
struct Sending {
    operator: Operator,
    file: Arc<File>,
    bytes: u64,
    name: S3Name,
    /// Its sender is gone when nobody waits for the outcome any more.
    given_up: watch::Receiver<()>,
}

enum SendError {
    File(io::Error),
    Bucket(opendal::Error),
}

impl Sending {
    async fn run(self) -> Result<(), SendError> {
        let writer = self.operator.writer_with(&self.name.key).chunk(PART);
        let writer = writer.content_type(content_type(&self.name.key)).await;
        let mut writer = writer.map_err(SendError::Bucket)?;
        let outcome = self.send(&mut writer).await;
        if !matches!(outcome, Ok(true))
            && let Err(error) = writer.abort().await
        {
            // the kind alone: its words may repeat a request, credentials and all
            tracing::warn!(kind = %error.kind(), name = %self.name, "an upload to S3 that broke off could not be taken back");
        }
        if matches!(outcome, Ok(true)) && self.is_given_up() {
            // it was complete by the time it was known that nobody wants it
            self.operator.delete(&self.name.key).await.map_err(SendError::Bucket)?;
        }
        outcome.map(drop)
    }

    /// False if it was given up on the way.
    async fn send(&self, writer: &mut Writer) -> Result<bool, SendError> {
        let mut at = 0;
        while at < self.bytes {
            if self.is_given_up() {
                return Ok(false);
            }
            let len = (self.bytes - at).min(PIECE as u64) as usize;
            let file = Arc::clone(&self.file);
            let task = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; len];
                file.read_exact_at(&mut piece, at).map(|()| Bytes::from(piece))
            });
            let piece = task.await.map_err(io::Error::other).flatten().map_err(SendError::File)?;
            at += piece.len() as u64;
            writer.write(piece).await.map_err(SendError::Bucket)?;
        }
        writer.close().await.map_err(SendError::Bucket)?;
        Ok(true)
    }

    fn is_given_up(&self) -> bool {
        self.given_up.has_changed().is_err()
    }
}

fn is_address(endpoint: &str) -> bool {
    let url = url::Url::parse(endpoint).ok();
    match url.as_ref().and_then(url::Url::host) {
        Some(url::Host::Domain(name)) => name == "localhost",
        host => host.is_some(),
    }
}

fn content_type(key: &str) -> &'static str {
    let end = key.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
    match end.as_deref() {
        Some("mp4") => "video/mp4",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("wav") => "audio/wav",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

fn internal() -> Complaint {
    Complaint::new("internal", "a task of the store broke off", "this is a bug in talkie")
}

/// Where the objects of a folder go, so that the folder is found again.
pub(crate) fn relative(folder: &S3Name, object: &S3Name) -> Option<PathBuf> {
    let rest = object.key.strip_prefix(&folder.key)?.strip_prefix('/')?;
    // whoever else writes to the bucket may have chosen the name
    let plain = rest.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.contains('\0'));
    plain.then(|| PathBuf::from(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_stays_below_its_folder() {
        let name = |key: &str| S3Name { bucket: "bucket".into(), key: key.into() };
        let folder = name("a/b");
        assert_eq!(relative(&folder, &name("a/b/c/d")), Some("c/d".into()));
        for key in ["a/b", "a/b/", "a/bc", "a/b/../c", "a/b//etc/passwd", "x/y"] {
            assert_eq!(relative(&folder, &name(key)), None, "{key}");
        }
    }

    #[test]
    fn endpoints_that_are_addresses_have_no_names_below_them() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:9000", true),
            ("http://[::1]:9000/", true),
            ("http://localhost:9000", true),
            ("https://s3.example.com", false),
        ] {
            assert_eq!(is_address(endpoint), expected, "{endpoint}");
        }
    }
}
