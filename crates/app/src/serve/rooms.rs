//! The rooms of a running server: store, crew and desk, opened in this order, and the house in which the dialects live.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use contract::Complaint;
use dialects::front_door::{self, House};
use jobs::crew::Workers;
use jobs::{Clock, Darkroom, Desk, DeskConfig, Retention};
use store::{FetchLimits, Remote, Store, StoreConfig};
use tokio::sync::mpsc;

use super::casting::{self, Casting};
use super::originals::Originals;
use super::settings::{Dialect, FalSettings, OnHangup, ServeSettings, StreamPace};
use super::{Stage, webhook_key, workers};
use crate::cli::DataArgs;
use crate::config::Config;
use crate::{device, machine};

const QUEUE_LIMIT: u64 = 256;
const STALL: Duration = Duration::from_secs(300);
const CANCEL_GRACE: Duration = Duration::from_secs(10);
/// Impatient clients give up after 5 s, the first picture included.
const LIVE_WAIT: Duration = Duration::from_secs(3);
const LEASE: Duration = Duration::from_secs(30);
const MIB: u64 = 1 << 20;
const UPLOAD_MIB: u64 = 512;
/// Of a picture for the SVD dialect, as its web client has it.
const PICTURE_MIB: u64 = 10;
/// Where the file systems of containers are shared by custom.
const SHARED: &str = "/data/shared";

/// Dialects with a part to play; fal's apps borrow theirs.
const CAST: [Dialect; 4] = [Dialect::InfiniteTalk, Dialect::MuseTalk, Dialect::MuseTalkS3, Dialect::Svd];

pub struct Rooms {
    pub desk: Desk,
    /// What whoever started the server should know.
    pub remarks: Vec<String>,
    house: Arc<House>,
}

impl Rooms {
    pub fn router(&self, dialect: Dialect) -> Router {
        let house = Arc::clone(&self.house);
        match dialect {
            Dialect::InfiniteTalk => dialects::infinitetalk::router(house),
            Dialect::MuseTalk => dialects::musetalk::router(house),
            Dialect::MuseTalkS3 => dialects::musetalk_s3::router(house),
            Dialect::Svd => dialects::svd::router(house),
            Dialect::Fal => dialects::fal::router(house, true),
            Dialect::All => dialects::house::all(&house),
        }
    }

    /// Routes of the program itself: no page by somebody else's DNS may read them either.
    pub fn behind_known_hosts(&self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(Arc::clone(&self.house), front_door::guard::known_host))
    }
}

pub async fn open(stage: &Stage<'_>) -> Result<Rooms, Complaint> {
    let Stage { config, data, originals, .. } = stage;
    let settings = &config.serve;
    // whatever a configuration can have wrong is told before a worker starts
    let engines = machine::engines(config, &DataArgs { data: Some(data.clone()) }, &device::CPU)?;
    let mut cast = BTreeMap::new();
    let mut remarks = Vec::new();
    let served = settings.dialects()?;
    for dialect in CAST {
        let casting = casting::cast(dialect, config, originals, &engines)?;
        if served.contains(&dialect) {
            remarks.extend(remark(dialect, &casting));
        }
        cast.insert(dialect.name(), seen_by_dialects(casting));
    }
    let keep_alive = keep_alive(settings);
    let keys = keys(config)?;
    let infinitetalk = infinitetalk(config, data, originals)?;
    let musetalk = musetalk(config, originals)?;
    let fal = fal(config, data)?;
    let store = store(config, data).await?;
    let musetalk_s3 = musetalk_s3(config, data, originals);
    check_bucket(&store, &musetalk_s3)?;
    for folder in [&infinitetalk.output, &musetalk_s3.results] {
        std::fs::create_dir_all(folder).map_err(|error| {
            let message =
                format!("the folder {} for finished videos cannot be made: {error}", folder.display());
            Complaint::new("output_unwritable", message, "name another: OUTPUT_DIR, MUSETALK_RESULT_DIR")
        })?;
    }
    let on_cards = workers::cards(config, originals)?;
    remarks.extend(on_cards.remark());
    let commands = workers::commands(stage, &on_cards)?;
    let (events, told) = mpsc::unbounded_channel();
    let desk_config = DeskConfig {
        database_url: database(settings, data),
        store,
        engines: on_cards.cards(engines.cards()),
        queue_limit: settings.queue_limit.unwrap_or(QUEUE_LIMIT),
        stall: settings.stall_seconds.map_or(STALL, Duration::from_secs),
        cancel_grace: CANCEL_GRACE,
        live_wait: settings.live_wait_seconds.map_or(LIVE_WAIT, Duration::from_secs),
        retention: retention(config),
        lease: LEASE,
        clock: Clock::system(),
        darkroom: Darkroom::new(machine::tool_paths(config), machine::limits(config)),
    };
    let workers = Workers::start(commands, events)?;
    let desk = Desk::open(desk_config, Arc::new(workers), told).await?;
    let house = House {
        desk: desk.clone(),
        cast,
        limits: limits(config),
        keep_alive,
        keys,
        hosts: hosts(settings),
        https: settings.tls.local || settings.tls.cert.is_some(),
        gpu_available: on_cards.is_any(),
        device: on_cards.name().to_owned(),
        common: front_door::Common::new(Clock::system().now_ms()),
        clock: Clock::system(),
        infinitetalk,
        musetalk,
        musetalk_s3,
        fal,
        tickets: Arc::default(),
    };
    let house = Arc::new(house);
    tokio::spawn(dialects::fal::courier(Arc::clone(&house)));
    Ok(Rooms { desk, remarks, house })
}

