//! Requests to every route, with a real desk behind them that has no workers: the first byte picks route and content type,
//! the rest up to a zero byte is the query, then comes the body. Whatever comes, the answer is no 500. A job that is made is
//! canceled, so that the queue never fills and nobody waits for its end.
#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use dialects::front_door::{
    Casting, Common, Hosts, House, InfiniteTalk, KeepAlive, Keys, Limits, MuseTalk, MuseTalkS3, OnHangup,
};
use jobs::crew::{Assignment, Crew, Pace, WorkerId};
use contract::{Device, EngineCard, Fps, Layout, SettingCard, SubjectKind, Value};
use jobs::{Clock, Darkroom, Desk, DeskConfig, Listing, Retention, State};
use libfuzzer_sys::fuzz_target;
use store::{Store, StoreConfig};
use tower::ServiceExt;

struct NoCrew;

impl Crew for NoCrew {
    fn assign(&self, _: WorkerId, _: Assignment) {}
    fn cancel(&self, _: WorkerId, _: &String, _: u32) {}
    fn kill(&self, _: WorkerId, _: &str) {}
    fn dismiss(&self, _: Duration) {}
}

const ROUTES: [&str; 8] = [
    "/infinitetalk/api/generate-video",
    "/musetalk/avatars/preprocess",
    "/musetalk/inference/stream/a",
    "/musetalk/inference/batch/a",
    "/musetalk-s3/inference",
    "/svd/upload-character",
    "/svd/generate-video",
    "/v1/avatars",
];
const KINDS: [&str; 4] =
    ["application/json", "multipart/form-data; boundary=XX", "application/x-www-form-urlencoded", "text/plain"];

struct Bench {
    runtime: tokio::runtime::Runtime,
    desk: Desk,
    app: Router,
    _folder: tempfile::TempDir,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let (desk, app) = runtime.block_on(app(folder.path()));
        Bench { runtime, desk, app, _folder: folder }
    })
}

fn card() -> EngineCard {
    EngineCard {
        name: "puppet",
        summary: "",
        device: Device::Cpu,
        weights: Vec::new(),
        subjects: vec![SubjectKind::Picture, SubjectKind::Clip, SubjectKind::Avatar],
        keeps_background: true,
        idles: true,
        persons: 1,
        reads_prompt: true,
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

async fn app(folder: &std::path::Path) -> (Desk, Router) {
    let store = Store::open(StoreConfig { folder: folder.to_owned(), ..StoreConfig::default() });
    let (_, events) = tokio::sync::mpsc::unbounded_channel();
    let config = DeskConfig {
        database_url: format!("sqlite://{}?mode=rwc", folder.join("talkie.db").display()),
        store: store.await.expect("a store"),
        engines: vec![card()],
        queue_limit: 10,
        stall: Duration::from_secs(60),
        cancel_grace: Duration::from_secs(60),
        live_wait: Duration::from_millis(1),
        retention: Retention { takes_age: None, takes_bytes: None, uploads_age: None, records_age: None },
        lease: Duration::from_secs(60),
        clock: Clock::system(),
        darkroom: Darkroom::new(media::ToolPaths::default(), media::Limits::default()),
    };
    let desk = Desk::open(config, Arc::new(NoCrew), events).await.expect("a desk");
    let casting = Casting { engine: Ok("puppet".to_owned()), stand_in: true };
    let names = ["infinitetalk", "musetalk", "musetalk-s3", "svd"];
    let house = House {
        desk: desk.clone(),
        cast: names.into_iter().map(|name| (name, casting.clone())).collect(),
        limits: Limits { upload_bytes: 1 << 16, picture_bytes: 1 << 16, video_seconds: 60 },
        keep_alive: KeepAlive::default(),
        keys: Keys::default(),
        hosts: Hosts::default(),
        https: false,
        gpu_available: false,
        device: "cpu".to_owned(),
        clock: Clock::system(),
        common: Common::new(0),
        infinitetalk: InfiniteTalk {
            output: folder.join("output"),
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
        musetalk_s3: MuseTalkS3 { bucket: None, prefix: String::new(), results: folder.join("results") },
        tickets: Arc::default(),
        fal: dialects::fal::Fal::new(
            None,
            dialects::fal::Signer::new(&[7; 32]).unwrap(),
            std::time::Duration::from_secs(1),
        ),
    };
    (desk, dialects::house::all(&Arc::new(house)))
}

async fn cancel_all(desk: &Desk) {
    let waiting = Listing { state: Some(State::Queued), ..Listing::default() };
    for job in desk.list(waiting).await.expect("the record answers") {
        desk.cancel(&job.id, None).await.expect("the record answers");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((pick, rest)) = bytes.split_first() else { return };
    let cut = rest.iter().position(|byte| *byte == 0).unwrap_or(0);
    let query: String = rest[..cut].iter().filter(|b| b.is_ascii_graphic()).map(|&b| char::from(b)).collect();
    let route = ROUTES[usize::from(*pick) % ROUTES.len()];
    let kind = KINDS[usize::from(*pick) / ROUTES.len() % KINDS.len()];
    let request = Request::post(format!("{route}?{query}")).header("content-type", kind);
    let Ok(request) = request.body(Body::from(rest[cut..].to_vec())) else { return };
    let bench = bench();
    let status = bench.runtime.block_on(async {
        let mut answer = std::pin::pin!(bench.app.clone().oneshot(request));
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                () = tokio::time::sleep(Duration::from_millis(1)) => cancel_all(&bench.desk).await,
            }
        }
    });
    bench.runtime.block_on(cancel_all(&bench.desk));
    let status = status.expect("an answer").status();
    assert!(status != 500, "{status} {route}");
});
