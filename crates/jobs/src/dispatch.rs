//! The one loop that hands out work: woken by a submit, by the crew and by its own deadlines, never by a poll. It claims in
//! order, hears what the workers tell, ends attempts in the record, and watches for those that stall or do not leave.

mod fleet;
mod floor;
mod settling;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::crew::{Assignment, Crew, CrewEvent, Form, WorkerId};
use crate::desk::live::{self, Live};
use crate::desk::{Inner, LiveOrder, Refusal, Vitals, closing, intake, new_id, refused};
use crate::record::claim::{self, Claimed};
use crate::record::job::{self, Fence};
use crate::record::settle::{self, Outcome};
use crate::record::{kept, log};
use crate::{Delivery, Ending, Event, JobId, Level, ProgressView, State, Work};
use floor::{Floor, Key, Place};
use sea_orm::ActiveValue::Set;
use settling::Unsettled;

/// Rows looked at beyond the free places: suspects that wait for a worker of their own do not hide the jobs behind them.
const LOOK_AHEAD: u64 = 32;
/// How long one job's leftovers may keep the others waiting.
const SWEPT_WITHIN: Duration = Duration::from_secs(5);
/// How often progress goes to the record, and how long a write that failed waits for its next try.
const SECOND: Duration = Duration::from_secs(1);
/// Between two lines of a job's log about the same stage.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What the desk asks of the loop.
pub enum Ask {
    /// The record says that it is to stop.
    Cancel(JobId),
    /// A live session's reader is gone.
    HangUp(JobId),
    Live(Box<LiveAsk>),
    Close {
        grace: Duration,
        done: oneshot::Sender<()>,
    },
}

pub struct LiveAsk {
    pub order: LiveOrder,
    pub reply: oneshot::Sender<Result<Live, Refusal>>,
}

/// An attempt that a worker of ours is at.
struct Attempt {
    fence: Fence,
    worker: WorkerId,
    dialect: String,
    began: Instant,
    /// When it last told something new.
    heard: Instant,
    /// Canceled: when its worker is killed.
    leave_by: Option<Instant>,
    progress: Option<ProgressView>,
    /// Since when the record does not know the progress.
    untold: Option<Instant>,
    /// When its log last told of it.
    lined: Instant,
    /// Of a live session.
    ending: Option<oneshot::Sender<Ending>>,
}

impl Attempt {
    /// The same count of the same stage, told again, is no progress.
    fn is_news(&self, event: &Event) -> bool {
        match (event, self.progress) {
            (Event::Stage { stage, done, .. }, Some(before)) => {
                before.stage != *stage || before.done != *done
            }
            (Event::Stage { .. }, None) | (Event::Warning(_) | Event::Preview { .. } | Event::Alive, _) => {
                true
            }
        }
    }
}

pub struct Dispatch {
    desk: Arc<Inner>,
    crew: Arc<dyn Crew>,
    floor: Floor,
    attempts: HashMap<Key, Attempt>,
    audience: VecDeque<Box<LiveAsk>>,
    /// Ends that the record has not taken yet.
    unsettled: Vec<Unsettled>,
    fleet: fleet::Fleet,
    /// Something has changed: there may be work to hand out.
    restless: bool,
    /// When a queued job will have waited too long, as far as the record was last asked.
    overdue: Option<Instant>,
    /// The record did not answer: not before this.
    retry: Option<Instant>,
    closing: Option<Closing>,
}

struct Closing {
    by: Instant,
    done: oneshot::Sender<()>,
}

impl Dispatch {
    pub fn new(desk: Arc<Inner>, crew: Arc<dyn Crew>) -> Self {
        let fleet = fleet::Fleet::new(desk.fleet_look());
        Self {
            desk,
            crew,
            floor: Floor::default(),
            attempts: HashMap::new(),
            audience: VecDeque::new(),
            unsettled: Vec::new(),
            fleet,
            restless: true,
            overdue: None,
            retry: None,
            closing: None,
        }
    }

