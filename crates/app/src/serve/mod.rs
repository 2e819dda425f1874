//! `talkie serve`: binds every listener, opens the store, the crew and the desk, hands each dialect what it needs, and
//! drains on SIGTERM.

mod casting;
pub mod keys;
mod listener;
pub mod log;
pub mod originals;
#[cfg(feature = "otel")]
mod otel;
mod probes;
pub mod rooms;

pub mod settings;
pub mod tls;
mod webhook_key;
mod workers;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use contract::Complaint;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::cli::{DataArgs, MachineArgs, ServeArgs};
use crate::config::Config;
use crate::say;
use listener::{Listener, Treatment};
use originals::Originals;
use probes::Readiness;
use settings::{Dialect, ServeSettings};
use tls::{Charter, Speaks};

/// Connections a listener has at a time.
const CONNECTIONS: usize = 1024;
/// Running jobs may go on for so long after SIGTERM; they go back into the queue then.
const DRAIN: Duration = Duration::from_secs(30);
/// From the end of the last job to the closing of the record: who waited for it learns what came of it.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// Threads that answer requests: half of the cores, and no more than this. The work is done elsewhere, and a request that stays on
/// one core costs a quarter less than one that is handed about.
const MOST_THREADS: usize = 4;

pub fn run(machine: &MachineArgs, args: &ServeArgs) -> Result<ExitCode, Complaint> {
    let begun = Instant::now();
    raise_open_files();
    let mut config = Config::load(machine)?;
    lay_flags_over(&mut config.serve, args)?;
    let _log = log::start(&config.serve)?;
    let data = data_folder(&args.data, &config)?;
    let here = std::env::current_dir().unwrap_or_else(|_| data.clone());
    let originals = Originals::read(&data, &here)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / 2).clamp(1, MOST_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| Complaint::new("internal", format!("no runtime: {error}"), ""))?;
    runtime.block_on(serve(Stage { machine, config, data, originals, begun }))
}

/// Each client is a descriptor, and the usual soft limit of 1024 is less than our listeners take. Where it cannot be raised we
/// go on with what there is. What we start inherits it: workers and ffmpeg neither `select` nor close every number.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// What the server is put together from.
pub struct Stage<'a> {
    pub machine: &'a MachineArgs,
    pub config: Config,
    pub data: PathBuf,
    pub originals: Originals,
    pub begun: Instant,
}

