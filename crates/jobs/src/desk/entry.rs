//! What goes in at the desk: jobs, requests that failed before they were one, and live sessions; each checked, entered into the record
//! and told to the dispatch, or refused with a reason.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use contract::Complaint;
use sea_orm::ActiveValue::Set;
use sea_orm::DbErr;
use tokio::sync::oneshot;
use tracing::Instrument;

use super::{Desk, Inner, Live, intake, live, upload};
use crate::crew::LiveForm;
use crate::dispatch::{Ask, LiveAsk};
use crate::record::enter::{self, Met, Ticket};
use crate::record::ordered::Ordered;
use crate::record::{broken, job, kept};
use crate::{Delivery, Failure, JobId, JobView, Order, Source, State, TakeSpec, Work};

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

/// A live session as a dialect orders it.
pub struct LiveOrder {
    pub dialect: &'static str,
    pub owner: String,
    pub take: TakeSpec,
    pub form: LiveForm,
    pub note: serde_json::Value,
}

impl Desk {
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
}

impl Inner {
    fn check_open(&self) -> Result<(), Refusal> {
        if self.closing.load(Ordering::SeqCst) { Err(closing()) } else { Ok(()) }
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

fn check_avatar(order: &Order) -> Result<(), Refusal> {
    match intake::avatar_of(&order.work) {
        Some(name) if name.dialect != order.dialect || name.owner != order.owner => {
            Err(Refusal::Rejected(intake::unknown_avatar(&name.name)))
        }
        Some(_) | None => Ok(()),
    }
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
