//! The routes of a dialect as FastAPI would have them: 404, 405 and the redirect over a trailing slash in its words, and
//! around all of them the door, the request's id, its trace and its count. The same table makes the documents.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use axum::extract::{FromRequestParts, MatchedPath, OriginalUri, Path, Request, State};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Router, body::Body};
use futures_util::FutureExt;
use serde_json::Value;
use tracing::Instrument;

use super::docs::{self, Operation};
use super::guard::{self, Access};
use super::house::{House, Room};
use super::leftover;
use super::refused::Refused;
use super::tally::Tally;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a dialect says of itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    pub dialect: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub cors: Cors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cors {
    /// As most originals: none.
    Absent,
    /// Every page may ask.
    Any,
}

pub struct Table {
    about: About,
    room: Room,
    paths: BTreeMap<&'static str, Vec<Method>>,
    routers: BTreeMap<&'static str, MethodRouter<Room>>,
    documented: serde_json::Map<String, Value>,
}

/// The variable parts of a path, in order.
pub struct Segments(pub Vec<String>);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let found = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Path(found) = found.map_err(|_| Refused::missing("Not Found"))?;
        Ok(Self(found.into_iter().map(|(_, value)| value).collect()))
    }
}

impl Segments {
    pub fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    pub fn second(&self) -> &str {
        self.0.get(1).map_or("", String::as_str)
    }
}

impl Table {
    pub fn new(house: Arc<House>, about: About) -> Self {
        let room = Room { house, dialect: about.dialect };
        Self {
            about,
            room,
            paths: BTreeMap::new(),
            routers: BTreeMap::new(),
            documented: serde_json::Map::new(),
        }
    }

