//! A house with a real desk in a folder of its own, and a crew that does what the test says.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use contract::{Device, EngineCard, Fps, Layout, SettingCard, Size, SubjectKind, Value, Weights};
use dialects::front_door::{
    Casting, Common, Hosts, House, InfiniteTalk, KeepAlive, Keys, Limits, MuseTalk, MuseTalkS3, OnHangup,
};
use http_body_util::BodyExt;
use jobs::crew::{Assignment, Crew, CrewEvent, Form, Pace, WorkerId};
use jobs::{
    Blame, Clock, Desk, DeskConfig, Ending, Failure, Made, Prepared, Retention, Source, Take, VoiceSpec, Work,
};
use store::{Store, StoreConfig};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tower::ServiceExt;

/// Nothing in these tests takes so long.
pub const LONG: Duration = Duration::from_secs(20);
pub const NOW_MS: i64 = 1_762_093_822_000; // 2025-11-02 14:30:22 UTC
/// What every take holds.
pub const FILM: &[u8] = b"a film of some length";

/// What the workers do with what they get.
#[derive(Clone, Debug, Default)]
pub enum Script {
    /// The work, at once.
    #[default]
    Play,
    Fail(Failure),
    /// Nothing: the test ends it.
    Wait,
}

pub struct Stage {
    pub folder: tempfile::TempDir,
    pub house: Arc<House>,
    pub script: Arc<Mutex<Script>>,
    /// Assignments in their order, as a worker got them; of those that wait, with the means to end them.
    pub assigned: UnboundedReceiver<Assignment>,
    pub events: UnboundedSender<CrewEvent>,
    pub canceled: UnboundedReceiver<String>,
    pub store: Store,
}

struct TestCrew {
    assignments: UnboundedSender<Assignment>,
    canceled: UnboundedSender<String>,
}

impl Crew for TestCrew {
    fn assign(&self, _: WorkerId, assignment: Assignment) {
        let _ = self.assignments.send(assignment);
    }

    fn cancel(&self, _: WorkerId, job: &String, _: u32) {
        let _ = self.canceled.send(job.clone());
    }

    fn kill(&self, _: WorkerId, _: &str) {}

