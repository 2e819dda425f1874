//! A hub: the files of one repository as `resolve` sends them, its listing, and a size that it may lie about. Every request is noted.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::{Complaint, Stop};
use models::{Access, Catalogue, Checksums, OnMisfit, Places, PullEvent, PullOrder, Teller, pull};
use sha2::{Digest, Sha256};

const COMMIT: &str = "c0ffee";

#[derive(Clone, Default)]
pub struct Files {
    pub all: BTreeMap<&'static str, Vec<u8>>,
    /// Told in place of every file's own.
    pub size: Option<u64>,
}

pub struct Hub {
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    pub fn start(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        // ends with the test's process
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (files, noted) = (files.clone(), Arc::clone(&noted));
                std::thread::spawn(move || answer(stream.unwrap(), &files, &noted));
            }
        });
        Self { url, asked }
    }

    /// Lines of requests, `GET /o/n/resolve/main/a.bin`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Pulls into `places`; the events by name and label.
    pub fn pull(
        &self,
        (catalogue, names): (&Catalogue, &[&str]),
        places: &Places,
        existing: OnMisfit,
    ) -> Result<Vec<String>, Complaint> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let access =
            Access { endpoint: self.url.clone(), token: None, proxy: None, silence: Duration::from_secs(10) };
        let order = PullOrder { access, connections: 2, existing, checksums: Checksums::Catalogue };
        let told = Arc::new(Mutex::new(Vec::new()));
        let hearing = Arc::clone(&told);
        let teller = Teller::new(move |event| {
            let line = match event {
                PullEvent::Present { label, .. } => format!("present {label}"),
                PullEvent::Plan { files, bytes } => format!("plan {files} {bytes}"),
                PullEvent::Begun { label, .. } => format!("begun {label}"),
                PullEvent::Done { label, .. } => format!("done {label}"),
                _ => return,
            };
            hearing.lock().unwrap().push(line);
        });
        pull(&catalogue.select(&names).unwrap(), places, &order, &Stop::new(), teller)?;
        Ok(told.lock().unwrap().clone())
    }
}

fn answer(stream: TcpStream, files: &Files, noted: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut range) = (String::new(), None);
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut row = String::new();
            reader.read_line(&mut row).unwrap();
            let row = row.trim_end().to_ascii_lowercase();
            if row.is_empty() {
                break;
            }
            range = row.strip_prefix("range: bytes=").map(str::to_owned).or(range);
        }
        let words: Vec<&str> = line.split(' ').collect();
        noted.lock().unwrap().push(words[..2].join(" "));
        let answer = match words[1].split_once("/resolve/main/") {
            Some((_, path)) => file(files, path, words[0] == "HEAD", range.as_deref()),
            None if words[1].contains("/tree/") => whole(200, "", &listing(files)),
            None => whole(404, "", b""),
        };
        if reader.get_mut().write_all(&answer).is_err() {
            return;
        }
    }
}

fn whole(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn file(files: &Files, path: &str, head: bool, range: Option<&str>) -> Vec<u8> {
    let Some(bytes) = files.all.get(path) else { return whole(404, "", b"") };
    let size = files.size.unwrap_or(bytes.len() as u64);
    let sum = sum(bytes);
    let facts = format!(
        "x-repo-commit: {COMMIT}\r\nx-linked-size: {size}\r\nx-linked-etag: \"{sum}\"\r\netag: \"{sum}\"\r\n"
    );
    if head {
        return whole(200, &facts, b"");
    }
    let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
        return whole(200, &facts, bytes);
    };
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let facts = format!("{facts}content-range: bytes {first}-{last}/{}\r\n", bytes.len());
    whole(206, &facts, &bytes[first..=last])
}

fn listing(files: &Files) -> Vec<u8> {
    let rows: Vec<_> = files
        .all
        .iter()
        .map(|(path, bytes)| {
            serde_json::json!({ "type": "file", "path": path, "size": bytes.len(), "lfs": { "oid": sum(bytes) } })
        })
        .collect();
    serde_json::to_vec(&rows).unwrap()
}

fn sum(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