    pub async fn run(
        mut self,
        mut events: mpsc::UnboundedReceiver<CrewEvent>,
        mut asks: mpsc::UnboundedReceiver<Ask>,
    ) {
        let desk = Arc::clone(&self.desk);
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                Some(event) = events.recv() => self.hear(event).await,
                Some(ask) = asks.recv() => self.answer(ask).await,
                () = desk.submitted.notified() => self.restless = true,
                () = sleep_until(deadline), if deadline.is_some() => {}
            }
            // what was told before a deadline counts before it
            while let Ok(event) = events.try_recv() {
                self.hear(event).await;
            }
            while let Ok(ask) = asks.try_recv() {
                self.answer(ask).await;
            }
            self.keep_watch().await;
            if self.restless {
                self.hand_out().await;
            }
            if self.is_closed().await {
                return;
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let attempts = self.attempts.values().flat_map(|attempt| {
            let stall = attempt.ending.is_none().then(|| attempt.heard + self.desk.stall);
            [stall, attempt.leave_by, attempt.untold.map(|since| since + SECOND)]
        });
        let closing = self.closing.as_ref().map(|closing| closing.by);
        let unsettled = self.unsettled.first().map(|unsettled| unsettled.again);
        let others =
            [self.retry, self.overdue, closing, self.fleet.next(), unsettled, self.floor.patience_ends()];
        attempts.chain(others).flatten().min()
    }

