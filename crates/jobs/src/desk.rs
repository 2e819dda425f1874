//! The desk: takes jobs, hands them to the crew in order, knows their states, cancels them. The record is the only truth:
//! every answer is read from it, every change is one guarded write to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::{Complaint, EngineCard};

use crate::Clock;
use crate::crew::{Crew, CrewEvent, LiveForm};
use crate::{AvatarName, AvatarView, JobId, JobView, Listing, LogLine, Order, Source, TakeSpec};

/// What the desk is opened with.
pub struct DeskConfig {
    /// `sqlite://PATH?mode=rwc` or `postgres://…`.
    pub database_url: String,
    pub store: store::Store,
    pub engines: Vec<EngineCard>,
    /// Jobs that may wait; more are refused.
    pub queue_limit: u64,
    /// A job that tells no progress for this long is killed with its worker.
    pub stall: Duration,
    /// How long a canceled job may take to leave before its worker is killed.
    pub cancel_grace: Duration,
    /// How long `open_live` waits for a free slot.
    pub live_wait: Duration,
    pub retention: Retention,
    /// For a fleet on one Postgres: a server that shows no sign of life for this long loses its running jobs to another.
    pub lease: Duration,
    pub clock: Clock,
}

/// What is removed, oldest first; jobs that have not ended and files that are being read stay.
#[derive(Clone, Debug, PartialEq)]
pub struct Retention {
    pub takes_age: Option<Duration>,
    pub takes_bytes: Option<u64>,
    pub uploads_age: Option<Duration>,
    /// Records of ended jobs.
    pub records_age: Option<Duration>,
}

/// Clones are one desk.
#[derive(Clone)]
pub struct Desk {
    // private
}

/// Why a job was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request itself: unknown engine, an engine that cannot do this, …
    Rejected(Complaint),
    /// The idempotency key came with other work before.
    Mismatch(Complaint),
    /// Too many jobs wait, no live slot is free, the desk is closing: the same request may succeed in `retry_s` seconds.
    Busy { complaint: Complaint, retry_s: u32 },
    /// The record or the store does not answer.
    Broken(Complaint),
}

pub struct Submitted {
    pub id: JobId,
    /// False if the order met a job that was there already (idempotency key or twin).
    pub fresh: bool,
}

pub enum Canceling {
    /// It was queued or waiting: it is canceled now.
    Canceled,
    /// It is running: it will be within a frame or a step.
    Requested,
    /// It had ended before.
    Ended,
    Unknown,
}

/// A live session as a dialect orders it.
pub struct LiveOrder {
    pub dialect: &'static str,
    pub owner: String,
    pub take: TakeSpec,
    pub form: LiveForm,
    pub note: serde_json::Value,
}

/// A live session under way. Dropping it is hanging up: the session is canceled.
pub struct Live {
    pub id: JobId,
    // private: the socket
}

impl Live {
    /// The next packet: a JPEG, or a piece of MP4. `None`: the end; `Err`: it broke off, and why.
    pub async fn next(&mut self) -> Option<Result<Bytes, crate::Failure>> {
        todo!()
    }
}

impl Desk {
    /// Opens the record (migrating it), puts what an earlier boot left running back into the queue, and listens to the crew.
    pub async fn open(
        config: DeskConfig,
        crew: Arc<dyn Crew>,
        events: tokio::sync::mpsc::UnboundedReceiver<CrewEvent>,
    ) -> Result<Self, Complaint> {
        let _ = (config, crew, events);
        todo!()
    }

    pub fn engines(&self) -> &[EngineCard] {
        todo!()
    }

    /// An input that a request names: `s3://…`, `http(s)://…`, `data:…`, or else a local path, each only where allowed.
    pub fn source(&self, dialect: &str, name: &str) -> Result<Source, Complaint> {
        let _ = (dialect, name);
        todo!()
    }

    pub async fn submit(&self, order: Order) -> Result<Submitted, Refusal> {
        let _ = order;
        todo!()
    }

    pub async fn open_live(&self, order: LiveOrder) -> Result<Live, Refusal> {
        let _ = order;
        todo!()
    }

    /// `None`: there is no such job of this owner (`None`: of anybody).
    pub async fn job(&self, id: &str, owner: Option<&str>) -> Result<Option<JobView>, Complaint> {
        let _ = (id, owner);
        todo!()
    }

    pub async fn list(&self, listing: Listing) -> Result<Vec<JobView>, Complaint> {
        let _ = listing;
        todo!()
    }

    /// Lines after `since`, oldest first.
    pub async fn log(&self, id: &str, since: u64) -> Result<Vec<LogLine>, Complaint> {
        let _ = (id, since);
        todo!()
    }

    /// Resolves when something about the job may have changed since `seen` was marked; never misses, may be early.
    /// Watch it in a loop: read `job`, answer, `changed().await`.
    pub fn watch(&self, id: &str) -> tokio::sync::watch::Receiver<u64> {
        let _ = id;
        todo!()
    }

    /// Waits for the end. `None`: there is no such job.
    pub async fn wait(&self, id: &str) -> Result<Option<JobView>, Complaint> {
        let _ = id;
        todo!()
    }

    pub async fn cancel(&self, id: &str, owner: Option<&str>) -> Result<Canceling, Complaint> {
        let _ = (id, owner);
        todo!()
    }

    /// An upload on its way into the store, at most `limit` bytes.
    pub async fn receive(&self, file_name: &str, limit: u64) -> Result<Upload, Complaint> {
        let _ = (file_name, limit);
        todo!()
    }

    /// A take of a job that is done, to be read; it is not removed before this is dropped.
    pub async fn open_take(&self, id: &str) -> Result<Option<store::Reading>, Complaint> {
        let _ = id;
        todo!()
    }

    /// An upload, by its key.
    pub async fn open_upload(&self, key: &str) -> Result<Option<store::Reading>, Complaint> {
        let _ = key;
        todo!()
    }

    pub async fn avatar(&self, name: &AvatarName) -> Result<Option<AvatarView>, Complaint> {
        let _ = name;
        todo!()
    }

    /// By name. `None` as owner: everybody's.
    pub async fn avatars(
        &self,
        dialect: Option<&str>,
        owner: Option<&str>,
    ) -> Result<Vec<AvatarView>, Complaint> {
        let _ = (dialect, owner);
        todo!()
    }

    /// False if there was none. A session that uses it goes on.
    pub async fn delete_avatar(&self, name: &AvatarName) -> Result<bool, Complaint> {
        let _ = name;
        todo!()
    }

    /// Queued, running and live jobs, workers and their slots: for health, `/metrics` and the start screen.
    pub fn vitals(&self) -> Vitals {
        todo!()
    }

    /// Takes no more jobs, lets the running ones end for at most `grace`, then puts them back into the queue.
    pub async fn close(&self, grace: Duration) {
        let _ = grace;
        todo!()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    pub queued: u64,
    pub running: u64,
    pub live: u64,
    pub workers: u64,
    pub slots: u64,
}

/// An upload that is being written. Dropped before `finish`, it leaves nothing.
pub struct Upload {
    // private
}

impl Upload {
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Complaint> {
        let _ = bytes;
        todo!()
    }

    /// Complete: from now on `Source::Stored`, until retention takes it.
    pub async fn finish(self) -> Result<Received, Complaint> {
        todo!()
    }
}

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
