//! The Hugging Face hub's protocol, and plain addresses: what a file is (HEAD), its bytes (GET with a range), what a folder of
//! a repository holds (the tree of the API). Redirects are followed by hand: the token goes to the endpoint's own origin and
//! nowhere else. Reference: the HTTP that `huggingface_hub` speaks (`resolve`, `X-Linked-*`, `X-Repo-Commit`, `X-Error-Code`).

use std::ops::Range;
use std::time::{Duration, SystemTime};

use contract::Complaint;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_RANGE, LINK, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Client, Method, NoProxy, Proxy, Response, StatusCode};
use serde::Deserialize;
use url::{Host, Url};

use crate::catalogue::Source;
use crate::sum::{is_git_blob, is_sha256};

const CONNECT: Duration = Duration::from_secs(15);
const REDIRECTS: usize = 5;
/// Pages of a listing, at most; the hub sends a thousand names on each.
const PAGES: usize = 200;
/// Bytes of one page.
const PAGE_BYTES: usize = 16 << 20;

/// How the hub is reached; the program reads it from flags and environment.
#[derive(Clone)]
pub struct Access {
    /// `https://huggingface.co`, or a mirror.
    pub endpoint: String,
    pub token: Option<String>,
    pub proxy: Option<ProxyChoice>,
    /// Without a byte for so long, a connection is given up.
    pub silence: Duration,
}

#[derive(Clone)]
pub struct ProxyChoice {
    pub url: String,
    /// Hosts that are reached without it, as `NO_PROXY` lists them.
    pub except: Option<String>,
}

/// Why a request brought nothing.
#[derive(Debug)]
pub enum Fault {
    /// It will not get better.
    Refused(Complaint),
    /// The source does not have it; a mirror may.
    Absent(Complaint),
    /// Worth another try, after a while that the server may name.
    Later { why: String, after: Option<Duration> },
    /// The file is not the one it was a moment ago; why that is believed.
    Changed(String),
}

/// What a source tells of a file.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Where its bytes are; on a hub often another host, for a while.
    pub address: Option<Url>,
    pub bytes: Option<u64>,
    /// Without quotes.
    pub etag: Option<String>,
    pub commit: Option<String>,
    /// The hub's SHA-256 of a large file, or git's name of a small one.
    pub sum: Option<String>,
}

/// A file in a repository, by the hub's listing.
#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    #[serde(rename = "type")]
    pub kind: String,
    pub path: String,
    pub size: Option<u64>,
    pub lfs: Option<Lfs>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Lfs {
    /// SHA-256.
    pub oid: String,
}

pub struct Hub {
    client: Client,
    endpoint: Url,
    token: Option<HeaderValue>,
}

