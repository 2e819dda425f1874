//! A private Postgres of the test process: in a folder of its own, on a Unix socket, gone with the process.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::OnceCell;

static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

struct Cluster {
    socket: PathBuf,
}

/// The URL of a new empty database.
pub async fn database() -> String {
    let cluster = CLUSTER.get_or_init(|| async { tokio::task::spawn_blocking(start).await.unwrap() }).await;
    let name = format!("t{}", DATABASES.fetch_add(1, Ordering::SeqCst));
    let url = |name: &str| format!("postgres://talkie@localhost/{name}?host={}", cluster.socket.display());
    let admin = sea_orm::Database::connect(url("postgres")).await.unwrap();
    use sea_orm::ConnectionTrait;
    admin.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
    admin.close().await.unwrap();
    url(&name)
}

fn start() -> Cluster {
    let bin = binaries();
    // below /tmp itself: a socket's path is short, and the user who runs it must get there
    let folder = tempfile::Builder::new().prefix("talkie-pg-").tempdir_in("/tmp").unwrap().keep();
    let user = unprivileged(&folder);
    let as_user = |program: &Path| {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command
            .current_dir("/")
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    };
    let data = folder.join("data");
    let made = as_user(&bin.join("initdb"))
        .args(["--username=talkie", "--auth=trust", "--encoding=UTF8", "--no-sync", "-D"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    // a watcher ends the server and removes its folder when this process ends, however it ends
    let script = format!(
        "'{bin}/postgres' -D '{data}' -k '{folder}' -c listen_addresses= -c max_connections=300 -c fsync=off \
         -c shared_buffers=32MB > '{folder}/log' 2>&1 & \
         cat > /dev/null; kill -INT $!; wait $!; rm -rf '{folder}'",
        bin = bin.display(),
        data = data.display(),
        folder = folder.display(),
    );
    #[allow(clippy::zombie_processes, reason = "it outlives the tests by design, and ends with their end")]
    let mut watcher = as_user(Path::new("/bin/sh"))
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null()) // held a moment longer than the test lives, it looks like a leak of the test's
        .process_group(0) // an interrupt at the terminal is for the tests; their end is what ends it
        .spawn()
        .unwrap();
    std::mem::forget(watcher.stdin.take()); // closed by the end of this process
    for _ in 0..200 {
        let answer = Command::new(bin.join("pg_isready")).arg("-h").arg(&folder).arg("-t1").output().unwrap();
        if answer.status.success() {
            return Cluster { socket: folder };
        }
        // pg_isready answers at once while there is no socket yet
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    panic!("Postgres did not start: {log}");
}

fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").is_file())
        .collect();
    found.sort();
    found.pop().expect(
        "these tests need a real Postgres: apt-get install postgresql (its programs in /usr/lib/postgresql/*/bin), \
         or scripts/setup.sh",
    )
}

/// Postgres does not run as root: then it runs as the user that its package made.
fn unprivileged(folder: &Path) -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("the package makes this user");
    let fields: Vec<&str> = line.split(':').collect();
    let (uid, gid) = (fields[2].parse().unwrap(), fields[3].parse().unwrap());
    chown(folder, Some(uid), Some(gid)).unwrap();
    Some((uid, gid))
}
