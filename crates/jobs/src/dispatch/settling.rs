//! The end of attempts: said by a worker, by its death or by the desk. The record decides what it means; if the record does not
//! answer, the end is kept and told again, so that nothing is lost and no place stays taken.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::floor::Key;
use super::{Attempt, Dispatch, SECOND};
use crate::crew::WorkerId;
use crate::desk::Inner;
use crate::record::job::Fence;
use crate::record::settle::{self, Outcome, Settled};
use crate::record::{avatar, broken, job};
use crate::{Ending, JobId, Take};

/// An end that the record could not take.
pub struct Unsettled {
    pub again: Instant,
    key: Key,
    attempt: Attempt,
    outcome: Outcome,
}

impl Dispatch {
    pub(super) async fn gone(&mut self, worker: WorkerId, why: &str) {
        let Some(left) = self.floor.gone(worker) else { return };
        tracing::warn!(worker = worker.0, %why, attempts = left.attempts.len(), "a worker is gone");
        metrics::counter!("talkie_workers_lost_total").increment(1);
        self.restless = true;
        for key in left.attempts {
            let culprit = left.culprits.iter().find(|(culprit, _)| *culprit == key);
            let outcome = match (culprit, left.culprits.is_empty(), &self.closing) {
                (Some((_, why)), _, None) => Outcome::Died { why: why.clone() },
                (None, true, None) => Outcome::Died { why: format!("its worker is gone ({why})") },
                // killed for another's sake, or on the way down
                _ => Outcome::Lost { why: format!("its worker was ended ({why})") },
            };
            self.end(key, outcome).await;
        }
    }

    pub(super) async fn ended(&mut self, key: Key, ending: Ending) {
        if self.attempts.contains_key(&key) {
            let outcome = match (&ending, &self.closing) {
                (Ending::Canceled, Some(_)) => Outcome::Lost { why: "the server is going down".to_owned() },
                _ => Outcome::Ended(ending),
            };
            self.end(key, outcome).await;
        } else if !self.unsettled.iter().any(|unsettled| unsettled.key == key) {
            tracing::warn!(job = %key.0, attempt = key.1, "a worker told the end of an attempt that is over");
            throw_away(&self.desk, &key.0, ending);
        }
    }

    /// Whether a worker of ours is at it, or its end is still to be told.
    pub(super) fn is_at(&self, fence: Fence) -> bool {
        let unsettled = self.unsettled.iter().map(|unsettled| unsettled.attempt.fence);
        self.attempts.values().map(|attempt| attempt.fence).chain(unsettled).any(|known| known == fence)
    }

    /// Its place is free from here on, whatever the record says.
    pub(super) async fn end(&mut self, key: Key, outcome: Outcome) {
        let Some(attempt) = self.attempts.remove(&key) else { return };
        self.floor.leave(attempt.worker, &key);
        self.restless = true;
        self.settle(key, attempt, outcome).await;
    }

    async fn settle(&mut self, key: Key, attempt: Attempt, outcome: Outcome) {
        let desk = Arc::clone(&self.desk);
        let now_ms = desk.clock.now_ms();
        match settle::settle(&desk.record, attempt.fence, outcome.clone(), now_ms).await {
            Ok(settled) => self.settled(key, attempt, (outcome, settled)),
            Err(error) => {
                tracing::error!(job = %key.0, %error, "the record does not take its end; it is told again");
                let again = Instant::now() + SECOND;
                self.unsettled.push(Unsettled { again, key, attempt, outcome });
            }
        }
    }

    pub(super) async fn settle_again(&mut self, now: Instant) {
        if !self.unsettled.iter().any(|unsettled| unsettled.again <= now) {
            return;
        }
        for Unsettled { key, attempt, outcome, .. } in std::mem::take(&mut self.unsettled) {
            self.settle(key, attempt, outcome).await;
        }
        self.restless = true;
    }

