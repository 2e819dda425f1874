//! From the record to our own words.

use contract::Value;
use jobs::{AvatarView, Blame, Canceling, Desk, Ending, JobView, Level, LogLine, Made, State, Work};

use super::wire::{Avatar, Error, Job, Line, Progress, Take};
use crate::front_door::dates::iso;

pub fn state(state: State) -> &'static str {
    match state {
        State::Queued => "queued",
        State::Running => "running",
        State::Done => "done",
        State::Failed => "failed",
        State::Canceled => "canceled",
    }
}

pub fn job(desk: &Desk, view: &JobView) -> Job {
    let error = match &view.ending {
        Some(Ending::Failed(failure)) => Some(Error {
            blame: match failure.blame {
                Blame::Client => "client",
                Blame::Server => "server",
            },
            code: failure.code.clone(),
            message: failure.message.clone(),
            hint: failure.hint.clone(),
        }),
        Some(Ending::Made(_) | Ending::Prepared(_) | Ending::Canceled) | None => None,
    };
    Job {
        id: view.id.clone(),
        dialect: view.dialect.clone(),
        owner: view.owner.clone(),
        kind: match &view.work {
            Some(Work::Take(_)) => "take",
            Some(Work::Prepare(_)) => "prepare",
            None => "live",
        },
        engine: engine(view).map(str::to_owned),
        state: state(view.state),
        position: view.position,
        wait_ms: desk.expected_wait(view).map(|wait| wait.as_millis() as u64),
        progress: view.progress.map(|progress| Progress {
            stage: progress.stage.name(),
            done: progress.done,
            of: progress.of,
            eta_ms: progress.eta_ms,
        }),
        created_at: iso(view.created_ms),
        started_at: view.started_ms.map(iso),
        ended_at: view.ended_ms.map(iso),
        attempt: view.attempt,
        take: match &view.ending {
            Some(Ending::Made(made)) => Some(take(&view.id, made)),
            Some(Ending::Prepared(_) | Ending::Failed(_) | Ending::Canceled) | None => None,
        },
        error,
    }
}

/// A live session has no ticket to name its engine: its take does.
fn engine(view: &JobView) -> Option<&str> {
    match (&view.work, &view.ending) {
        (Some(work), _) => Some(work.engine()),
        (None, Some(Ending::Made(made))) => Some(&made.take.engine),
        (None, _) => None,
    }
}

fn take(id: &str, made: &Made) -> Take {
    let take = &made.take;
    Take {
        url: (!made.key.is_empty()).then(|| format!("/v1/jobs/{id}/take")),
        duration_s: take.duration_s,
        frames: take.frames,
        width: take.size.width,
        height: take.size.height,
        bytes: made.bytes,
        sha256: made.sha256.clone(),
        engine: take.engine.clone(),
        weights: take.weights.iter().map(|weights| weights.name.clone()).collect(),
        seed: take.seed,
        path: made.path.as_ref().map(|path| path.display().to_string()),
        s3: made.s3.clone(),
        warnings: take.warnings.iter().map(|remark| remark.message.clone()).collect(),
        measured: take.measured.iter().map(|(name, value)| (name.clone(), number(value))).collect(),
        removed: made.removed_ms.is_some(),
    }
}

fn number(value: &Value) -> serde_json::Value {
    match value {
        Value::Bool(v) => (*v).into(),
        Value::Int(v) => (*v).into(),
        Value::Float(v) => (*v).into(),
        Value::Text(v) => v.as_str().into(),
    }
}

pub fn line(line: LogLine) -> Line {
    let level = match line.level {
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    Line { n: line.n, at: iso(line.at_ms), level, message: line.message }
}

/// `None`: there is no such job.
pub fn canceling(canceling: &Canceling) -> Option<&'static str> {
    match canceling {
        Canceling::Canceled => Some("canceled"),
        Canceling::Requested => Some("requested"),
        Canceling::Ended => Some("ended"),
        Canceling::Unknown => None,
    }
}

pub fn avatar(view: AvatarView) -> Avatar {
    Avatar {
        dialect: view.avatar.dialect,
        owner: view.avatar.owner,
        name: view.avatar.name,
        engine: view.engine,
        source_sha256: view.source_sha256,
        created_at: iso(view.created_ms),
    }
}