    async fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Cancel(id) => self.ask_to_leave(&id),
            Ask::HangUp(id) => {
                if self.attempts.keys().any(|(job, _)| *job == id) {
                    if let Err(error) = self.desk.cancel(&id, None).await {
                        tracing::warn!(job = %id, %error, "the record does not know yet that its reader is gone");
                    }
                    self.ask_to_leave(&id);
                }
            }
            Ask::Live(ask) => {
                self.audience.push_back(ask);
                self.restless = true;
            }
            Ask::Close { grace, done } => {
                self.crew.dismiss(grace);
                self.closing = Some(Closing { by: Instant::now() + grace, done });
                for ask in self.audience.drain(..) {
                    let _ = ask.reply.send(Err(closing()));
                }
            }
        }
    }

    fn ask_to_leave(&mut self, id: &str) {
        let by = Instant::now() + self.desk.cancel_grace;
        for ((job, attempt), at) in &mut self.attempts {
            if job == id && at.leave_by.is_none() {
                at.leave_by = Some(by);
                self.crew.cancel(at.worker, job, *attempt);
            }
        }
    }

    async fn hear(&mut self, event: CrewEvent) {
        match event {
            CrewEvent::Ready { worker, slots, live_slots } => {
                tracing::info!(worker = worker.0, slots, live_slots, "a worker is ready");
                self.floor.ready(worker, slots, live_slots);
                self.restless = true;
            }
            CrewEvent::Gone { worker, why } => self.gone(worker, &why).await,
            CrewEvent::Told { job, attempt, event } => self.told((job, attempt), event).await,
            CrewEvent::Ended { job, attempt, ending } => self.ended((job, attempt), ending).await,
        }
    }

    async fn told(&mut self, key: Key, event: Event) {
        let Some(attempt) = self.attempts.get_mut(&key) else { return };
        let news = attempt.is_news(&event);
        if news {
            attempt.heard = Instant::now();
        }
        let (seq, now_ms) = (attempt.fence.seq, self.desk.clock.now_ms());
        let (level, message) = match event {
            Event::Alive => {
                // for a live session's reader, who waits for the first picture
                if let Some(progress) = attempt.progress {
                    self.desk.progress.tell(&key.0, key.1, progress);
                }
                return;
            }
            Event::Preview { frame, jpeg } => {
                self.desk.progress.show(&key.0, frame, jpeg.into());
                self.desk.bells.ring(&key.0);
                return;
            }
            Event::Warning(remark) => (Level::Warn, remark.message),
            Event::Stage { stage, done, of, eta } => {
                let entered = attempt.progress.is_none_or(|before| before.stage != stage);
                let eta_ms = eta.map(|eta| eta.as_millis() as u64);
                let progress = ProgressView { stage, done, of, eta_ms };
                attempt.progress = Some(progress);
                self.desk.progress.tell(&key.0, key.1, progress);
                if !entered && !news {
                    return;
                }
                if !entered {
                    attempt.untold.get_or_insert_with(Instant::now);
                    self.desk.bells.ring(&key.0);
                    return;
                }
                attempt.untold = None;
                let fence = attempt.fence;
                self.note(&key.0, job::tell_progress(&self.desk.record.write, fence, progress).await);
                (Level::Info, stage.name().to_owned())
            }
        };
        let line = log::Line { at_ms: now_ms, level, message: &message };
        let written = self.desk.record.write_line(seq, line).await;
        self.note(&key.0, written);
        self.desk.bells.ring(&key.0);
    }

    /// Progress and log lines are worth a warning, not a retry.
    fn note(&self, id: &str, written: Result<(), sea_orm::DbErr>) {
        if let Err(error) = written {
            tracing::warn!(job = %id, %error, "the record misses a line about it");
        }
    }

    /// Deadlines that have passed.
    async fn keep_watch(&mut self) {
        let now = Instant::now();
        if self.retry.is_some_and(|at| at <= now) {
            self.retry = None;
            self.restless = true;
        }
        // looking at the queue ends those that should have begun by now
        if self.overdue.is_some_and(|at| at <= now) {
            self.overdue = None;
            self.restless = true;
        }
        self.restless |= self.floor.loses_patience(now);
        self.settle_again(now).await;
        let mut condemned = Vec::new();
        let mut due = Vec::new();
        for (key, attempt) in &mut self.attempts {
            let silent = now - attempt.heard;
            if attempt.leave_by.is_some_and(|by| by <= now) {
                attempt.leave_by = Some(now + self.desk.cancel_grace);
                condemned.push((key.clone(), attempt.worker, "it was canceled and did not leave".to_owned()));
            } else if attempt.ending.is_none() && silent >= self.desk.stall {
                attempt.heard = now;
                let why = format!("it told no progress for {:.1} s", silent.as_secs_f64());
                condemned.push((key.clone(), attempt.worker, why));
            }
            if let (Some(since), Some(progress)) = (attempt.untold, attempt.progress)
                && now - since >= SECOND
            {
                attempt.untold = None;
                let line = now - attempt.lined >= LINE_EVERY && attempt.ending.is_none();
                if line {
                    attempt.lined = now;
                }
                due.push((key.0.clone(), attempt.fence, (progress, line)));
            }
        }
        for (key, worker, why) in condemned {
            tracing::warn!(job = %key.0, worker = worker.0, %why, "killing its worker");
            if self.floor.condemn(worker, key, why.clone()) {
                self.crew.kill(worker, &why);
            }
        }
        for (id, fence, (progress, line)) in due {
            self.note(&id, job::tell_progress(&self.desk.record.write, fence, progress).await);
            if line {
                let message = progress.to_string();
                let line =
                    log::Line { at_ms: self.desk.clock.now_ms(), level: Level::Info, message: &message };
                self.note(&id, self.desk.record.write_line(fence.seq, line).await);
            }
        }
        self.look_at_fleet(now).await;
    }

    /// Gives the free places to the next in order.
    async fn hand_out(&mut self) {
        self.restless = false;
        if self.closing.is_none() && self.retry.is_none() {
            self.floor.begin_round();
            if let Err(error) = self.end_overdue().await.and(self.hand_out_jobs().await) {
                tracing::error!(%error, "the record does not answer: no job is handed out");
                self.retry = Some(Instant::now() + SECOND);
            }
            self.seat_audience().await;
        }
        self.count().await;
    }

    /// Jobs that were to begin by now and still wait have failed, and the clock is set for the next.
    async fn end_overdue(&mut self) -> Result<(), sea_orm::DbErr> {
        if !self.desk.deadlines.load(Ordering::Relaxed) && !self.desk.record.shared {
            return Ok(());
        }
        let now_ms = self.desk.clock.now_ms();
        for row in job::overdue(&self.desk.record.read, now_ms).await? {
            tracing::info!(job = %row.id, "has waited too long");
            let failure = settle::late((now_ms - row.created_ms).max(0));
            settle::refuse(&self.desk.record, &row, failure, now_ms).await?;
            self.desk.changed(&row.id);
            self.desk.ending.notify_waiters();
        }
        // a submit that comes meanwhile sets it again
        self.desk.deadlines.store(false, Ordering::Relaxed);
        let next = job::next_overdue(&self.desk.record.read).await;
        let next = next.inspect_err(|_| self.desk.deadlines.store(true, Ordering::Relaxed))?;
        self.desk.deadlines.fetch_or(next.is_some(), Ordering::Relaxed);
        let left = |at: i64| Duration::from_millis(at.saturating_sub(now_ms).clamp(1, 3_600_000) as u64);
        self.overdue = next.map(|at| Instant::now() + left(at));
        Ok(())
    }

    async fn hand_out_jobs(&mut self) -> Result<(), sea_orm::DbErr> {
        loop {
            let free = self.floor.free();
            if free == 0 {
                return Ok(());
            }
            let rows = claim::heads(&self.desk.record, free as u64 + LOOK_AHEAD).await?;
            let mut claimed = 0;
            for row in &rows {
                let (worker, place) = match row.is_suspect() {
                    true => (self.floor.seat_for_suspect(Instant::now()), Place::Alone),
                    false => (self.floor.seat_for_job(), Place::Job),
                };
                let Some(worker) = worker else { continue };
                claimed += usize::from(self.claim(row, worker, place).await?);
            }
            // more may have come meanwhile, or have hidden behind jobs that were gone
            if claimed == 0 {
                return Ok(());
            }
        }
    }

    /// True if the queue is not as it was.
    async fn claim(
        &mut self,
        row: &job::Model,
        worker: WorkerId,
        place: Place,
    ) -> Result<bool, sea_orm::DbErr> {
        let desk = &self.desk;
        let now_ms = desk.clock.now_ms();
        let (attempt, work, deliver, avatar) =
            match claim::claim(&desk.record, row, (&desk.boot, now_ms)).await? {
                Claimed::Ours { attempt, work, deliver, avatar } => (attempt, work, deliver, avatar),
                Claimed::Gone => return Ok(false),
                Claimed::Damaged(why) => {
                    tracing::error!(job = %row.id, %why, "its row cannot be read: it has failed");
                    settle::refuse(&desk.record, row, settle::damaged(), now_ms).await?;
                    desk.changed(&row.id);
                    desk.ending.notify_waiters();
                    return Ok(true);
                }
            };
        // only now: before, another server might have made it. A store that does not answer must not hold up the others
        if row.litter {
            let swept = tokio::time::timeout(SWEPT_WITHIN, desk.sweep_left(&row.id)).await;
            let why = match swept {
                Ok(Ok(())) => None,
                Ok(Err(complaint)) => Some(complaint.to_string()),
                Err(_) => Some(format!("the store did not answer within {} s", SWEPT_WITHIN.as_secs())),
            };
            if let Some(why) = why {
                tracing::warn!(job = %row.id, why, "what its last attempt left could not be removed");
            }
        }
        let waited = (now_ms - row.created_ms).max(0) as f64 / 1000.0;
        metrics::histogram!("talkie_queue_wait_seconds").record(waited);
        tracing::info!(job = %row.id, attempt, worker = worker.0, "running");
        let fence = Fence { seq: row.seq, attempt };
        let assignment = Assignment {
            job: row.id.clone(),
            attempt: attempt as u32,
            work,
            deliver,
            form: Form::File,
            avatar,
        };
        self.begin((worker, place), (fence, row.dialect.clone()), assignment, None);
        Ok(true)
    }

    fn begin(
        &mut self,
        (worker, place): (WorkerId, Place),
        (fence, dialect): (Fence, String),
        assignment: Assignment,
        ending: Option<oneshot::Sender<Ending>>,
    ) {
        let key = (assignment.job.clone(), assignment.attempt);
        let now = Instant::now();
        self.floor.seat(worker, key.clone(), place);
        let attempt = Attempt {
            fence,
            worker,
            dialect,
            began: now,
            heard: now,
            leave_by: None,
            progress: None,
            untold: None,
            lined: now,
            ending,
        };
        self.desk.changed(&key.0);
        self.attempts.insert(key, attempt);
        self.crew.assign(worker, assignment);
    }

    /// Who came first is served first; who has gone meanwhile is passed over.
    async fn seat_audience(&mut self) {
        while let Some(ask) = self.audience.pop_front() {
            if ask.reply.is_closed() {
                continue;
            }
            let Some(worker) = self.floor.seat_for_live() else {
                self.audience.push_front(ask);
                return;
            };
            let LiveAsk { order, reply } = *ask;
            let answer = self.open_live(order, worker).await;
            // nobody there any more: the session is dropped, which is hanging up
            let _ = reply.send(answer);
        }
    }

    async fn open_live(&mut self, order: LiveOrder, worker: WorkerId) -> Result<Live, Refusal> {
        let desk = Arc::clone(&self.desk);
        let id = new_id();
        let now_ms = desk.clock.now_ms();
        let LiveOrder { dialect, owner, take, form, note } = order;
        let (stream, theirs) = live::socket().map_err(|error| {
            let message = format!("no socket for a live session: {error}");
            Refusal::Broken(contract::Complaint::new("no_socket", message, "raise the limit of open files"))
        })?;
        let row = job::ActiveModel {
            id: Set(id.clone()),
            dialect: Set(dialect.to_owned()),
            owner: Set(owner.clone()),
            work: Set(kept(&Work::Take(take.clone()))),
            live: Set(true),
            deliver: Set(kept(&Delivery::default())),
            note: Set(kept(&note)),
            work_hash: Set(String::new()),
            state: Set(State::Running.name().to_owned()),
            attempt: Set(1),
            boot: Set(Some(desk.boot.clone())),
            created_ms: Set(now_ms),
            started_ms: Set(Some(now_ms)),
            ..job::blank()
        };
        if let Some(name) = intake::avatar_of(&Work::Take(take.clone()))
            && (name.dialect != dialect || name.owner != owner)
        {
            return Err(Refusal::Rejected(intake::unknown_avatar(&name.name)));
        }
        let begun = claim::begin_live(&desk.record, row, &take, now_ms).await.map_err(refused)?;
        let Some((fence, avatar)) = begun else {
            let work = Work::Take(take);
            let name = intake::avatar_of(&work).map_or("", |avatar| avatar.name.as_str());
            return Err(Refusal::Rejected(intake::unknown_avatar(name)));
        };
        tracing::info!(job = %id, worker = worker.0, "live session begun");
        metrics::counter!("talkie_live_sessions_total", "dialect" => dialect).increment(1);
        let (ended, ending) = oneshot::channel();
        let assignment = Assignment {
            job: id.clone(),
            attempt: 1,
            work: Work::Take(take),
            deliver: Delivery::default(),
            form: Form::Live { live: form, stream: theirs },
            avatar,
        };
        self.begin((worker, Place::Live), (fence, dialect.to_owned()), assignment, Some(ended));
        Ok(Live::new(&desk, id, stream, ending))
    }

    async fn count(&self) {
        let before = self.desk.counts.vitals();
        let queued = self.desk.record.waiting().await.unwrap_or(before.queued);
        self.desk.counts.set(Vitals {
            queued,
            running: self.floor.running() as u64,
            live: self.floor.live() as u64,
            workers: self.floor.workers() as u64,
            slots: self.floor.slots() as u64,
        });
    }

    /// Everything has ended, or the grace is over and what is left goes back into the queue.
    async fn is_closed(&mut self) -> bool {
        let Some(closing) = &self.closing else { return false };
        let out_of_time = closing.by <= Instant::now();
        let busy = !self.attempts.is_empty() || !self.unsettled.is_empty();
        if busy && !out_of_time {
            return false;
        }
        let left: Vec<Key> = self.attempts.keys().cloned().collect();
        for key in left {
            self.end(key, Outcome::Lost { why: "the server is going down".to_owned() }).await;
        }
        if let Some(closing) = self.closing.take() {
            let _ = closing.done.send(());
        }
        true
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