    fn dismiss(&self, _: Duration) {}
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut House)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let media = folder.path().join("media");
        std::fs::create_dir(&media).unwrap();
        std::fs::write(media.join("voice.wav"), b"RIFF").unwrap();
        std::fs::write(media.join("face.png"), b"\x89PNG").unwrap();
        let store = Store::open(StoreConfig {
            folder: folder.path().join("data"),
            media_roots: vec![media],
            s3_allowed: [("musetalk-s3".to_owned(), vec!["s3://ours".to_owned()])].into(),
            ..StoreConfig::default()
        });
        let store = store.await.unwrap();
        let now_ms = Arc::new(AtomicI64::new(NOW_MS));
        let clock = Clock::new(move || now_ms.load(Ordering::SeqCst));
        let config = DeskConfig {
            database_url: format!("sqlite://{}?mode=rwc", folder.path().join("data/talkie.db").display()),
            store: store.clone(),
            engines: vec![card()],
            queue_limit: 4,
            stall: LONG,
            cancel_grace: LONG,
            live_wait: Duration::from_millis(200),
            retention: Retention { takes_age: None, takes_bytes: None, uploads_age: None, records_age: None },
            lease: Duration::from_secs(60),
            darkroom: jobs::Darkroom::new(media::ToolPaths::default(), media::Limits::default()),
            clock: clock.clone(),
        };
        let (assignments, mut to_play) = unbounded_channel();
        let (canceled, cancels) = unbounded_channel();
        let (events, desk_events) = unbounded_channel();
        let desk =
            Desk::open(config, Arc::new(TestCrew { assignments, canceled }), desk_events).await.unwrap();
        events.send(CrewEvent::Ready { worker: WorkerId(1), slots: 2, live_slots: 2 }).unwrap();
        while desk.vitals().workers == 0 {
            tokio::task::yield_now().await;
        }
        let casting = Casting { engine: Ok("puppet".to_owned()), stand_in: true };
        let names = ["infinitetalk", "musetalk", "musetalk-s3", "svd"];
        let mut house = House {
            desk,
            cast: names.into_iter().map(|name| (name, casting.clone())).collect(),
            limits: Limits { upload_bytes: 1 << 20, picture_bytes: 1 << 16, video_seconds: 60 },
            keep_alive: KeepAlive::default(),
            keys: Keys::default(),
            hosts: Hosts::default(),
            https: false,
            gpu_available: false,
            device: "cpu".to_owned(),
            clock,
            common: Common::new(NOW_MS - 1000),
            infinitetalk: InfiniteTalk {
                output: folder.path().join("data/output/infinitetalk"),
                on_hangup: OnHangup::Finish,
                motion_frame: 9,
            },
            musetalk: MuseTalk {
                version: "v15".to_owned(),
                fps: 25,
                batch_size: 4,
                bbox_shift: 0,
                pace: Pace::RealTime,
                jpeg_quality: 85,
            },
            musetalk_s3: MuseTalkS3 {
                bucket: None,
                prefix: "outputs".to_owned(),
                results: folder.path().join("data/output/musetalk-s3"),
            },
            tickets: Arc::default(),
            fal: dialects::fal::Fal::new(
                None,
                dialects::fal::Signer::new(&[7; 32]).unwrap(),
                Duration::from_millis(50),
            ),
        };
        change(&mut house);
        let script = Arc::new(Mutex::new(Script::default()));
        let (seen, assigned) = unbounded_channel();
        let player = Player { script: Arc::clone(&script), store: store.clone(), events: events.clone() };
        tokio::spawn(async move {
            while let Some(assignment) = to_play.recv().await {
                let shown = player.play(assignment).await;
                if seen.send(shown).is_err() {
                    return;
                }
            }
        });
        Self { folder, house: Arc::new(house), script, assigned, events, canceled: cancels, store }
    }

    pub fn media(&self, name: &str) -> String {
        self.folder.path().join("media").join(name).display().to_string()
    }

    pub fn script(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    pub async fn assignment(&mut self) -> Assignment {
        tokio::time::timeout(LONG, self.assigned.recv()).await.expect("the desk assigns").unwrap()
    }

    /// Ends what a waiting script left.
    pub async fn finish(&self, assignment: &Assignment) {
        let ending = ending(&self.store, assignment).await;
        self.ended(assignment, ending);
    }

    pub fn ended(&self, assignment: &Assignment, ending: Ending) {
        let (job, attempt) = (assignment.job.clone(), assignment.attempt);
        self.events.send(CrewEvent::Ended { job, attempt, ending }).unwrap();
    }

    /// Files in the store below `folder`.
    pub fn stored(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().join("data").join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found
    }
}

struct Player {
    script: Arc<Mutex<Script>>,
    store: Store,
    events: UnboundedSender<CrewEvent>,
}

impl Player {
    async fn play(&self, mut assignment: Assignment) -> Assignment {
        let script = self.script.lock().unwrap().clone();
        let end = match script {
            Script::Wait => return assignment,
            Script::Fail(failure) => Ending::Failed(failure),
            Script::Play => ending(&self.store, &assignment).await,
        };
        if let Form::Live { stream, .. } = std::mem::replace(&mut assignment.form, Form::File) {
            let mut stream = UnixStream::from(stream);
            if matches!(end, Ending::Made(_)) {
                for packet in [&b"one"[..], b"two", b"three", b""] {
                    let _ = stream.write_all(&(packet.len() as u32).to_le_bytes());
                    let _ = stream.write_all(packet);
                }
            }
        }
        let (job, attempt) = (assignment.job.clone(), assignment.attempt);
        let _ = self.events.send(CrewEvent::Ended { job, attempt, ending: end });
        assignment
    }
}

