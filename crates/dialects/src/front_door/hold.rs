//! Answers that are held open: a status while there still is a choice, then leading blanks (which JSON allows) until the
//! body comes. A failure after the first blank can only be told by breaking the connection off.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use jobs::{Desk, JobId};

use super::house::{ENGINE_HEADER, KeepAlive};
use super::refused::json_text;

/// A body that is ready, and its headers.
pub struct Answer {
    pub body: String,
    pub headers: HeaderMap,
}

impl Answer {
    /// With the engine that made it.
    pub fn of(body: String, engine: HeaderValue) -> Self {
        Self { body, headers: by(engine) }
    }
}

/// The headers that name an engine.
pub fn by(engine: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([(ENGINE_HEADER, engine)])
}

type Work<E> = Pin<Box<dyn Future<Output = Result<Answer, E>> + Send>>;

/// `early`: what the headers say when they must go out before the work has ended.
pub async fn held<E: Debug + Send + 'static>(
    work: impl Future<Output = Result<Answer, E>> + Send + 'static,
    keep_alive: KeepAlive,
    early: HeaderMap,
) -> Result<Response, E> {
    let mut work: Work<E> = Box::pin(work);
    tokio::select! {
        biased;
        ended = &mut work => return ended.map(whole),
        () = tokio::time::sleep(keep_alive.first) => {}
    }
    let mut response = Response::new(Body::from_stream(blanks(work, keep_alive)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.extend(early);
    Ok(response)
}

fn whole(answer: Answer) -> Response {
    let mut response = json_text(StatusCode::OK, answer.body);
    response.headers_mut().extend(answer.headers);
    response
}

enum Phase<E> {
    /// The headers are out; the first blank follows them at once.
    First(Work<E>),
    Waiting(Work<E>),
    Over,
}

fn blanks<E: Debug + Send + 'static>(
    work: Work<E>,
    keep_alive: KeepAlive,
) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::unfold(Phase::First(work), move |phase| async move {
        let blank = || Ok(Bytes::from_static(b" "));
        let mut work = match phase {
            Phase::First(work) => return Some((blank(), Phase::Waiting(work))),
            Phase::Waiting(work) => work,
            Phase::Over => return None,
        };
        tokio::select! {
            biased;
            ended = &mut work => {
                let last = ended.map(|answer| Bytes::from(answer.body));
                let last = last.map_err(|refused| io::Error::other(format!("{refused:?}")));
                Some((last, Phase::Over))
            }
            () = tokio::time::sleep(keep_alive.every) => Some((blank(), Phase::Waiting(work))),
        }
    })
}

/// Who still waits for which job: the last one to hang up may cancel it.
#[derive(Default)]
pub struct Audience(Mutex<HashMap<JobId, usize>>);

/// One request's seat.
pub struct Seat {
    audience: std::sync::Arc<Audience>,
    desk: Desk,
    job: JobId,
    /// The job has ended: leaving is no hanging up.
    ended: bool,
}

impl Audience {
    pub fn sit(self: &std::sync::Arc<Self>, desk: &Desk, job: &JobId) -> Seat {
        *self.lock().entry(job.clone()).or_default() += 1;
        Seat { audience: std::sync::Arc::clone(self), desk: desk.clone(), job: job.clone(), ended: false }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    pub fn ended(mut self) {
        self.ended = true;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut waiting = self.audience.lock();
        let left = waiting.get_mut(&self.job).map_or(0, |count| {
            *count -= 1;
            *count
        });
        if left > 0 {
            return;
        }
        waiting.remove(&self.job);
        drop(waiting);
        if self.ended {
            return;
        }
        let (desk, job) = (self.desk.clone(), self.job.clone());
        // a drop cannot wait; outside a runtime (the server is gone) there is nothing to cancel
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(complaint) = desk.cancel(&job, None).await {
                    tracing::warn!(job, %complaint, "could not cancel after its client hung up");
                }
            });
        }
    }
}
