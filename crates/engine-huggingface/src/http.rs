//! One request and its answer: a client that reads no environment, keeps no connection and follows redirects by hand, on one host only, so that
//! neither the token nor the picture is led elsewhere. Bodies of answers are read up to a bound.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use contract::Complaint;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderName, HeaderValue, LOCATION};
use reqwest::{Client, Method, NoProxy, Response};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use url::Url;

use crate::answer::Trouble;
use crate::remote::{Proxy, Remote, host};

const CONNECT: Duration = Duration::from_secs(15);
/// Within a body, without a byte; before it a model may compute for as long as the deadline allows.
const SILENCE: Duration = Duration::from_secs(60);
const REDIRECTS: usize = 3;

/// What is sent, as often as needed.
#[derive(Clone)]
pub struct Ask {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl Ask {
    pub fn get(url: Url) -> Self {
        Self { method: Method::GET, url, headers: Vec::new(), body: Bytes::new() }
    }

    /// Without a body, which has to be said: servers refuse a PUT of unknown length.
    pub fn put(url: Url) -> Self {
        let headers = vec![(CONTENT_LENGTH, HeaderValue::from_static("0"))];
        Self { method: Method::PUT, url, headers, body: Bytes::new() }
    }
}

pub fn client(proxy: Option<&Proxy>) -> Result<Client, Complaint> {
    let wrong = |what: &str, error: reqwest::Error| {
        let message = format!("{what} cannot be used: {}", innermost(&error.without_url()));
        Complaint::new("bad_config", message, "docs/huggingface.md lists what can be set")
    };
    let mut client = Client::builder()
        .user_agent(concat!("talkie/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT)
        // a connection that lies idle while a model loads may be dead when it is wanted
        .pool_max_idle_per_host(0)
        .no_proxy();
    if let Some(choice) = proxy {
        // the address may hold a password
        let proxy = reqwest::Proxy::all(&choice.url).map_err(|error| wrong("the proxy", error))?;
        client = client.proxy(proxy.no_proxy(choice.except.as_deref().and_then(NoProxy::from_string)));
    }
    client.build().map_err(|error| wrong("the HTTP client", error))
}

/// Sends to the hosts of `remote` only: the token goes with it.
pub async fn send(client: &Client, remote: &Remote, ask: &Ask) -> Result<Response, Trouble> {
    let mut url = ask.url.clone();
    for _ in 0..=REDIRECTS {
        let mut request = client.request(ask.method.clone(), url.clone());
        if let Some(token) = &remote.token {
            request = request.header(AUTHORIZATION, token.header());
        }
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        if !ask.body.is_empty() {
            request = request.body(ask.body.clone());
        }
        let answer = request.send().await.map_err(|error| broken(&url, error))?;
        if !answer.status().is_redirection() {
            return Ok(answer);
        }
        url = next(&url, &ask.method, &answer)?;
    }
    Err(astray(&url, &format!("more than {REDIRECTS} times")))
}

/// Where a redirect of `from` leads.
fn next(from: &Url, method: &Method, answer: &Response) -> Result<Url, Trouble> {
    let status = answer.status().as_u16();
    let location = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
    let to = location.and_then(|to| from.join(to).ok()).ok_or_else(|| astray(from, "to nowhere"))?;
    if to.origin() != from.origin() {
        let why = format!("to {}, another host: neither the token nor the picture goes there", host(&to));
        return Err(astray(from, &why));
    }
    // any other asks for a GET in place of what was posted
    if !matches!(status, 307 | 308) && method != Method::GET {
        return Err(astray(from, &format!("with status {status}, which drops the picture")));
    }
    Ok(to)
}

fn astray(from: &Url, how: &str) -> Trouble {
    let message = format!("{} redirects {how}", host(from));
    Trouble::Refused(Complaint::new(
        "provider_redirects",
        message,
        "set huggingface.base_url to the address that is meant, if you trust it",
    ))
}

/// A connection that could not be made or broke.
fn broken(url: &Url, error: reqwest::Error) -> Trouble {
    let what = if error.is_connect() { "cannot be reached" } else { "broke the connection" };
    let message = format!("{} {what}: {}", host(url), innermost(&error.without_url()));
    Trouble::Later {
        complaint: Complaint::new("provider_unreachable", message, "check the network, or try again later"),
        after: None,
    }
}

/// The innermost cause says most.
fn innermost(error: &reqwest::Error) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(inner) = at.source() {
        at = inner;
    }
    at.to_string()
}

/// At most `most` bytes of a body, however long it is; what breaks it off is no concern of whoever only wants its words.
pub async fn beginning(answer: &mut Response, most: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Ok(Some(piece))) = timeout(SILENCE, answer.chunk()).await {
        let room = most - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if body.len() == most {
            break;
        }
    }
    body
}

/// The whole body in memory; with a bound of ours, which no setting raises.
pub async fn whole(answer: &mut Response, most: usize) -> Result<Vec<u8>, Trouble> {
    let mut body = Vec::new();
    while let Some(piece) = piece(answer, body.len() as u64).await? {
        if body.len() + piece.len() > most {
            return Err(too_long(answer.url(), body.len() + piece.len(), most));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// The whole body in a file: how many bytes it has.
pub async fn save(answer: &mut Response, path: &Path, most: u64) -> Result<u64, Trouble> {
    if let Some(announced) = answer.content_length().filter(|length| *length > most) {
        return Err(too_large(answer.url(), announced, most));
    }
    let disk = |error: std::io::Error| {
        let message = format!("the provider's video cannot be written: {error}");
        Trouble::Refused(Complaint::new(
            "output_unwritable",
            message,
            "free some space, or set TMPDIR to another disk",
        ))
    };
    let mut file = tokio::fs::File::create(path).await.map_err(disk)?;
    let mut total = 0;
    while let Some(piece) = piece(answer, total).await? {
        total += piece.len() as u64;
        if total > most {
            return Err(too_large(answer.url(), total, most));
        }
        file.write_all(&piece).await.map_err(disk)?;
    }
    file.flush().await.map_err(disk)?;
    Ok(total)
}

async fn piece(answer: &mut Response, so_far: u64) -> Result<Option<Bytes>, Trouble> {
    let of = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let of = of.map(|length| format!(" of {length}")).unwrap_or_default();
    let cut = |host: &str, why: String| {
        let message = format!("the answer of {host} broke off after {so_far}{of} bytes: {why}");
        Trouble::Later {
            complaint: Complaint::new(
                "answer_cut_off",
                message,
                "try again; if it stays so, the provider is at fault",
            ),
            after: None,
        }
    };
    match timeout(SILENCE, answer.chunk()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(error)) => Err(cut(host(answer.url()), innermost(&error.without_url()))),
        Err(_) => Err(cut(host(answer.url()), format!("no byte came for {} s", SILENCE.as_secs()))),
    }
}

fn too_long(url: &Url, bytes: usize, most: usize) -> Trouble {
    let message = format!(
        "the answer of {} has {bytes} bytes of JSON or more, the limit is {most}: a video inside it may have {} MiB",
        host(url),
        (most / 4 * 3) >> 20
    );
    Trouble::Refused(Complaint::new(
        "answer_too_large",
        message,
        "ask for a shorter or smaller clip, or choose a model that answers with the address of its video",
    ))
}

fn too_large(url: &Url, bytes: u64, most: u64) -> Trouble {
    let message = format!("the answer of {} has {bytes} bytes or more, the limit is {most}", host(url));
    Trouble::Refused(Complaint::new(
        "answer_too_large",
        message,
        "ask for a shorter or smaller clip, or raise huggingface.answer_mib",
    ))
}
