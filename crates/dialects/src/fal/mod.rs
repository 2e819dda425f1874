//! Dialect 5: fal. Its queue, its synchronous and streamed runs, its realtime socket, its storage and its webhooks, for clients
//! that were told nothing but another address. Behind each app is one of our engines.

mod apps;
mod arrivals;
mod cors;
mod crowd;
mod docs;
mod files;
mod from_wire;
mod realtime;
mod routes;
mod to_wire;
mod tokens;
mod way;
mod webhooks;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::any;

use crate::front_door::House;
use crate::front_door::house::Room;
use crate::front_door::keys::{Owner, given};
use crate::front_door::refused::Refused;
use crate::front_door::table::around;
use tokens::Asked;
use way::{Service, Site, Target};

pub use webhooks::{FIRST_RETRY, Signer, courier};

pub const DIALECT: &str = "fal";

/// What the house has for this dialect.
pub struct Fal {
    /// Under which clients reach this server, if not as they say themselves: `https://talkie.example/fal`.
    pub public_url: Option<String>,
    pub signer: Signer,
    /// Until a webhook that was not taken is sent again; doubled each time.
    pub first_retry: Duration,
    arrivals: arrivals::Arrivals,
    tokens: tokens::Tokens,
    /// Mebibytes of bodies that may be in memory at a time.
    bodies: tokio::sync::Semaphore,
    /// Bodies that say they are smaller than a mebibyte: large ones that come slowly are not in their way.
    small_bodies: tokio::sync::Semaphore,
    /// Realtime connections, each of which may hold a message.
    sockets: Arc<tokio::sync::Semaphore>,
}

const SOCKETS: usize = 64;

/// MiB, of all JSON bodies together: each may hold two files.
const BODIES_MIB: usize = 192;
const SMALL_BODIES: usize = 256;
/// MiB, of one.
const BODY_MIB: u32 = 24;

impl Fal {
    pub fn new(public_url: Option<String>, signer: Signer, first_retry: Duration) -> Self {
        Self {
            public_url,
            signer,
            first_retry,
            arrivals: arrivals::Arrivals::default(),
            tokens: tokens::Tokens::default(),
            bodies: tokio::sync::Semaphore::new(BODIES_MIB),
            small_bodies: tokio::sync::Semaphore::new(SMALL_BODIES),
            sockets: Arc::new(tokio::sync::Semaphore::new(SOCKETS)),
        }
    }
}

/// A way into this dialect.
#[derive(Clone)]
pub struct Door {
    room: Room,
    site: Arc<Site>,
}

impl Door {
    fn fal(&self) -> &Fal {
        &self.room.house.fal
    }

    /// Whose request it is: by a key as everywhere, or by a token that stands for one where something is run or uploaded.
    fn owner(&self, target: &Target, headers: &HeaderMap) -> Result<Owner, Refused> {
        let now_ms = self.room.house.clock.now_ms();
        let asked = match target.service {
            Service::Run | Service::Queue => {
                target.path.trim_start_matches('/').split('/').nth(1).map(Asked::App)
            }
            Service::Cdn => Some(Asked::Upload),
            Service::Rest | Service::Api => None,
        };
        let token = target.value("fal_jwt_token");
        let token = token.as_deref().or_else(|| given(headers));
        let owner = token.zip(asked).and_then(|(token, asked)| self.fal().tokens.owner(token, asked, now_ms));
        owner.map_or_else(|| self.room.house.keys.owner(headers), Ok)
    }
}

/// Every service under its prefix; `https`: how this port is spoken to.
pub fn router(house: Arc<House>, https: bool) -> Router {
    let paths =
        ["/run/{*path}", "/queue/{*path}", "/rest/{*path}", "/cdn/{*path}", "/v1/{*path}", "/api/{*path}"];
    at(house, (https, ""), &paths)
}

/// `/api/fal/proxy` at the root of a port whose services lie below `/fal`.
pub fn proxy(house: Arc<House>, https: bool) -> Router {
    at(house, (https, "/fal"), &["/api/fal/proxy"])
}

fn at(house: Arc<House>, (https, below): (bool, &'static str), paths: &[&'static str]) -> Router {
    let site = Site { public: house.fal.public_url.clone(), https, below };
    let door = Door { room: Room { house: Arc::clone(&house), dialect: DIALECT }, site: Arc::new(site) };
    let mut router = Router::new();
    for path in paths {
        router = router.route(path, any(routes::answer));
    }
    // a request that came for one of fal's own hosts has no prefix
    let router = if below.is_empty() { router.fallback(routes::answer) } else { router };
    around(router.with_state(door), (&house, DIALECT), is_own_host)
}

/// fal's own names lead here only where somebody has led them here on purpose.
fn is_own_host(host: &str) -> bool {
    way::official(host).is_some()
}