    pub fn get<H, T>(self, path: &'static str, access: Access, handler: H, told: Operation) -> Self
    where
        H: Handler<T, Room>,
        T: 'static,
    {
        self.route((Method::GET, path), access, handler, told)
    }

    pub fn post<H, T>(self, path: &'static str, access: Access, handler: H, told: Operation) -> Self
    where
        H: Handler<T, Room>,
        T: 'static,
    {
        self.route((Method::POST, path), access, handler, told)
    }

    pub fn delete<H, T>(self, path: &'static str, access: Access, handler: H, told: Operation) -> Self
    where
        H: Handler<T, Room>,
        T: 'static,
    {
        self.route((Method::DELETE, path), access, handler, told)
    }

    /// An operation without documents: another name for one that has them.
    pub fn alias<H, T>(mut self, (method, path): (Method, &'static str), access: Access, handler: H) -> Self
    where
        H: Handler<T, Room>,
        T: 'static,
    {
        self.add((method, path), access, handler);
        self
    }

    fn route<H, T>(
        mut self,
        (method, path): (Method, &'static str),
        access: Access,
        handler: H,
        told: Operation,
    ) -> Self
    where
        H: Handler<T, Room>,
        T: 'static,
    {
        let operations = self.documented.entry(path).or_insert_with(|| Value::Object(serde_json::Map::new()));
        operations[method.as_str().to_ascii_lowercase()] = told.finish(access, &self.room.house.keys);
        self.add((method, path), access, handler);
        self
    }

    fn add<H, T>(&mut self, (method, path): (Method, &'static str), access: Access, handler: H)
    where
        H: Handler<T, Room>,
        T: 'static,
    {
        let filter = match method {
            Method::POST => MethodFilter::POST,
            Method::DELETE => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        let door = from_fn_with_state((Arc::clone(&self.room.house), access), guard::enter);
        let one = on(filter, handler).route_layer(door);
        let known = self.routers.remove(path).unwrap_or_default();
        self.routers.insert(path, known.merge(one));
        self.paths.entry(path).or_default().push(method);
    }

    pub fn finish(self) -> Router {
        let Self { about, room, paths, routers, documented } = self;
        let document = docs::document(about, documented);
        let mut router = Router::new();
        for (path, one) in routers {
            let methods = &paths[path];
            // a file of a folder answers HEAD; an API route of FastAPI does not
            let folder = path.starts_with("/uploads/") || path.starts_with("/videos/");
            let allow = if folder { "GET, HEAD".to_owned() } else { methods[0].to_string() };
            let refuse = {
                let allow = HeaderValue::from_str(&allow).unwrap_or(HeaderValue::from_static("GET"));
                move || {
                    let allow = allow.clone();
                    async move { not_allowed(allow) }
                }
            };
            let one = if folder { one } else { one.on(MethodFilter::HEAD, refuse.clone()) };
            // answered here, a preflight has no `allow` that axum would add behind the CORS layer
            let one = one.on(MethodFilter::OPTIONS, refuse.clone());
            router = router.route(path, one.fallback(refuse));
        }
        let templates: Arc<[&'static str]> = paths.keys().copied().collect();
        let https = room.house.https;
        let router = router
            .merge(docs::routes(document))
            .fallback(move |uri: OriginalUri, request: Request| {
                let templates = Arc::clone(&templates);
                async move { unknown(&templates, https, &uri.0, &request) }
            })
            .with_state(room.clone());
        let router = match about.cors {
            Cors::Any => router.layer(from_fn(guard::cors)),
            Cors::Absent => router,
        };
        around(router, (&room.house, about.dialect), |_| false)
    }
}

/// What stands around the routes of every dialect: which hosts are meant, what becomes of a panic, the request's id, trace and
/// count. `known`: hosts that are ours besides the configured ones.
pub fn around(router: Router, (house, dialect): (&Arc<House>, &'static str), known: guard::Known) -> Router {
    let tally = Arc::new(Tally::new(dialect));
    router.layer(from_fn_with_state(Around { house: Arc::clone(house), dialect, known, tally }, observe))
}

#[derive(Clone)]
struct Around {
    house: Arc<House>,
    dialect: &'static str,
    known: guard::Known,
    tally: Arc<Tally>,
}

impl Around {
    async fn answer(&self, request: Request<Body>, next: Next) -> Response {
        let answered = leftover::take(request, |request| async {
            match guard::check_host((&self.house, self.known), &request) {
                Ok(()) => next.run(request).await,
                Err(refused) => refused.into_response(),
            }
        });
        AssertUnwindSafe(answered).catch_unwind().await.unwrap_or_else(|_| broken_down())
    }
}

fn not_allowed(allow: HeaderValue) -> Response {
    let mut response = Refused::said(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed").into_response();
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

/// Starlette's last resort: text, and outside CORS.
fn broken_down() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").into_response()
}

/// 404, or 307 to the same path with or without its last slash if that one exists.
pub fn unknown(templates: &[&str], https: bool, original: &axum::http::Uri, request: &Request) -> Response {
    let path = request.uri().path();
    let other = match path.strip_suffix('/') {
        Some(shorter) => shorter.to_owned(),
        None => format!("{path}/"),
    };
    let nested_root = path == "/" && original.path() != "/" && templates.contains(&"/");
    if nested_root || path != "/" && templates.iter().any(|template| matches(template, &other)) {
        let whole = original.path();
        let target = match whole.strip_suffix('/') {
            Some(shorter) => shorter.to_owned(),
            None => format!("{whole}/"),
        };
        let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
        let host = host.or_else(|| original.authority().map(|authority| authority.as_str()));
        let query = original.query().map(|query| format!("?{query}")).unwrap_or_default();
        let scheme = if https { "https" } else { "http" };
        let location = format!("{scheme}://{}{target}{query}", host.unwrap_or("localhost"));
        if let Ok(location) = HeaderValue::from_str(&location) {
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response();
        }
    }
    Refused::missing("Not Found").into_response()
}

fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(part), Some(value)) if part.starts_with('{') && !value.is_empty() => {}
            (Some(part), Some(value)) if part == value => {}
            _ => return false,
        }
    }
}

/// An id for the request (the client's own, if it is decent), a span around it, a count after it. One layer with all that is
/// inside of it: each layer of its own would copy those below it for every request.
async fn observe(State(around): State<Around>, request: Request<Body>, next: Next) -> Response {
    let (begun, dialect) = (Instant::now(), around.dialect);
    let id = request_id(request.headers());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unknown", MatchedPath::as_str);
    let method = request.method().clone();
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        dialect,
        %method,
        route,
        job = tracing::field::Empty
    );
    let mut response = around.answer(request, next).instrument(span.clone()).await;
    let (status, took) = (response.status(), begun.elapsed());
    span.in_scope(|| {
        let (status, seconds) = (status.as_u16(), took.as_secs_f64());
        match method {
            // polls and health checks would bury the rest
            Method::GET | Method::HEAD if status < 400 => tracing::debug!(status, seconds, "answered"),
            _ => tracing::info!(status, seconds, "answered"),
        }
    });
    around.tally.count(route, &method, (status, took));
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID);
    let decent = given.filter(|id| id.len() <= 128 && id.as_bytes().iter().all(u8::is_ascii_graphic));
    decent.cloned().unwrap_or_else(|| {
        // unique by the boot and a count: a random number each time would cost as much as the rest of a health check
        static COUNT: AtomicU64 = AtomicU64::new(0);
        static BOOT: LazyLock<String> = LazyLock::new(|| uuid::Uuid::new_v4().simple().to_string());
        let id = format!("{}-{:x}", *BOOT, COUNT.fetch_add(1, Ordering::Relaxed));
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    })
}
