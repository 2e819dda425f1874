//! One child process: started caged, fed and read with a time limit, killed when the job stops, when it falls silent
//! or when its owner lets go, and always reaped. Its stderr is kept to the last few kilobytes.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use contract::{Stop, StopGuard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::machine;
use crate::sandbox::{Cage, Confinement};
use crate::{Limits, MediaError};

/// Linux kills an orphan when the *thread* that forked it ends, so all children are forked by one thread that lives
/// as long as anyone holds a `Spawner`; every `Child` does.
#[derive(Clone)]
pub(crate) struct Spawner {
    requests: mpsc::Sender<(Command, mpsc::SyncSender<io::Result<std::process::Child>>)>,
}

impl Spawner {
    pub(crate) fn start() -> io::Result<Self> {
        let (requests, inbox) = mpsc::channel::<(Command, mpsc::SyncSender<_>)>();
        std::thread::Builder::new().name("media-spawner".into()).spawn(move || {
            while let Ok((mut command, answer)) = inbox.recv() {
                if let Err(mpsc::SendError(Ok(mut child))) = answer.send(command.spawn()) {
                    // whoever asked is gone; a child nobody knows must not live
                    let _ = std::process::Child::kill(&mut child).and_then(|()| child.wait().map(drop));
                }
            }
        })?;
        Ok(Self { requests })
    }

    fn spawn(&self, command: Command) -> io::Result<std::process::Child> {
        let (answer, outcome) = mpsc::sync_channel(1);
        let gone = || io::Error::other("the thread that starts processes has ended");
        self.requests.send((command, answer)).map_err(|_| gone())?;
        outcome.recv().map_err(|_| gone())?
    }
}

pub(crate) enum Feed {
    Nothing,
    Pipe,
    File(File),
}

/// What to start.
pub(crate) struct Order {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) confinement: Confinement,
    pub(crate) stdin: Feed,
    /// Files a caged child may read, at the descriptor numbers they have here.
    pub(crate) inputs: Vec<Arc<File>>,
    /// Further descriptors it inherits.
    pub(crate) pipes: Vec<OwnedFd>,
    pub(crate) library_path: Option<OsString>,
}

pub(crate) struct Child {
    /// Of the program.
    name: String,
    process: Arc<Process>,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<JoinHandle<String>>,
    stop: Stop,
    idle: Duration,
    _breaker: StopGuard,
    _spawner: Spawner,
}

/// Killing and reaping exclude each other, so that a reused process id is never hit.
struct Process {
    child: Mutex<std::process::Child>,
    pidfd: OwnedFd,
}

pub(crate) struct Exit {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

impl Exit {
    pub(crate) fn well(&self) -> bool {
        self.status.success()
    }
}

impl Child {
    pub(crate) fn start(
        spawner: &Spawner,
        order: Order,
        limits: &Limits,
        stop: &Stop,
    ) -> Result<Self, MediaError> {
        Self::start_reporting(spawner, order, None, (limits.idle_timeout, stop))
    }

    /// As `start`; `report` gets the byte of `SandboxReport`.
    pub(crate) fn start_reporting(
        spawner: &Spawner,
        order: Order,
        report: Option<OwnedFd>,
        (idle, stop): (Duration, &Stop),
    ) -> Result<Self, MediaError> {
        if stop.is_stopped() {
            return Err(MediaError::Stopped);
        }
        let name = order.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (command, fed) = prepare(order, report);
        let mut child = spawner.spawn(command).map_err(|e| machine(&format!("cannot start {name}"), &e))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pidfd = rustix::process::pidfd_open(
            rustix::process::Pid::from_child(&child),
            rustix::process::PidfdFlags::empty(),
        );
        let pidfd = match pidfd {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let _ = child.kill().and_then(|()| child.wait().map(drop));
                return Err(machine(&format!("cannot watch {name}"), &error.into()));
            }
        };
        let process = Arc::new(Process { child: Mutex::new(child), pidfd });
        let breaker = stop.on_stop({
            let process = Arc::clone(&process);
            move || process.kill()
        });
        drop(fed);
        let mut this = Self {
            name,
            process,
            stdin,
            stdout,
            stderr: None,
            stop: stop.clone(),
            idle,
            _breaker: breaker,
            _spawner: spawner.clone(),
        };
        if let Some(pipe) = stderr {
            let reader = std::thread::Builder::new().name("media-stderr".into()).spawn(move || tail(pipe));
            this.stderr = Some(reader.map_err(|e| machine("cannot start a thread", &e))?);
        }
        if let Some(stdin) = &this.stdin {
            nonblocking(stdin.as_fd()).map_err(|e| machine("cannot prepare a pipe", &e))?;
        }
        Ok(this)
    }

