//! What the desk answers about its jobs: one, many, their logs and news; and how they are canceled.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::Complaint;
use sea_orm::DbErr;
use tokio::sync::watch;
use tracing::Instrument;

use super::{Desk, Inner};
use crate::dispatch::Ask;
use crate::record::{broken, job, kept, log};
use crate::{Ending, JobView, Listing, LogLine};

/// Most jobs that one listing tells of.
const LISTING_LIMIT: u32 = 1000;

pub enum Canceling {
    /// It was queued or waiting: it is canceled now.
    Canceled,
    /// It is running: it will be within a frame or a step.
    Requested,
    /// It had ended before.
    Ended,
    Unknown,
}

impl Desk {
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

    /// The last picture that a running job has shown, and its number.
    pub fn preview(&self, id: &str) -> Option<(u64, Bytes)> {
        self.inner.progress.preview(id)
    }
}

impl Inner {
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
}

/// Postgres takes no NUL in a text: what is called so was never written, and asking for it would look like a broken record.
pub(super) fn is_nobodys(name: &str) -> bool {
    name.contains('\0')
}

fn put_back() -> Complaint {
    Complaint::new(
        "closing",
        "the server is going down, the job is kept and waits for its next start",
        "ask again in a moment",
    )
}
