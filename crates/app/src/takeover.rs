//! `talkie takeover`: a proxy on loopback that makes fal's own clients speak to a Talkie server by environment variables alone. It
//! ends the TLS of fal's hosts with a CA of its own, which may sign for those names only, and hands the requests on; whoever asks it
//! for another host is refused. Nothing of a request is kept or logged.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use contract::Complaint;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cli::{MachineArgs, TakeoverArgs};
use crate::config::Config;
use crate::say;
use crate::serve::{data_folder, tls};

/// From the connection to the end of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where a system keeps the roots that it trusts.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

type Body = BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

pub fn run(machine: &MachineArgs, args: &TakeoverArgs) -> Result<ExitCode, Complaint> {
    if !args.listen.ip().is_loopback() {
        return Err(Complaint::new(
            "takeover_not_loopback",
            format!("the proxy would listen on {}, which others can reach", args.listen.ip()),
            "it listens on loopback only: --listen 127.0.0.1:8999",
        ));
    }
    let data = data_folder(&args.data, &Config::load(machine)?)?;
    let files = tls::Charter::fal().ensure(&data, SystemTime::now())?;
    let bundle = bundle(&files.ca)?;
    let acceptor = tls::acceptor(&files.cert, &files.key, tls::Speaks::Http1)?;
    let internal = |error| Complaint::new("internal", format!("no runtime: {error}"), "");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(internal)?;
    runtime.block_on(async {
        let relay = Relay::new(args)?;
        relay.check().await?;
        let listener = TcpListener::bind(args.listen).await.map_err(|error| unbound(args.listen, &error))?;
        let address = listener.local_addr().map_err(|error| unbound(args.listen, &error))?;
        tell(address, &files.ca, &bundle)?;
        tokio::select! {
            () = accept(listener, Arc::new(relay), acceptor) => {}
            _ = tokio::signal::ctrl_c() => {}
            () = terminated() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn terminated() {
    match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(mut signal) => {
            signal.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

/// To be evaluated by a shell: `eval "$(talkie takeover …)"` would wait, so they are copied or read from a pipe.
fn tell(address: SocketAddr, ca: &Path, bundle: &Path) -> Result<(), Complaint> {
    let (ca, bundle) = (quoted(ca), quoted(bundle));
    say::line(format_args!("export HTTPS_PROXY=http://{address}"))?;
    say::line("export NO_PROXY=localhost,127.0.0.1,::1")?;
    say::line(format_args!("export SSL_CERT_FILE={bundle}"))?;
    say::line(format_args!("export REQUESTS_CA_BUNDLE={bundle}"))?;
    say::line(format_args!("export NODE_EXTRA_CA_CERTS={ca}"))?;
    say::line("export NODE_USE_ENV_PROXY=1")?;
    say::line("export FAL_KEY=${FAL_KEY:-talkie}")?;
    say::aside(format_args!("fal's hosts end here, at {address}; any other is refused. End with Ctrl-C."));
    Ok(())
}

/// As one word of a shell, whatever is in it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// The CA and the roots that are trusted anyway: the variable that names it replaces them.
fn bundle(ca: &Path) -> Result<PathBuf, Complaint> {
    let path = ca.with_file_name("bundle.pem");
    let failed = |error: std::io::Error| {
        let message = format!("the trust bundle {} cannot be written: {error}", path.display());
        Complaint::new(
            "tls_files",
            message,
            "give the right to write there, or name another folder with --data",
        )
    };
    let mut text = std::fs::read_to_string(ca).map_err(failed)?;
    match SYSTEM_ROOTS.iter().find_map(|path| std::fs::read_to_string(path).ok()) {
        Some(roots) => text.push_str(&roots),
        None => {
            for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
                text.push_str(&tls::pem(root));
            }
        }
    }
    // whole or not at all: a client may be reading the last one
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &path)).map_err(failed)?;
    Ok(path)
}

fn unbound(address: SocketAddr, error: &std::io::Error) -> Complaint {
    let message = format!("the proxy cannot listen on {address}: {error}");
    Complaint::new("port_busy", message, "choose another: --listen 127.0.0.1:N (0 takes a free one)")
}

async fn accept(listener: TcpListener, relay: Arc<Relay>, tls: TlsAcceptor) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (relay, tls) = (Arc::clone(&relay), tls.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| proxied(request, Arc::clone(&relay), tls.clone()));
            let http = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let _ = http.await; // a client that hangs up is no event
        });
    }
}

