//! The end of an attempt, decided and written in one transaction: done, failed, canceled, or back into the queue. Only the
//! newest attempt of a running job is heard.

use sea_orm::ActiveValue::Set;
use sea_orm::entity::prelude::*;

use super::job::{self, ActiveModel, Fence, Model};
use super::log::Line;
use super::{Record, avatar, kept};
use crate::{Blame, Ending, Failure, Level, State, Work};

/// A job that has taken so many workers with it, or run out of memory so often, is not tried again.
pub const MOST_ATTEMPTS: i32 = 3;

/// How an attempt came to its end.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one an attempt, moved once")]
pub enum Outcome {
    /// The worker said so.
    Ended(Ending),
    /// Its worker is gone, and it may be the cause.
    Died { why: String },
    /// Its worker is gone or going for another's sake.
    Lost { why: String },
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one an attempt, moved once")]
pub enum Settled {
    /// It has ended; the row as it was before.
    Ended { row: Box<Model>, ending: Ending },
    /// It waits again.
    Requeued,
    /// The attempt does not count any more: its file is nobody's.
    Stale,
}

/// What is to be written.
struct Verdict {
    to: State,
    change: ActiveModel,
    ending: Option<Ending>,
    level: Level,
    message: String,
}

pub async fn settle(record: &Record, fence: Fence, outcome: Outcome, now_ms: i64) -> Result<Settled, DbErr> {
    let tx = record.begin().await?;
    let Some(row) = job::held(&tx, fence.seq).await? else { return Ok(Settled::Stale) };
    if row.state()? != State::Running || row.fence() != fence {
        return Ok(Settled::Stale);
    }
    let mut verdict = judge(&row, outcome);
    if let Some(Ending::Prepared(prepared)) = &verdict.ending {
        match row.work() {
            Ok(Work::Prepare(spec)) => avatar::replace(&tx, &row, (&spec, prepared), now_ms).await?,
            Ok(Work::Take(_)) => {}
            Err(_) => verdict = failed(damaged()),
        }
    }
    let ending = verdict.ending.clone();
    let change = ActiveModel { ending: Set(ending.as_ref().map(kept)), ..verdict.change };
    let line = Line { at_ms: now_ms, level: verdict.level, message: &verdict.message };
    if !job::pass(&tx, (fence, State::Running, verdict.to), change, line).await? {
        return Ok(Settled::Stale);
    }
    record.commit(tx).await?;
    Ok(match ending {
        Some(ending) => Settled::Ended { row: Box::new(row), ending },
        None => {
            record.line.returned();
            Settled::Requeued
        }
    })
}

fn judge(row: &Model, outcome: Outcome) -> Verdict {
    match outcome {
        Outcome::Ended(Ending::Made(made)) => {
            let change = ActiveModel {
                litter: Set(false),
                take_key: Set((!row.live).then(|| made.key.clone())),
                take_bytes: Set((!row.live).then_some(made.bytes as i64)),
                ..Default::default()
            };
            Verdict {
                to: State::Done,
                change,
                ending: Some(Ending::Made(made)),
                level: Level::Info,
                message: "done".to_owned(),
            }
        }
        Outcome::Ended(ending @ Ending::Prepared(_)) => Verdict {
            to: State::Done,
            change: ActiveModel { litter: Set(false), ..Default::default() },
            ending: Some(ending),
            level: Level::Info,
            message: "done".to_owned(),
        },
        // whatever else happens to a job that somebody wants to end is its end
        _ if row.cancel => canceled(),
        Outcome::Ended(Ending::Failed(failure)) if failure.code == "out_of_memory" && !row.live => {
            let shortages = row.shortages + 1;
            if shortages >= MOST_ATTEMPTS {
                return failed(failure);
            }
            let change = ActiveModel { shortages: Set(shortages), ..Default::default() };
            again(change, format!("attempt {} ran out of memory; it is tried again alone", row.attempt))
        }
        Outcome::Ended(Ending::Failed(failure)) => failed(failure),
        Outcome::Ended(Ending::Canceled) if row.live => canceled(),
        Outcome::Ended(Ending::Canceled) => died(row, "its worker gave it up unasked"),
        Outcome::Died { why } => died(row, &why),
        Outcome::Lost { why } if row.live => failed(server_failure("server_restarted", &why)),
        Outcome::Lost { why } => again(job::unchanged(), format!("back in the queue: {why}")),
    }
}

fn died(row: &Model, why: &str) -> Verdict {
    if row.live {
        return failed(server_failure("worker_died", &format!("the worker of this session is gone: {why}")));
    }
    let deaths = row.deaths + 1;
    let change = ActiveModel { deaths: Set(deaths), ..Default::default() };
    if deaths >= MOST_ATTEMPTS {
        let message =
            format!("it ended its worker {deaths} times, the limit is {MOST_ATTEMPTS}; at last: {why}");
        let verdict = failed(Failure {
            hint: "check the inputs; if they are sound, report it with the server's log".to_owned(),
            ..server_failure("poison", &message)
        });
        return Verdict { change, ..verdict };
    }
    let message = format!("attempt {} is lost: {why}; it is tried again alone", row.attempt);
    again(change, message)
}

pub fn server_failure(code: &str, message: &str) -> Failure {
    Failure {
        blame: Blame::Server,
        code: code.to_owned(),
        message: message.to_owned(),
        hint: "send the request again".to_owned(),
    }
}

/// Of a job whose row cannot be read: another version wrote it, or a hand did. The words of the row are for the log only.
pub fn damaged() -> Failure {
    Failure {
        hint: "send the request again; the server's log tells what was found".to_owned(),
        ..server_failure("record_damaged", "what the record keeps of this job cannot be read")
    }
}

/// The failure of a job that waited longer than its client had said.
pub const START_TIMEOUT: &str = "start_timeout";

/// Of a job that was to begin by a time, and waited longer.
pub fn late(waited_ms: i64) -> Failure {
    Failure {
        blame: Blame::Client,
        code: START_TIMEOUT.to_owned(),
        message: format!(
            "the request waited {:.1} s and did not begin by the time that it had set",
            waited_ms as f64 / 1000.0
        ),
        hint: "give it more time, or send it when fewer jobs wait".to_owned(),
    }
}

fn canceled() -> Verdict {
    Verdict {
        to: State::Canceled,
        change: job::unchanged(),
        ending: Some(Ending::Canceled),
        level: Level::Info,
        message: "canceled".to_owned(),
    }
}

fn failed(failure: Failure) -> Verdict {
    Verdict {
        to: State::Failed,
        change: job::unchanged(),
        level: Level::Error,
        message: format!("failed: {}", failure.message),
        ending: Some(Ending::Failed(failure)),
    }
}

fn again(change: ActiveModel, message: String) -> Verdict {
    Verdict { to: State::Queued, change, ending: None, level: Level::Warn, message }
}

/// A job that cannot even begin.
pub async fn refuse(record: &Record, row: &Model, failure: Failure, now_ms: i64) -> Result<bool, DbErr> {
    let tx = record.begin().await?;
    let message = format!("failed: {}", failure.message);
    // through Running, as every failure: no job fails without an attempt
    let change = ActiveModel { attempt: Set(row.attempt + 1), ..Default::default() };
    let line = Line::info(now_ms, "taken out of the queue");
    if !job::pass(&tx, (row.fence(), State::Queued, State::Running), change, line).await? {
        return Ok(false);
    }
    let fence = Fence { attempt: row.attempt + 1, ..row.fence() };
    let change = ActiveModel { ending: Set(Some(kept(&Ending::Failed(failure)))), ..Default::default() };
    let line = Line { at_ms: now_ms, level: Level::Error, message: &message };
    job::pass(&tx, (fence, State::Running, State::Failed), change, line).await?;
    record.commit(tx).await?;
    record.line.left();
    Ok(true)
}
