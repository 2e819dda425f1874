//! A running server as the commands `jobs` and `avatars` see it: Talkie's own API on the all port.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::time::Duration;

use contract::Complaint;
use serde_json::Value;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, SendBody};

use crate::cli::ServerArgs;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Client {
    agent: Agent,
    base: String,
    key: Option<String>,
}

impl Client {
    pub fn new(args: &ServerArgs) -> Result<Self, Complaint> {
        let mut config = Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .http_status_as_error(false)
            // the server is named; a proxy would be the wrong one to ask
            .proxy(None);
        if let Some(ca) = &args.address.ca {
            let wrong = |why: String| {
                let message = format!("the CA {} cannot be used: {why}", ca.display());
                Complaint::new("bad_certificate", message, "give the ca.pem that `talkie cert` names")
            };
            let pem = std::fs::read(ca).map_err(|error| wrong(error.to_string()))?;
            let root = Certificate::from_pem(&pem).map_err(|error| wrong(error.to_string()))?;
            let public = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
            let roots: Vec<_> = public.map(|root| Certificate::from_der(root)).chain([root]).collect();
            let roots = RootCerts::from(roots.into_iter());
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        let base = args.address.server.trim_end_matches('/').to_owned();
        Ok(Self { agent: config.build().into(), base, key: args.key.clone() })
    }

    pub fn get(&self, path: &str) -> Result<Value, Complaint> {
        let request = self.signed(self.agent.get(self.address(path)));
        read(self.answered(request.call())?)
    }

    pub fn post(&self, path: &str) -> Result<Value, Complaint> {
        let request = self.signed(self.agent.post(self.address(path)));
        read(self.answered(request.send_empty())?)
    }

    pub fn delete(&self, path: &str) -> Result<Value, Complaint> {
        let request = self.signed(self.agent.delete(self.address(path)));
        read(self.answered(request.call())?)
    }

    /// A form with one text field and one file, streamed.
    pub fn upload(
        &self,
        path: &str,
        (field, text): (&str, &str),
        (name, file): (&str, &Path),
    ) -> Result<Value, Complaint> {
        let unreadable = |error: std::io::Error| {
            Complaint::new(
                "file_unreadable",
                format!("{} cannot be read: {error}", file.display()),
                "check its name",
            )
        };
        let source = File::open(file).map_err(unreadable)?;
        let file_name =
            file.file_name().and_then(|name| name.to_str()).unwrap_or("file").replace(['"', '\r', '\n'], "_");
        let boundary = "talkie-form-boundary-7f3c1e";
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{text}\r\n\
             --{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file_name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let mut body = Cursor::new(head).chain(source).chain(Cursor::new(tail));
        let request = self
            .signed(self.agent.post(self.address(path)))
            .header("content-type", format!("multipart/form-data; boundary={boundary}"));
        read(self.answered(request.send(SendBody::from_reader(&mut body)))?)
    }

    /// Calls `each` with the data of every server-sent event called `name` until the stream ends or `each` answers `Break`.
    pub fn events(
        &self,
        path: &str,
        name: &str,
        mut each: impl FnMut(&Value) -> std::ops::ControlFlow<()>,
    ) -> Result<(), Complaint> {
        let request = self.signed(self.agent.get(self.address(path))).header("accept", "text/event-stream");
        let answer = self.answered(request.call())?;
        if !answer.status().is_success() {
            return read(answer).map(drop);
        }
        let mut called = String::new();
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            let line = line.map_err(|error| self.unreachable(&error.to_string()))?;
            if let Some(event) = line.strip_prefix("event:") {
                called = event.trim().to_owned();
            }
            if line.is_empty() {
                called.clear();
            }
            let Some(data) = line.strip_prefix("data:").filter(|_| called == name) else { continue };
            let event = serde_json::from_str(data.trim()).map_err(|error| strange(&error.to_string()))?;
            if each(&event).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn signed<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        }
    }

    fn answered(&self, outcome: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, Complaint> {
        outcome.map_err(|error| self.unreachable(&error.to_string()))
    }

    fn unreachable(&self, why: &str) -> Complaint {
        Complaint::new(
            "no_server",
            format!("no talkie server answers at {}: {why}", self.base),
            "start one with `talkie serve`, or name its all port with --server URL",
        )
    }
}

/// The body of a success; a refusal becomes its complaint.
fn read(answer: Response<Body>) -> Result<Value, Complaint> {
    let status = answer.status();
    let mut text = String::new();
    let body = answer.into_body().into_reader().take(64 << 20).read_to_string(&mut text);
    body.map_err(|error| strange(&error.to_string()))?;
    let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(value);
    }
    let told = |name: &str| value["error"][name].as_str().map(str::to_owned);
    let message = told("message")
        .or_else(|| value["detail"].as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("the server answered {status}"));
    Err(Complaint::new("refused", message, told("hint").unwrap_or_default()))
}

fn strange(why: &str) -> Complaint {
    Complaint::new(
        "bad_answer",
        format!("the answer is not what a talkie server sends: {why}"),
        "check --server",
    )
}