/// `CONNECT host:443`
async fn proxied(
    request: Request<Incoming>,
    relay: Arc<Relay>,
    tls: TlsAcceptor,
) -> Result<Response<Body>, std::convert::Infallible> {
    let asked = request.uri().authority().cloned();
    let host = asked.as_ref().map_or("", |authority| authority.host()).to_ascii_lowercase();
    let known = tls::FAL_HOSTS.contains(&host.as_str());
    if *request.method() != Method::CONNECT
        || !known
        || asked.and_then(|asked| asked.port_u16()).unwrap_or(443) != 443
    {
        let what = if *request.method() == Method::CONNECT { host } else { request.method().to_string() };
        let told = format!(
            "this proxy leads to fal's hosts at port 443 only, not to `{what}`; set NO_PROXY for others\n"
        );
        return Ok(said(StatusCode::FORBIDDEN, told));
    }
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        // who fails here does not trust the certificate: theirs to know
        let Ok(stream) = tls.accept(TokioIo::new(upgraded)).await else { return };
        let service = service_fn(move |request| {
            let (relay, host) = (Arc::clone(&relay), host.clone());
            async move { Ok::<_, std::convert::Infallible>(relay.hand_on(request, &host).await) }
        });
        let http = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let _ = http.await;
    });
    Ok(Response::new(nothing()))
}

fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn said(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Full::from(text).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response
}

/// What hop-by-hop headers are between two other ends.
const HOPS: [HeaderName; 5] = [
    CONNECTION,
    hyper::header::TRANSFER_ENCODING,
    hyper::header::TE,
    hyper::header::TRAILER,
    hyper::header::PROXY_AUTHORIZATION,
];

/// The way to the server.
struct Relay {
    client: reqwest::Client,
    server: String,
}

impl Relay {
    fn new(args: &TakeoverArgs) -> Result<Self, Complaint> {
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .http1_only();
        if let Some(ca) = &args.server.ca {
            let wrong = |why: String| {
                let message = format!("the CA {} cannot be used: {why}", ca.display());
                Complaint::new("bad_certificate", message, "give the ca.pem that `talkie cert` names")
            };
            let pem = std::fs::read(ca).map_err(|error| wrong(error.to_string()))?;
            let root = reqwest::Certificate::from_pem(&pem).map_err(|error| wrong(error.to_string()))?;
            client = client.add_root_certificate(root);
        }
        let client = client
            .build()
            .map_err(|error| Complaint::new("internal", format!("no HTTP client: {error}"), ""))?;
        Ok(Self { client, server: args.server.server.trim_end_matches('/').to_owned() })
    }

    async fn check(&self) -> Result<(), Complaint> {
        let asked = self.client.get(format!("{}/readyz", self.server)).timeout(CONNECT_TIMEOUT).send().await;
        let why = match asked {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => format!("it answers {}", answer.status()),
            Err(error) => error.without_url().to_string(),
        };
        Err(Complaint::new(
            "server_unreachable",
            format!("no server is ready at {}: {why}", self.server),
            "start it first (`talkie serve`), or name its all port with --server",
        ))
    }

    async fn hand_on(&self, request: Request<Incoming>, host: &str) -> Response<Body> {
        match self.try_hand_on(request, host).await {
            Ok(response) => response,
            Err(error) => said(
                StatusCode::BAD_GATEWAY,
                format!("talkie takeover: the server does not answer: {error}\n"),
            ),
        }
    }

    async fn try_hand_on(
        &self,
        mut request: Request<Incoming>,
        host: &str,
    ) -> Result<Response<Body>, reqwest::Error> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let url = format!("{}/fal{path}", self.server);
        let upgrade = request.headers().get(UPGRADE).cloned();
        let switching = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let mut headers = end_to_end(parts.headers);
        headers.remove(HOST); // that of the server, from its address
        headers.insert(
            "x-forwarded-host",
            HeaderValue::from_str(host).unwrap_or(HeaderValue::from_static("fal.run")),
        );
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        if let Some(upgrade) = upgrade {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, upgrade);
        }
        let sent = self.client.request(parts.method, url).headers(headers);
        // a body that is none would be announced as one that comes in pieces
        let sent =
            if hyper::body::Body::is_end_stream(&body) { sent } else { sent.body(reqwest::Body::wrap(body)) };
        let answer = sent.send().await?;
        let status = answer.status();
        let mut headers = end_to_end(answer.headers().clone());
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(switching)) = (status, switching) {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            tokio::spawn(async move {
                if let (Ok(client), Ok(mut server)) = (switching.await, answer.upgrade().await) {
                    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut server).await;
                }
            });
            let mut response = Response::new(nothing());
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            return Ok(response);
        }
        let body = reqwest::Body::from(answer).map_err(Into::into).boxed();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in HOPS {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
    headers
}