/// The store as the configuration describes it; server and worker open the same one.
pub async fn store(config: &Config, data: &Path) -> Result<Store, Complaint> {
    let (kept, fetch) = (&config.store, &config.fetch);
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let endpoint =
        kept.endpoint.clone().or_else(|| env("AWS_ENDPOINT_URL_S3")).or_else(|| env("AWS_ENDPOINT_URL"));
    let mut media_roots = config.serve.media_roots.clone();
    media_roots.extend(Some(PathBuf::from(SHARED)).filter(|root| root.is_dir()));
    let usual = FetchLimits::default();
    let seconds = |given: Option<u64>, usual: Duration| given.map_or(usual, Duration::from_secs);
    Store::open(StoreConfig {
        folder: data.to_owned(),
        remote: kept.remote.as_deref().map(remote).transpose()?,
        media_roots,
        s3_allowed: kept.s3_allowed.clone(),
        s3_path_style: kept.path_style.unwrap_or(endpoint.is_some()),
        s3_endpoint: endpoint,
        s3_region: kept.region.clone().or_else(|| env("AWS_REGION")).or_else(|| env("AWS_DEFAULT_REGION")),
        fetch: FetchLimits {
            bytes: fetch.mib.map_or(usual.bytes, |mib| mib * MIB),
            total: seconds(fetch.total_seconds, usual.total),
            idle: seconds(fetch.idle_seconds, usual.idle),
            redirects: fetch.redirects.unwrap_or(usual.redirects),
            allowed_networks: fetch.allowed_networks.clone(),
        },
    })
    .await
}

/// `s3://bucket/prefix`
fn remote(name: &str) -> Result<Remote, Complaint> {
    let path = name.strip_prefix("s3://").unwrap_or_default();
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() {
        let message = format!("store.remote is `{name}`, it must be s3://bucket/prefix");
        return Err(Complaint::new(
            "bad_config",
            message,
            "correct it, or leave it out to keep takes in the data folder",
        ));
    }
    Ok(Remote { bucket: bucket.to_owned(), prefix: prefix.trim_end_matches('/').to_owned() })
}

fn database(settings: &ServeSettings, data: &Path) -> String {
    match settings.database.as_deref() {
        None | Some("sqlite") => format!("sqlite://{}?mode=rwc", data.join("talkie.db").display()),
        Some(url) => url.to_owned(),
    }
}

fn retention(config: &Config) -> Retention {
    let given = &config.retention;
    let days = |days: Option<f64>| days.map(|days| Duration::from_secs_f64(days * 86_400.0));
    Retention {
        takes_age: days(given.takes_days),
        takes_bytes: given.takes_gib.map(|gib| (gib * (1u64 << 30) as f64) as u64),
        uploads_age: days(given.uploads_days),
        records_age: days(given.records_days),
    }
}

/// What the start screen says of a dialect's engine, where it is not what one would expect.
fn remark(dialect: Dialect, casting: &Casting) -> Option<String> {
    match casting {
        Casting::Chosen(_) => None,
        Casting::StandIn(engine) => Some(format!(
            "{}: no weights are configured, the built-in engine `{engine}` stands in, and every video says so",
            dialect.name()
        )),
        Casting::Nobody(complaint) => Some(format!("{}: answers 503: {complaint}", dialect.name())),
    }
}

fn seen_by_dialects(casting: Casting) -> front_door::Casting {
    match casting {
        Casting::Chosen(engine) => front_door::Casting { engine: Ok(engine), stand_in: false },
        Casting::StandIn(engine) => front_door::Casting { engine: Ok(engine), stand_in: true },
        Casting::Nobody(complaint) => front_door::Casting { engine: Err(complaint), stand_in: false },
    }
}

fn limits(config: &Config) -> front_door::Limits {
    let media = machine::limits(config);
    let upload_bytes = config.serve.upload_mib.unwrap_or(UPLOAD_MIB) * MIB;
    front_door::Limits {
        upload_bytes: upload_bytes.min(media.file_bytes),
        picture_bytes: PICTURE_MIB * MIB,
        video_seconds: media.audio_seconds as u32,
    }
}

fn keep_alive(settings: &ServeSettings) -> front_door::KeepAlive {
    let usual = front_door::KeepAlive::default();
    let Some(seconds) = settings.keep_alive_seconds else { return usual };
    front_door::KeepAlive { first: Duration::from_secs_f64(seconds), every: usual.every }
}

