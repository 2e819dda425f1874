//! The desk: takes jobs, hands them to its workers in order, knows their states, cancels them.
//! A job that panics fails; the desk and the other jobs live on.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use contract::{Complaint, Engine, Stop};

use crate::recipe::{self, Studio};
use crate::{Event, Fault, JobSpec, State, Take, Watcher};

/// Jobs that may wait; more are refused.
const QUEUE_LIMIT: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// A job, seen by whoever submitted it.
pub struct Job {
    pub id: JobId,
    outcome: Receiver<Result<Take, Fault>>,
}

impl Job {
    /// Blocks until the job has ended.
    pub fn wait(self) -> Result<Take, Fault> {
        self.outcome.recv().unwrap_or(Err(Fault::Canceled))
    }
}

pub struct Desk {
    shared: Arc<Shared>,
    queue: Option<SyncSender<Ticket>>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    engines: Vec<Arc<dyn Engine>>,
    studio: Studio,
    records: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    next: u64,
    jobs: BTreeMap<JobId, Record>,
}

struct Record {
    state: State,
    stop: Stop,
    watcher: Arc<dyn Watcher>,
}

struct Ticket {
    id: JobId,
    spec: JobSpec,
    engine: Arc<dyn Engine>,
    outcome: SyncSender<Result<Take, Fault>>,
}

impl Desk {
    /// `slots` jobs run at the same time.
    pub fn open(studio: Studio, engines: Vec<Arc<dyn Engine>>, slots: usize) -> Self {
        let shared = Arc::new(Shared { engines, studio, records: Mutex::default() });
        let (queue, tickets) = sync_channel::<Ticket>(QUEUE_LIMIT);
        let tickets = Arc::new(Mutex::new(tickets));
        let workers = (0..slots.max(1))
            .map(|_| {
                let (shared, tickets) = (Arc::clone(&shared), Arc::clone(&tickets));
                std::thread::spawn(move || work(&shared, &tickets))
            })
            .collect();
        Self { shared, queue: Some(queue), workers }
    }

    /// Takes a job; `watcher` hears everything that happens to it.
    pub fn submit(&self, spec: JobSpec, watcher: Arc<dyn Watcher>) -> Result<Job, Complaint> {
        let engine = self.engine(&spec.engine)?;
        let (sender, outcome) = sync_channel(1);
        let id = self.shared.admit(watcher);
        let ticket = Ticket { id, spec, engine, outcome: sender };
        let queue = self.queue.as_ref().expect("the queue is closed only by drop");
        match queue.try_send(ticket) {
            Ok(()) => Ok(Job { id, outcome }),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.forget(id);
                Err(Complaint::new(
                    "queue_full",
                    format!("{QUEUE_LIMIT} jobs are waiting already, the limit is {QUEUE_LIMIT}"),
                    "try again when some are done",
                ))
            }
        }
    }

    /// Queued: canceled at once. Running: within one frame. Ended: nothing happens.
    pub fn cancel(&self, id: JobId) {
        let stop = {
            let records = self.shared.records();
            match records.jobs.get(&id) {
                Some(record) if !record.state.is_terminal() => record.stop.clone(),
                _ => return,
            }
        };
        if self.state(id) == Some(State::Queued) {
            self.shared.become_(id, State::Canceled);
        }
        stop.stop();
    }

    /// Cancels whatever has not ended.
    pub fn cancel_all(&self) {
        let all: Vec<JobId> = self.shared.records().jobs.keys().copied().collect();
        all.into_iter().for_each(|id| self.cancel(id));
    }

    pub fn state(&self, id: JobId) -> Option<State> {
        self.shared.records().jobs.get(&id).map(|record| record.state)
    }

    fn engine(&self, name: &str) -> Result<Arc<dyn Engine>, Complaint> {
        let found = self.shared.engines.iter().find(|engine| engine.card().name == name);
        found.cloned().ok_or_else(|| {
            let names: Vec<_> = self.shared.engines.iter().map(|engine| engine.card().name).collect();
            Complaint::new(
                "unknown_engine",
                format!("there is no engine `{name}`"),
                format!("this program has: {}", names.join(", ")),
            )
        })
    }
}

impl Drop for Desk {
    /// Cancels what is left and waits for the workers: nothing half-written stays behind.
    fn drop(&mut self) {
        self.cancel_all();
        self.queue = None;
        for worker in self.workers.drain(..) {
            // a worker catches its job's panics; should it die all the same there is nobody left to tell
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, watcher: Arc<dyn Watcher>) -> JobId {
        let mut records = self.records();
        records.next += 1;
        let id = JobId(records.next);
        watcher.event(&Event::State(State::Queued));
        records.jobs.insert(id, Record { state: State::Queued, stop: Stop::new(), watcher });
        id
    }

    fn forget(&self, id: JobId) {
        self.records().jobs.remove(&id);
    }

    /// The only place where a state changes. False if the job may not go there (it was canceled meanwhile).
    fn become_(&self, id: JobId, next: State) -> bool {
        let mut records = self.records();
        let Some(record) = records.jobs.get_mut(&id) else { return false };
        if !record.state.may_become(next) {
            return false;
        }
        record.state = next;
        let watcher = Arc::clone(&record.watcher);
        drop(records);
        watcher.event(&Event::State(next));
        true
    }

    fn run(&self, ticket: Ticket) {
        let Ticket { id, spec, engine, outcome } = ticket;
        let Some((stop, watcher)) =
            self.records().jobs.get(&id).map(|r| (r.stop.clone(), Arc::clone(&r.watcher)))
        else {
            return;
        };
        let ended = if self.become_(id, State::Running) {
            catch_unwind(AssertUnwindSafe(|| {
                recipe::make(&self.studio, engine.as_ref(), spec, &watcher, &stop)
            }))
            .unwrap_or_else(|_| Err(Fault::failed("internal", "the job panicked; this is a bug in talkie")))
        } else {
            Err(Fault::Canceled)
        };
        self.become_(
            id,
            match &ended {
                Ok(_) => State::Done,
                Err(Fault::Canceled) => State::Canceled,
                Err(Fault::Rejected(_) | Fault::Failed { .. }) => State::Failed,
            },
        );
        // whoever submitted may have gone: the record keeps the state
        let _ = outcome.send(ended);
    }
}

fn work(shared: &Shared, tickets: &Mutex<Receiver<Ticket>>) {
    loop {
        let next = tickets.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(ticket) => shared.run(ticket),
            Err(_) => return,
        }
    }
}
