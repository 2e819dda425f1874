//! What every test of the record stands on: a database of either kind, a real local store, and a crew whose workers do what the
//! test says, when it says it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use contract::{Device, EngineCard, Fps, Layout, SettingCard, Settings, Size, SubjectKind, Value};
use jobs::crew::{Assignment, Crew, CrewEvent, WorkerId};
use jobs::{
    AvatarName, Blame, Clock, Darkroom, Delivery, Desk, DeskConfig, Ending, Failure, JobView, Made, Order,
    PrepareSpec, Prepared, Retention, Source, State, SubjectSpec, Take, TakeSpec, VoiceSpec, Work,
};
use store::{Store, StoreConfig};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Nothing in these tests takes so long.
pub const LONG: Duration = Duration::from_secs(20);
pub const W1: WorkerId = WorkerId(1);
pub const W2: WorkerId = WorkerId(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// A database and a data folder; servers come and go on it.
pub struct Bed {
    pub kind: Kind,
    pub url: String,
    pub folder: tempfile::TempDir,
    /// Milliseconds since the epoch, as the desks see them.
    pub now_ms: Arc<AtomicI64>,
}

impl Bed {
    pub async fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match kind {
            Kind::Sqlite => format!("sqlite://{}?mode=rwc", folder.path().join("talkie.db").display()),
            Kind::Postgres => crate::postgres::database().await,
        };
        Self { kind, url, folder, now_ms: Arc::new(AtomicI64::new(1_700_000_000_000)) }
    }

    pub async fn store(&self) -> Store {
        let config = StoreConfig { folder: self.folder.path().to_owned(), ..StoreConfig::default() };
        Store::open(config).await.unwrap()
    }

    pub async fn config(&self) -> DeskConfig {
        let now_ms = Arc::clone(&self.now_ms);
        DeskConfig {
            database_url: self.url.clone(),
            store: self.store().await,
            engines: vec![card()],
            queue_limit: 1000,
            stall: LONG,
            cancel_grace: LONG,
            live_wait: Duration::from_secs(1),
            retention: Retention { takes_age: None, takes_bytes: None, uploads_age: None, records_age: None },
            lease: Duration::from_millis(600),
            clock: Clock::new(move || now_ms.load(Ordering::SeqCst)),
            darkroom: Darkroom::new(media::ToolPaths::default(), media::Limits::default()),
        }
    }

    pub async fn open(&self) -> (Desk, Hand) {
        self.open_with(|_| {}).await
    }

    /// Waits for the lock of a server that has just been dropped.
    pub async fn open_with(&self, change: impl Fn(&mut DeskConfig)) -> (Desk, Hand) {
        let until = tokio::time::Instant::now() + LONG;
        loop {
            let mut config = self.config().await;
            change(&mut config);
            let (crew, hand, events) = crew();
            match Desk::open(config, crew, events).await {
                Ok(desk) => return (desk, hand),
                Err(complaint) if complaint.code == "data_in_use" && tokio::time::Instant::now() < until => {
                    tokio::task::yield_now().await;
                }
                Err(complaint) => panic!("{complaint}"),
            }
        }
    }

    /// Past the desk: what is really in the tables.
    pub async fn db(&self) -> sea_orm::DatabaseConnection {
        sea_orm::Database::connect(self.url.as_str()).await.unwrap()
    }

    pub async fn run_sql(&self, sql: &str) {
        use sea_orm::ConnectionTrait;
        let db = self.db().await;
        db.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        db.close().await.unwrap();
    }

    /// The first column of what `sql` finds, as text.
    pub async fn ask_sql(&self, sql: &str) -> Vec<String> {
        use sea_orm::{ConnectionTrait, Statement};
        let db = self.db().await;
        let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
        db.close().await.unwrap();
        rows.into_iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    }

    /// From now on the database refuses new rows there, as a full disk would.
    pub async fn refuse_inserts_into(&self, table: &str) {
        self.refuse("INSERT", table).await;
    }

    pub async fn refuse(&self, what: &str, table: &str) {
        match self.kind {
            Kind::Sqlite => {
                let body = "SELECT RAISE(ABORT, 'database or disk is full')";
                self.run_sql(&format!(
                    "CREATE TRIGGER full_{what} BEFORE {what} ON {table} BEGIN {body}; END"
                ))
                .await;
            }
            Kind::Postgres => {
                self.run_sql(
                    "CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
                     $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device'; END $$",
                )
                .await;
                let body = "FOR EACH ROW EXECUTE FUNCTION full_disk()";
                self.run_sql(&format!("CREATE TRIGGER full_{what} BEFORE {what} ON {table} {body}")).await;
            }
        }
    }

    pub async fn accept_inserts_into(&self, table: &str) {
        self.accept("INSERT", table).await;
    }

    pub async fn accept(&self, what: &str, table: &str) {
        match self.kind {
            Kind::Sqlite => self.run_sql(&format!("DROP TRIGGER full_{what}")).await,
            Kind::Postgres => self.run_sql(&format!("DROP TRIGGER full_{what} ON {table}")).await,
        }
    }

    pub fn step(&self, by: Duration) {
        self.now_ms.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.folder.path().join(key)
    }

    /// What a worker does before it says `Ended(Made)`: the file is in the store.
    pub async fn write(&self, key: &str, bytes: &[u8]) {
        let draft = tempfile::NamedTempFile::new_in(self.folder.path()).unwrap();
        std::fs::write(draft.path(), bytes).unwrap();
        self.store().await.put(draft.path(), key).await.unwrap();
    }

    /// Makes and tells a take of one attempt.
    pub async fn make(&self, hand: &Hand, assignment: &Assignment) -> String {
        let key = format!("takes/{}/{}-{}.mp4", assignment.job, assignment.attempt, ulid::Ulid::new());
        self.write(&key, b"take").await;
        hand.ended(assignment, made(&key));
        key
    }
}

