//! Each link of AWS's chain of credentials, alone, against what hands them out.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{ID, SECRET, tell};

const RIGHT: &str = "told::the_credentials_are_right";
const NONE: &str = "told::there_are_no_credentials";
const UNTIL: &str = "2999-01-01T00:00:00Z";

#[test]
fn a_profile() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let good = format!("aws_access_key_id = {ID}\naws_secret_access_key = {SECRET}\n");
    let bad = "aws_access_key_id = OTHER\naws_secret_access_key = wrong\n";
    std::fs::write(at("credentials"), format!("[default]\n{bad}\n[talkie]\n{good}")).unwrap();
    std::fs::write(at("config"), format!("[profile talkie]\n{good}\n[default]\n{good}")).unwrap();
    let credentials = ("AWS_SHARED_CREDENTIALS_FILE", at("credentials"));
    let config = ("AWS_CONFIG_FILE", at("config"));
    tell(RIGHT, &[(credentials.0, &credentials.1), ("AWS_PROFILE", "talkie")]);
    tell(RIGHT, &[(config.0, &config.1), ("AWS_PROFILE", "talkie")]);
    tell(RIGHT, &[(config.0, &config.1)]);
    std::fs::create_dir(folder.path().join(".aws")).unwrap();
    std::fs::write(at(".aws/credentials"), format!("[default]\n{good}")).unwrap();
    tell(RIGHT, &[("HOME", &at(""))]);
}

/// Serves `answer(request)` on every connection, for as long as the process lives.
pub fn serve(answer: fn(&str) -> String) -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        run_for_ever(async move {
            socket.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(socket).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(one_answer(socket, answer));
            }
        });
    });
    port
}

pub fn reply(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn keys(extra: &str) -> String {
    format!(
        r#"{{"Code":"Success","AccessKeyId":"{ID}","SecretAccessKey":"{SECRET}","Token":"session","Expiration":"{UNTIL}"{extra}}}"#
    )
}

/// Version 2 of the metadata service: nothing without a token, and a token only for who asks with PUT.
fn metadata(request: &str) -> String {
    let line = request.lines().next().unwrap_or_default();
    let has = |header: &str| request.to_lowercase().contains(header);
    if line.starts_with("PUT /latest/api/token") && has("x-aws-ec2-metadata-token-ttl-seconds: ") {
        return reply("200 OK", "the-token");
    }
    if !has("x-aws-ec2-metadata-token: the-token") {
        return reply("401 Unauthorized", "");
    }
    match line.split(' ').nth(1) {
        Some("/latest/meta-data/iam/security-credentials/") => reply("200 OK", "the-role"),
        Some("/latest/meta-data/iam/security-credentials/the-role") => reply("200 OK", &keys("")),
        _ => reply("404 Not Found", ""),
    }
}

#[test]
fn an_instance_role() {
    let endpoint = format!("http://127.0.0.1:{}", serve(metadata));
    tell(RIGHT, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]);
}

#[test]
fn a_container() {
    fn container(request: &str) -> String {
        let asked =
            request.starts_with("GET /role ") && request.to_lowercase().contains("authorization: the-pass");
        if asked { reply("200 OK", &keys("")) } else { reply("403 Forbidden", "") }
    }
    let url = format!("http://127.0.0.1:{}/role", serve(container));
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "the-pass"),
    ];
    tell(RIGHT, &variables);
}

/// The token service has one address on the internet, so a proxy with a certificate for it stands in.
#[test]
fn a_web_identity() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let made = rcgen::generate_simple_self_signed(vec!["sts.amazonaws.com".to_owned()]).unwrap();
    std::fs::write(at("ca.pem"), made.cert.pem()).unwrap();
    std::fs::write(at("token"), "the-identity\n").unwrap();
    let proxy = format!("http://127.0.0.1:{}", token_service(&made, web_identity));
    tell(
        RIGHT,
        &[
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/talkie"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &at("token")),
            ("HTTPS_PROXY", &proxy),
            ("SSL_CERT_FILE", &at("ca.pem")),
        ],
    );
}

fn web_identity(request: &str) -> String {
    let wanted = [
        "Action=AssumeRoleWithWebIdentity",
        "WebIdentityToken=the-identity",
        "role%2Ftalkie",
        "sts.amazonaws.com",
    ];
    if !wanted.iter().all(|part| request.contains(part)) {
        return reply("400 Bad Request", "");
    }
    reply(
        "200 OK",
        &format!(
            "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
             <AccessKeyId>{ID}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>\
             <SessionToken>session</SessionToken><Expiration>{UNTIL}</Expiration>\
             </Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        ),
    )
}

/// Off the cloud: nobody listens, somebody listens and says nothing, and a proxy must not be asked.
#[test]
fn nothing() {
    tell(NONE, &[]);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    tell(NONE, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)]);
    tell(NONE, &[("AWS_EC2_METADATA_DISABLED", "true")]);
    let proxy = format!("http://127.0.0.1:{}", serve(metadata));
    tell(
        NONE,
        &[
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://metadata.invalid"),
            ("HTTP_PROXY", &proxy),
            ("http_proxy", &proxy),
            ("NO_PROXY", "127.0.0.1"),
        ],
    );
}

fn run_for_ever(serving: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(serving);
}

async fn one_answer<S: AsyncReadExt + AsyncWriteExt + Unpin>(mut socket: S, answer: fn(&str) -> String) {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0usize) {
                let _ = socket.write_all(answer(&text).as_bytes()).await;
                let _ = socket.shutdown().await;
                return;
            }
        }
        if !matches!(socket.read_buf(&mut request).await, Ok(n) if n > 0) {
            return;
        }
    }
}

/// A proxy that leads every CONNECT to a TLS server of this process.
fn token_service(made: &rcgen::CertifiedKey<rcgen::KeyPair>, answer: fn(&str) -> String) -> u16 {
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    // named, because a build of the whole workspace holds two providers
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        run_for_ever(async move {
            socket.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(socket).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let socket = connected(socket).await?;
                    let tls = acceptor.accept(socket).await.ok()?;
                    one_answer(tls, answer).await;
                    Some(())
                });
            }
        });
    });
    port
}

async fn connected(mut socket: TcpStream) -> Option<TcpStream> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    if !request.starts_with(b"CONNECT sts.amazonaws.com:443 ") {
        return None;
    }
    socket.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.ok()?;
    Some(socket)
}
