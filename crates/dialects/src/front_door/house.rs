//! What every dialect gets: the desk, the engine that plays its part, and the limits of the door. Plain values; whoever
//! makes a `House` has read the environment already.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use contract::{Complaint, EngineCard, SettingCard, Value};
use jobs::{Clock, Desk, Take};

use super::hold::Audience;
use super::keys::Keys;
use super::refused::Refused;

pub const ENGINE_HEADER: HeaderName = HeaderName::from_static("x-talkie-engine");

pub struct House {
    pub desk: Desk,
    /// Dialect -> who plays it.
    pub cast: BTreeMap<&'static str, Casting>,
    pub limits: Limits,
    pub keep_alive: KeepAlive,
    pub keys: Keys,
    pub hosts: Hosts,
    /// Requests come in over TLS: absolute addresses in answers say so.
    pub https: bool,
    pub gpu_available: bool,
    /// What `/health` calls the device: `cpu`, or a GPU's name.
    pub device: String,
    pub clock: Clock,
    pub common: Common,
    pub infinitetalk: InfiniteTalk,
    pub musetalk: MuseTalk,
    pub musetalk_s3: MuseTalkS3,
    pub fal: crate::fal::Fal,
    /// Of the MuseTalk server.
    pub tickets: Arc<crate::musetalk::Tickets>,
}

/// What the ports share: a dialect may be served on its own port and on the one that has everything.
pub struct Common {
    pub audience: Arc<Audience>,
    /// The last second that a file was named after.
    last_second: AtomicI64,
}

impl Common {
    /// Seconds up to now may have been used by a server before this one.
    pub fn new(now_ms: i64) -> Self {
        Self { audience: Arc::default(), last_second: AtomicI64::new(now_ms.div_euclid(1000)) }
    }

    /// Whether nobody had this second before: a name made of it alone meets no other.
    pub fn first_in(&self, second: i64) -> bool {
        self.last_second.fetch_max(second, Ordering::SeqCst) < second
    }
}

/// The engine of a dialect.
#[derive(Clone, Debug)]
pub struct Casting {
    /// `EngineCard::name`, or why the configured one cannot play (names the path that does not load).
    pub engine: Result<String, Complaint>,
    /// No weights are configured anywhere: this engine stands in for the dialect's own.
    pub stand_in: bool,
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// Of one uploaded file.
    pub upload_bytes: u64,
    /// Of one picture for the SVD dialect.
    pub picture_bytes: u64,
    /// Of a take without a voice.
    pub video_seconds: u32,
}

/// Answers that take longer than a client waits.
#[derive(Clone, Copy, Debug)]
pub struct KeepAlive {
    /// Until then the status can still tell how it ended. 20 s: mistakes in the input show within a few seconds, and the
    /// impatient proxies give up after 30 or 60.
    pub first: Duration,
    /// Between blanks after that.
    pub every: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self { first: Duration::from_secs(20), every: Duration::from_secs(2) }
    }
}

/// Who may be meant by a request's `Host`, and which pages may send requests that read local or cloud files.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Names without ports; `None`: any (not bound to loopback).
    pub allowed: Option<Vec<String>>,
    /// `http://page.example`: pages of other sites that are trusted with local paths and cloud storage.
    pub trusted_origins: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHangup {
    /// The work goes on, and the same request finds it.
    Finish,
    Cancel,
}

#[derive(Clone, Debug)]
pub struct InfiniteTalk {
    /// `OUTPUT_DIR`: where videos are delivered.
    pub output: PathBuf,
    pub on_hangup: OnHangup,
    /// `MOTION_FRAME`: what is used where a request says nothing.
    pub motion_frame: i64,
}

#[derive(Clone, Debug)]
pub struct MuseTalk {
    /// `MUSETALK_VERSION`, …: what is used where a request says nothing.
    pub version: String,
    pub fps: u32,
    pub batch_size: u32,
    pub bbox_shift: i64,
    pub pace: jobs::crew::Pace,
    /// Of the JPEGs of a stream, 1..100.
    pub jpeg_quality: u8,
}

#[derive(Clone, Debug, Default)]
pub struct MuseTalkS3 {
    /// Where results go when a request names no bucket; `None`: nowhere.
    pub bucket: Option<String>,
    pub prefix: String,
    /// Below it lies what requests call `result_dir`.
    pub results: PathBuf,
}

/// A dialect's view of the house.
#[derive(Clone)]
pub struct Room {
    pub house: Arc<House>,
    pub dialect: &'static str,
}

impl Room {
    /// The engine that plays this dialect; 503 with the path that does not load.
    pub fn engine(&self) -> Result<&EngineCard, Refused> {
        self.engine_of(self.dialect)
    }

    /// The engine that plays another dialect's part.
    pub fn engine_of(&self, dialect: &str) -> Result<&EngineCard, Refused> {
        let casting = self.house.cast.get(dialect);
        let name = match casting.map(|casting| &casting.engine) {
            Some(Ok(name)) => name,
            Some(Err(complaint)) => return Err(Refused::later(complaint.to_string(), 60)),
            None => return Err(Refused::later(format!("no engine plays {dialect}"), 60)),
        };
        let card = self.house.desk.engines().iter().find(|card| card.name == name);
        card.ok_or_else(|| Refused::later(format!("the engine `{name}` is not there"), 60))
    }

    pub fn stand_in(&self) -> bool {
        self.house.cast.get(self.dialect).is_some_and(|casting| casting.stand_in)
    }

    /// Whether a take could begin at once: the engine is there and a worker is up.
    pub fn ready(&self) -> bool {
        self.engine().is_ok() && self.house.desk.vitals().workers > 0
    }
}

/// Of all weights, with commas between them.
pub fn weight_names(weights: &[contract::Weights]) -> String {
    weights.iter().map(|weights| weights.name.as_str()).collect::<Vec<_>>().join(",")
}

/// `puppet; weights=visnet-1`
pub fn engine_header(name: &str, weights: &[contract::Weights]) -> HeaderValue {
    let names = weight_names(weights);
    let line = if names.is_empty() { name.to_owned() } else { format!("{name}; weights={names}") };
    HeaderValue::from_str(&line).unwrap_or(HeaderValue::from_static("unnamed"))
}

pub fn take_header(take: &Take) -> HeaderValue {
    engine_header(&take.engine, &take.weights)
}

/// Of what a client sent, the settings that the engine knows: the others belong to the model it stands in for.
pub fn settings(card: &EngineCard, sent: Vec<(&str, Value)>) -> contract::Settings {
    let known = |name: &str| card.settings.iter().any(|setting: &SettingCard| setting.name == name);
    let sent = sent.into_iter().filter(|(name, _)| known(name)).map(|(name, value)| (name.to_owned(), value));
    contract::Settings { sent: sent.collect() }
}