fn keys(config: &Config) -> Result<front_door::Keys, Complaint> {
    let keys = config.keys.iter().map(|(name, hash)| {
        let mut sha256 = [0; 32];
        let read = hex::decode_to_slice(hash.trim_start_matches("sha256:"), &mut sha256);
        read.expect("the configuration was checked");
        front_door::Key { owner: name.clone(), sha256 }
    });
    let per_minute = config.serve.requests_per_minute.and_then(NonZeroU32::new);
    Ok(front_door::Keys::new(keys.collect(), per_minute))
}

/// Bound to loopback, a page that has taken over a name must not reach us by it.
fn hosts(settings: &ServeSettings) -> front_door::Hosts {
    let loopback = settings.listen.is_none_or(|address| address.is_loopback());
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec();
    names.extend(settings.listen.map(|address| address.to_string()));
    names.extend(settings.hosts.iter().cloned());
    front_door::Hosts {
        allowed: loopback.then_some(names),
        trusted_origins: settings.trusted_origins.clone(),
    }
}

fn infinitetalk(
    config: &Config,
    data: &Path,
    originals: &Originals,
) -> Result<front_door::InfiniteTalk, Complaint> {
    let configured = config.infinitetalk.output.as_ref().map(|output| data.join(output));
    let output =
        configured.or_else(|| originals.folder("OUTPUT_DIR", data)).unwrap_or_else(|| data.join("output"));
    let on_hangup = match config.infinitetalk.on_hangup {
        OnHangup::Finish => front_door::OnHangup::Finish,
        OnHangup::Cancel => front_door::OnHangup::Cancel,
    };
    let motion_frame = originals.parsed("MOTION_FRAME", "a whole number")?.unwrap_or(9);
    Ok(front_door::InfiniteTalk { output, on_hangup, motion_frame })
}

fn musetalk(config: &Config, originals: &Originals) -> Result<front_door::MuseTalk, Complaint> {
    let whole = "a whole number";
    let fps = originals.parsed("MUSETALK_FPS", whole)?.unwrap_or(25);
    if !(1..=60).contains(&fps) {
        let message = format!("MUSETALK_FPS is {fps}, it can be 1 to 60");
        return Err(Complaint::new("bad_config", message, "correct or unset it"));
    }
    Ok(front_door::MuseTalk {
        version: originals.text("MUSETALK_VERSION").unwrap_or("v15").to_owned(),
        fps,
        batch_size: originals.parsed("MUSETALK_BATCH_SIZE", whole)?.unwrap_or(4),
        bbox_shift: originals.parsed("MUSETALK_BBOX_SHIFT", whole)?.unwrap_or(0),
        pace: match config.musetalk.pace {
            StreamPace::RealTime => jobs::crew::Pace::RealTime,
            StreamPace::AsFastAsPossible => jobs::crew::Pace::AsFastAsPossible,
        },
        jpeg_quality: config.musetalk.jpeg_quality.unwrap_or(80),
    })
}

/// Its clients would be refused one by one what the operator meant for all of them.
fn check_bucket(store: &Store, settings: &front_door::MuseTalkS3) -> Result<(), Complaint> {
    let Some(bucket) = &settings.bucket else { return Ok(()) };
    let place = match settings.prefix.trim_end_matches('/') {
        "" => format!("s3://{bucket}"),
        prefix => format!("s3://{bucket}/{prefix}"),
    };
    store.allow_s3("musetalk-s3", &format!("{place}/take.mp4")).map_err(|_| {
        let message = format!(
            "[musetalk-s3] bucket and prefix are {place}, where [store] s3_allowed.musetalk-s3 allows nothing"
        );
        Complaint::new(
            "bad_config",
            message,
            format!("add \"{place}\" to s3_allowed.musetalk-s3, or take the bucket out"),
        )
    })
}

fn musetalk_s3(config: &Config, data: &Path, originals: &Originals) -> front_door::MuseTalkS3 {
    front_door::MuseTalkS3 {
        bucket: config.musetalk_s3.bucket.clone(),
        prefix: config.musetalk_s3.prefix.clone().unwrap_or_default(),
        results: originals.folder("MUSETALK_RESULT_DIR", data).unwrap_or_else(|| data.join("results")),
    }
}

fn fal(config: &Config, data: &Path) -> Result<dialects::fal::Fal, Complaint> {
    let FalSettings { public_url, webhook_first_retry_seconds } = config.fal.clone();
    let first_retry = webhook_first_retry_seconds.map_or(dialects::fal::FIRST_RETRY, Duration::from_secs_f64);
    let public_url = public_url.map(|url| url.trim_end_matches('/').to_owned());
    let signer = dialects::fal::Signer::new(&webhook_key::seed(data)?)?;
    Ok(dialects::fal::Fal::new(public_url, signer, first_retry))
}
