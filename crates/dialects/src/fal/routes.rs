//! fal's routes, each a path below one of its services.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, OriginalUri, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, stream};
use jobs::{Blame, Canceling, FailedOrder, Failure, JobView, State as JobState};
use serde_json::json;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::apps::{self, App};
use super::files::{self, Manner};
use super::from_wire::Input;
use super::to_wire::{self, No, json, name};
use super::tokens::Opens;
use super::way::{self, Bases, Service, Target};
use super::wire::{Note, Preview, Telling};
use super::{BODY_MIB, DIALECT, Door, cors, docs, from_wire, realtime};
use crate::front_door::aside::aside;
use crate::front_door::body::bytes;
use crate::front_door::hold::{Answer, held};
use crate::front_door::house::{ENGINE_HEADER, KeepAlive as KeepAliveTimes, engine_header};
use crate::front_door::keys::{NOBODY, Owner};
use crate::front_door::refused::{Refused, broken};

/// Between comments of a stream that has nothing to say: clients give up on a silence of minutes.
const PING: Duration = Duration::from_secs(10);
/// Between two events of one stream, and between two lines about the same stage.
const PACE: Duration = Duration::from_millis(200);
const LINE_PACE: Duration = Duration::from_secs(1);
/// What a missed deadline may take to be told, and how long clients bear an answer that does not begin (undici: 300 s).
const DEADLINE_TOLD: Duration = Duration::from_secs(2);
const LONGEST_SILENCE: Duration = Duration::from_secs(240);
/// Of a token, unless its client says something else, and at most.
const TOKEN_SECONDS: (f64, f64) = (120.0, 86_400.0);
/// How long a body may wait for its share of the memory.
const ROOM_FOR_BODY: Duration = Duration::from_secs(5);
/// That one token can name.
const ALLOWED_APPS: usize = 16;

/// Whatever comes in by any way.
pub async fn answer(State(door): State<Door>, OriginalUri(outer): OriginalUri, request: Request) -> Response {
    match cors::Asked::by(&request) {
        cors::Asked::Nothing => answered(&door, &outer, request).await,
        cors::Asked::Leave { headers } => cors::leave(headers),
        cors::Asked::Answer => cors::shown(answered(&door, &outer, request).await),
    }
}

async fn answered(door: &Door, outer: &Uri, request: Request) -> Response {
    let inner = request.uri().path().to_owned();
    let served = match way::target((&inner, outer), request.headers(), &door.site) {
        Ok(target) => serve(door, &target, request).await,
        Err(refused) => Err(refused.into()),
    };
    let mut response = served.unwrap_or_else(IntoResponse::into_response);
    // an answer about no request of the record has an id of its own: a client tells by it that no ingress answered
    if !response.headers().contains_key(to_wire::REQUEST_ID) {
        name(&mut response, &uuid::Uuid::new_v4().to_string());
    }
    response
}

async fn serve(door: &Door, target: &Target, request: Request) -> Result<Response, No> {
    let owner = admit(door, target, &request)?;
    match target.service {
        Service::Run => run(door, (&owner, target), request).await,
        Service::Queue => queue(door, (&owner, target), request).await,
        Service::Rest => rest(door, (&owner, target), request).await,
        Service::Cdn => cdn(door, (&owner, target), request).await,
        Service::Api if *request.method() == Method::GET => docs::answer(target),
        Service::Api => Err(not_allowed()),
    }
}

/// Files, keys and documents are everybody's, and so is the way to a file that was promised to whoever knows it.
fn is_public(target: &Target, method: &Method) -> bool {
    let read = matches!(*method, Method::GET | Method::HEAD);
    match target.service {
        Service::Cdn => read || files::split(&target.path).is_some_and(|(_, rest)| !rest.is_empty()),
        Service::Rest => target.path == "/.well-known/jwks.json",
        Service::Api => true,
        Service::Run | Service::Queue => false,
    }
}

fn admit(door: &Door, target: &Target, request: &Request) -> Result<Owner, No> {
    let keys = &door.room.house.keys;
    if is_public(target, request.method()) {
        return Ok(Owner(NOBODY.to_owned()));
    }
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    match door.owner(target, request.headers()) {
        Ok(owner) => {
            keys.admit(&owner, peer)?;
            Ok(owner)
        }
        Err(refused) => {
            keys.strike(peer)?;
            Err(refused.into())
        }
    }
}

