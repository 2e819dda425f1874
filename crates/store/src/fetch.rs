//! Fetches users' URLs into files: under the guard at every hop, never through a proxy, with limits of bytes, time and
//! redirects that hold whatever the other side says or leaves out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use contract::Complaint;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, LOCATION};
use reqwest::{Client, Response};
use tempfile::NamedTempFile;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use crate::FetchLimits;
use crate::data_uri::{DataUri, is_data_uri};
use crate::guard::{Closed, Guard, Reach, closed, told};
use crate::local::refusal;
use crate::writing::too_large;

const CONNECT: Duration = Duration::from_secs(10);

/// Bytes that are gathered before a blocking thread writes them.
const GATHER: usize = 256 << 10;

pub(crate) struct Fetcher {
    guard: Guard,
    limits: FetchLimits,
    /// Made at the first use: reading the certificates takes longer than all else at the start.
    admitted: OnceLock<Client>,
    opened: OnceLock<Client>,
}

impl Fetcher {
    pub(crate) fn new(guard: Guard, limits: FetchLimits) -> Self {
        Self { guard, limits, admitted: OnceLock::new(), opened: OnceLock::new() }
    }

    pub(crate) fn allow(&self, url: &str) -> Result<(), Complaint> {
        if is_data_uri(url) {
            let uri = DataUri::parse(url, self.limits.bytes)?;
            // it is decoded again when it is kept: nothing is kept of a request that is refused
            return uri.decode(self.limits.bytes, &mut std::io::sink());
        }
        self.guard.check(url).map(drop)
    }

    pub(crate) async fn fetch(&self, url: &str, folder: &Path) -> Result<PathBuf, Complaint> {
        if is_data_uri(url) {
            return self.write_out(url, folder).await;
        }
        let deadline = Instant::now() + self.limits.total;
        let (mut url, mut reach) = self.guard.check(url)?;
        let first = told(&url);
        for _ in 0..=self.limits.redirects {
            let answer = match timeout_at(deadline, self.ask(&url, reach)).await {
                Ok(answer) => answer?,
                Err(_) => return Err(too_slow(&url, "in all", self.limits.total)),
            };
            if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return self.save(answer, &url, folder, deadline).await;
            }
            (url, reach) = self.next(&url, &answer)?;
        }
        let message = format!("`{first}` leads to more than {} redirects, the limit", self.limits.redirects);
        Err(Complaint::new("url_redirects", message, "give the URL of the file itself"))
    }

    pub(crate) async fn post(
        &self,
        url: &str,
        headers: http::HeaderMap,
        (body, patience): (bytes::Bytes, Duration),
    ) -> Result<u16, Complaint> {
        let (url, reach) = self.guard.check(url)?;
        let request = self.client(reach)?.post(url.clone()).headers(headers).body(body).send();
        match timeout(patience, request).await {
            Ok(answer) => Ok(answer.map_err(|error| broken(&url, &error))?.status().as_u16()),
            Err(_) => Err(too_slow(&url, "without an answer", patience)),
        }
    }

    async fn ask(&self, url: &Url, reach: Reach) -> Result<Response, Complaint> {
        let client = self.client(reach)?;
        let request = client.get(url.clone()).header(ACCEPT_ENCODING, "identity").send();
        match timeout(self.limits.idle.max(CONNECT), request).await {
            Ok(answer) => answer.map_err(|error| broken(url, &error)),
            Err(_) => Err(too_slow(url, "without an answer", self.limits.idle.max(CONNECT))),
        }
    }

    fn next(&self, from: &Url, answer: &Response) -> Result<(Url, Reach), Complaint> {
        let bad = |why: &str| {
            let message = format!("`{}` redirects {why}", told(from));
            Complaint::new("url_redirects", message, "give the URL of the file itself")
        };
        let to = answer
            .headers()
            .get(LOCATION)
            .and_then(|to| to.to_str().ok())
            .ok_or_else(|| bad("to nowhere"))?;
        let mut to = from.join(to).map_err(|_| bad("to something that is no URL"))?;
        to.set_fragment(None);
        let (to, reach) = self.guard.check(to.as_str())?;
        if from.scheme() == "https" && to.scheme() == "http" {
            return Err(bad("from https: to http:, which is not followed"));
        }
        Ok((to, reach))
    }

    async fn save(
        &self,
        mut answer: Response,
        url: &Url,
        folder: &Path,
        deadline: Instant,
    ) -> Result<PathBuf, Complaint> {
        let status = answer.status().as_u16();
        if status != 200 {
            let message = format!("`{}` is answered with status {status} by its server", told(url));
            let (code, hint) = match status {
                // it may pass; whoever can wait tells these by their code
                408 | 425 | 429 | 500.. => ("url_busy", "try again later, or upload the file"),
                _ => ("url_status", "check that the URL can be read without logging in"),
            };
            return Err(Complaint::new(code, message, hint));
        }
        if let Some(coding) = answer.headers().get(CONTENT_ENCODING).filter(|coding| *coding != "identity") {
            let message = format!(
                "`{}` is sent with the content encoding {coding:?}, though none was asked for",
                told(url)
            );
            return Err(Complaint::new("url_encoded", message, "give a URL that serves the file as it is"));
        }
        let limit = self.limits.bytes;
        if let Some(announced) = answer.content_length().filter(|length| *length > limit) {
            return Err(too_large(&told(url), announced, limit));
        }
        let mut file = draft(folder)?;
        let mut total = 0;
        let mut gathered = Vec::new();
        loop {
            let idle = Instant::now() + self.limits.idle;
            let piece = match timeout_at(idle.min(deadline), answer.chunk()).await {
                Ok(piece) => piece.map_err(|error| broken(url, &error))?,
                Err(_) if deadline <= idle => return Err(too_slow(url, "in all", self.limits.total)),
                Err(_) => return Err(too_slow(url, "without a byte", self.limits.idle)),
            };
            total += piece.as_ref().map_or(0, |piece| piece.len() as u64);
            if total > limit {
                return Err(too_large(&told(url), total, limit));
            }
            let end = piece.is_none();
            gathered.extend_from_slice(&piece.unwrap_or_default());
            if end || gathered.len() >= GATHER {
                file = write(file, std::mem::take(&mut gathered)).await?;
            }
            if end {
                return keep(file, folder);
            }
        }
    }

    async fn write_out(&self, url: &str, folder: &Path) -> Result<PathBuf, Complaint> {
        let (url, folder, limit) = (url.to_owned(), folder.to_owned(), self.limits.bytes);
        let task = tokio::task::spawn_blocking(move || {
            let uri = DataUri::parse(&url, limit)?;
            let mut file = draft(&folder)?;
            uri.decode(limit, &mut file)?;
            keep(file, &folder)
        });
        task.await.unwrap_or_else(|_| Err(internal()))
    }

    fn client(&self, reach: Reach) -> Result<&Client, Complaint> {
        let cell = match reach {
            Reach::Admitted => &self.admitted,
            Reach::Opened => &self.opened,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .dns_resolver(self.guard.resolver(reach))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("talkie/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                let message = format!("URLs cannot be fetched on this machine: {}", chain(&error));
                Complaint::new(
                    "fetch_broken",
                    message,
                    "install the CA certificates: apt-get install ca-certificates",
                )
            })?;
        Ok(cell.get_or_init(|| client))
    }
}

