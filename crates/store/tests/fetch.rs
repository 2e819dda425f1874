//! Users' URLs against real servers on this machine: redirects, drips, silence, lies about length.

use std::path::Path;
use std::time::{Duration, Instant};

use store::{FetchLimits, Store, StoreConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server of this test; gone when dropped.
struct Server {
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(socket, port));
            }
        });
        Self { port, task }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

async fn answer(mut socket: TcpStream, port: u16) -> Option<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if socket.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    let request = String::from_utf8(request).ok()?;
    let path = request.split(' ').nth(1)?.to_owned();
    let redirect =
        |code: u16, to: &str| format!("HTTP/1.1 {code} Go\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
    let file = |head: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{head}connection: close\r\n\r\n{body}");
    let text = match path.as_str() {
        "/file" => file("content-length: 5\r\n", "bytes"),
        "/no-length" => file("", &"x".repeat(1000)),
        "/chunked" => file("transfer-encoding: chunked\r\n", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        "/headers" => file("", &request),
        "/empty" => file("content-length: 0\r\n", ""),
        "/to-file" => redirect(302, "/file"),
        "/up/there" => redirect(307, "../file#fragment"),
        "/whole" => redirect(308, &format!("http://localhost:{port}/file")),
        "/1" => redirect(301, "/2"),
        "/2" => redirect(303, "/3"),
        "/3" => redirect(302, "/file"),
        "/0" => redirect(302, "/1"),
        "/loop" => redirect(302, "/loop"),
        "/nowhere" => "HTTP/1.1 302 Go\r\ncontent-length: 0\r\n\r\n".into(),
        "/to-metadata" => redirect(302, "http://169.254.169.254/latest/meta-data/"),
        "/to-short" => redirect(302, "http://0xa9fea9fe/"),
        "/to-mapped" => redirect(302, "http://[::ffff:10.0.0.1]/"),
        "/to-disk" => redirect(302, "file:///etc/passwd"),
        "/to-data" => redirect(302, "data:,x"),
        "/to-user" => redirect(302, "http://user:secret@example.com/"),
        "/to-port" => redirect(302, "http://8.8.8.8:22/"),
        "/slashes" => redirect(302, "//169.254.169.254/x"),
        "/backslash" => redirect(302, "/\\169.254.169.254/x"),
        "/too-long" => file("content-length: 100000\r\n", &"x".repeat(100_000)),
        "/too-long-untold" => file("", &"x".repeat(100_000)),
        "/too-long-chunked" => file("transfer-encoding: chunked\r\n", "400\r\n"),
        "/half" => file("content-length: 1000\r\n", "only this"),
        "/half-chunk" => file("transfer-encoding: chunked\r\n", "400\r\nonly this"),
        "/gzip" => file("content-encoding: gzip\r\ncontent-length: 4\r\n", "\x1f\x0b\x08\x00"),
        "/gone" => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(),
        "/part" => "HTTP/1.1 206 Partial\r\ncontent-length: 1\r\n\r\nx".into(),
        "/broken" => "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n".into(),
        "/408" | "/425" | "/429" | "/503" | "/403" => {
            format!("HTTP/1.1 {} Oh\r\ncontent-length: 0\r\n\r\n", &path[1..])
        }
        "/nonsense" => "this is no HTTP\r\n\r\n".into(),
        "/hang-up" => String::new(),
        "/silent" => {
            socket.write_all(file("content-length: 1000\r\n", "x").as_bytes()).await.ok()?;
            let _ = socket.read(&mut [0]).await; // until the client leaves
            return None;
        }
        "/mute" => {
            let _ = socket.read(&mut [0]).await;
            return None;
        }
        "/drip" => {
            socket.write_all(file("", "").as_bytes()).await.ok()?;
            while socket.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await; // a drip, not a wait
            }
            return None;
        }
        _ => return None,
    };
    socket.write_all(text.as_bytes()).await.ok()?;
    socket.shutdown().await.ok()
}

async fn store(folder: &Path, limits: FetchLimits) -> Store {
    let fetch = FetchLimits { allowed_networks: vec!["127.0.0.0/8".into()], ..limits };
    Store::open(StoreConfig { folder: folder.to_owned(), fetch, ..StoreConfig::default() }).await.unwrap()
}

