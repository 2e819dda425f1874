//! The desk: takes jobs, hands them to the crew in order, knows their states, cancels them. The record is the only truth:
//! every answer is read from it, every change is one guarded write to it.

mod bells;
pub(crate) mod intake;
pub(crate) mod live;
pub(crate) mod now;
mod shelf;
mod upload;
mod webhooks;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use contract::{Complaint, EngineCard};
use sea_orm::ActiveValue::Set;
use sea_orm::DbErr;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tracing::Instrument;

use crate::crew::{Crew, CrewEvent, LiveForm};
use crate::dispatch::{Ask, Dispatch, LiveAsk};
use crate::record::claim;
use crate::record::clerk::Clerk;
use crate::record::enter::{self, Met, Ticket};
use crate::record::ordered::Ordered;
use crate::record::settle::{self, Outcome};
pub use crate::record::webhook::Webhook;
use crate::record::{FolderLock, Record, avatar, broken, job, keep, kept, log};
use crate::{
    AvatarName, AvatarView, Clock, Darkroom, Delivery, Ending, Failure, JobId, JobView, Listing, LogLine,
    Order, ProgressView, Source, State, TakeSpec, Work, scratch,
};

pub use live::{Live, LiveVoice};
pub use upload::{Held, Upload};

/// Most jobs that one listing tells of.
const LISTING_LIMIT: u32 = 1000;
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

/// A request of which no work can be made.
pub struct FailedOrder {
    pub dialect: &'static str,
    pub owner: String,
    pub note: serde_json::Value,
    pub webhook: Option<String>,
    pub failure: Failure,
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