    /// Reads what is there, at least one byte; 0 is the end.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<usize, MediaError> {
        let Some(stdout) = &mut self.stdout else { return Ok(0) };
        if !ready(stdout.as_fd(), PollFlags::IN, self.idle) {
            return Err(self.fell_silent());
        }
        let read = stdout.read(out).map_err(|e| machine("cannot read from a child process", &e));
        if self.stop.is_stopped() { Err(MediaError::Stopped) } else { read }
    }

    /// Reads until `out` is full or the child has ended.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> Result<usize, MediaError> {
        let mut filled = 0;
        while filled < out.len() {
            match self.read(&mut out[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(filled)
    }

    /// `false`: the child has closed its input.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> Result<bool, MediaError> {
        while !bytes.is_empty() {
            let Some(stdin) = &mut self.stdin else { return Ok(false) };
            match stdin.write(bytes) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !ready(stdin.as_fd(), PollFlags::OUT, self.idle) {
                        return Err(self.fell_silent());
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                    return if self.stop.is_stopped() { Err(MediaError::Stopped) } else { Ok(false) };
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(machine("cannot write to a child process", &e)),
            }
        }
        if self.stop.is_stopped() { Err(MediaError::Stopped) } else { Ok(true) }
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn stdout(&self) -> Option<BorrowedFd<'_>> {
        self.stdout.as_ref().map(AsFd::as_fd)
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// Lets frame-sized writes and reads pass in few turns.
    pub(crate) fn widen_pipes(&self) {
        widen(self.stdin.as_ref().map(AsFd::as_fd));
        widen(self.stdout.as_ref().map(AsFd::as_fd));
    }

    /// How to kill it from another thread; harmless once it is gone.
    pub(crate) fn killer(&self) -> impl Fn() + Send + Sync + 'static {
        let process = Arc::clone(&self.process);
        move || process.kill()
    }

    /// Closes the pipes and waits for the end, at most the idle time.
    pub(crate) fn finish(mut self) -> Result<Exit, MediaError> {
        self.stdin = None;
        self.stdout = None;
        self.wait()
    }

    /// Waits for the end, at most the idle time.
    pub(crate) fn wait(&mut self) -> Result<Exit, MediaError> {
        self.wait_for(self.idle)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_stopped()
    }

    pub(crate) fn wait_for(&mut self, patience: Duration) -> Result<Exit, MediaError> {
        if !ready(self.process.pidfd.as_fd(), PollFlags::IN, patience) {
            return Err(self.fell_silent());
        }
        let status = self.process.reap().map_err(|e| machine("cannot wait for a child process", &e))?;
        let stderr = self.stderr.take().and_then(|t| t.join().ok()).unwrap_or_default();
        if self.stop.is_stopped() { Err(MediaError::Stopped) } else { Ok(Exit { status, stderr }) }
    }

    fn fell_silent(&self) -> MediaError {
        self.process.kill();
        if self.stop.is_stopped() {
            return MediaError::Stopped;
        }
        MediaError::new(
            "media_timeout",
            format!("{} told nothing for {:.0} s, the limit is {1:.0} s", self.name, self.idle.as_secs_f64()),
            "convert the file to a common format first; on a busy machine, try again",
        )
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.process.kill();
        self.stdin = None;
        self.stdout = None;
        let _ = self.process.reap();
        if let Some(reader) = self.stderr.take() {
            let _ = reader.join();
        }
    }
}

impl Process {
    fn kill(&self) {
        // an error means it is gone, which is what was wanted
        let _ = self.lock().kill();
    }

    fn reap(&self) -> io::Result<ExitStatus> {
        // not under the lock: `kill` must get through meanwhile
        ready(self.pidfd.as_fd(), PollFlags::IN, Duration::MAX);
        self.lock().wait()
    }

    fn lock(&self) -> MutexGuard<'_, std::process::Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command and what must stay open until it is started.
fn prepare(order: Order, report: Option<OwnedFd>) -> (Command, impl Sized) {
    let Order { program, args, confinement, stdin, inputs, pipes, library_path } = order;
    let mut command = Command::new(&program);
    command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.stdin(match stdin {
        Feed::Nothing => Stdio::null(),
        Feed::Pipe => Stdio::piped(),
        Feed::File(file) => file.into(),
    });
    match confinement {
        Confinement::Decoder { .. } => {
            // no secret of ours is worth a decoder's knowing; one arena a thread would eat the address space
            command.env_clear().env("LC_ALL", "C.UTF-8").env("MALLOC_ARENA_MAX", "2");
            if let Some(path) = library_path {
                command.env("LD_LIBRARY_PATH", path);
            }
        }
        Confinement::Encoder => {
            command.env_remove("FFREPORT").env_remove("AV_LOG_FORCE_COLOR");
        }
    }
    let readable: Vec<BorrowedFd<'_>> = inputs.iter().map(|file| file.as_fd()).collect();
    let further: Vec<BorrowedFd<'_>> = pipes.iter().map(AsFd::as_fd).collect();
    let mut cage = Cage::new(&confinement, &program, &readable, &further);
    if let Some(report) = report {
        cage = cage.report_to(report);
    }
    // SAFETY: `enter` only makes system calls: it neither allocates nor takes a lock.
    unsafe { command.pre_exec(move || cage.enter()) };
    (command, (inputs, pipes))
}

/// `false` after `limit` without an event. A closed other end is an event.
pub(crate) fn ready(fd: BorrowedFd<'_>, events: PollFlags, limit: Duration) -> bool {
    let deadline = std::time::Instant::now().checked_add(limit);
    loop {
        let rest = deadline.map(|d| d.saturating_duration_since(std::time::Instant::now()));
        let rest = rest.and_then(|rest| Timespec::try_from(rest).ok());
        match poll(&mut [PollFd::from_borrowed_fd(fd, events)], rest.as_ref()) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            // a broken descriptor shows itself in the read or write that follows
            Err(_) => return true,
        }
    }
}

pub(crate) fn widen(pipe: Option<BorrowedFd<'_>>) {
    if let Some(pipe) = pipe {
        // refused beyond the user's pipe quota: the default size costs only more switches between processes
        let _ = rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20);
    }
}

fn nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?)
}

/// The beginning and the end of what was said: causes stand first, the outcome last.
fn tail(mut pipe: impl Read) -> String {
    const KEPT: usize = 4096;
    let (mut head, mut end) = (Vec::new(), Vec::new());
    let mut chunk = [0; 4096];
    loop {
        match pipe.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => {
                let room = (KEPT - head.len()).min(n);
                head.extend_from_slice(&chunk[..room]);
                end.extend_from_slice(&chunk[room..n]);
                let surplus = end.len().saturating_sub(KEPT);
                end.drain(..surplus);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    head.extend(end);
    String::from_utf8_lossy(&head).into_owned()
}
