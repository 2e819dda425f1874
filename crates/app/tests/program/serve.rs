//! `talkie serve` as an operator meets it: ports, readiness, TLS, keys, weights that are not there, signals, and the
//! commands that talk to a running server.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::stage::{Run, Stage, sample};

/// A running server on free ports.
struct Server {
    child: Child,
    addresses: BTreeMap<String, String>,
    /// What it said until it was ready.
    said: String,
    agent: Agent,
}

const FREE: [&str; 10] = [
    "--port",
    "infinitetalk=0",
    "--port",
    "musetalk=0",
    "--port",
    "musetalk-s3=0",
    "--port",
    "svd=0",
    "--port",
    "all=0",
];

impl Server {
    fn start(stage: &Stage, more: &[&str]) -> Self {
        Self::spawn(stage.command(["serve", "--data", "data"].iter().chain(&FREE).chain(more)))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (mut addresses, mut said) = (BTreeMap::new(), String::new());
        loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the server ended: {said}");
            said.push_str(&line);
            if let Some((name, address)) = line.split_once("http").filter(|(_, rest)| rest.contains("://")) {
                addresses.insert(name.trim().to_owned(), format!("http{}", address.trim()));
            }
            if line.contains("talkie is ready") {
                break;
            }
        }
        // its log goes on; a full pipe must not stop it
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let config = Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(Duration::from_secs(60))).proxy(None).build().into();
        Self { child, addresses, said, agent }
    }

    fn url(&self, dialect: &str, path: &str) -> String {
        format!("{}{path}", self.addresses[dialect])
    }

    fn get(&self, dialect: &str, path: &str) -> (u16, String) {
        answer(self.agent.get(self.url(dialect, path)).call().unwrap())
    }

    fn post(&self, dialect: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = self.agent.post(self.url(dialect, path)).header("content-type", "application/json");
        let (status, text) = answer(request.send(body.to_string()).unwrap());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(mut self) -> i32 {
        self.signal(Signal::TERM);
        let status = self.child.wait().unwrap();
        status.code().unwrap_or_else(|| -status.signal().unwrap_or(0))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer(mut answer: ureq::http::Response<ureq::Body>) -> (u16, String) {
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

/// We are the subreaper: a server's workers are ours to wait for when it is gone, and they end by themselves.
fn wait_for_orphans() {
    while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
}

#[test]
fn every_listener_answers_and_sigterm_leaves_nothing() {
    let stage = Stage::new();
    let server = Server::start(&stage, &[]);
    assert_eq!(server.get("all", "/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(server.get("all", "/livez").0, 200);
    let health: Vec<_> = [
        ("infinitetalk", "/api/health"),
        ("musetalk", "/health"),
        ("svd", "/health"),
        ("musetalk-s3", "/openapi.json"),
        ("all", "/infinitetalk/api/health"),
        ("all", "/svd/health"),
        ("all", "/v1/jobs"),
    ]
    .map(|(dialect, path)| (path, server.get(dialect, path).0))
    .to_vec();
    assert!(health.iter().all(|(_, status)| *status == 200), "{health:?}");
    let metrics = server.get("all", "/metrics").1;
    assert!(metrics.contains("talkie_build_info") && metrics.contains("talkie_workers"), "{metrics}");
    assert!(server.said.contains("puppet") && server.said.contains("stands in"), "{}", server.said);
    assert_eq!(server.end(), 0);
    wait_for_orphans();
    stage.assert_nothing_left();
}

#[test]
fn workers_die_with_a_killed_server() {
    let stage = Stage::new();
    let mut server = Server::start(&stage, &[]);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    wait_for_orphans();
    let again = Server::start(&stage, &[]);
    assert_eq!(again.end(), 0);
}

#[test]
fn a_busy_port_is_named_with_the_remedy() {
    let stage = Stage::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let flag = format!("svd={port}");
    let port_flag = ["--port", flag.as_str()];
    let run = stage.run(["serve", "--data", "data"].iter().chain(&FREE).chain(&port_flag));
    run.assert_refused(&[&port.to_string(), "svd", "--port"]);
}

#[test]
fn two_servers_do_not_share_a_data_folder() {
    let stage = Stage::new();
    let first = Server::start(&stage, &[]);
    let run = stage.run(["serve", "--data", "data"].iter().chain(&FREE));
    run.assert_refused(&["data"]);
    assert_eq!(first.get("all", "/readyz").0, 200);
}

#[test]
fn port_counts_for_one_dialect_and_is_warned_about_for_more() {
    let stage = Stage::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut alone = stage.command(["serve", "--data", "data", "--only", "svd", "--port", "all=0"]);
    alone.env("PORT", &free);
    let server = Server::spawn(alone);
    assert_eq!(server.addresses["svd"], format!("http://127.0.0.1:{free}"));
    assert!(!server.addresses.contains_key("musetalk") && !server.said.contains("PORT"), "{}", server.said);
    assert_eq!(server.end(), 0);
    let mut more = stage.command(["serve", "--data", "data"].iter().chain(&FREE));
    more.env("PORT", &free);
    let server = Server::spawn(more);
    assert!(server.said.contains("warning: PORT is ignored"), "{}", server.said);
}

#[test]
fn tls_by_a_ca_of_its_own() {
    let stage = Stage::new();
    let cert = stage.run(["cert", "--data", "data"]);
    assert_eq!(cert.code, 0, "{}", cert.stderr);
    let server = Server::start(&stage, &["--tls"]);
    let url = server.url("all", "/readyz").replace("127.0.0.1", "localhost");
    assert!(url.starts_with("https://"));
    assert!(server.agent.get(&url).call().is_err(), "nobody trusts it unasked");
    let ca = Certificate::from_pem(&std::fs::read(stage.path("data/tls/ca.pem")).unwrap()).unwrap();
    let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca])).build();
    let trusting: Agent = Agent::config_builder().tls_config(tls).proxy(None).build().into();
    assert_eq!(answer(trusting.get(&url).call().unwrap()), (200, "ready\n".to_owned()));
    let all = server.url("all", "");
    let jobs = stage.run(["jobs", "list", "--server", &all, "--ca", "data/tls/ca.pem"]);
    assert_eq!(jobs.code, 0, "{}", jobs.stderr);
}

#[test]
fn a_key_opens_and_nothing_else_does() {
    let stage = Stage::new();
    let made = stage.run(["key", "anna"]);
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let line = made.stderr.lines().find(|line| line.starts_with("anna = ")).unwrap().to_owned();
    let other = stage.run(["key", "ben@example.com"]);
    let bens = other.stderr.lines().last().unwrap().to_owned();
    stage.write("talkie.toml", format!("[keys]\n{line}\n{bens}\n"));
    let server = Server::start(&stage, &["--config", "talkie.toml"]);
    assert_eq!(server.get("all", "/v1/jobs").0, 401);
    let bens = String::from_utf8(other.stdout).unwrap().trim().to_owned();
    assert_eq!(stage.run(["jobs", "list", "--server", &server.url("all", ""), "--key", &bens]).code, 0);
    let all = server.url("all", "");
    stage.run(["jobs", "list", "--server", &all]).assert_refused(&["uthenticat"]);
    stage.run(["jobs", "list", "--server", &all, "--key", "wrong"]).assert_refused(&["key"]);
    assert_eq!(stage.run(["jobs", "list", "--server", &all, "--key", &key]).code, 0);
}

#[test]
fn weights_that_are_not_there_are_named_and_nobody_stands_in() {
    let stage = Stage::new();
    let mut command = stage.command(["serve", "--data", "data"].iter().chain(&FREE));
    command.env("CKPT_DIR", "/no/such/weights");
    let server = Server::spawn(command);
    let request = json!({"audio_path": "/a.wav", "image_path": "/a.png", "prompt": ""});
    let (status, body) = server.post("infinitetalk", "/api/generate-video", &request);
    assert_eq!(status, 503, "{body}");
    assert!(body.to_string().contains("CKPT_DIR") && body.to_string().contains("/no/such/weights"), "{body}");
    let health = server.get("infinitetalk", "/api/health").1;
    assert!(health.contains("\"model_loaded\":false"), "{health}");
    drop(server);
    let mut chosen = stage.command(["serve", "--data", "data", "--engine", "puppet"].iter().chain(&FREE));
    chosen.env("CKPT_DIR", "/no/such/weights");
    let server = Server::spawn(chosen);
    let (status, body) = server.post("infinitetalk", "/api/generate-video", &request);
    assert_ne!(status, 503, "{body}");
}

#[test]
fn jobs_are_listed_shown_watched_and_canceled() {
    let stage = Stage::new();
    std::fs::create_dir(stage.path("media")).unwrap();
    let (portrait, speech) = (stage.small_portrait(), stage.short_speech("1"));
    std::fs::copy(portrait, stage.path("media/p.png")).unwrap();
    std::fs::copy(speech, stage.path("media/s.wav")).unwrap();
    let root = stage.path("media").canonicalize().unwrap();
    let server = Server::start(&stage, &["--media-root", "media"]);
    let at = |name: &str| root.join(name).display().to_string();
    let request = json!({"audio_path": at("s.wav"), "image_path": at("p.png"), "prompt": "Hello there"});
    let (status, body) = server.post("infinitetalk", "/api/generate-video", &request);
    assert_eq!(status, 200, "{body}");
    assert!(Path::new(body["video_path"].as_str().unwrap()).is_file(), "{body}");

    let all = server.url("all", "");
    let talk = |words: &[&str]| stage.run(words.iter().copied().chain(["--server", &all]));
    let list = talk(&["jobs", "--json", "list"]);
    let id = list.json()["jobs"][0]["id"].as_str().unwrap().to_owned();
    let listed = String::from_utf8(talk(&["jobs", "list"]).stdout).unwrap();
    // what it did last is no news of a job that has ended
    assert!(listed.contains(&id) && !listed.contains("finishing") && !listed.contains("left"), "{listed}");
    let shown = talk(&["jobs", "show", &id]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("done") && text.contains("puppet"), "{text}");
    let watched = talk(&["jobs", "watch", &id]);
    assert_eq!(watched.code, 0, "{}", watched.stderr);
    talk(&["jobs", "cancel", &id]).assert_refused(&["ended"]);
    talk(&["jobs", "show", "nobody"]).assert_refused(&["nobody"]);
}

#[test]
fn avatars_are_added_listed_and_deleted() {
    let stage = Stage::new();
    let server = Server::start(&stage, &[]);
    let all = server.url("all", "");
    let talk = |words: &[&str]| stage.run(words.iter().copied().chain(["--server", &all]));
    let portrait = sample("portrait.png").display().to_string();
    let added = talk(&["avatars", "add", "anna", &portrait]);
    assert_eq!(added.code, 0, "{}", added.stderr);
    let listed = String::from_utf8(talk(&["avatars", "list"]).stdout).unwrap();
    assert!(listed.contains("anna"), "{listed}");
    assert!(server.get("musetalk", "/avatars").1.contains("anna"));
    assert_eq!(talk(&["avatars", "delete", "anna"]).code, 0);
    talk(&["avatars", "delete", "anna"]).assert_refused(&["anna"]);
    let nobody = talk(&["jobs", "list", "--server", "http://127.0.0.1:9"]);
    assert_ne!(nobody.code, 0);
}

#[test]
fn nobody_answers_where_no_server_is() {
    let stage = Stage::new();
    let run = stage.run(["jobs", "list", "--server", "http://127.0.0.1:9"]);
    run.assert_refused(&["http://127.0.0.1:9", "talkie serve"]);
}

#[test]
fn a_second_signal_leaves_at_once() {
    let stage = Stage::new();
    let mut server = Server::start(&stage, &[]);
    // a connection that never says anything would hold up the draining
    let address = server.addresses["all"].trim_start_matches("http://").to_owned();
    let mut idle = std::net::TcpStream::connect(address).unwrap();
    let asked = Instant::now();
    server.signal(Signal::TERM);
    server.signal(Signal::INT);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(20), "it drained, which has 30 s: {:?}", asked.elapsed());
    assert_eq!(idle.read(&mut [0; 8]).unwrap_or(0), 0);
}

#[test]
fn what_is_wrong_in_a_configuration_is_named() {
    let stage = Stage::new();
    let rows: [(&[&str], &[&str]); 7] = [
        (
            &["--conf", "musetalk-s3.bucket=mine"],
            &["[musetalk-s3] bucket", "s3_allowed.musetalk-s3", "s3://mine"],
        ),
        (
            &[
                "--conf",
                "musetalk-s3.bucket=mine",
                "--conf",
                "store.s3_allowed.musetalk-s3=[\"s3://mine/in\"]",
            ],
            &["[musetalk-s3] bucket"],
        ),
        (&["--conf", "serve.slotz=3"], &["slotz"]),
        (&["--conf", "serve.only=[\"svdd\"]"], &["svdd", "svd"]),
        (&["--conf", "serve.tls.cert=a.pem"], &["key"]),
        (&["--conf", "keys.anna=secret"], &["anna", "sha256"]),
        (&["--engine", "pupet"], &["pupet", "puppet"]),
    ];
    for (flags, words) in rows {
        let run: Run = stage.run(["serve", "--data", "data"].iter().chain(&FREE).chain(flags));
        run.assert_refused(words);
    }
}

/// A variable that is no text is nobody's mistake, and the files a server may have open are all that its user may.
#[test]
fn surroundings_that_are_not_as_usual() {
    use std::os::unix::ffi::OsStrExt;
    let stage = Stage::new();
    let mut args: Vec<&str> = ["serve", "--data", "data"].into_iter().chain(FREE).collect();
    // a bucket that is allowed is no mistake
    args.extend([
        "--conf",
        "musetalk-s3.bucket=mine",
        "--conf",
        "store.s3_allowed.musetalk-s3=[\"s3://mine\"]",
    ]);
    let mut command = Command::new("/bin/sh");
    let plain = stage.command(&args);
    command
        .args(["-c", "ulimit -S -n 256 && exec \"$0\" \"$@\""])
        .arg(plain.get_program())
        .args(plain.get_args());
    command.current_dir(plain.get_current_dir().unwrap()).stdin(std::process::Stdio::null());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let strange = std::ffi::OsStr::from_bytes(b"caf\xe9");
    command.env("STRANGE", strange).env(strange, "x").env("TALKIE__NONE", strange);
    let server = Server::spawn(command);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.child.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<_> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
    let ready = server.get("all", "/readyz");
    assert_eq!(ready.0, 200, "{}", ready.1);
}
