//! Starts one worker process a device, listens to it, and starts its successor when it is gone. A worker's end is the end
//! of its socket: whatever closes it (a crash, a kill, a word it must not say) ends the process and is told as `Gone`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use contract::Complaint;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::mpsc::UnboundedSender;

use super::link::{self, FromWorker, Inbox, Parcel, ToWorker};
use super::{Assignment, Crew, CrewEvent, Form, WorkerId};
use crate::JobId;

/// The descriptor at which a worker finds its socket.
pub const WORKER_FD: i32 = 3;
/// How long a new worker may take to say that it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Pauses before a successor is started: none after a worker that has lived for `SETTLED`, then longer and longer.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_secs(10);

/// How a worker is started: a program that calls `worker::run` with the socket at descriptor 3.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Added to the server's own environment.
    pub envs: Vec<(OsString, OsString)>,
}

/// The workers of this machine: today one, for the CPU.
pub struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    events: UnboundedSender<CrewEvent>,
    hands: Mutex<BTreeMap<WorkerId, (Arc<Hand>, Outbox)>>,
    /// Told when one of them is gone.
    fewer: Condvar,
    dismissed: Mutex<bool>,
    /// Told when it is set.
    leaving: Condvar,
    next: AtomicU64,
}

type Message = (ToWorker, Option<OwnedFd>);
/// What is to be sent; without it the sending thread ends.
type Outbox = mpsc::Sender<Message>;

/// One living worker.
struct Hand {
    socket: UnixStream,
    pidfd: OwnedFd,
    /// Why it was killed, if we did.
    why: Mutex<Option<String>>,
}

impl Workers {
    /// Starts a worker for every command; what becomes of them is told to `events`.
    pub fn start(
        commands: Vec<WorkerCommand>,
        events: UnboundedSender<CrewEvent>,
    ) -> Result<Self, Complaint> {
        let shared = Arc::new(Shared {
            events,
            hands: Mutex::default(),
            fewer: Condvar::new(),
            dismissed: Mutex::new(false),
            leaving: Condvar::new(),
            next: AtomicU64::new(1),
        });
        for command in commands {
            let shared = Arc::clone(&shared);
            // Linux kills a child when the thread that forked it ends: this one lives as long as its workers
            let thread = std::thread::Builder::new().name("crew-supervisor".into());
            thread.spawn(move || supervise(&shared, &command)).map_err(|error| {
                let message = format!("no thread could be started for a worker: {error}");
                Complaint::new("machine_failed", message, "free memory or processes, then retry")
            })?;
        }
        Ok(Self { shared })
    }
}

impl Crew for Workers {
    fn assign(&self, worker: WorkerId, assignment: Assignment) {
        let Assignment { job, attempt, work, deliver, form, avatar } = assignment;
        let (live, stream) = match form {
            Form::File => (None, None),
            Form::Live { live, stream } => (Some(live), Some(stream)),
        };
        let parcel = Parcel { job, attempt, work, deliver, avatar, live };
        self.shared.tell(worker, ToWorker::Assign(Box::new(parcel)), stream);
    }

    fn cancel(&self, worker: WorkerId, job: &JobId, attempt: u32) {
        self.shared.tell(worker, ToWorker::Cancel { job: job.clone(), attempt }, None);
    }

    fn kill(&self, worker: WorkerId, why: &str) {
        if let Some((hand, _)) = lock(&self.shared.hands).get(&worker) {
            hand.kill(why);
        }
    }

    fn dismiss(&self, grace: Duration) {
        *lock(&self.shared.dismissed) = true;
        self.shared.leaving.notify_all();
        let workers: Vec<_> = lock(&self.shared.hands).keys().copied().collect();
        for worker in workers {
            self.shared.tell(worker, ToWorker::Leave, None);
        }
        let shared = Arc::clone(&self.shared);
        let patience = std::thread::Builder::new().name("crew-dismissal".into()).spawn(move || {
            let left = shared.fewer.wait_timeout_while(lock(&shared.hands), grace, |hands| !hands.is_empty());
            let (hands, _) = left.unwrap_or_else(PoisonError::into_inner);
            hands.values().for_each(|(hand, _)| hand.kill("the server is closing"));
        });
        if patience.is_err() {
            // without a thread there is no waiting
            lock(&self.shared.hands).values().for_each(|(hand, _)| hand.kill("the server is closing"));
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.dismiss(Duration::ZERO);
    }
}

impl Shared {
    /// To a worker that is gone, nothing: `Gone` has been told.
    fn tell(&self, worker: WorkerId, message: ToWorker, fd: Option<OwnedFd>) {
        if let Some((_, outbox)) = lock(&self.hands).get(&worker) {
            let _ = outbox.send((message, fd));
        }
    }

    fn dismissed(&self) -> bool {
        *lock(&self.dismissed)
    }

