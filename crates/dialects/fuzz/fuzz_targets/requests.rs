//! Requests to every route, with a real desk behind them that has no workers: the first byte picks route and content type,
//! the rest up to a zero byte is the query, then comes the body. Whatever comes, the answer is no 500.
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
use jobs::{Clock, Desk, DeskConfig, Retention};
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
    app: Router,
    _folder: tempfile::TempDir,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let app = runtime.block_on(app(folder.path()));
        Bench { runtime, app, _folder: folder }
    })
}

async fn app(folder: &std::path::Path) -> Router {
    let store = Store::open(StoreConfig { folder: folder.to_owned(), ..StoreConfig::default() });
    let (_, events) = tokio::sync::mpsc::unbounded_channel();
    let config = DeskConfig {
        database_url: format!("sqlite://{}?mode=rwc", folder.join("talkie.db").display()),
        store: store.await.expect("a store"),
        engines: Vec::new(),
        queue_limit: 10,
        stall: Duration::from_secs(60),
        cancel_grace: Duration::from_secs(60),
        live_wait: Duration::from_millis(1),
        retention: Retention { takes_age: None, takes_bytes: None, uploads_age: None, records_age: None },
        lease: Duration::from_secs(60),
        clock: Clock::system(),
    };
    let desk = Desk::open(config, Arc::new(NoCrew), events).await.expect("a desk");
    let casting = Casting { engine: Ok("puppet".to_owned()), stand_in: true };
    let names = ["infinitetalk", "musetalk", "musetalk-s3", "svd"];
    let house = House {
        desk,
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
    };
    dialects::house::all(&Arc::new(house))
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
    let status = bench.runtime.block_on(async { bench.app.clone().oneshot(request).await });
    let status = status.expect("an answer").status();
    assert!(status != 500, "{status} {route}");
});
