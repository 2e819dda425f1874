//! A provider: answers each request by a script, and notes what it was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
pub struct Seen {
    pub line: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone)]
pub enum Answer {
    /// Status, headers, body.
    Whole(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The same, of whose body only so many bytes are sent.
    Cut(Vec<u8>, usize),
    /// No length is told: pieces until the body ends.
    Chunked(&'static str, Vec<u8>),
    /// The connection ends without a byte.
    Nothing,
    /// Headers, and then silence until the other side leaves.
    Hang,
}

pub fn video(bytes: &[u8]) -> Answer {
    Answer::Whole(200, vec![("content-type", "video/mp4".into())], bytes.to_vec())
}

pub fn json(status: u16, body: &str) -> Answer {
    Answer::Whole(status, vec![("content-type", "application/json".into())], body.into())
}

pub struct Provider {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Told when a client that was left hanging is gone.
    left: Mutex<Receiver<()>>,
}

impl Provider {
    /// `script`: the number of the request, from 0, and the request.
    pub fn start(script: impl Fn(usize, &Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (gone, left) = channel();
        let (script, noted) = (Arc::new(script), Arc::clone(&seen));
        // ends with the test's process
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, noted, gone) = (Arc::clone(&script), Arc::clone(&noted), gone.clone());
                std::thread::spawn(move || {
                    let Some((seen, stream)) = read(stream.unwrap()) else { return };
                    let number = {
                        let mut all = noted.lock().unwrap();
                        all.push(seen.clone());
                        all.len() - 1
                    };
                    write(stream, script(number, &seen), &gone);
                });
            }
        });
        Self { url, seen, left: Mutex::new(left) }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Blocks until a client that was left hanging has closed its connection.
    pub fn wait_left(&self) {
        self.left.lock().unwrap().recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    }
}

fn read(stream: TcpStream) -> Option<(Seen, TcpStream)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let mut row = String::new();
        reader.read_line(&mut row).ok()?;
        let Some((name, value)) = row.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let seen = Seen { line: line.trim_end().to_owned(), headers, body: Vec::new() };
    let mut body = vec![0; seen.header("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some((Seen { body, ..seen }, reader.into_inner()))
}

fn write(mut stream: TcpStream, answer: Answer, gone: &Sender<()>) {
    let head = |status: u16, headers: &[(&str, String)], length: usize| {
        let rows: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("HTTP/1.1 {status} X\r\n{rows}content-length: {length}\r\nconnection: close\r\n\r\n")
            .into_bytes()
    };
    let bytes = match answer {
        Answer::Whole(status, headers, body) => [head(status, &headers, body.len()), body].concat(),
        Answer::Cut(body, sent) => {
            [head(200, &[("content-type", "video/mp4".into())], body.len()), body[..sent].to_vec()].concat()
        }
        Answer::Chunked(kind, body) => {
            let mut all =
                format!("HTTP/1.1 200 X\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n")
                    .into_bytes();
            for piece in body.chunks(1000) {
                all.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                all.extend_from_slice(piece);
                all.extend_from_slice(b"\r\n");
            }
            all.extend_from_slice(b"0\r\n\r\n");
            all
        }
        Answer::Nothing => return,
        Answer::Hang => {
            let _ = stream.write_all(&head(200, &[("content-type", "video/mp4".into())], 1000));
            let mut rest = [0; 16];
            while matches!(stream.read(&mut rest), Ok(1..)) {}
            let _ = gone.send(());
            return;
        }
    };
    // whoever has seen enough leaves early
    let _ = stream.write_all(&bytes);
}
