//! One listener: binds, accepts up to a limit, speaks HTTP/1.1 and HTTP/2, with or without TLS. A client that does not
//! send its request's head in time, or takes nothing of its answer, is let go; on shutdown requests under way are finished.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use contract::Complaint;
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::settings::Dialect;

/// From the connection (or the end of the last answer) to the end of the next request's head. Held to it twice: by the HTTP
/// library from the first byte on, once it knows the version; and by us until the first request is there, for it waits without
/// a limit while the bytes may still become the preface of HTTP/2.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// From the connection to the end of the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer of which its client takes nothing for so long is broken off: what it holds (a file, a place) is let go.
const TAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// After an `accept` that failed for want of descriptors or memory.
const BREATH: Duration = Duration::from_millis(50);

pub struct Listener {
    socket: TcpListener,
    pub dialect: Dialect,
    pub address: SocketAddr,
}

/// How connections are treated.
#[derive(Clone)]
pub struct Treatment {
    pub tls: Option<TlsAcceptor>,
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    pub shutdown: CancellationToken,
}

impl Listener {
    pub async fn bind(dialect: Dialect, address: SocketAddr) -> Result<Self, Complaint> {
        let socket = TcpListener::bind(address).await.map_err(|error| unbound(dialect, address, &error))?;
        let address = socket.local_addr().map_err(|error| unbound(dialect, address, &error))?;
        Ok(Self { socket, dialect, address })
    }

    /// Serves until `shutdown`, then until the connections have ended or `drain` has passed.
    pub async fn serve(self, router: Router, treatment: Treatment, drain: Duration) {
        let seats = Arc::new(Semaphore::new(treatment.connections));
        let open = GracefulShutdown::new();
        loop {
            let seat = tokio::select! {
                () = treatment.shutdown.cancelled() => break,
                seat = Arc::clone(&seats).acquire_owned() => seat,
            };
            let accepted = tokio::select! {
                () = treatment.shutdown.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(dialect = self.dialect.name(), %error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
            };
            let (router, watcher, tls) = (router.clone(), open.watcher(), treatment.tls.clone());
            tokio::spawn(async move {
                let _seat = seat;
                // small writes (one frame of a stream) go out at once
                let _ = stream.set_nodelay(true);
                if !speaks(&stream).await {
                    return;
                }
                let mut stream = TimeoutStream::new(stream);
                stream.set_write_timeout(Some(TAKE_TIMEOUT));
                let stream = Box::pin(stream);
                match tls {
                    None => converse(stream, peer, router, watcher).await,
                    Some(tls) => {
                        if let Some(stream) = shake_hands(&tls, stream).await {
                            converse(stream, peer, router, watcher).await;
                        }
                    }
                }
            });
        }
        drop(self.socket);
        if tokio::time::timeout(drain, open.shutdown()).await.is_err() {
            tracing::warn!(dialect = self.dialect.name(), "connections were cut after {drain:?}");
        }
    }
}

/// Whether the client says anything in time: the HTTP library counts only from the first byte on.
async fn speaks(stream: &TcpStream) -> bool {
    let mut byte = [0];
    let first = stream.peek(&mut byte);
    matches!(tokio::time::timeout(HEAD_TIMEOUT, first).await, Ok(Ok(bytes)) if bytes > 0)
}

async fn shake_hands<S>(tls: &TlsAcceptor, stream: S) -> Option<tokio_rustls::server::TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // who fails here speaks no TLS or does not trust the certificate: theirs to know
    tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await.ok()?.ok()
}

async fn converse<S>(
    stream: S,
    peer: SocketAddr,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let first = Arc::new(Notify::new());
    let came = Arc::clone(&first);
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        came.notify_one();
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(HEAD_TIMEOUT))
        .keep_alive_timeout(HEAD_TIMEOUT);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    let mut connection = std::pin::pin!(watcher.watch(connection));
    tokio::select! {
        // a client that hangs up is no event
        _ = &mut connection => return,
        asked = tokio::time::timeout(HEAD_TIMEOUT, first.notified()) => {
            if asked.is_err() {
                return;
            }
        }
    }
    let _ = connection.await;
}

fn unbound(dialect: Dialect, address: SocketAddr, error: &std::io::Error) -> Complaint {
    let (name, port) = (dialect.name(), address.port());
    match error.kind() {
        ErrorKind::AddrInUse => Complaint::new(
            "port_busy",
            format!("port {port} for {name} is taken by another program on {}", address.ip()),
            format!("end that program, or choose another: --port {name}=N (0 takes a free one)"),
        ),
        ErrorKind::PermissionDenied => Complaint::new(
            "port_denied",
            format!("port {port} for {name} may not be used by this user"),
            format!("choose one above 1023: --port {name}=N"),
        ),
        ErrorKind::AddrNotAvailable => Complaint::new(
            "no_such_address",
            format!("{} is no address of this machine", address.ip()),
            "name one of its own with --listen, or 0.0.0.0 for all",
        ),
        _ => Complaint::new("port_failed", format!("{name} cannot listen on {address}: {error}"), ""),
    }
}