    /// Waits out a pause; `true`: there is no successor to be started any more.
    fn pause(&self, pause: Duration) -> bool {
        let waited = self.leaving.wait_timeout_while(lock(&self.dismissed), pause, |dismissed| !*dismissed);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Hand {
    fn kill(&self, why: &str) {
        lock(&self.why).get_or_insert_with(|| why.to_owned());
        // an error means that it is gone, which is what was wanted
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// The life of one device's workers, one after the other.
fn supervise(shared: &Arc<Shared>, command: &WorkerCommand) {
    let mut pause = Duration::ZERO;
    while !shared.pause(pause) {
        let born = Instant::now();
        let worker = WorkerId(shared.next.fetch_add(1, Ordering::Relaxed));
        match hire(command) {
            Ok(hired) => employ(shared, worker, hired),
            Err(error) => {
                tracing::error!(program = %command.program.display(), %error, "a worker could not be started");
            }
        }
        let settled = born.elapsed() >= SETTLED;
        pause = if settled { Duration::ZERO } else { (2 * pause).clamp(FIRST_PAUSE, LONGEST_PAUSE) };
    }
}

fn hire(command: &WorkerCommand) -> io::Result<(Child, Arc<Hand>)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut child = spawn(command, &theirs)?;
    let pid = Pid::from_raw(child.id() as i32).ok_or_else(|| io::Error::other("a process without a number"));
    match pid.and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?)) {
        Ok(pidfd) => {
            let hand = Hand { socket: ours, pidfd, why: Mutex::default() };
            Ok((child, Arc::new(hand)))
        }
        Err(error) => {
            // a worker that cannot be killed at any time must not live
            let _ = child.kill().and_then(|()| child.wait());
            Err(error)
        }
    }
}

fn spawn(command: &WorkerCommand, socket: &UnixStream) -> io::Result<Child> {
    let server = std::process::id() as i32;
    let given = socket.as_raw_fd();
    let mut process = Command::new(&command.program);
    process.args(&command.args).envs(command.envs.iter().map(|(name, value)| (name, value)));
    // its own process group: Ctrl-C in the server's terminal is the server's to handle
    process.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    // SAFETY: between fork and exec only system calls are made; nothing allocates or locks. `WORKER_FD` is wrapped without
    // being owned, and closing whatever it was is what dup2 is for: all other descriptors of ours close at exec.
    unsafe {
        process.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            if rustix::process::getppid().map(Pid::as_raw_pid) != Some(server) {
                return Err(io::Error::other("the server died meanwhile"));
            }
            let socket = std::os::fd::BorrowedFd::borrow_raw(given);
            if given == WORKER_FD {
                rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty())?;
            } else {
                let mut there = std::mem::ManuallyDrop::new(OwnedFd::from_raw_fd(WORKER_FD));
                rustix::io::dup2(socket, &mut there)?;
            }
            Ok(())
        });
    }
    process.spawn()
}

/// From the first message to the end of the process.
fn employ(shared: &Arc<Shared>, worker: WorkerId, (mut child, hand): (Child, Arc<Hand>)) {
    let (outbox, messages) = mpsc::channel::<Message>();
    let writer = Arc::clone(&hand);
    let sending = std::thread::Builder::new().name("crew-link".into()).spawn(move || {
        while let Ok((message, fd)) = messages.recv() {
            if let Err(error) = link::send(&writer.socket, &message, fd.as_ref().map(AsFd::as_fd)) {
                return writer.kill(&format!("it does not take what it is told: {error}"));
            }
        }
    });
    let mut inbox = Inbox::new(&hand.socket, link::WORKER_LIMIT);
    let greeted = sending.and_then(|_| greet(shared, worker, (&hand, outbox), &mut inbox));
    let ready = greeted.is_ok();
    let heard = greeted.and_then(|()| listen(shared, &mut inbox));
    lock(&shared.hands).remove(&worker);
    let closed = heard.is_ok();
    hand.kill(
        &heard
            .map_or_else(|error| format!("it said what a worker must not say: {error}"), |()| CLOSED.into()),
    );
    let status = child.wait();
    let why = lock(&hand.why).take().unwrap_or_default();
    let why = match status {
        Ok(status) if closed && why == CLOSED => format!("{why} ({status})"),
        _ => why,
    };
    tracing::info!(worker = worker.0, %why, "a worker is gone");
    if ready {
        let _ = shared.events.send(CrewEvent::Gone { worker, why });
    }
    shared.fewer.notify_all();
}

/// Waits for a new worker's first word, and lets it be given work.
fn greet(
    shared: &Shared,
    worker: WorkerId,
    (hand, outbox): (&Arc<Hand>, Outbox),
    inbox: &mut Inbox<'_>,
) -> io::Result<()> {
    hand.socket.set_read_timeout(Some(READY_WITHIN))?;
    let Some(FromWorker::Ready { slots, live_slots }) = inbox.next()? else {
        return Err(io::Error::other("it did not begin by saying that it is ready"));
    };
    hand.socket.set_read_timeout(None)?;
    lock(&shared.hands).insert(worker, (Arc::clone(hand), outbox));
    if shared.dismissed() {
        shared.tell(worker, ToWorker::Leave, None); // `dismiss` did not know of it yet
    }
    let _ = shared.events.send(CrewEvent::Ready { worker, slots, live_slots });
    Ok(())
}

/// Passes on what the worker tells, until its socket closes.
fn listen(shared: &Shared, inbox: &mut Inbox<'_>) -> io::Result<()> {
    while let Some(message) = inbox.next()? {
        let event = match message {
            FromWorker::Told { job, attempt, event } => CrewEvent::Told { job, attempt, event },
            FromWorker::Ended { job, attempt, ending } => CrewEvent::Ended { job, attempt, ending },
            FromWorker::Ready { .. } => return Err(io::Error::other("that it is ready, twice")),
        };
        let _ = shared.events.send(event);
    }
    Ok(())
}

const CLOSED: &str = "its socket closed";

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // what these hold is whole between any two statements
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