    /// An input that a request names: `s3://…`, `http(s)://…`, `data:…`, or else a local path, each only where allowed.
    pub fn source(&self, dialect: &str, name: &str) -> Result<Source, Complaint> {
        let store = &self.inner.store;
        let scheme = name.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("s3") => store.allow_s3(dialect, name).map(|()| Source::S3(name.to_owned())),
            Some("http" | "https" | "data") => store.allow_url(name).map(|()| Source::Url(name.to_owned())),
            _ => store.allow_path(name).map(Source::Path),
        }
    }

    /// Whoever stops waiting for the answer has ordered all the same.
    pub async fn submit(&self, order: Order) -> Result<Submitted, Refusal> {
        let inner = &self.inner;
        inner.check_open()?;
        intake::check(&inner.engines, &order.work).map_err(Refusal::Rejected)?;
        check_avatar(&order)?;
        let desk = self.clone();
        let taken = tokio::spawn(async move { desk.take_in(order).await }.in_current_span());
        taken.await.unwrap_or_else(|_| {
            let complaint = Complaint::new("internal", "the order broke off", "send the request again");
            Err(Refusal::Broken(complaint))
        })
    }

    async fn take_in(&self, order: Order) -> Result<Submitted, Refusal> {
        let inner = &self.inner;
        let work_hash = intake::identity(&order);
        let mut work = order.work.clone();
        let shelved = upload::shelve(inner, work.sources_mut()).await.map_err(Refusal::Rejected)?;
        let met = self.enter(Order { work, ..order }, work_hash).await;
        // the record may have the job all the same when it does not say so
        if !matches!(met, Ok(Submitted { fresh: true, .. }) | Err(Refusal::Broken(_))) {
            upload::put_back(inner, &shelved).await;
        }
        met
    }

    /// A request that cannot be worked on, kept and told of like one that was tried: its result is its failure.
    pub async fn submit_failed(&self, failed: FailedOrder) -> Result<JobId, Refusal> {
        let inner = &self.inner;
        inner.check_open()?;
        let (id, now_ms) = (new_id(), inner.clock.now_ms());
        let FailedOrder { dialect, owner, note, webhook, failure } = failed;
        let row = job::ActiveModel {
            id: Set(id.clone()),
            dialect: Set(dialect.to_owned()),
            owner: Set(owner),
            // there is none
            work: Set("null".to_owned()),
            deliver: Set(kept(&Delivery::default())),
            note: Set(kept(&note)),
            work_hash: Set(String::new()),
            created_ms: Set(now_ms),
            ..job::blank()
        };
        let entered = enter::enter_failed(&inner.record, row, (failure, webhook.as_deref()), now_ms).await;
        entered.map_err(refused)?;
        tracing::info!(job = %id, dialect, "failed before it was queued");
        inner.ending.notify_waiters();
        Ok(id)
    }

    async fn enter(&self, order: Order, work_hash: String) -> Result<Submitted, Refusal> {
        let inner = &self.inner;
        let id = new_id();
        let now_ms = inner.clock.now_ms();
        let row = Ordered {
            id: id.clone(),
            dialect: order.dialect,
            owner: order.owner,
            work: kept(&order.work),
            deliver: kept(&order.deliver),
            note: kept(&order.note),
            work_hash,
            idempotency: order.idempotency,
            twin: order.twin,
            priority: order.priority,
            created_ms: now_ms,
            start_by_ms: order.terms.start_by_ms,
            keep_ms: order.terms.keep_ms,
        };
        let attach_ms = i64::from(order.attach_s) * 1000;
        let has_deadline = order.terms.start_by_ms.is_some();
        let ticket = Arc::new(Ticket {
            row,
            work: order.work,
            avatar: order.avatar,
            webhook: order.terms.webhook,
            queue_limit: inner.queue_limit,
            attach_ms,
            now_ms,
        });
        let moment = inner.moment();
        let met = match &inner.clerk {
            Some(clerk) => clerk.enter(Arc::clone(&ticket)).await,
            None => enter::enter(&inner.record, &ticket).await,
        };
        let met = met.map_err(|error| {
            // it may be in the record all the same, and somebody has to look
            inner.deadlines.store(true, Ordering::SeqCst);
            inner.submitted.notify_one();
            refused(error)
        });
        match met? {
            Met::Fresh { position } => {
                if position.is_some() {
                    inner.keep(Arc::new(new_view(&ticket, &id, (position, order.note))), moment);
                }
                metrics::counter!("talkie_jobs_submitted_total", "dialect" => order.dialect).increment(1);
                tracing::info!(job = %id, dialect = order.dialect, "queued");
                inner.deadlines.fetch_or(has_deadline, Ordering::SeqCst);
                inner.submitted.notify_one();
                Ok(Submitted { id, fresh: true })
            }
            Met::Known(id) => Ok(Submitted { id, fresh: false }),
            Met::Mismatch(key) => Err(Refusal::Mismatch(Complaint::new(
                "idempotency_mismatch",
                format!("the idempotency key `{key}` came with other work before"),
                "send other work with a key of its own",
            ))),
            Met::Full(waiting) => Err(Refusal::Busy {
                complaint: Complaint::new(
                    "queue_full",
                    format!("{waiting} jobs wait already, the limit is {}", inner.queue_limit),
                    "send the request again later",
                ),
                retry_s: inner.counts.retry_s(),
            }),
            Met::Missing(key) => Err(Refusal::Rejected(Complaint::new(
                "upload_unknown",
                format!("there is no upload `{key}` (any more)"),
                "send the file again",
            ))),
            Met::NoAvatar(avatar) => Err(Refusal::Rejected(intake::unknown_avatar(&avatar.name))),
            Met::OtherEngine { avatar, made_by } => {
                let asked = ticket.work.engine();
                Err(Refusal::Rejected(intake::avatar_of_other_engine(&made_by, asked, &avatar)))
            }
            Met::Replaced(avatar) => Err(Refusal::Busy {
                complaint: Complaint::new(
                    "avatar_replaced",
                    format!("the avatar `{}` was made anew from another source meanwhile", avatar.name),
                    "send the request again",
                ),
                retry_s: 1,
            }),
        }
    }

    pub async fn open_live(&self, mut order: LiveOrder) -> Result<Live, Refusal> {
        let inner = &self.inner;
        inner.check_open()?;
        // the words of `Order` fit: a session is checked like a job
        let work = Work::Take(order.take.clone());
        intake::check(&inner.engines, &work).map_err(Refusal::Rejected)?;
        let shelved = upload::shelve(inner, order.take.sources_mut()).await.map_err(Refusal::Rejected)?;
        let carried = live::Carried::new(inner, shelved);
        let (reply, answer) = oneshot::channel();
        let dialect = order.dialect;
        let _ = inner.asks.send(Ask::Live(Box::new(LiveAsk { order, reply })));
        match tokio::time::timeout(inner.live_wait, answer).await {
            Ok(Ok(answer)) => answer.map(|live| live.with(carried)),
            Ok(Err(_)) => Err(closing()),
            Err(_) => {
                metrics::counter!("talkie_live_refused_total", "dialect" => dialect).increment(1);
                Err(Refusal::Busy {
                    complaint: Complaint::new(
                        "no_live_slot",
                        format!(
                            "no place for a live session came free in {} s",
                            inner.live_wait.as_secs_f64()
                        ),
                        "try again when another session has ended",
                    ),
                    retry_s: inner.counts.retry_s(),
                })
            }
        }
    }

    /// `None`: there is no such job of this owner (`None`: of anybody).
    pub async fn job(&self, id: &str, owner: Option<&str>) -> Result<Option<Arc<JobView>>, Complaint> {
        if [Some(id), owner].into_iter().flatten().any(is_nobodys) {
            return Ok(None);
        }
        let inner = &self.inner;
        if let Some(view) = inner.shelf.find(id, owner, inner.record.line.moves()) {
            return Ok(Some(inner.freshen(view)));
        }
        let moment = inner.moment();
        let view = job::view(&inner.record, id, owner).await.map_err(|error| broken(&error))?;
        Ok(view.map(|view| {
            let view = Arc::new(view);
            inner.keep(Arc::clone(&view), moment);
            inner.freshen(view)
        }))
    }

    /// When a job that waits is likely to begin, by how long the last ones took.
    pub fn expected_wait(&self, view: &JobView) -> Option<Duration> {
        self.inner.counts.wait(view.position?)
    }

    pub async fn list(&self, listing: Listing) -> Result<Vec<JobView>, Complaint> {
        if [&listing.dialect, &listing.owner].into_iter().flatten().any(|name| is_nobodys(name)) {
            return Ok(Vec::new());
        }
        let limit = match listing.limit {
            0 => LISTING_LIMIT,
            limit => limit.min(LISTING_LIMIT),
        };
        let listing = Listing { limit, ..listing };
        let views = job::list(&self.inner.record, &listing).await.map_err(|error| broken(&error))?;
        let fresh = |view: JobView| {
            let progress = self.inner.fresher(&view).or(view.progress);
            JobView { progress, ..view }
        };
        Ok(views.into_iter().map(fresh).collect())
    }

    /// Lines after `since`, oldest first.
    pub async fn log(&self, id: &str, since: u64) -> Result<Vec<LogLine>, Complaint> {
        log::since(&self.inner.record.read, id, since).await.map_err(|error| broken(&error))
    }

    /// Resolves when something about the job may have changed since `seen` was marked; never misses, may be early.
    /// Watch it in a loop: read `job`, answer, `changed().await`. An error: the desk is drained, there will be no more news.
    pub fn watch(&self, id: &str) -> watch::Receiver<u64> {
        self.inner.bells.watch(id)
    }

    /// Waits for the end. `None`: there is no such job. A complaint if it waits for the next start of the server.
    pub async fn wait(&self, id: &str) -> Result<Option<Arc<JobView>>, Complaint> {
        let mut bell = self.watch(id);
        loop {
            match self.job(id, None).await? {
                Some(view) if !view.state.is_terminal() => {}
                found => return Ok(found),
            }
            if bell.changed().await.is_err() {
                return Err(put_back());
            }
        }
    }

    pub async fn cancel(&self, id: &str, owner: Option<&str>) -> Result<Canceling, Complaint> {
        if [Some(id), owner].into_iter().flatten().any(is_nobodys) {
            return Ok(Canceling::Unknown);
        }
        // on a task of its own: whoever hangs up has canceled all the same, and everybody else hears of it
        let (inner, job, owner) = (Arc::clone(&self.inner), id.to_owned(), owner.map(str::to_owned));
        let work = async move { inner.cancel(&job, owner.as_deref()).await };
        let canceled = tokio::spawn(work.in_current_span()).await;
        let canceled = canceled.unwrap_or_else(|error| Err(DbErr::Custom(error.to_string())));
        Ok(match canceled.map_err(|error| broken(&error))? {
            job::Cancel::Now => Canceling::Canceled,
            job::Cancel::Asked => Canceling::Requested,
            job::Cancel::Late => Canceling::Ended,
            job::Cancel::Unknown => Canceling::Unknown,
        })
    }

    /// An upload on its way into the store, at most `limit` bytes.
    pub async fn receive(&self, file_name: &str, limit: u64) -> Result<Upload, Complaint> {
        self.receive_as(&self.upload_key(file_name), limit).await
    }

    /// A key for an upload of this name that is still to come.
    pub fn upload_key(&self, file_name: &str) -> String {
        upload::key(file_name)
    }

    /// An upload below a key that was promised before.
    pub async fn receive_as(&self, key: &str, limit: u64) -> Result<Upload, Complaint> {
        Upload::begin(Arc::clone(&self.inner), key.to_owned(), limit).await
    }

    /// Its sender wants it gone by then.
    pub async fn expire_upload(&self, key: &str, at_ms: i64) -> Result<(), Complaint> {
        keep::expire_upload(&self.inner.record.write, key, at_ms).await.map_err(|error| broken(&error))
    }

    /// The last picture that a running job has shown, and its number.
    pub fn preview(&self, id: &str) -> Option<(u64, Bytes)> {
        self.inner.progress.preview(id)
    }

    /// Removes an upload that no job names.
    pub async fn discard(&self, key: &str) -> Result<(), Complaint> {
        upload::discard(&self.inner, key).await
    }

    /// A take of a job that is done, to be read; it is not removed before this is dropped.
    pub async fn open_take(&self, id: &str) -> Result<Option<store::Reading>, Complaint> {
        match self.job(id, None).await?.as_ref().and_then(|view| view.ending.as_ref()) {
            // what a live session showed was kept nowhere
            Some(Ending::Made(made)) if made.removed_ms.is_none() && !made.key.is_empty() => {
                self.inner.store.read(&made.key).await
            }
            _ => Ok(None),
        }
    }

    /// An upload, by its key.
    pub async fn open_upload(&self, key: &str) -> Result<Option<store::Reading>, Complaint> {
        let known = keep::has_upload(&self.inner.record.read, key).await.map_err(|error| broken(&error))?;
        if known { self.inner.store.read(key).await } else { Ok(None) }
    }

    pub async fn avatar(&self, name: &AvatarName) -> Result<Option<AvatarView>, Complaint> {
        if is_nobodys_avatar(name) {
            return Ok(None);
        }
        let found = avatar::find(&self.inner.record.read, name).await;
        found.map(|row| row.map(avatar::Model::view)).map_err(|error| broken(&error))
    }

    /// By name. `None` as owner: everybody's.
    pub async fn avatars(
        &self,
        dialect: Option<&str>,
        owner: Option<&str>,
    ) -> Result<Vec<AvatarView>, Complaint> {
        if [dialect, owner].into_iter().flatten().any(is_nobodys) {
            return Ok(Vec::new());
        }
        avatar::list(&self.inner.record.read, dialect, owner).await.map_err(|error| broken(&error))
    }

    /// False if there was none. A session that uses it goes on.
    pub async fn delete_avatar(&self, name: &AvatarName) -> Result<bool, Complaint> {
        if is_nobodys_avatar(name) {
            return Ok(false);
        }
        let deleted = avatar::delete(&self.inner.record, name).await.map_err(|error| broken(&error))?;
        if deleted {
            self.inner.drop_doomed().await?;
        }
        Ok(deleted)
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
    fn check_open(&self) -> Result<(), Refusal> {
        if self.closing.load(Ordering::SeqCst) { Err(closing()) } else { Ok(()) }
    }

    /// What an earlier boot was running waits again; sessions of it have failed.
    async fn take_back(&self) -> Result<(), DbErr> {
        for row in claim::of_others(&self.record, &self.boot).await? {
            let why = "the server was restarted".to_owned();
            settle::settle(&self.record, row.fence(), Outcome::Lost { why }, self.clock.now_ms()).await?;
            tracing::info!(job = %row.id, "taken back from an earlier start of the server");
        }
        Ok(())
    }

    pub async fn cancel(&self, id: &str, owner: Option<&str>) -> Result<job::Cancel, DbErr> {
        let ending = kept(&Ending::Canceled);
        let canceled = job::cancel(&self.record, id, owner, (self.clock.now_ms(), ending)).await?;
        if let job::Cancel::Now | job::Cancel::Asked = canceled {
            tracing::info!(job = %id, "asked to cancel");
            self.changed(id);
            self.ending.notify_waiters();
        }
        if let job::Cancel::Asked = canceled {
            let _ = self.asks.send(Ask::Cancel(id.to_owned()));
        }
        Ok(canceled)
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

/// A new job, as the record would tell it.
fn new_view(ticket: &Ticket, id: &str, (position, note): (Option<u64>, serde_json::Value)) -> JobView {
    JobView {
        id: id.to_owned(),
        dialect: ticket.row.dialect.to_owned(),
        owner: ticket.row.owner.clone(),
        work: Some(ticket.work.clone()),
        note,
        state: State::Queued,
        position,
        progress: None,
        created_ms: ticket.now_ms,
        started_ms: None,
        ended_ms: None,
        attempt: 0,
        ending: None,
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

fn check_avatar(order: &Order) -> Result<(), Refusal> {
    match intake::avatar_of(&order.work) {
        Some(name) if name.dialect != order.dialect || name.owner != order.owner => {
            Err(Refusal::Rejected(intake::unknown_avatar(&name.name)))
        }
        Some(_) | None => Ok(()),
    }
}

/// Postgres takes no NUL in a text: what is called so was never written, and asking for it would look like a broken record.
fn is_nobodys(name: &str) -> bool {
    name.contains('\0')
}

fn is_nobodys_avatar(name: &AvatarName) -> bool {
    [&name.dialect, &name.owner, &name.name].into_iter().any(|part| is_nobodys(part))
}

pub(crate) fn new_id() -> JobId {
    // random, as clients of the originals know them, but for a beginning that grows with time: neighbours in the queue are neighbours
    // in the index, and one page of it holds a whole crowd's
    let by_time = uuid::Uuid::now_v7().into_bytes();
    uuid::Builder::from_bytes(by_time).with_version(uuid::Version::Random).into_uuid().to_string()
}

pub(crate) fn refused(error: DbErr) -> Refusal {
    Refusal::Broken(broken(&error))
}

pub(crate) fn closing() -> Refusal {
    Refusal::Busy {
        complaint: Complaint::new(
            "closing",
            "the server is going down",
            "send the request again in a moment",
        ),
        retry_s: 5,
    }
}

fn put_back() -> Complaint {
    Complaint::new(
        "closing",
        "the server is going down, the job is kept and waits for its next start",
        "ask again in a moment",
    )
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    pub queued: u64,
    pub running: u64,
    pub live: u64,
    pub workers: u64,
    pub slots: u64,
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