fn left(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn files_are_fetched_through_redirects() {
    let server = Server::start().await;
    let (data, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = store(data.path(), FetchLimits::default()).await;
    for (path, expected) in [
        ("/file", "bytes"),
        ("/no-length", &"x".repeat(1000)),
        ("/chunked", "abcde"),
        ("/empty", ""),
        ("/to-file", "bytes"),
        ("/up/there", "bytes"),
        ("/whole", "bytes"),
        ("/1", "bytes"),
    ] {
        let fetched = store.fetch(&server.url(path), into.path()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&fetched).unwrap(), expected, "{path}");
        assert_eq!(fetched.parent(), Some(into.path()));
    }
    let headers = store.fetch(&server.url("/headers"), into.path()).await.unwrap();
    let headers = std::fs::read_to_string(headers).unwrap().to_lowercase();
    assert!(headers.contains("accept-encoding: identity"), "{headers}");
    assert!(!headers.contains("referer") && !headers.contains("cookie"), "{headers}");
    let hello = store.fetch("data:text/plain;base64,aGVsbG8=", into.path()).await.unwrap();
    assert_eq!(std::fs::read(hello).unwrap(), b"hello");
}

#[tokio::test]
async fn what_the_guard_or_a_limit_refuses_leaves_nothing() {
    let server = Server::start().await;
    let (data, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let limits = FetchLimits {
        bytes: 99_999,
        total: Duration::from_millis(700),
        idle: Duration::from_millis(250),
        ..FetchLimits::default()
    };
    let store = store(data.path(), limits).await;
    let rows = [
        ("/0", "url_redirects"),
        ("/loop", "url_redirects"),
        ("/nowhere", "url_redirects"),
        ("/to-metadata", "url_not_allowed"),
        ("/to-short", "url_not_allowed"),
        ("/to-mapped", "url_not_allowed"),
        ("/to-port", "url_not_allowed"),
        ("/slashes", "url_not_allowed"),
        ("/backslash", "url_not_allowed"),
        ("/to-disk", "url_scheme"),
        ("/to-data", "url_scheme"),
        ("/to-user", "url_credentials"),
        ("/too-long", "file_too_large"),
        ("/too-long-untold", "file_too_large"),
        ("/half", "url_broken"),
        ("/half-chunk", "url_broken"),
        ("/too-long-chunked", "url_broken"),
        ("/gzip", "url_encoded"),
        ("/gone", "url_status"),
        ("/part", "url_status"),
        ("/403", "url_status"),
        ("/broken", "url_busy"),
        ("/408", "url_busy"),
        ("/425", "url_busy"),
        ("/429", "url_busy"),
        ("/503", "url_busy"),
        ("/nonsense", "url_broken"),
        ("/hang-up", "url_broken"),
        ("/silent", "url_timeout"),
        ("/mute", "url_timeout"),
        ("/drip", "url_timeout"),
    ];
    for (path, code) in rows {
        let start = Instant::now();
        let complaint = store.fetch(&server.url(path), into.path()).await.unwrap_err();
        assert_eq!(complaint.code, code, "{path}: {complaint}");
        assert!(!complaint.hint.is_empty() && !complaint.message.contains("secret"), "{complaint}");
        assert!(start.elapsed() < Duration::from_secs(5), "{path} took {:?}", start.elapsed());
        assert_eq!(left(into.path()), 0, "{path} left something");
    }
    let told = async |path: &str| store.fetch(&server.url(path), into.path()).await.unwrap_err().message;
    assert!(told("/silent").await.contains("0.25 s without a byte"));
    assert!(told("/drip").await.contains("0.7 s in all"));
    let large = told("/too-long").await;
    assert!(large.contains("100000 bytes") && large.contains("limit is 99999"), "{large}");
    let data = format!("data:,{}", "x".repeat(100_000));
    assert_eq!(store.fetch(&data, into.path()).await.unwrap_err().code, "file_too_large");
    assert_eq!(
        store.allow_url("data:;base64,*").map_err(|c| c.code),
        Err("bad_data_url"),
        "told at the door"
    );
    assert_eq!(store.allow_url("data:;base64,aGVsbG8=").map_err(|c| c.code), Ok(()));
    assert_eq!(store.fetch("data:;base64,*", into.path()).await.unwrap_err().code, "bad_data_url");
    let closed = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let complaint = store.fetch(&format!("http://{closed}/"), into.path()).await.unwrap_err();
    assert_eq!(complaint.code, "url_unreachable", "{complaint}");
    assert_eq!(left(into.path()), 0);
}

#[tokio::test]
async fn a_fetch_that_is_given_up_leaves_nothing() {
    let server = Server::start().await;
    let (data, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = store(data.path(), FetchLimits::default()).await;
    let url = server.url("/drip");
    let (fetching, folder) = (store.fetch(&url, into.path()), into.path().to_owned());
    let begun = async {
        while left(&folder) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = fetching => panic!("a drip has no end"),
        () = begun => {}
    }
    assert_eq!(left(into.path()), 0);
}

#[tokio::test]
async fn without_an_opened_network_this_machine_is_closed() {
    let server = Server::start().await;
    let (data, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store =
        Store::open(StoreConfig { folder: data.path().into(), ..StoreConfig::default() }).await.unwrap();
    for url in [server.url("/file"), format!("http://localhost:{}/file", server.port)] {
        assert_eq!(store.allow_url(&url).unwrap_err().code, "url_not_allowed");
        assert_eq!(store.fetch(&url, into.path()).await.unwrap_err().code, "url_not_allowed");
    }
}
