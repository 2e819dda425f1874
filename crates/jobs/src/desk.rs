//! The desk: takes jobs, hands them to the crew in order, knows their states, cancels them. The record is the only truth:
//! every answer is read from it, every change is one guarded write to it.

mod asking;
mod bells;
mod entry;
mod holdings;
pub(crate) mod intake;
pub(crate) mod live;
pub(crate) mod now;
mod shelf;
mod upload;
mod webhooks;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::{Complaint, EngineCard};
use sea_orm::DbErr;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::crew::{Crew, CrewEvent};
use crate::dispatch::{Ask, Dispatch};
use crate::record::clerk::Clerk;
use crate::record::settle::{self, Outcome};
pub use crate::record::webhook::Webhook;
use crate::record::{FolderLock, Record, broken, claim};
use crate::{Clock, Darkroom, JobView, ProgressView, State, scratch};

pub use asking::Canceling;
pub use entry::{FailedOrder, LiveOrder, Refusal, Submitted};
pub(crate) use entry::{closing, new_id, refused};
pub use live::{Live, LiveVoice};
pub use now::Vitals;
pub use upload::{Held, Received, Upload};

/// How often a server of a fleet looks for what the others did.
const FLEET_LOOK: Duration = Duration::from_secs(1);
/// How often at most those who wait are told their places: each of them asks the record.
const PLACES: Duration = Duration::from_secs(1);

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
    pub darkroom: Darkroom,
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

/// Clones are one desk. When the last is dropped without `close`, its tasks end as if the server had been killed.
#[derive(Clone)]
pub struct Desk {
    inner: Arc<Inner>,
    tasks: Arc<Tasks>,
}

/// What the desk, its tasks and its sessions share.
pub(crate) struct Inner {
    pub record: Record,
    /// `None` in a fleet: what its servers write meets at the database.
    clerk: Option<Clerk>,
    pub store: store::Store,
    pub engines: Vec<EngineCard>,
    pub clock: Clock,
    pub darkroom: Darkroom,
    /// This start of the server, in the rows that it runs.
    pub boot: String,
    pub queue_limit: u64,
    pub stall: Duration,
    pub cancel_grace: Duration,
    pub live_wait: Duration,
    pub lease: Duration,
    pub retention: Retention,
    pub bells: bells::Bells,
    pub shelf: shelf::Shelf,
    pub progress: now::Running,
    pub counts: now::Counts,
    pub closing: AtomicBool,
    /// Some queued job may have to begin by a time.
    pub deadlines: AtomicBool,
    /// A job was submitted.
    pub submitted: Notify,
    /// A job has ended.
    pub ending: Notify,
    pub asks: mpsc::UnboundedSender<Ask>,
    _lock: FolderLock,
}

struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Desk {
    /// Opens the record (migrating it), puts what an earlier boot left running back into the queue, and listens to the crew.
    pub async fn open(
        config: DeskConfig,
        crew: Arc<dyn Crew>,
        events: mpsc::UnboundedReceiver<CrewEvent>,
    ) -> Result<Self, Complaint> {
        let lock = FolderLock::take(config.store.folder())?;
        scratch::clear(&config.store);
        let record = Record::open(&config.database_url).await?;
        let (asks, asked) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            clerk: (!record.shared).then(|| Clerk::new(record.clone())),
            record,
            store: config.store,
            engines: config.engines,
            clock: config.clock,
            darkroom: config.darkroom,
            boot: ulid::Ulid::new().to_string(),
            queue_limit: config.queue_limit,
            stall: config.stall,
            cancel_grace: config.cancel_grace,
            live_wait: config.live_wait,
            lease: config.lease,
            retention: config.retention,
            shelf: shelf::Shelf::default(),
            bells: bells::Bells::default(),
            progress: now::Running::default(),
            counts: now::Counts::new(),
            closing: AtomicBool::new(false),
            deadlines: AtomicBool::new(true),
            submitted: Notify::new(),
            ending: Notify::new(),
            asks,
            _lock: lock,
        });
        if !inner.record.shared {
            // the folder's lock says that nobody else runs these
            inner.take_back().await.map_err(|error| broken(&error))?;
        }
        let dispatch = Dispatch::new(Arc::clone(&inner), crew);
        let tasks = [
            tokio::spawn(dispatch.run(events, asked)).abort_handle(),
            tokio::spawn(crate::retention::watch(Arc::clone(&inner))).abort_handle(),
            tokio::spawn(tell_places(Arc::clone(&inner))).abort_handle(),
        ];
        Ok(Self { inner, tasks: Arc::new(Tasks(tasks.into())) })
    }

    pub fn engines(&self) -> &[EngineCard] {
        &self.inner.engines
    }

    /// Queued, running and live jobs, workers and their slots: for health, `/metrics` and the start screen.
    pub fn vitals(&self) -> Vitals {
        self.inner.counts.vitals()
    }

    /// Removes what retention allows to be removed; runs by itself every minute.
    pub async fn sweep(&self) -> Result<crate::retention::Swept, Complaint> {
        self.inner.sweep().await
    }

    /// Takes no more jobs, lets the running ones end for at most `grace`, then puts them back into the queue. What has ended can
    /// still be asked for.
    pub async fn drain(&self, grace: Duration) {
        self.inner.closing.store(true, Ordering::SeqCst);
        let (done, closed) = oneshot::channel();
        let _ = self.inner.asks.send(Ask::Close { grace, done });
        // an error means that it was drained before
        let _ = closed.await;
        self.inner.bells.fall_silent();
    }

    /// After `drain`, when whoever waited has been answered.
    pub async fn close(&self) {
        self.tasks.0.iter().for_each(AbortHandle::abort);
        self.inner.record.close().await;
    }
}

impl Inner {
    /// What an earlier boot was running waits again; sessions of it have failed.
    async fn take_back(&self) -> Result<(), DbErr> {
        for row in claim::of_others(&self.record, &self.boot).await? {
            let why = "the server was restarted".to_owned();
            settle::settle(&self.record, row.fence(), Outcome::Lost { why }, self.clock.now_ms()).await?;
            tracing::info!(job = %row.id, "taken back from an earlier start of the server");
        }
        Ok(())
    }

    /// The record has something else about a job now.
    pub fn changed(&self, id: &str) {
        self.shelf.changed(id);
        self.bells.ring(id);
    }

    /// To be taken before the record is asked for what is to be kept.
    fn moment(&self) -> shelf::Moment {
        self.shelf.moment(self.record.line.moves())
    }

    /// What was read of a job, for the next who asks.
    fn keep(&self, view: Arc<JobView>, read: shelf::Moment) {
        if !self.record.shared {
            self.shelf.keep(&view, read);
        }
    }

    /// The record's progress is up to a second old; a running job of this server is known better.
    fn freshen(&self, mut view: Arc<JobView>) -> Arc<JobView> {
        if let Some(progress) = self.fresher(&view) {
            Arc::make_mut(&mut view).progress = Some(progress);
        }
        view
    }

    fn fresher(&self, view: &JobView) -> Option<ProgressView> {
        (view.state == State::Running).then(|| self.progress.get(&view.id, view.attempt)).flatten()
    }

    /// How often this server looks at what others of its fleet did; `None`: it is alone.
    pub fn fleet_look(&self) -> Option<Duration> {
        self.record.shared.then(|| FLEET_LOOK.min(self.lease / 3))
    }
}

/// Whoever waits behind a job that leaves the queue has another place then.
async fn tell_places(inner: Arc<Inner>) {
    loop {
        inner.record.line.moved().await;
        inner.bells.ring_all();
        tokio::time::sleep(PLACES).await;
    }
}
