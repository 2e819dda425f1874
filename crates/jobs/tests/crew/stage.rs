//! A crew of real processes: this test binary, started again as a worker.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::Settings;
use jobs::crew::{
    Assignment, AvatarAsset, Crew, CrewEvent, Form, LiveForm, WORKER_FD, WorkerCommand, WorkerId, Workers,
};
use jobs::worker::{self, Shop};
use jobs::{Delivery, Ending, Made, Source, Studio, SubjectSpec, TakeSpec, VoiceSpec, Work};
use media::{Limits, ToolPaths, Tools, Tts, TtsBackend, TtsConfig};
use store::{Store, StoreConfig};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::actor::{Actor, RESUMES};

const DATA: &str = "TALKIE_TEST_DATA";
/// Far below what a take would take that nobody stops, and far above what a busy machine delays.
pub const SOON: Duration = Duration::from_secs(20);
/// Nothing here takes longer, or it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Not a test: what the crew's processes run. `garbage` and `mute` are workers of a bad sort.
#[test]
fn worker() {
    let Some(data) = std::env::var_os(DATA) else { return };
    // SAFETY: whoever set the variable put the socket there.
    let socket = unsafe { OwnedFd::from_raw_fd(WORKER_FD) };
    match std::env::var("TALKIE_TEST_SORT").as_deref() {
        Ok("garbage") => {
            use std::io::Write;
            let mut socket = UnixStream::from(socket);
            let ready = br#"{"ready":{"slots":1,"live_slots":1}}"#;
            socket.write_all(&[&(ready.len() as u32).to_le_bytes()[..], ready].concat()).unwrap();
            socket.write_all(&u32::MAX.to_le_bytes()).unwrap();
            let _ = socket.read(&mut [0; 1 << 16]);
            std::thread::sleep(PATIENCE); // it does not go by itself
        }
        _ => work(socket, Path::new(&data)),
    }
    std::process::exit(0);
}

pub fn work(socket: OwnedFd, data: &Path) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let store = runtime.block_on(open_store(data));
    let (studio, engines) = (studio(), ["actor", RESUMES].map(|name| Arc::new(Actor::new(name)) as _).into());
    let handle = runtime.handle().clone();
    worker::run(socket, Shop { studio, engines, store, runtime: handle, slots: 2, live_slots: 8 });
}

fn studio() -> Studio {
    Studio {
        tools: Tools::find(&ToolPaths::default()).unwrap(),
        limits: Limits::default(),
        tts: Tts::new(TtsConfig { backend: TtsBackend::Auto, voice: None, endpoint: None }),
    }
}

async fn open_store(data: &Path) -> Store {
    // subjects and voices lie beside it
    let media_roots = data.parent().map(Path::to_owned).into_iter().collect();
    Store::open(StoreConfig { folder: data.to_owned(), media_roots, ..StoreConfig::default() }).await.unwrap()
}

pub struct Stage {
    pub folder: TempDir,
    pub workers: Workers,
    pub worker: WorkerId,
    events: UnboundedReceiver<CrewEvent>,
    runtime: tokio::runtime::Runtime,
    /// What was told of other jobs while one was waited for.
    endings: HashMap<String, Ending>,
}

impl Stage {
    pub fn new() -> Self {
        Self::with("")
    }

    pub fn with(sort: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let command = WorkerCommand {
            program: std::env::current_exe().unwrap(),
            args: ["--exact", "stage::worker", "--nocapture", "--test-threads=1"].map(Into::into).into(),
            envs: vec![
                (DATA.into(), folder.path().join("data").into()),
                ("TALKIE_TEST_SORT".into(), sort.into()),
            ],
        };
        let (sender, events) = tokio::sync::mpsc::unbounded_channel();
        let workers = Workers::start(vec![command], sender).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (worker, endings) = (WorkerId(0), HashMap::new());
        let mut stage = Self { folder, workers, worker, events, runtime, endings };
        stage.ready();
        stage
    }