fn draft(folder: &Path) -> Result<NamedTempFile, Complaint> {
    let file = tempfile::Builder::new().prefix("input-").tempfile_in(folder);
    file.map_err(|error| refusal("a fetched file", folder, &error))
}

fn keep(file: NamedTempFile, folder: &Path) -> Result<PathBuf, Complaint> {
    let kept = file.into_temp_path().keep();
    kept.map_err(|error| refusal("a fetched file", folder, &error.error))
}

async fn write(mut file: NamedTempFile, bytes: Vec<u8>) -> Result<NamedTempFile, Complaint> {
    let task = tokio::task::spawn_blocking(move || {
        let written = file.write_all(&bytes);
        (file, written)
    });
    let (file, written) = task.await.map_err(|_| internal())?;
    written.map_err(|error| refusal("a fetched file", file.path(), &error))?;
    Ok(file)
}

fn internal() -> Complaint {
    Complaint::new("internal", "a task of the store broke off", "this is a bug in talkie")
}

fn too_slow(url: &Url, what: &str, limit: Duration) -> Complaint {
    let message =
        format!("fetching `{}` took too long: the limit is {} s {what}", told(url), limit.as_secs_f64());
    Complaint::new("url_timeout", message, "use a faster server, or upload the file")
}

fn broken(url: &Url, error: &reqwest::Error) -> Complaint {
    let shown = told(url);
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if inner.is::<Closed>() {
            return closed(&shown);
        }
        cause = inner.source();
    }
    let message = format!("`{shown}` cannot be fetched: {}", chain(error));
    let code = if error.is_connect() { "url_unreachable" } else { "url_broken" };
    Complaint::new(code, message, "check the URL and its server, or upload the file")
}