async fn serve(stage: Stage<'_>) -> Result<ExitCode, Complaint> {
    let mut signals = Signals::catch()?;
    let settings = &stage.config.serve;
    let listeners = bind(settings, &stage.originals).await?;
    let tls = tls_acceptor(settings, &stage.data)?;
    let recorder = probes::recorder()?;
    let ready = Readiness::default();
    let rooms = rooms::open(&stage).await?;
    let shutdown = CancellationToken::new();
    let treatment = Treatment {
        tls,
        connections: settings.connections.unwrap_or(CONNECTIONS),
        shutdown: shutdown.clone(),
    };
    let drain = settings.drain_seconds.map_or(DRAIN, Duration::from_secs);

    let mut serving = JoinSet::new();
    let fal_tls = match &treatment.tls {
        None if listeners.iter().any(|listener| listener.dialect == Dialect::Fal) => {
            Some(local_acceptor(&stage.data)?)
        }
        tls => tls.clone(),
    };
    for listener in listeners {
        // fal's clients speak no plain HTTP
        let treatment = match listener.dialect {
            Dialect::Fal => Treatment { tls: fal_tls.clone(), ..treatment.clone() },
            _ => treatment.clone(),
        };
        let scheme = if treatment.tls.is_some() { "https" } else { "http" };
        let router = match listener.dialect {
            Dialect::All => {
                let probes = probes::router(ready.clone(), recorder.clone());
                rooms.router(Dialect::All).merge(rooms.behind_known_hosts(probes))
            }
            dialect => rooms.router(dialect),
        };
        say::aside(format_args!("{:<13} {scheme}://{}", listener.dialect.name(), listener.address));
        serving.spawn(listener.serve(router, treatment, drain));
    }
    tokio::spawn(probes::keep_up(recorder));
    for remark in &rooms.remarks {
        say::aside(remark);
    }
    ready.set(true);
    say::aside(format_args!("talkie is ready after {} ms", stage.begun.elapsed().as_millis()));

    let told = signals.next().await;
    say::aside(format_args!("{told}: draining, at most {} s; once more to leave at once", drain.as_secs()));
    ready.set(false);
    let drained = async {
        shutdown.cancel();
        rooms.desk.drain(drain).await;
        // whoever waited for a job still asks what came of it
        let answered = async { while serving.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_ANSWERS, answered).await;
        rooms.desk.close().await;
        while serving.join_next().await.is_some() {}
    };
    tokio::select! {
        () = drained => {}
        _ = signals.next() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Caught from the moment this exists.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn catch() -> Result<Self, Complaint> {
        let caught = |kind| {
            signal(kind)
                .map_err(|error| Complaint::new("internal", format!("signals cannot be caught: {error}"), ""))
        };
        Ok(Self {
            term: caught(SignalKind::terminate())?,
            int: caught(SignalKind::interrupt())?,
            hup: caught(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "interrupted",
            _ = self.hup.recv() => "the terminal is gone",
        }
    }
}

/// Flags lie over the file.
fn lay_flags_over(settings: &mut ServeSettings, args: &ServeArgs) -> Result<(), Complaint> {
    settings.listen = args.listen.or(settings.listen);
    settings.engine = args.engine.clone().or(settings.engine.take());
    settings.media_roots.extend(args.media_roots.iter().cloned());
    if !args.only.is_empty() {
        settings.only = args.only.iter().map(|dialect| dialect.name().to_owned()).collect();
    }
    for choice in &args.ports {
        settings.ports.insert(choice.dialect.name().to_owned(), choice.port);
    }
    settings.tls.local |= args.tls && settings.tls.cert.is_none();
    settings.check()
}

async fn bind(settings: &ServeSettings, originals: &Originals) -> Result<Vec<Listener>, Complaint> {
    let address = settings.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let dialects = settings.dialects()?;
    let alone = dialects.iter().filter(|dialect| **dialect != Dialect::All).count() == 1;
    if !alone && originals.text("PORT").is_some() {
        say::aside(
            "warning: PORT is ignored, it counts only when one dialect is served (--only); use --port DIALECT=N",
        );
    }
    let mut listeners = Vec::new();
    for dialect in dialects {
        let port = match settings.ports.get(dialect.name()) {
            Some(port) => *port,
            None => originals.port(dialect, alone)?.unwrap_or_else(|| dialect.historic_port()),
        };
        listeners.push(Listener::bind(dialect, SocketAddr::new(address, port)).await?);
    }
    Ok(listeners)
}

fn tls_acceptor(settings: &ServeSettings, data: &Path) -> Result<Option<TlsAcceptor>, Complaint> {
    match (&settings.tls.cert, &settings.tls.key) {
        (Some(cert), Some(key)) => tls::acceptor(cert, key, Speaks::Http1And2).map(Some),
        _ if settings.tls.local => local_acceptor(data).map(Some),
        _ => Ok(None),
    }
}

fn local_acceptor(data: &Path) -> Result<TlsAcceptor, Complaint> {
    let files = Charter::loopback().ensure(data, SystemTime::now())?;
    tls::acceptor(&files.cert, &files.key, Speaks::Http1And2)
}

/// `talkie cert`
pub fn cert(machine: &MachineArgs, args: &DataArgs) -> Result<ExitCode, Complaint> {
    let data = data_folder(args, &Config::load(machine)?)?;
    let files = Charter::loopback().ensure(&data, SystemTime::now())?;
    for (what, path) in [("ca", &files.ca), ("cert", &files.cert), ("key", &files.key)] {
        say::line(format_args!("{what:<5} {}", path.display()))?;
    }
    say::aside(format_args!("clients trust it with SSL_CERT_FILE={} or curl --cacert", files.ca.display()));
    Ok(ExitCode::SUCCESS)
}

/// The data folder as told, else the user's own.
pub fn data_place(args: &DataArgs, config: &Config) -> Result<PathBuf, Complaint> {
    let users = || {
        std::env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|base| base.is_absolute()) // as its specification has it: others are as good as none
            .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")))
            .map(|base| base.join("talkie"))
    };
    args.data.clone().or_else(|| config.data.clone()).or_else(users).ok_or_else(|| {
        Complaint::new(
            "no_data_folder",
            "there is no folder for Talkie's data: HOME is not set",
            "name one with --data",
        )
    })
}

/// The data folder, made where it is missing, for this user only.
pub fn data_folder(args: &DataArgs, config: &Config) -> Result<PathBuf, Complaint> {
    use std::os::unix::fs::DirBuilderExt;
    let named = data_place(args, config)?;
    let unusable = |error: std::io::Error| {
        let message = format!("the data folder {} cannot be used: {error}", named.display());
        Complaint::new("no_data_folder", message, "name another with --data")
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&named).map_err(unusable)?;
    named.canonicalize().map_err(unusable)
}
