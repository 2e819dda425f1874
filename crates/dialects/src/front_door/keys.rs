//! Who is asking: API keys (kept as hashes, compared in constant time) and how often each may ask.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode, header};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use sha2::{Digest, Sha256};

use super::refused::Refused;

/// The owner of everything while no keys are configured.
pub const LOCAL: &str = "local";
/// Who asks without a key where keys are configured: the owner of nothing.
pub const NOBODY: &str = "";

/// Owners and addresses that are counted before those that have been quiet are forgotten.
const MOST_COUNTED: usize = 10_000;

#[derive(Clone, Debug)]
pub struct Key {
    pub owner: String,
    /// sha256 of the key.
    pub sha256: [u8; 32],
}

/// Without keys everybody is `local`.
#[derive(Clone, Default)]
pub struct Keys {
    keys: Arc<[Key]>,
    rate: Option<Arc<DefaultKeyedRateLimiter<String>>>,
}

/// Whose request it is; in the request's extensions.
#[derive(Clone, Debug)]
pub struct Owner(pub String);

impl Keys {
    /// `per_minute`: requests with one key, or without keys of one address; and tries of one address with keys that are none.
    pub fn new(keys: Vec<Key>, per_minute: Option<NonZeroU32>) -> Self {
        let rate = per_minute.map(|limit| Arc::new(DefaultKeyedRateLimiter::keyed(Quota::per_minute(limit))));
        Self { keys: keys.into(), rate }
    }

    pub fn required(&self) -> bool {
        !self.keys.is_empty()
    }

    pub fn owner(&self, headers: &HeaderMap) -> Result<Owner, Refused> {
        if self.keys.is_empty() {
            return Ok(Owner(LOCAL.to_owned()));
        }
        let Some(given) = given(headers) else {
            return Err(Refused::said(StatusCode::UNAUTHORIZED, "Not authenticated"));
        };
        let given: [u8; 32] = Sha256::digest(given.as_bytes()).into();
        let mut owner = None;
        for key in self.keys.iter() {
            // every key is looked at whole, so that time tells nothing
            let differ = key.sha256.iter().zip(given).fold(0, |differ, (a, b)| differ | (a ^ b));
            if differ == 0 {
                owner = Some(Owner(key.owner.clone()));
            }
        }
        owner.ok_or_else(|| Refused::said(StatusCode::UNAUTHORIZED, "Invalid API key"))
    }

    /// A request of this owner, which came from this address.
    pub fn admit(&self, owner: &Owner, from: Option<IpAddr>) -> Result<(), Refused> {
        if self.required() { self.count("key", || owner.0.clone()) } else { self.strike(from) }
    }

    /// A request of nobody we know: all that is known of it is where it came from.
    pub fn strike(&self, from: Option<IpAddr>) -> Result<(), Refused> {
        self.count("from", || from.map_or_else(|| "an unknown address".to_owned(), neighbours))
    }

    fn count(&self, what: &str, whose: impl FnOnce() -> String) -> Result<(), Refused> {
        let Some(rate) = &self.rate else { return Ok(()) };
        let whose = whose();
        let counted = format!("{what} {whose}");
        if rate.len() > MOST_COUNTED {
            rate.retain_recent();
        }
        rate.check_key(&counted).map_err(|early| {
            let seconds = early.wait_time_from(DefaultClock::default().now()).as_secs_f64().ceil().max(1.0);
            Refused::Said {
                status: StatusCode::TOO_MANY_REQUESTS,
                detail: format!("too many requests of `{whose}`; try again in {seconds:.0} s"),
                retry_s: Some(seconds as u32),
            }
        })
    }
}

/// Whose address it is: of version 6, one client has as many as it likes below the first half.
fn neighbours(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// `Authorization: Key …`, `Authorization: Bearer …` or `X-API-Key: …`
pub fn given(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let scheme = authorization.and_then(|value| value.split_once(' '));
    match scheme {
        Some((scheme, key)) if ["key", "bearer"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) => {
            Some(key.trim())
        }
        _ => headers.get("x-api-key").and_then(|value| value.to_str().ok()),
    }
}