/// What the desk said to the crew.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a handful in a test")]
pub enum Said {
    Assigned(WorkerId, Assignment),
    Cancel(WorkerId, String, u32),
    Kill(WorkerId, String),
    Dismissed,
}

struct TestCrew {
    said: UnboundedSender<Said>,
}

impl Crew for TestCrew {
    fn assign(&self, worker: WorkerId, assignment: Assignment) {
        let _ = self.said.send(Said::Assigned(worker, assignment));
    }

    fn cancel(&self, worker: WorkerId, job: &String, attempt: u32) {
        let _ = self.said.send(Said::Cancel(worker, job.clone(), attempt));
    }

    fn kill(&self, worker: WorkerId, why: &str) {
        let _ = self.said.send(Said::Kill(worker, why.to_owned()));
    }

    fn dismiss(&self, _grace: Duration) {
        let _ = self.said.send(Said::Dismissed);
    }
}

/// The workers, played by the test.
pub struct Hand {
    said: UnboundedReceiver<Said>,
    events: UnboundedSender<CrewEvent>,
}

pub fn crew() -> (Arc<dyn Crew>, Hand, UnboundedReceiver<CrewEvent>) {
    let (said, hears) = unbounded_channel();
    let (events, desk) = unbounded_channel();
    (Arc::new(TestCrew { said }), Hand { said: hears, events }, desk)
}

impl Hand {
    pub fn tell(&self, event: CrewEvent) {
        self.events.send(event).unwrap();
    }

    pub fn ready(&self, worker: WorkerId, slots: usize, live_slots: usize) {
        self.tell(CrewEvent::Ready { worker, slots, live_slots });
    }

    pub fn gone(&self, worker: WorkerId) {
        self.tell(CrewEvent::Gone { worker, why: "signal 9".to_owned() });
    }

    pub fn ended(&self, assignment: &Assignment, ending: Ending) {
        self.tell(CrewEvent::Ended { job: assignment.job.clone(), attempt: assignment.attempt, ending });
    }

    pub async fn said(&mut self) -> Said {
        tokio::time::timeout(LONG, self.said.recv()).await.expect("the desk says something").unwrap()
    }

    pub fn said_already(&mut self) -> Option<Said> {
        self.said.try_recv().ok()
    }

    pub async fn assigned(&mut self) -> Assignment {
        self.assigned_to().await.1
    }

    pub async fn assigned_to(&mut self) -> (WorkerId, Assignment) {
        match self.said().await {
            Said::Assigned(worker, assignment) => (worker, assignment),
            other => panic!("an assignment was expected, not {other:?}"),
        }
    }
}

pub fn card() -> EngineCard {
    EngineCard {
        name: "puppet",
        summary: "",
        device: Device::Cpu,
        weights: Vec::new(),
        subjects: vec![SubjectKind::Picture, SubjectKind::Clip, SubjectKind::Avatar],
        keeps_background: true,
        idles: false,
        persons: 1,
        reads_prompt: false,
        resumes: false,
        source_layout: Layout::I420,
        source_longest: 512,
        voice_rate_hz: 16_000,
        default_fps: Fps::whole(25),
        fps_range: (10.0, 60.0),
        max_longest: 1024,
        min_face: 32,
        memory_mib: 64,
        settings: vec![SettingCard { name: "size", default: Value::Int(512), help: "" }],
    }
}