    pub fn next(&mut self) -> CrewEvent {
        let next = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.events.recv()).await });
        next.expect("the crew tells something").expect("the crew is there")
    }

    /// Waits for the next worker.
    pub fn ready(&mut self) {
        loop {
            if let CrewEvent::Ready { worker, .. } = self.next() {
                self.worker = worker;
                return;
            }
        }
    }

    pub fn gone(&mut self) -> String {
        loop {
            match self.next() {
                CrewEvent::Gone { worker, why } if worker == self.worker => return why,
                CrewEvent::Ended { job, ending, .. } => drop(self.endings.insert(job, ending)),
                _ => {}
            }
        }
    }

    /// Waits until something is told of a job, so that it is surely under way.
    pub fn told(&mut self, name: &str) {
        loop {
            match self.next() {
                CrewEvent::Told { job, .. } if job == name => return,
                CrewEvent::Ended { job, ending, .. } if job == name => panic!("it has ended: {ending:?}"),
                _ => {}
            }
        }
    }

    pub fn ending(&mut self, name: &str) -> Ending {
        loop {
            if let Some(ending) = self.endings.remove(name) {
                return ending;
            }
            match self.next() {
                CrewEvent::Ended { job, ending, .. } => drop(self.endings.insert(job, ending)),
                CrewEvent::Gone { why, .. } => panic!("the worker is gone: {why}"),
                _ => {}
            }
        }
    }

    pub fn made(&mut self, name: &str) -> Made {
        match self.ending(name) {
            Ending::Made(made) => made,
            other => panic!("{name} came to {other:?}"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self, key: &str) -> PathBuf {
        self.folder.path().join("data").join(key)
    }

    /// A picture (or, by its name, a clip of 30 frames).
    pub fn subject(&self, name: &str) -> Source {
        let path = self.path(name);
        let frames = if name.ends_with(".mp4") { "30" } else { "1" };
        let args = ["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc2=size=128x96:rate=15"];
        let mut ffmpeg = std::process::Command::new("ffmpeg");
        assert!(ffmpeg.args(args).args(["-frames:v", frames]).arg(&path).status().unwrap().success());
        Source::Path(path)
    }

    pub fn take(&self, script: &str) -> TakeSpec {
        TakeSpec {
            engine: "actor".into(),
            subject: SubjectSpec::Picture(self.subject("portrait.png")),
            voice: VoiceSpec::Idle { seconds: 1.0 },
            prompt: Some(script.into()),
            fps: None,
            max_frames: None,
            seed: 1,
            settings: Settings::default(),
            landmarks: None,
            crf: 30,
        }
    }

    pub fn assign(&self, job: &str, work: Work, deliver: Delivery) {
        self.assign_with(job, work, deliver, None);
    }

    pub fn assign_with(&self, job: &str, work: Work, deliver: Delivery, avatar: Option<AvatarAsset>) {
        let (job, form) = (job.to_owned(), Form::File);
        self.workers.assign(self.worker, Assignment { job, attempt: 1, work, deliver, form, avatar });
    }

    pub fn play(&self, job: &str, script: &str) {
        self.assign(job, Work::Take(self.take(script)), Delivery::default());
    }

    pub fn live(&self, job: &str, take: TakeSpec, live: LiveForm) -> Reader {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        let form = Form::Live { live, stream: theirs.into() };
        let (work, deliver) = (Work::Take(take), Delivery::default());
        let job = job.to_owned();
        let begun = Instant::now();
        self.workers.assign(self.worker, Assignment { job, attempt: 1, work, deliver, form, avatar: None });
        Reader { socket: ours, begun }
    }

    /// Files below the data folder, those of the takes and of attempts under way.
    pub fn left(&self, below: &str) -> Vec<PathBuf> {
        let Ok(entries) = self.data(below).read_dir() else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// The worker's process.
    pub fn pid(&self) -> i32 {
        let data = self.folder.path().join("data").display().to_string();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let ours = |pid: &i32| {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let wanted = format!("{DATA}={data}");
            let command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            environ.split(|&b| b == 0).any(|entry| entry == wanted.as_bytes()) && !command.starts_with("ff")
        };
        pids.into_iter().find(ours).expect("the worker runs")
    }
}

pub struct Reader {
    pub socket: UnixStream,
    pub begun: Instant,
}

impl Reader {
    /// `None` at the clean end.
    pub fn packet(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let mut head = [0; 4];
        self.socket.read_exact(&mut head)?;
        let mut bytes = vec![0; u32::from_le_bytes(head) as usize];
        self.socket.read_exact(&mut bytes)?;
        Ok(if bytes.is_empty() { None } else { Some(bytes) })
    }
}