impl Hub {
    pub fn new(access: &Access) -> Result<Self, Complaint> {
        let wrong = |what: &str, why: String| {
            Complaint::new(
                "bad_config",
                format!("{what} cannot be used: {why}"),
                "docs/models.md lists what can be set",
            )
        };
        let endpoint = Url::parse(&format!("{}/", access.endpoint.trim_end_matches('/')));
        let endpoint = endpoint.map_err(|error| {
            wrong(&format!("the endpoint {}", shown(&access.endpoint)), error.to_string())
        })?;
        if !matches!(endpoint.scheme(), "http" | "https") {
            return Err(wrong(
                &format!("the endpoint {}", shown(&access.endpoint)),
                "it is not http or https".to_owned(),
            ));
        }
        let clear = endpoint.scheme() == "http";
        if clear && access.token.is_some() && !is_loopback(&endpoint) {
            let message = format!(
                "the endpoint is {}: the token would cross the network in clear",
                shown(&access.endpoint)
            );
            return Err(Complaint::new(
                "bad_config",
                message,
                "use https:, or a server on this machine; to fetch without a token unset HF_TOKEN and set HF_TOKEN_PATH=/dev/null",
            ));
        }
        let token = access.token.as_ref().map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                // the token itself is not shown
                .map_err(|_| wrong("the token", "it has characters that no token has".to_owned()))?;
            value.set_sensitive(true);
            Ok(value)
        });
        let mut client = Client::builder()
            .user_agent(concat!("talkie/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            // parallel parts over one HTTP/2 connection would share one window
            .http1_only()
            .connect_timeout(CONNECT)
            .read_timeout(access.silence)
            .no_proxy();
        if let Some(choice) = &access.proxy {
            // in clear, a token goes to this machine and through nobody else
            let own = endpoint.host_str().filter(|_| clear && access.token.is_some());
            let own = own.map(|host| host.trim_matches(['[', ']']));
            let except: Vec<&str> = choice.except.as_deref().into_iter().chain(own).collect();
            let proxy = Proxy::all(&choice.url)
                .map_err(|error| wrong(&format!("the proxy {}", shown(&choice.url)), error.to_string()))?
                .no_proxy(NoProxy::from_string(&except.join(",")));
            client = client.proxy(proxy);
        }
        let client = client.build().map_err(|error| wrong("the HTTP client", error.to_string()))?;
        Ok(Self { client, endpoint, token: token.transpose()? })
    }

    /// The address by which a source is asked for a file.
    pub fn address(&self, source: &Source, revision: &str, path: &str) -> Result<Url, Fault> {
        match source {
            Source::Hub(repository) => self.below(&[repository, "resolve"], revision, path),
            Source::Url(base) => {
                let mut url = Url::parse(base).map_err(|error| refused(base, &error.to_string()))?;
                extend(&mut url, path);
                Ok(url)
            }
        }
    }

    /// `endpoint/first…/revision/path`; a revision's slashes are escaped, as the hub wants it.
    fn below(&self, first: &[&str], revision: &str, path: &str) -> Result<Url, Fault> {
        let mut url = self.endpoint.clone();
        first.iter().for_each(|part| extend(&mut url, part));
        url.path_segments_mut()
            .map_err(|()| refused(self.endpoint.as_str(), "it has no path"))?
            .push(revision);
        extend(&mut url, path);
        Ok(url)
    }

    /// What a file is: asked of the hub itself, not of the host that it sends to.
    pub async fn facts(&self, asked: Url) -> Result<Facts, Fault> {
        let mut url = asked;
        let mut facts = Facts::default();
        for _ in 0..=REDIRECTS {
            let answer = self.send(Method::HEAD, &url, &[]).await?;
            let headers = answer.headers();
            facts.learn(headers, answer.status());
            if !answer.status().is_redirection() {
                succeeded(&answer, &url)?;
                facts.address = Some(url);
                return Ok(facts);
            }
            url = redirect(&url, headers)?;
            if facts.bytes.is_some() && facts.etag.is_some() {
                facts.address = Some(url);
                return Ok(facts);
            }
        }
        Err(refused(url.as_str(), &format!("it redirects more than {REDIRECTS} times")))
    }

    /// Bytes of a file. The answer may be the whole file (200) where a range was asked for.
    pub async fn bytes(
        &self,
        address: &Url,
        range: Range<u64>,
        entity: Option<&str>,
    ) -> Result<Response, Fault> {
        let mut headers = vec![(RANGE, format!("bytes={}-{}", range.start, range.end - 1))];
        headers.extend(entity.map(|entity| (IF_RANGE, entity.to_owned())));
        self.get(address, &headers).await
    }

    async fn get(&self, address: &Url, headers: &[(HeaderName, String)]) -> Result<Response, Fault> {
        let mut url = address.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.send(Method::GET, &url, headers).await?;
            if !answer.status().is_redirection() {
                succeeded(&answer, &url)?;
                return Ok(answer);
            }
            url = redirect(&url, answer.headers())?;
        }
        Err(refused(url.as_str(), &format!("it redirects more than {REDIRECTS} times")))
    }

    /// The files of a repository below a folder, with all their folders.
    pub async fn tree(&self, repository: &str, revision: &str, folder: &str) -> Result<Vec<Listed>, Fault> {
        let mut next = self.below(&["api/models", repository, "tree"], revision, folder)?;
        next.set_query(Some("recursive=true"));
        let mut all: Vec<Listed> = Vec::new();
        for _ in 0..PAGES {
            let mut answer = self.get(&next, &[]).await?;
            let more = following(&next, answer.headers())?;
            let mut page = Vec::new();
            while let Some(chunk) = answer.chunk().await.map_err(broken)? {
                if page.len() + chunk.len() > PAGE_BYTES {
                    return Err(refused(next.as_str(), "its listing is longer than any of the hub's"));
                }
                page.extend_from_slice(&chunk);
            }
            let page: Vec<Listed> = serde_json::from_slice(&page)
                .map_err(|error| refused(next.as_str(), &format!("its listing: {error}")))?;
            all.extend(page.into_iter().filter(|entry| entry.kind == "file"));
            match more {
                Some(url) => next = url,
                None => return Ok(all),
            }
        }
        Err(refused(next.as_str(), &format!("its listing has more than {PAGES} pages")))
    }

    async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: &[(HeaderName, String)],
    ) -> Result<Response, Fault> {
        // what is compressed on the way has neither the size nor the ranges of the file
        let mut request = self.client.request(method, url.clone()).header(ACCEPT_ENCODING, "identity");
        if let Some(token) = self.token.as_ref().filter(|_| url.origin() == self.endpoint.origin()) {
            request = request.header(AUTHORIZATION, token);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send().await.map_err(broken)
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }
}