    fn settled(&mut self, key: Key, attempt: Attempt, (outcome, settled): (Outcome, Settled)) {
        let desk = &self.desk;
        let id = &key.0;
        match settled {
            Settled::Ended { row, ending } => {
                if let (Ending::Made(_), false) = (&ending, row.live) {
                    desk.counts.took(attempt.began.elapsed());
                }
                tell(&attempt, id, &ending);
                let leaves_files = !matches!(ending, Ending::Made(_) | Ending::Prepared(_)) && !row.live;
                if let Some(reader) = attempt.ending {
                    let _ = reader.send(ending); // the reader may have hung up
                }
                desk.progress.forget(id);
                clean_up(desk, leaves_files.then(|| (row.seq, id.clone())));
            }
            Settled::Requeued => {
                metrics::counter!("talkie_jobs_requeued_total").increment(1);
                tracing::warn!(job = %id, attempt = key.1, "back in the queue");
                desk.progress.forget(id);
            }
            Settled::Stale => {
                tracing::warn!(job = %id, attempt = key.1, "the attempt does not count any more");
                desk.progress.forget_attempt(id, key.1);
                if let Outcome::Ended(ending) = outcome {
                    throw_away(desk, id, ending);
                }
            }
        }
        desk.changed(id);
        desk.ending.notify_waiters();
    }
}

/// To the log and the metrics.
fn tell(attempt: &Attempt, id: &JobId, ending: &Ending) {
    let (outcome, code) = match ending {
        Ending::Made(_) | Ending::Prepared(_) => ("done", None),
        Ending::Failed(failure) => ("failed", Some(failure.code.clone())),
        Ending::Canceled => ("canceled", None),
    };
    let took: Duration = attempt.began.elapsed();
    if let Ending::Made(made) = ending {
        measure(&made.take);
    }
    let dialect = attempt.dialect.clone();
    metrics::counter!("talkie_jobs_ended_total", "dialect" => dialect, "outcome" => outcome).increment(1);
    metrics::histogram!("talkie_job_seconds", "outcome" => outcome).record(took.as_secs_f64());
    match code {
        Some(code) => {
            tracing::warn!(job = %id, %code, took_s = took.as_secs_f64(), "failed");
            metrics::counter!("talkie_errors_total", "code" => code).increment(1);
        }
        None => tracing::info!(job = %id, outcome, took_s = took.as_secs_f64(), "ended"),
    }
}

/// What a take cost, by stage and against the time it plays.
fn measure(take: &Take) {
    for timing in &take.timings {
        let seconds = timing.elapsed.as_secs_f64();
        metrics::histogram!("talkie_stage_seconds", "stage" => timing.phase.clone()).record(seconds);
        if timing.phase == "total" && seconds > 0.0 && take.duration_s > 0.0 {
            metrics::histogram!("talkie_frames_per_second", "engine" => take.engine.clone())
                .record(take.frames as f64 / seconds);
            metrics::histogram!("talkie_real_time_factor", "engine" => take.engine.clone())
                .record(seconds / take.duration_s);
        }
    }
    metrics::counter!("talkie_frames_total", "engine" => take.engine.clone(), "encoder" => take.encoder.clone())
        .increment(take.frames);
}

/// Files of an attempt that came to nothing, and assets that only it held. What fails here is done by the next sweep.
fn clean_up(desk: &Arc<Inner>, litter: Option<(i64, JobId)>) {
    let desk = Arc::clone(desk);
    tokio::spawn(async move {
        if let Some((seq, id)) = litter
            && let Err(complaint) = desk.tidy(seq, &id).await
        {
            tracing::warn!(job = %id, %complaint, "what it left could not be removed yet");
        }
        if let Err(complaint) = desk.drop_doomed().await {
            tracing::warn!(%complaint, "unnamed avatars could not be removed yet");
        }
    });
}

/// The file of an attempt that does not count; a worker that says the same thing twice does not lose the take it made.
fn throw_away(desk: &Arc<Inner>, id: &JobId, ending: Ending) {
    let (desk, id) = (Arc::clone(desk), id.clone());
    tokio::spawn(async move {
        if let Err(complaint) = desk.throw_away(&id, ending).await {
            tracing::warn!(job = %id, %complaint, "the file of an attempt that is over could not be removed");
        }
    });
}

impl Inner {
    async fn throw_away(&self, id: &str, ending: Ending) -> Result<(), contract::Complaint> {
        let db = &self.record.write;
        let key = match ending {
            Ending::Made(made) => {
                let row = job::by_id(db, id).await.map_err(|error| broken(&error))?;
                let counts = row.is_some_and(|row| row.live || row.take_key.as_ref() == Some(&made.key));
                (!counts).then_some(made.key)
            }
            Ending::Prepared(prepared) => {
                let known = avatar::is_known(db, &prepared.key).await.map_err(|error| broken(&error))?;
                (!known).then_some(prepared.key)
            }
            Ending::Failed(_) | Ending::Canceled => None,
        };
        match key {
            Some(key) => self.store.remove(&key).await.map(drop),
            None => Ok(()),
        }
    }
}