/// The innermost cause says what happened; the rest repeats the URL.
fn chain(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::{Arc, Mutex};

    use futures_util::future::BoxFuture;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::address::Addresses;
    use crate::guard::Lookup;

    /// Answers each question with the next row, and the last row for ever.
    struct Liar(Mutex<VecDeque<Vec<IpAddr>>>, Mutex<usize>);

    impl Lookup for Liar {
        fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            *self.1.lock().unwrap() += 1;
            let mut rows = self.0.lock().unwrap();
            let row = if rows.len() > 1 { rows.pop_front() } else { rows.front().cloned() };
            Box::pin(async move { Ok(row.unwrap_or_default()) })
        }
    }

    fn fetcher(rows: &[&[[u8; 4]]]) -> (Fetcher, Arc<Liar>) {
        let rows = rows.iter().map(|row| row.iter().map(|&a| IpAddr::from(Ipv4Addr::from(a))).collect());
        let liar = Arc::new(Liar(Mutex::new(rows.collect()), Mutex::default()));
        // the trap listens on 127.0.0.2, which is closed
        let addresses = Addresses::open(&["127.0.0.1".to_owned()]).unwrap();
        let limits = FetchLimits { total: Duration::from_secs(20), ..FetchLimits::default() };
        (Fetcher::new(Guard::new(addresses, Arc::clone(&liar) as Arc<dyn Lookup>), limits), liar)
    }

    /// An open server and a trap behind one port; how often the trap was met is told at the end.
    async fn servers(
        answer: impl Fn(u16) -> String,
    ) -> (u16, tokio::task::JoinHandle<()>, Arc<Mutex<usize>>) {
        let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = open.local_addr().unwrap().port();
        let trap = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        let met = Arc::new(Mutex::new(0));
        let (answer, count) = (answer(port), Arc::clone(&met));
        let task = tokio::spawn(async move {
            loop {
                let mut socket = tokio::select! {
                    accepted = open.accept() => accepted.unwrap().0,
                    accepted = trap.accept() => {
                        *count.lock().unwrap() += 1;
                        accepted.unwrap().0
                    }
                };
                let mut request = [0; 4096];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        (port, task, met)
    }

    const FILE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfile";

    #[tokio::test]
    async fn a_name_that_changes_its_mind_leads_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let (port, task, met) = servers(|_| FILE.into()).await;
        let url = format!("http://rebind.example:{port}/a");
        // what was checked is what is connected to: one question, and the lie comes too late
        let (honest, asked) = fetcher(&[&[[127, 0, 0, 1]], &[[127, 0, 0, 2]]]);
        let path = honest.fetch(&url, folder.path()).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"file");
        assert_eq!(*asked.1.lock().unwrap(), 1);
        // the next fetch asks again, and is told the closed address
        assert_eq!(honest.fetch(&url, folder.path()).await.unwrap_err().code, "url_not_allowed");
        // among several answers, only the open one is tried
        let (mixed, _) = fetcher(&[&[[127, 0, 0, 2], [10, 0, 0, 1], [127, 0, 0, 1], [169, 254, 169, 254]]]);
        mixed.fetch(&url, folder.path()).await.unwrap();
        // an unusual port is for opened networks only
        let (public, _) = fetcher(&[&[[93, 184, 216, 34]]]);
        assert_eq!(public.fetch(&url, folder.path()).await.unwrap_err().code, "url_not_allowed");
        let (nothing, _) = fetcher(&[&[]]);
        assert_eq!(nothing.fetch(&url, folder.path()).await.unwrap_err().code, "url_unreachable");
        assert_eq!(*met.lock().unwrap(), 0, "the closed address was never connected to");
        task.abort();
    }

    #[tokio::test]
    async fn a_redirect_to_a_name_is_resolved_and_checked_anew() {
        let folder = tempfile::tempdir().unwrap();
        let redirect = |port: u16| {
            format!(
                "HTTP/1.1 302 Found\r\nlocation: http://rebind.example:{port}/b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        };
        let (port, task, met) = servers(redirect).await;
        let (fetcher, asked) = fetcher(&[&[[127, 0, 0, 1]], &[[127, 0, 0, 2]]]);
        let complaint =
            fetcher.fetch(&format!("http://rebind.example:{port}/a"), folder.path()).await.unwrap_err();
        assert_eq!(complaint.code, "url_not_allowed");
        assert_eq!(*asked.1.lock().unwrap(), 2);
        assert_eq!(*met.lock().unwrap(), 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        task.abort();
    }
}