impl Facts {
    fn learn(&mut self, headers: &HeaderMap, status: StatusCode) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let linked = text("x-linked-etag").map(plain_etag);
        if self.etag.is_none() {
            self.etag = linked.clone().or_else(|| {
                // a redirect's own ETag is not the file's
                status.is_success().then(|| text(ETAG.as_str()).map(plain_etag)).flatten()
            });
        }
        if self.bytes.is_none() {
            let own = || status.is_success().then(|| text(CONTENT_LENGTH.as_str())).flatten();
            self.bytes = text("x-linked-size").or_else(own).and_then(|text| text.parse().ok());
        }
        let commit = text("x-repo-commit").map(str::to_owned);
        if self.commit.is_none() {
            self.commit = commit;
        }
        if self.sum.is_none() && self.commit.is_some() {
            // only a hub's ETag is a checksum; that of any other host is its own affair
            self.sum = self.etag.clone().filter(|etag| is_sha256(etag) || is_git_blob(etag));
        }
    }
}

/// A switch such as `HF_HUB_OFFLINE` as the hub's own library reads it (`huggingface_hub.constants`): four words are on, all else is off.
pub fn is_on(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].iter().any(|word| word.eq_ignore_ascii_case(value))
}

/// The range an answer brings, and the size of the file it is of.
pub fn content_range(headers: &HeaderMap) -> Option<(Range<u64>, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, total) = text.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    Some((first..last.checked_add(1)?, total.trim().parse().ok()?))
}

/// An ETag that may stand in `If-Range`: a weak one may not (RFC 9110, 13.1.5).
pub fn strong_etag(headers: &HeaderMap) -> Option<String> {
    headers.get(ETAG)?.to_str().ok().filter(|etag| etag.starts_with('"')).map(str::to_owned)
}

/// A connection that failed or broke; the innermost cause says most.
pub fn broken(error: reqwest::Error) -> Fault {
    let error = error.without_url();
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        why = format!("{error}: {inner}");
        cause = inner.source();
    }
    Fault::Later { why, after: None }
}

fn plain_etag(text: &str) -> String {
    text.trim().trim_start_matches("W/").trim_matches('"').to_owned()
}

fn extend(url: &mut Url, path: &str) {
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path.split('/').filter(|part| !part.is_empty()));
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn redirect(from: &Url, headers: &HeaderMap) -> Result<Url, Fault> {
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let to = location.and_then(|location| from.join(location).ok());
    match to {
        Some(to) if to.scheme() == "https" || (to.scheme() == "http" && from.scheme() == "http") => Ok(to),
        Some(to) => Err(refused(from.as_str(), &format!("it redirects to {}", to.scheme()))),
        None => Err(refused(from.as_str(), "it redirects to nowhere")),
    }
}