fn not_allowed() -> No {
    No::said(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// A JSON body, and its share of the memory that all of them have.
async fn body(door: &Door, request: Request) -> Result<(Bytes, SemaphorePermit<'_>), No> {
    let limit = u64::from(BODY_MIB) << 20;
    let told = request.headers().get(axum::http::header::CONTENT_LENGTH);
    let told: Option<u64> = told.and_then(|length| length.to_str().ok()?.parse().ok());
    if told.is_some_and(|told| told > limit) {
        return Err(Refused::too_large("the body", limit).into());
    }
    let (pool, share) = match told {
        Some(told) if told < 1 << 20 => (&door.fal().small_bodies, 1),
        Some(told) => (&door.fal().bodies, (told >> 20) as u32 + 1),
        None => (&door.fal().bodies, BODY_MIB),
    };
    let permit = tokio::time::timeout(ROOM_FOR_BODY, pool.acquire_many(share)).await;
    let permit = permit.map_err(|_| Refused::later("too many large bodies are on their way", 5))?;
    let permit = permit.map_err(|_| Refused::later("the server is going down", 5))?;
    Ok((bytes(request.into_body(), limit).await?, permit))
}

fn app_of(target: &Target) -> Result<(&'static App, &str), No> {
    apps::find(&target.path).ok_or_else(|| {
        let known: Vec<_> = apps::APPS.iter().map(|app| app.id).collect();
        let asked: String = target.path.trim_matches('/').chars().take(120).collect();
        No::said(
            StatusCode::NOT_FOUND,
            format!("Application '{asked}' not found; this server has {}", known.join(", ")),
        )
    })
}

fn no_path(path: &str) -> No {
    No::said(StatusCode::NOT_FOUND, format!("Path {path} not found"))
}

/// `POST /{app}`, `/{app}/stream`, `GET /{app}/realtime`
async fn run(door: &Door, (owner, target): (&Owner, &Target), request: Request) -> Result<Response, No> {
    let (app, rest) = app_of(target)?;
    match (request.method().clone(), rest.trim_end_matches('/')) {
        (Method::POST | Method::GET, "") => {
            let patience = first_blank(door, request.headers());
            let job = ordered(door, (owner, target), app, request).await?;
            Ok(when_done(door, (job, app, &target.bases), patience).await)
        }
        (Method::POST, "/stream") => {
            let job = ordered(door, (owner, target), app, request).await?;
            Ok(streamed(door, job, &target.bases))
        }
        (Method::GET, "/realtime") => realtime::connect(door, (owner, target), app, request).await,
        (_, "" | "/stream" | "/realtime") => Err(not_allowed()),
        (_, other) => Err(no_path(other)),
    }
}

/// The queue takes what is wrong, too: the result of the request says what.
async fn queued(
    door: &Door,
    (owner, target): (&Owner, &Target),
    app: &'static App,
    request: Request,
) -> Result<String, No> {
    let no = match ordered(door, (owner, target), app, request).await {
        // what is no JSON is no request either
        Err(no)
            if no.status == StatusCode::UNPROCESSABLE_ENTITY
                && no.kind.is_none()
                && no.named() != "json_invalid" =>
        {
            no
        }
        outcome => return outcome,
    };
    let note = Note {
        app: app.id.to_owned(),
        rate: 0.0,
        cdn: target.bases.cdn().into_owned(),
        wrong: Some(no.body.clone()),
    };
    let failed = FailedOrder {
        dialect: DIALECT,
        owner: owner.0.clone(),
        note: serde_json::to_value(note).unwrap_or_default(),
        webhook: target.value("fal_webhook"),
        failure: Failure {
            blame: Blame::Client,
            code: "bad_input".to_owned(),
            message: no.line(),
            hint: String::new(),
        },
    };
    Ok(door.room.house.desk.submit_failed(failed).await.map_err(Refused::from)?)
}

/// Reads the request and hands it in. The job's id.
async fn ordered(
    door: &Door,
    (owner, target): (&Owner, &Target),
    app: &'static App,
    request: Request,
) -> Result<String, No> {
    let headers = request.headers().clone();
    let conditions = from_wire::conditions(door, &headers, target.value("fal_webhook"))?;
    let get = *request.method() == Method::GET;
    let (bytes, _share) = body(door, request).await?;
    let input = match get && bytes.is_empty() {
        true => Input::of_query(app, target.query.as_deref())?,
        false => aside(bytes.len(), move || Input::of_body(app, &bytes)).await?,
    };
    let of = (app, &input, &target.bases);
    let (order, copies) = from_wire::order(door, owner, of, conditions, &headers).await?;
    Ok(door.room.submit_with(order, copies).await?.id)
}

/// The answer of a synchronous run, however long it takes. Hanging up does not lose the work: the same request finds it.
async fn when_done(
    door: &Door,
    (job, app, bases): (String, &App, &Bases),
    patience: KeepAliveTimes,
) -> Response {
    let mut early = HeaderMap::new();
    if let Ok(card) = from_wire::engine(door, app) {
        early.insert(ENGINE_HEADER, engine_header(card.name, &card.weights));
    }
    if let Ok(id) = job.parse() {
        early.insert(to_wire::REQUEST_ID, id);
    }
    let (room, id, cdn) = (door.room.clone(), job.clone(), bases.cdn());
    let work = async move {
        let view = room.ended(&id).await?;
        let (output, headers) = to_wire::output(&view, Some(&cdn))?;
        let body = serde_json::to_string(&output).map_err(|error| {
            No::flat(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), "internal_error")
        })?;
        Ok::<_, No>(Answer { body, headers })
    };
    let mut response = match held(work, patience, early).await {
        Ok(response) => response,
        Err(no) => no.into_response(),
    };
    name(&mut response, &job);
    response
}

/// Whoever said until when it must begin is told by the status if it did not: until then there are no blanks, unless the
/// client would give up before.
fn first_blank(door: &Door, headers: &HeaderMap) -> KeepAliveTimes {
    let usual = door.room.house.keep_alive;
    let start = from_wire::conditions(door, headers, None).ok().and_then(|conditions| conditions.start);
    let told = |start: Duration| usual.first.max(start.saturating_add(DEADLINE_TOLD)).min(LONGEST_SILENCE);
    KeepAliveTimes { first: start.map_or(usual.first, told), ..usual }
}

/// What stands behind the app of a request: its id, and what is asked about it.
fn request_of(path: &str) -> Option<(&str, &str, &str)> {
    let (app, rest) = path.split_once("/requests/")?;
    let (id, what) = rest.split_once('/').unwrap_or((rest, ""));
    Some((app.trim_matches('/'), id, what.trim_matches('/')))
}

async fn queue(door: &Door, (owner, target): (&Owner, &Target), request: Request) -> Result<Response, No> {
    let Some((app, id, what)) = request_of(&target.path) else {
        let (app, rest) = app_of(target)?;
        if !matches!(rest, "" | "/") {
            return Err(no_path(rest));
        }
        if *request.method() != Method::POST {
            return Err(not_allowed());
        }
        let webhook = target.value("fal_webhook").is_some();
        let job = queued(door, (owner, target), app, request).await?;
        return submitted(door, (owner, target), &job, webhook).await;
    };
    let known = apps::APPS.iter().find(|known| known.id == app || known.base() == app);
    let base = match known {
        Some(known) => known.base(),
        None => app_of(target)?.0.base(),
    };
    let found = async || {
        let view = find(door, owner, id).await?;
        // whoever holds a token for one app sees the requests of that app
        if to_wire::app_of(&view).is_none_or(|own| own.base() == base) { Ok(view) } else { Err(unknown()) }
    };
    let method = request.method().clone();
    match (method, what) {
        (Method::GET, "status") => {
            let view = found().await?;
            let logs = match wants_logs(target) {
                true => Some(logs(door, &view).await?),
                false => None,
            };
            let status = to_wire::status(&target.bases, &view, logs);
            let code = if view.state.is_terminal() { StatusCode::OK } else { StatusCode::ACCEPTED };
            Ok(named(json(code, &status), id))
        }
        (Method::GET, "status/stream") => {
            let view = found().await?;
            Ok(named(watched(door, target, &view), id))
        }
        (Method::GET, "" | "response") => Ok(to_wire::result(found().await?.as_ref(), &target.bases.cdn())),
        (Method::PUT | Method::POST, "cancel") => cancel(door, owner, (id, found().await)).await,
        (_, "status" | "status/stream" | "" | "response" | "cancel") => Err(not_allowed()),
        (_, other) => Err(no_path(&format!("/{other}"))),
    }
}

fn named(mut response: Response, id: &str) -> Response {
    name(&mut response, id);
    response
}

fn wants_logs(target: &Target) -> bool {
    matches!(target.value("logs").as_deref(), Some("1" | "true" | "True"))
}

async fn submitted(
    door: &Door,
    (owner, target): (&Owner, &Target),
    job: &str,
    webhook: bool,
) -> Result<Response, No> {
    let view = find(door, owner, job).await?;
    let mut status = to_wire::status(&target.bases, &view, None);
    // what a submit answers is a place in the queue, even if the work began a moment later
    status.status = "IN_QUEUE";
    status.queue_position = status.queue_position.or(Some(0));
    status.error = None;
    status.error_type = None;
    status.gateway_request_id = webhook.then(|| job.to_owned());
    Ok(named(json(StatusCode::OK, &status), job))
}

async fn find(door: &Door, Owner(owner): &Owner, id: &str) -> Result<Arc<JobView>, No> {
    let view = door.room.house.desk.job(id, Some(owner)).await.map_err(broken)?;
    let view = view.filter(|view| view.dialect == DIALECT);
    view.ok_or_else(unknown)
}

fn unknown() -> No {
    No::said(StatusCode::NOT_FOUND, "Request not found")
}

/// All lines so far.
async fn logs(door: &Door, view: &JobView) -> Result<Vec<super::wire::Log>, No> {
    let lines = door.room.house.desk.log(&view.id, 0).await.map_err(broken)?;
    Ok(lines.into_iter().map(to_wire::log).collect())
}

async fn cancel(
    door: &Door,
    owner: &Owner,
    (id, found): (&str, Result<Arc<JobView>, No>),
) -> Result<Response, No> {
    let told = |status, word: &str| named(json(status, &json!({ "status": word })), id);
    if found.is_err() {
        return Ok(told(StatusCode::NOT_FOUND, "NOT_FOUND"));
    }
    Ok(match door.room.house.desk.cancel(id, Some(&owner.0)).await.map_err(broken)? {
        Canceling::Canceled | Canceling::Requested => told(StatusCode::ACCEPTED, "CANCELLATION_REQUESTED"),
        Canceling::Ended => told(StatusCode::BAD_REQUEST, "ALREADY_COMPLETED"),
        Canceling::Unknown => told(StatusCode::NOT_FOUND, "NOT_FOUND"),
    })
}

fn events(stream: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    Sse::new(stream).keep_alive(KeepAlive::new().interval(PING).text("ping")).into_response()
}

/// A job, looked at each time something about it may have changed, but not more often than `PACE`.
struct Looking {
    door: Door,
    id: String,
    changes: tokio::sync::watch::Receiver<u64>,
    looked: Option<Instant>,
    over: bool,
}

impl Looking {
    fn at(door: &Door, id: &str) -> Self {
        let mut changes = door.room.house.desk.watch(id);
        changes.mark_changed();
        Self { door: door.clone(), id: id.to_owned(), changes, looked: None, over: false }
    }

    /// `None` when it has ended before, or the record no longer answers.
    async fn next(&mut self) -> Option<Arc<JobView>> {
        if self.over || self.changes.changed().await.is_err() {
            return None;
        }
        if let Some(looked) = self.looked {
            tokio::time::sleep_until(looked + PACE).await;
            self.changes.mark_unchanged();
        }
        self.looked = Some(Instant::now());
        let view = self.door.room.house.desk.job(&self.id, None).await.ok().flatten()?;
        self.over = view.state.is_terminal();
        Some(view)
    }
}

/// `status/stream`: each event has only the lines that are new, because clients add them up.
fn watched(door: &Door, target: &Target, view: &JobView) -> Response {
    struct Watching {
        looking: Looking,
        bases: Bases,
        logs: bool,
        known: u64,
        told: Option<(JobState, Option<u64>)>,
        lined: Option<Instant>,
    }
    let start = Watching {
        looking: Looking::at(door, &view.id),
        bases: target.bases.clone(),
        logs: wants_logs(target),
        known: 0,
        told: None,
        lined: None,
    };
    events(stream::unfold(start, |mut watching| async move {
        loop {
            let view = watching.looking.next().await?;
            let room = &watching.looking.door.room;
            let mut logs = Vec::new();
            if watching.logs {
                for line in room.house.desk.log(&view.id, watching.known).await.ok()? {
                    watching.known = line.n;
                    logs.push(to_wire::log(line));
                }
                if watching.lined.is_none_or(|at| at.elapsed() >= LINE_PACE) {
                    watching.lined = Some(Instant::now());
                    let wait = room.house.desk.expected_wait(&view);
                    logs.extend(to_wire::progress_line(&view, wait, room.house.clock.now_ms()));
                }
            }
            let now = (view.state, view.position);
            if watching.told == Some(now) && logs.is_empty() {
                continue;
            }
            watching.told = Some(now);
            let status = to_wire::status(&watching.bases, &view, watching.logs.then_some(logs));
            let event = Event::default().json_data(&status).ok()?;
            return Some((Ok(event), watching));
        }
    }))
}

/// `/stream`: how far it is, pictures of it, and at last what a run would have answered.
fn streamed(door: &Door, job: String, bases: &Bases) -> Response {
    struct Streaming {
        looking: Looking,
        cdn: Cow<'static, str>,
        shown: Option<u64>,
        told: Option<Telling>,
        ready: std::collections::VecDeque<Event>,
    }
    let looking = Looking::at(door, &job);
    let start = Streaming { looking, cdn: bases.cdn(), shown: None, told: None, ready: Default::default() };
    let told = stream::unfold(start, |mut streaming| async move {
        loop {
            if let Some(event) = streaming.ready.pop_front() {
                return Some((Ok(event), streaming));
            }
            let view = streaming.looking.next().await?;
            let preview = streaming.looking.door.room.house.desk.preview(&view.id);
            if let Some((frame, jpeg)) = preview.filter(|(frame, _)| streaming.shown != Some(*frame)) {
                streaming.shown = Some(frame);
                let url = format!("data:image/jpeg;base64,{}", STANDARD.encode(&jpeg));
                let image = Preview { url, content_type: "image/jpeg" };
                let telling = Telling::Preview { request_id: view.id.clone(), image, frame };
                streaming.ready.extend(Event::default().json_data(&telling).ok());
            }
            if view.state.is_terminal() {
                streaming.ready.extend(last(&view, &streaming.cdn).ok());
                continue;
            }
            let telling = how_far(&view);
            if telling.is_some() && telling != streaming.told {
                streaming
                    .ready
                    .extend(telling.as_ref().and_then(|told| Event::default().json_data(told).ok()));
                streaming.told = telling;
            }
        }
    });
    named(events(told), &job)
}

fn how_far(view: &JobView) -> Option<Telling> {
    let request_id = view.id.clone();
    match (view.state, view.position, view.progress) {
        (JobState::Queued, Some(queue_position), _) => Some(Telling::Waiting { request_id, queue_position }),
        (JobState::Running, _, Some(progress)) => Some(Telling::Progress {
            request_id,
            stage: progress.stage.name(),
            done: progress.done,
            of: progress.of,
            eta_seconds: progress.eta_ms.map(|ms| ms as f64 / 1000.0),
        }),
        _ => None,
    }
}

/// The status is told already: an error is an event that says so.
fn last(view: &JobView, cdn: &str) -> Result<Event, axum::Error> {
    match to_wire::output(view, Some(cdn)) {
        Ok((output, _)) => Event::default().json_data(&output),
        Err(no) => {
            let mut told = no.body.clone();
            told["error"] = json!(no.line());
            told["error_type"] = json!(no.named());
            told["status_code"] = json!(no.status.as_u16());
            told["request_id"] = json!(view.id);
            Event::default().json_data(&told)
        }
    }
}

async fn rest(door: &Door, (owner, target): (&Owner, &Target), request: Request) -> Result<Response, No> {
    let path = target.path.trim_end_matches('/').to_owned();
    let headers = request.headers().clone();
    let manner = match (request.method().clone(), path.as_str()) {
        (Method::GET, "/.well-known/jwks.json") => {
            let mut response = json(StatusCode::OK, &door.fal().signer.jwks());
            let day = axum::http::HeaderValue::from_static("public, max-age=86400");
            response.headers_mut().insert(axum::http::header::CACHE_CONTROL, day);
            return Ok(response);
        }
        (Method::POST, "/tokens") => {
            let (bytes, _share) = body(door, request).await?;
            return Ok(token(door, owner, &bytes)?);
        }
        (Method::POST, "/storage/auth/token") => return Ok(files::upload_token(door, owner, &target.bases)),
        (Method::POST, "/storage/upload/initiate") => Manner::Whole,
        (Method::POST, "/storage/upload/initiate-multipart") => Manner::Parts,
        (
            _,
            "/.well-known/jwks.json"
            | "/tokens"
            | "/storage/auth/token"
            | "/storage/upload/initiate"
            | "/storage/upload/initiate-multipart",
        ) => return Err(not_allowed()),
        (_, other) => return Err(no_path(other)),
    };
    let (bytes, _share) = body(door, request).await?;
    Ok(files::initiate(door, owner, &target.bases, &headers, (manner, &bytes))?)
}

/// What a token is to be good for.
#[derive(Default, serde::Deserialize)]
struct TokenWish {
    allowed_apps: Option<Vec<String>>,
    /// In seconds.
    token_expiration: Option<f64>,
}

/// A bare JSON text: that is how both clients read it.
fn token(door: &Door, owner: &Owner, body: &[u8]) -> Result<Response, Refused> {
    let wish: TokenWish = match body.trim_ascii() {
        [] => TokenWish::default(),
        body => serde_json::from_slice(body)
            .map_err(|error| Refused::bad(format!("the body is no wish for a token: {error}")))?,
    };
    let (usual, most) = TOKEN_SECONDS;
    let seconds = wish.token_expiration.unwrap_or(usual).clamp(1.0, most);
    let now_ms = door.room.house.clock.now_ms();
    // clients leave the owner out
    let alias = |name: String| name.split('/').nth(1).map_or(name.clone(), str::to_owned);
    let apps = wish.allowed_apps.map(|names| names.into_iter().take(ALLOWED_APPS).map(alias).collect());
    let token = door.fal().tokens.issue(owner, Opens::Apps(apps), (now_ms, (seconds * 1000.0) as i64));
    Ok(json(StatusCode::OK, &token))
}

async fn cdn(door: &Door, (owner, target): (&Owner, &Target), request: Request) -> Result<Response, No> {
    let (method, headers) = (request.method().clone(), request.headers().clone());
    match (&method, target.path.trim_end_matches('/')) {
        (&Method::POST, "/files/upload") => {
            return Ok(files::upload(door, &target.bases, &headers, request.into_body()).await?);
        }
        (&Method::POST, "/files/upload/multipart") => {
            return Ok(files::initiate(door, owner, &target.bases, &headers, (Manner::PartsOfAccess, &[]))?);
        }
        _ => {}
    }
    let missing = || No::said(StatusCode::NOT_FOUND, "File not found");
    let (file, rest) = files::split(&target.path).ok_or_else(missing)?;
    Ok(match (method, rest.as_slice()) {
        (method @ (Method::GET | Method::HEAD), []) => files::get(door, &file, (&method, &headers)).await?,
        (Method::PUT, ["put", id]) => files::put(door, (&file, id), request.into_body()).await?,
        (Method::PUT, ["multipart", id, number]) => {
            files::part(door, (id, number), request.into_body()).await?
        }
        (Method::POST, ["multipart", id, "complete"]) => {
            let (bytes, _share) = body(door, request).await?;
            files::complete(door, &target.bases, (id, &bytes)).await?
        }
        (_, [] | ["put", _] | ["multipart", ..]) => return Err(not_allowed()),
        _ => return Err(missing()),
    })
}
