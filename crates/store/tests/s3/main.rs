//! S3 against a server that checks signatures, and every link of AWS's chain of credentials. Credentials come from the
//! environment, so each story runs in a process of its own: the test that bears its name starts this program again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use store::{FetchLimits, Remote, Store, StoreConfig};
use tokio::net::TcpListener;

mod address;
mod credentials;
mod story;

const ID: &str = "AKIAEXAMPLE";
const SECRET: &str = "a/secret+key";
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];
/// Tells a story that it runs in a process of its own.
const MARK: &str = "STORE_TEST_CHILD";

/// Runs the story `name` with nothing but `environment`.
fn tell(name: &str, environment: &[(&str, &str)]) {
    let home = tempfile::tempdir().unwrap();
    let told = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .env_clear()
        .env("HOME", home.path())
        .env("TMPDIR", std::env::temp_dir())
        .env(MARK, "1")
        // nobody answers there, so nothing of the machine that runs the tests gets into them
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success(), "{said}");
    assert!(said.contains("1 passed"), "the story was not told: {said}");
    assert!(!said.contains(SECRET), "a secret was said: {said}");
}

/// For every story, a test that starts the story in a process of its own, and the story itself, which only that test runs.
macro_rules! stories {
    ($($name:ident: $environment:expr;)*) => {
        $(
            #[test]
            fn $name() {
                tell(concat!("told::", stringify!($name)), $environment);
            }
        )*
        mod told {
            $(
                #[test]
                #[ignore = "told by its namesake in a process of its own"]
                fn $name() {
                    super::run(super::story::$name());
                }
            )*
            #[test]
            #[ignore = "told by the tests of addresses in processes of their own"]
            fn the_addresses_of_the_table() {
                super::run(super::story::the_addresses_of_the_table());
            }
            #[test]
            #[ignore = "told by the tests of credentials in processes of their own"]
            fn the_credentials_are_right() {
                super::run(super::story::the_credentials_are_right());
            }
            #[test]
            #[ignore = "told by the tests of credentials in processes of their own"]
            fn there_are_no_credentials() {
                super::run(super::story::there_are_no_credentials());
            }
        }
    };
}

fn run(story: impl Future<Output = ()>) {
    assert!(std::env::var_os(MARK).is_some(), "run its namesake");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(100), story).await };
    runtime.block_on(limited).expect("the story has an end");
}

stories! {
    what_is_put_is_read_in_ranges: &KEYS;
    a_folder_is_brought_whole_and_removed: &KEYS;
    names_of_users_are_read_and_written: &KEYS;
    a_bucket_that_is_not_there_is_named: &KEYS;
    a_wrong_secret_is_denied: &[KEYS[0], ("AWS_SECRET_ACCESS_KEY", "wrong")];
    a_server_may_go_and_come_back: &KEYS;
    an_upload_that_is_given_up_leaves_nothing: &KEYS;
    no_address_and_bad_names: &KEYS;
}

/// An S3 server of this test: buckets are folders.
struct Server {
    root: tempfile::TempDir,
    address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        for bucket in ["talkie", "other.bucket"] {
            std::fs::create_dir(root.path().join(bucket)).unwrap();
        }
        let mut server = Self { root, address: ([127, 0, 0, 1], 0).into(), runtime: None };
        server.resume();
        server
    }

    fn resume(&mut self) {
        let files = s3s_fs::FileSystem::new(self.root.path()).unwrap();
        let mut service = s3s::service::S3ServiceBuilder::new(files);
        service.set_auth(s3s::auth::SimpleAuth::from_single(ID, SECRET));
        let service = service.build();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let socket = std::net::TcpListener::bind(self.address).unwrap();
        self.address = socket.local_addr().unwrap();
        socket.set_nonblocking(true).unwrap();
        let _guard = runtime.enter();
        let listener = TcpListener::from_std(socket).unwrap();
        runtime.spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        self.runtime = Some(runtime);
    }

    /// As if its machine had been switched off.
    fn stop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
        while std::net::TcpStream::connect(self.address).is_ok() {
            std::thread::yield_now();
        }
    }

    fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Parts of uploads that are under way.
    fn parts(&self) -> usize {
        let entries = std::fs::read_dir(self.root.path()).unwrap();
        entries
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(".upload_id"))
            .count()
    }

    async fn store(&self, data: &Path) -> Store {
        store(data, &self.endpoint()).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn store(data: &Path, endpoint: &str) -> Store {
    let config = StoreConfig {
        folder: data.to_owned(),
        remote: Some(Remote { bucket: "talkie".into(), prefix: "kept/here/".into() }),
        s3_endpoint: Some(endpoint.to_owned()),
        s3_path_style: true,
        fetch: FetchLimits { bytes: 30 << 20, ..FetchLimits::default() },
        ..StoreConfig::default()
    };
    Store::open(config).await.unwrap()
}

fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn file(folder: &Path, bytes: &[u8]) -> PathBuf {
    let path = folder.join("draft");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Writes, reads and removes once: enough to know that the credentials were right.
async fn works(store: &Store, scratch: &Path) {
    store.put(&file(scratch, b"take"), "takes/1/a.mp4").await.unwrap();
    assert_eq!(store.read("takes/1/a.mp4").await.unwrap().unwrap().bytes, 4);
    assert!(store.remove("takes/1").await.unwrap());
}