/// `Link: <…>; rel="next"`, on the same host only.
fn following(from: &Url, headers: &HeaderMap) -> Result<Option<Url>, Fault> {
    let links = headers.get(LINK).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let next = links.split(',').find(|link| link.contains("rel=\"next\""));
    let Some(target) = next.and_then(|link| link.split_once('<')?.1.split_once('>')).map(|(url, _)| url)
    else {
        return Ok(None);
    };
    match from.join(target) {
        Ok(url) if url.origin() == from.origin() => Ok(Some(url)),
        _ => Err(refused(from.as_str(), "its listing goes on elsewhere")),
    }
}

fn succeeded(answer: &Response, url: &Url) -> Result<(), Fault> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let said = header("x-error-message")
        .map(|said| format!(" ({})", said.trim_end_matches('.')))
        .unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    let what = format!("{host} answers {} for {}{said}", status.as_u16(), url.path());
    Err(match status.as_u16() {
        401 | 403 => Fault::Refused(Complaint::new("gated", what, "")),
        404 | 410 => Fault::Absent(Complaint::new("not_published", what, "")),
        408 | 425 | 429 | 500.. => {
            let after = header(RETRY_AFTER.as_str()).and_then(|text| wait(text, SystemTime::now()));
            Fault::Later { why: what, after }
        }
        416 => Fault::Changed(what),
        _ => Fault::Refused(Complaint::new("bad_answer", what, "")),
    })
}

/// `Retry-After`: seconds, or a date.
fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

fn refused(address: &str, why: &str) -> Fault {
    Fault::Refused(Complaint::new("bad_answer", format!("{} cannot be used: {why}", shown(address)), ""))
}