/// What a good worker would have made of it.
async fn ending(store: &Store, assignment: &Assignment) -> Ending {
    let take = match &assignment.work {
        Work::Prepare(prepare) => {
            return Ending::Prepared(Prepared {
                key: format!("avatars/{}", assignment.job),
                engine: prepare.engine.clone(),
                source_sha256: format!("{:?}", prepare.source),
            });
        }
        Work::Take(take) => take,
    };
    let missing = |source: &Source| match source {
        Source::Stored(key) => !store.folder().join(key).exists(),
        Source::Path(path) => !path.exists(),
        _ => false,
    };
    let subject = take.subject.source().is_some_and(missing);
    if subject {
        return Ending::Failed(client("file_missing", "there is no such picture"));
    }
    let frames = match take.voice {
        VoiceSpec::Idle { seconds } => (seconds * 25.0) as u64,
        VoiceSpec::Arriving => 0,
        VoiceSpec::File { .. } | VoiceSpec::Several { .. } | VoiceSpec::Text(_) => 200,
    };
    let key = format!("takes/{}/{}-x.mp4", assignment.job, assignment.attempt);
    if matches!(assignment.form, Form::File) {
        let draft = tempfile::NamedTempFile::new_in(store.folder()).unwrap();
        std::fs::write(draft.path(), FILM).unwrap();
        store.put(draft.path(), &key).await.unwrap();
        if let Some(path) = &assignment.deliver.path {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, FILM).unwrap();
        }
    }
    Ending::Made(Made {
        take: Take {
            duration_s: frames as f64 / 25.0,
            frames,
            fps: Fps::whole(25),
            size: Size::new(448, 180),
            engine: "puppet".to_owned(),
            weights: vec![Weights { name: "visnet-1".into(), sha256: "0f".into(), embedded: true }],
            seed: take.seed,
            face: None,
            settings: Vec::new(),
            measured: Vec::new(),
            speech: None,
            warnings: Vec::new(),
            timings: Vec::new(),
            encoder: "libx264".to_owned(),
            first_frame_s: None,
        },
        key,
        bytes: FILM.len() as u64,
        sha256: "5ca1ab1e".to_owned(),
        path: assignment.deliver.path.clone(),
        s3: assignment.deliver.s3.clone(),
        removed_ms: None,
    })
}

pub fn client(code: &str, message: &str) -> Failure {
    Failure { blame: Blame::Client, code: code.into(), message: message.into(), hint: String::new() }
}

pub fn server(code: &str, message: &str) -> Failure {
    Failure { blame: Blame::Server, ..client(code, message) }
}

pub fn card() -> EngineCard {
    EngineCard {
        name: "puppet",
        summary: "",
        device: Device::Cpu,
        weights: vec![Weights { name: "visnet-1".into(), sha256: "0f".into(), embedded: true }],
        subjects: vec![SubjectKind::Picture, SubjectKind::Clip, SubjectKind::Avatar],
        keeps_background: true,
        idles: true,
        persons: 1,
        reads_prompt: false,
        resumes: false,
        source_layout: Layout::I420,
        source_longest: 512,
        voice_rate_hz: 16_000,
        default_fps: Fps::whole(25),
        fps_range: (10.0, 60.0),
        max_longest: 1920,
        min_face: 32,
        memory_mib: 64,
        settings: vec![SettingCard { name: "size", default: Value::Int(0), help: "" }],
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Told {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Told {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub async fn ask(router: &Router, request: Request<Body>) -> Told {
    let asked = async {
        let answer = router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.into_body().collect().await.unwrap().to_bytes().to_vec();
        Told { status, headers, body }
    };
    tokio::time::timeout(LONG, asked).await.expect("the answer comes")
}

pub fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "testserver")
}

pub async fn get(router: &Router, path: &str) -> Told {
    ask(router, request(Method::GET, path).body(Body::empty()).unwrap()).await
}

pub fn json(path: &str, body: &str) -> Request<Body> {
    let request = request(Method::POST, path).header("content-type", "application/json");
    request.body(Body::from(body.to_owned())).unwrap()
}

/// Texts and files (name, file name, bytes).
pub fn form(path: &str, texts: &[(&str, &str)], files: &[(&str, &str, &[u8])]) -> Request<Body> {
    let mut body = Vec::new();
    for (name, value) in texts {
        let part = format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    for (name, file_name, bytes) in files {
        let head = format!(
            "--XX\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XX--\r\n");
    let request = request(Method::POST, path).header("content-type", "multipart/form-data; boundary=XX");
    request.body(Body::from(body)).unwrap()
}
