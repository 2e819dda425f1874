//! `talkie worker`: what the server starts for each device. Everything happens in `jobs::worker`; this hands it the machine,
//! the engines and the store as the command line and the configuration describe them.

use std::os::fd::{FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::Complaint;
use jobs::crew::WORKER_FD;
use jobs::worker::{self, Shop};

use crate::cli::{MachineArgs, WorkerArgs};
use crate::config::Config;
use crate::machine::{self, TtsChoice};
use crate::{device, serve};

/// Threads for fetching and storing; the jobs have threads of their own.
const RUNTIME_THREADS: usize = 2;
/// Between two looks at what the kernels have learned.
const KEEP_EVERY: Duration = Duration::from_secs(20);

pub fn run(machine: &MachineArgs, args: &WorkerArgs) -> Result<ExitCode, Complaint> {
    let mut config = Config::load(machine)?;
    // a job's local paths are checked again where they are opened
    config.serve.media_roots.extend(args.media_roots.iter().cloned());
    let _log = serve::log::start(&config.serve)?;
    let data = serve::data_folder(&args.data, &config)?;
    // before the socket is this process's: another program may take its place
    let device = device::open(config.compute.device)?;
    let socket = socket()?;
    let learned = Arc::new(Mutex::new(machine::compute(&config, &args.data)?));
    keep(Arc::clone(&learned));
    let studio = machine::studio(&config, TtsChoice::default())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Complaint::new("internal", format!("no runtime: {error}"), ""))?;
    let store = runtime.block_on(serve::rooms::store(&config, &data))?;
    let shop = Shop {
        studio,
        engines: machine::engines(&config, &args.data, &device)?.ready,
        store,
        runtime: runtime.handle().clone(),
        slots: args.slots,
        live_slots: args.live_slots,
    };
    worker::run(socket, shop);
    learned.lock().unwrap_or_else(PoisonError::into_inner).save();
    // jobs that did not leave in time are still running: returning would wait for them
    std::process::exit(0);
}

/// Workers are killed more often than they end.
fn keep(learned: Arc<Mutex<machine::Learned>>) {
    let keep = move || {
        loop {
            std::thread::sleep(KEEP_EVERY);
            learned.lock().unwrap_or_else(PoisonError::into_inner).save();
        }
    };
    // without the thread, what was learned is written at the end
    let _ = std::thread::Builder::new().name("learned".into()).spawn(keep);
}

fn socket() -> Result<OwnedFd, Complaint> {
    let message = format!("descriptor {WORKER_FD} is no socket of a server");
    let wrong = || Complaint::new("bad_request", message.clone(), "workers are started by `talkie serve`");
    // SAFETY: only looked at; whether it is open at all is what the call tells
    let fd = unsafe { rustix::fd::BorrowedFd::borrow_raw(WORKER_FD) };
    rustix::net::sockopt::socket_type(fd).map_err(|_| wrong())?;
    // SAFETY: the server opened it for this process alone, and nothing else here has taken it
    Ok(unsafe { OwnedFd::from_raw_fd(WORKER_FD) })
}
