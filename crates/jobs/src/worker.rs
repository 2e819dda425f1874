//! A worker process: takes assignments from the socket it was started with, runs each in a thread of its own, and tells
//! what becomes of them. When the socket ends, so does the process, whatever its jobs do.

use std::collections::HashMap;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::{Engine, Stop};
use store::Store;

use crate::attempt::{self, Attempt};
use crate::crew::link::{self, FromWorker, Inbox, Parcel, ToWorker};
use crate::live::Live;
use crate::{Ending, Event, Fault, JobId, Studio, Watcher, scratch};

/// How long jobs may take to leave when the socket has ended; then the process ends without them.
const LAST_WORDS: Duration = Duration::from_millis(700);

/// What a worker works with.
pub struct Shop {
    pub studio: Studio,
    pub engines: Vec<Arc<dyn Engine>>,
    pub store: Store,
    /// The runtime in which `store` was opened; it needs threads of its own.
    pub runtime: tokio::runtime::Handle,
    /// Jobs and live sessions that may run at a time.
    pub slots: usize,
    pub live_slots: usize,
}

type Running = HashMap<(JobId, u32), Stop>;

struct Worker {
    shop: Shop,
    socket: UnixStream,
    /// Messages leave whole.
    sending: Mutex<()>,
    running: Mutex<Running>,
    idle: Condvar,
    leaving: Mutex<bool>,
}

/// The whole life of a worker. Call it from a thread that runs no async tasks, and end the process when it returns:
/// jobs that do not listen are still running then.
pub fn run(socket: OwnedFd, shop: Shop) {
    // the programs that media starts must not hold it open
    let _ = rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC);
    scratch::sweep(&shop.store);
    let (slots, live_slots) = (shop.slots, shop.live_slots);
    let worker = Arc::new(Worker {
        shop,
        socket: socket.into(),
        sending: Mutex::default(),
        running: Mutex::default(),
        idle: Condvar::new(),
        leaving: Mutex::default(),
    });
    worker.tell(&FromWorker::Ready { slots, live_slots });
    let mut inbox = Inbox::new(&worker.socket, link::SERVER_LIMIT);
    loop {
        match inbox.next() {
            Ok(Some(ToWorker::Assign(parcel))) => {
                let stream = parcel.live.and_then(|_| inbox.take_fd());
                worker.begin(*parcel, stream);
            }
            Ok(Some(ToWorker::Cancel { job, attempt })) => worker.cancel(&(job, attempt)),
            Ok(Some(ToWorker::Leave)) => worker.leave(),
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "the server said what no server says");
                break;
            }
        }
    }
    worker.close();
}

impl Worker {
    fn begin(self: &Arc<Self>, parcel: Parcel, stream: Option<OwnedFd>) {
        let Parcel { job, attempt, work, deliver, avatar, live } = parcel;
        let stop = Stop::new();
        let name = (job, attempt);
        if live.is_some() && stream.is_none() {
            let fault = Fault::failed("internal", "a live session came without its socket");
            return self.end(name, Ending::Failed(fault.into()));
        }
        let live = live.zip(stream).map(|(form, stream)| Live::open(form, stream, &stop));
        lock(&self.running).insert(name.clone(), stop.clone());
        let worker = Arc::clone(self);
        let attempt = Attempt { name: name.clone(), work, deliver, avatar, live };
        let thread = std::thread::Builder::new().name("job".into());
        let spawned = thread.spawn(move || worker.work(attempt, &stop));
        if let Err(error) = spawned {
            let fault = Fault::failed("machine_failed", format!("no thread could be started: {error}"));
            self.end(name, Ending::Failed(fault.into()));
        }
    }

    fn work(self: Arc<Self>, attempt: Attempt, stop: &Stop) {
        let name = attempt.name.clone();
        let pictures = attempt.live.is_none();
        let watcher: Arc<dyn Watcher> =
            Arc::new(Telling { worker: Arc::clone(&self), name: name.clone(), pictures });
        let made = catch_unwind(AssertUnwindSafe(|| attempt::run(&self.shop, attempt, &watcher, stop)));
        let ending = made.unwrap_or_else(|_| {
            Ending::Failed(Fault::failed("internal", "the job panicked; this is a bug in talkie").into())
        });
        self.end(name, ending);
    }

    fn end(&self, name: (JobId, u32), ending: Ending) {
        let mut running = lock(&self.running);
        running.remove(&name);
        let (job, attempt) = name;
        self.tell(&FromWorker::Ended { job, attempt, ending });
        self.idle.notify_all();
        if running.is_empty() && *lock(&self.leaving) {
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }

    fn cancel(&self, name: &(JobId, u32)) {
        let stop = lock(&self.running).get(name).cloned();
        if let Some(stop) = stop {
            stop.stop();
        }
    }

    /// No more work will come: the last job that ends ends the process.
    fn leave(&self) {
        let running = lock(&self.running);
        *lock(&self.leaving) = true;
        if running.is_empty() {
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }

    fn close(&self) {
        let stops: Vec<Stop> = lock(&self.running).values().cloned().collect();
        stops.iter().for_each(Stop::stop);
        let running = lock(&self.running);
        let _ = self.idle.wait_timeout_while(running, LAST_WORDS, |running| !running.is_empty());
    }

    fn tell(&self, message: &FromWorker) {
        let _whole = lock(&self.sending);
        // a server that is gone is noticed by the reader
        let _ = link::send(&self.socket, message, None);
    }
}

/// Whoever watches a job of this worker is the server.
struct Telling {
    worker: Arc<Worker>,
    name: (JobId, u32),
    /// The reader of a live session sees them anyway.
    pictures: bool,
}

impl Watcher for Telling {
    fn event(&self, event: &Event) {
        let (job, attempt) = self.name.clone();
        self.worker.tell(&FromWorker::Told { job, attempt, event: event.clone() });
    }

    fn wants_pictures(&self) -> bool {
        self.pictures
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // what these hold is whole between any two statements
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