/// An address without what may be a secret in it: the name and password before its host, and its query, which may be signed.
fn shown(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(endpoint: &str) -> Hub {
        let access = Access {
            endpoint: endpoint.to_owned(),
            token: None,
            proxy: None,
            silence: Duration::from_secs(1),
        };
        Hub::new(&access).unwrap()
    }

    #[test]
    fn addresses_are_those_of_the_hub() {
        let source = Source::Hub("o/n".to_owned());
        let rows = [
            (
                "https://huggingface.co",
                "main",
                "a/b c.bin",
                "https://huggingface.co/o/n/resolve/main/a/b%20c.bin",
            ),
            ("http://m:8/x/", "refs/pr/1", "m.bin", "http://m:8/x/o/n/resolve/refs%2Fpr%2F1/m.bin"),
        ];
        for (endpoint, revision, path, expected) in rows {
            assert_eq!(hub(endpoint).address(&source, revision, path).unwrap().as_str(), expected);
        }
        let url = Source::Url("https://h/x/".to_owned());
        assert_eq!(hub("https://h").address(&url, "main", "a.pth").unwrap().as_str(), "https://h/x/a.pth");
    }

    #[test]
    fn switches_are_read_as_the_hubs_own_library_reads_them() {
        for value in ["1", "ON", "on", "YES", "Yes", "TRUE", "true"] {
            assert!(is_on(value), "{value}");
        }
        for value in ["", "0", "OFF", "off", "No", "False", "false", "2", "y"] {
            assert!(!is_on(value), "{value}");
        }
    }

    #[test]
    fn a_token_crosses_no_network_in_clear() {
        let open = |endpoint: &str, token: Option<&str>| {
            let access = Access {
                endpoint: endpoint.to_owned(),
                token: token.map(str::to_owned),
                proxy: None,
                silence: Duration::from_secs(1),
            };
            Hub::new(&access).map(drop)
        };
        for endpoint in ["https://m", "http://localhost:8", "http://127.0.0.2", "HTTP://[::1]:8/x"] {
            open(endpoint, Some("hf_Secret1")).expect(endpoint);
        }
        for endpoint in ["http://m:8", "HTTP://mirror.lan/x", "http://10.0.0.1", "http://localhost.example"] {
            let complaint = open(endpoint, Some("hf_Secret1")).unwrap_err();
            let shown = complaint.to_string();
            assert_eq!(complaint.code, "bad_config", "{shown}");
            assert!(shown.contains(endpoint) && shown.contains("in clear"), "{shown}");
            assert!(!shown.contains("Secret1"), "{shown}");
            open(endpoint, None).expect(endpoint);
        }
    }

    #[test]
    fn a_token_in_clear_passes_no_proxy() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        // ends with the test's process
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
                let answer =
                    b"HTTP/1.1 200 X\r\ncontent-length: 6\r\netag: \"a\"\r\nconnection: close\r\n\r\n";
                let _ = std::io::Write::write_all(&mut stream, answer);
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for (token, reached) in [(Some("hf_x".to_owned()), true), (None, false)] {
            // nobody listens there
            let proxy = Some(ProxyChoice { url: "http://127.0.0.1:1".to_owned(), except: None });
            let access = Access { endpoint: endpoint.clone(), token, proxy, silence: Duration::from_secs(5) };
            let hub = Hub::new(&access).unwrap();
            let asked = hub.address(&Source::Hub("o/n".to_owned()), "main", "a.bin").unwrap();
            let facts = runtime.block_on(hub.facts(asked));
            assert_eq!(facts.is_ok(), reached, "{facts:?}");
        }
    }

    #[test]
    fn headers_are_read_as_they_are_meant() {
        let headers = |rows: &[(&'static str, &str)]| -> HeaderMap {
            rows.iter()
                .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).unwrap()))
                .collect()
        };
        let range = |text| content_range(&headers(&[("content-range", text)]));
        assert_eq!(range("bytes 2-5/9"), Some((2..6, 9)));
        for bad in ["bytes */9", "bytes 2-5/*", "2-5/9", "bytes x-5/9"] {
            assert_eq!(range(bad), None, "{bad}");
        }
        assert_eq!(strong_etag(&headers(&[("etag", "\"a\"")])).as_deref(), Some("\"a\""));
        assert_eq!(strong_etag(&headers(&[("etag", "W/\"a\"")])), None);
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(wait("3", now), Some(Duration::from_secs(3)));
        assert_eq!(wait("Thu, 01 Jan 1970 00:00:07 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(wait("soon", now), None);

        let mut facts = Facts::default();
        let sum = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let linked = format!("\"{sum}\"");
        let rows = [
            ("x-linked-etag", linked.as_str()),
            ("x-linked-size", "6"),
            ("x-repo-commit", "c"),
            ("content-length", "99"),
        ];
        facts.learn(&headers(&rows), StatusCode::FOUND);
        assert_eq!((facts.bytes, facts.sum.as_deref()), (Some(6), Some(sum)));
        let mut plain = Facts::default();
        plain.learn(&headers(&[("etag", linked.as_str()), ("content-length", "6")]), StatusCode::OK);
        assert_eq!((plain.bytes, plain.sum), (Some(6), None));
    }

    #[test]
    fn no_secret_of_an_address_is_shown() {
        for (address, told) in [
            ("http://user:p%40ss@proxy:3128", "http://proxy:3128"),
            ("user:p@ss@proxy:3128/x", "proxy:3128/x"),
            ("https://cdn.example/a@b/c?X-Amz-Signature=abc#d", "https://cdn.example/a@b/c"),
            ("https://hub.example", "https://hub.example"),
            ("", ""),
        ] {
            assert_eq!(shown(address), told);
        }
    }

    #[test]
    fn a_redirect_never_leads_out_of_https() {
        let to = |from: &str, location: &'static str| {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(location))]);
            redirect(&Url::parse(from).unwrap(), &headers).map(|url| url.to_string()).ok()
        };
        assert_eq!(to("https://h/a/b", "/c").as_deref(), Some("https://h/c"));
        assert_eq!(to("https://h/a", "http://h/c"), None);
        assert_eq!(to("http://h/a", "http://i/c").as_deref(), Some("http://i/c"));
        assert_eq!(to("https://h/a", "file:///etc/passwd"), None);
    }
}