pub fn take_spec() -> TakeSpec {
    TakeSpec {
        engine: "puppet".to_owned(),
        subject: SubjectSpec::Picture(Source::Path("/data/face.png".into())),
        voice: VoiceSpec::File {
            source: Source::Path("/data/voice.wav".into()),
            start: None,
            duration: None,
        },
        prompt: None,
        fps: None,
        max_frames: None,
        seed: 7,
        settings: Settings::default(),
        landmarks: None,
        crf: 20,
    }
}

pub fn order() -> Order {
    Order {
        dialect: "musetalk",
        owner: "local".to_owned(),
        work: Work::Take(take_spec()),
        priority: 0,
        idempotency: None,
        twin: None,
        attach_s: 0,
        deliver: Delivery::default(),
        avatar: None,
        note: serde_json::json!({"field": "kept"}),
        terms: jobs::Terms::default(),
    }
}

pub fn avatar_name(name: &str) -> AvatarName {
    AvatarName { dialect: "musetalk".to_owned(), owner: "local".to_owned(), name: name.to_owned() }
}

pub fn take_of(name: &str) -> TakeSpec {
    TakeSpec { subject: SubjectSpec::Avatar(avatar_name(name)), ..take_spec() }
}

pub fn prepare(name: &str) -> Order {
    let spec = PrepareSpec {
        engine: "puppet".to_owned(),
        avatar: avatar_name(name),
        source: Source::Path("/data/face.png".into()),
        settings: Settings::default(),
    };
    Order { work: Work::Prepare(spec), ..order() }
}

pub fn prepared(key: &str, source: &str) -> Ending {
    Ending::Prepared(Prepared {
        key: key.to_owned(),
        engine: "puppet".to_owned(),
        source_sha256: source.to_owned(),
    })
}

pub fn made(key: &str) -> Ending {
    let take = Take {
        duration_s: 1.0,
        frames: 25,
        fps: Fps::whole(25),
        size: Size::new(512, 512),
        engine: "puppet".to_owned(),
        weights: Vec::new(),
        seed: 7,
        face: None,
        settings: Vec::new(),
        measured: Vec::new(),
        speech: None,
        warnings: Vec::new(),
        timings: Vec::new(),
        encoder: "libx264".to_owned(),
        first_frame_s: None,
    };
    Ending::Made(Made {
        take,
        key: key.to_owned(),
        bytes: 4,
        sha256: "00".to_owned(),
        path: None,
        s3: None,
        removed_ms: None,
    })
}

pub fn failed(code: &str) -> Ending {
    Ending::Failed(Failure {
        blame: Blame::Server,
        code: code.to_owned(),
        message: format!("{code} happened"),
        hint: String::new(),
    })
}

/// The job as soon as `as_wanted` holds.
pub async fn until(desk: &Desk, id: &str, as_wanted: impl Fn(&JobView) -> bool) -> JobView {
    let look = async {
        let mut bell = desk.watch(id);
        loop {
            let view = desk.job(id, None).await.unwrap().unwrap();
            if as_wanted(&view) {
                return view;
            }
            bell.changed().await.unwrap();
        }
    };
    match tokio::time::timeout(LONG, look).await {
        Ok(view) => JobView::clone(&view),
        Err(_) => panic!("it never came to that: {:?}", desk.job(id, None).await),
    }
}

pub async fn ended(desk: &Desk, id: &str) -> JobView {
    let view = tokio::time::timeout(LONG, desk.wait(id)).await.expect("the job ends").unwrap().unwrap();
    JobView::clone(&view)
}

pub async fn submit(desk: &Desk, order: Order) -> String {
    match desk.submit(order).await {
        Ok(submitted) => submitted.id,
        Err(refusal) => panic!("{refusal:?}"),
    }
}

/// The code of the failure that a job ended with.
pub fn code(view: &JobView) -> &str {
    match &view.ending {
        Some(Ending::Failed(failure)) => &failure.code,
        other => panic!("{:?} with {other:?}", view.state),
    }
}

pub fn is_queued_again(view: &JobView) -> bool {
    view.state == State::Queued && view.attempt > 0
}

/// Waits for something outside the desk: a file that goes, a row of another server.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let until = tokio::time::Instant::now() + LONG;
    while !look().await {
        assert!(tokio::time::Instant::now() < until, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
