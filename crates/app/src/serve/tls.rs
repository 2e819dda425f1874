//! TLS: your own certificate, or one signed by a CA of this data folder, made on first use and renewed before it ends. Such a CA
//! may sign for the names of its charter only (loopback, or fal's hosts), so that trusting it trusts nothing else.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::Complaint;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

const DAY: Duration = Duration::from_secs(24 * 3600);
const CA_DAYS: u32 = 3650;
/// Apple's systems accept at most 398.
const CERT_DAYS: u32 = 397;
/// What is left of a certificate when it is made anew.
const RENEW_DAYS: u32 = 30;

/// fal's hosts, as its clients have them built in.
pub const FAL_HOSTS: [&str; 11] = [
    "fal.run",
    "queue.fal.run",
    "falrun.com",
    "queue.falrun.com",
    "rest.fal.ai",
    "rest.alpha.fal.ai",
    "fal.ai",
    "api.fal.ai",
    "v3.fal.media",
    "v3b.fal.media",
    "fal.media",
];
const FAL_DOMAINS: [&str; 4] = ["fal.run", "falrun.com", "fal.ai", "fal.media"];

/// The files of a local CA.
pub struct LocalCertificate {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What a local CA is for.
pub struct Charter {
    /// Below the data folder.
    folder: &'static str,
    ca: &'static str,
    cert: &'static str,
    permitted: Vec<GeneralSubtree>,
    hosts: &'static [&'static str],
    addresses: &'static [IpAddr],
}

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

impl Charter {
    /// This machine, as it calls itself.
    pub fn loopback() -> Self {
        Self {
            folder: "tls",
            ca: "Talkie local CA",
            cert: "Talkie on localhost",
            permitted: vec![
                GeneralSubtree::DnsName("localhost".to_owned()),
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
                GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(Ipv6Addr::LOCALHOST.octets(), 128)),
            ],
            hosts: &["localhost"],
            addresses: &LOOPBACK,
        }
    }

    /// fal's hosts, for `talkie takeover`.
    pub fn fal() -> Self {
        Self {
            folder: "takeover",
            ca: "Talkie takeover CA (fal's hosts only)",
            cert: "Talkie in the place of fal",
            permitted: FAL_DOMAINS.map(|name| GeneralSubtree::DnsName(name.to_owned())).to_vec(),
            hosts: &FAL_HOSTS,
            addresses: &[],
        }
    }

    /// The files in the data folder, made where they are missing or about to end.
    pub fn ensure(&self, data: &Path, now: SystemTime) -> Result<LocalCertificate, Complaint> {
        let folder = data.join(self.folder);
        std::fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
        let at = |name: &str| folder.join(name);
        let files = LocalCertificate { ca: at("ca.pem"), cert: at("cert.pem"), key: at("key.pem") };
        let ca_key = at("ca-key.pem");
        if !lasts(&files.ca, now) || !ca_key.is_file() {
            self.make_ca(&files.ca, &ca_key, now)?;
            remove(&files.cert)?; // whatever an earlier CA signed is worth nothing now
        }
        if !lasts(&files.cert, now) || !files.key.is_file() {
            self.sign(&files, &ca_key, now)?;
        }
        Ok(files)
    }

    fn make_ca(&self, ca: &Path, ca_key: &Path, now: SystemTime) -> Result<(), Complaint> {
        let key = KeyPair::generate().map_err(|error| unmade(&error))?;
        let mut params = lasting(CA_DAYS, self.ca, now);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: self.permitted.clone(),
            excluded_subtrees: Vec::new(),
        });
        let certificate = params.self_signed(&key).map_err(|error| unmade(&error))?;
        write(ca_key, &key.serialize_pem(), Secrecy::Private)?;
        write(ca, &certificate.pem(), Secrecy::Public)
    }

    fn sign(&self, files: &LocalCertificate, ca_key: &Path, now: SystemTime) -> Result<(), Complaint> {
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| unwritable(path, &error));
        let ca_secret = KeyPair::from_pem(&read(ca_key)?).map_err(|error| unmade(&error))?;
        let issuer =
            Issuer::from_ca_cert_pem(&read(&files.ca)?, ca_secret).map_err(|error| unmade(&error))?;
        let key = KeyPair::generate().map_err(|error| unmade(&error))?;
        let mut params = lasting(CERT_DAYS, self.cert, now);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        for host in self.hosts {
            let name = (*host).try_into().map_err(|error| unmade(&error))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(self.addresses.iter().copied().map(SanType::IpAddress));
        let certificate = params.signed_by(&key, &issuer).map_err(|error| unmade(&error))?;
        write(&files.key, &key.serialize_pem(), Secrecy::Private)?;
        write(&files.cert, &certificate.pem(), Secrecy::Public)
    }
}

/// Which protocols are offered behind TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Http1,
    Http1And2,
}

/// A certificate as text.
pub fn pem(der: &[u8]) -> String {
    const LINE: usize = 64;
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        (0..text.len()).step_by(LINE).map(|at| &text[at..text.len().min(at + LINE)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Ready for a listener.
pub fn acceptor(cert: &Path, key: &Path, speaks: Speaks) -> Result<TlsAcceptor, Complaint> {
    let bad = |file: &Path, why: String| {
        Complaint::new(
            "bad_certificate",
            format!("{} cannot be used: {why}", file.display()),
            "give a certificate chain and its key as PEM: serve.tls.cert and serve.tls.key",
        )
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(cert, "there is no certificate in it".to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, error.to_string()))?;
    // named, because the tree holds two providers
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(cert, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| bad(cert, error.to_string()))?;
    config.alpn_protocols = match speaks {
        Speaks::Http1 => vec![b"http/1.1".to_vec()],
        Speaks::Http1And2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Whether the certificate in `file` is there and has more than `RENEW_DAYS` left.
fn lasts(file: &Path, now: SystemTime) -> bool {
    let Ok(der) = CertificateDer::from_pem_file(file) else { return false };
    let Ok((_, cert)) = x509_parser::parse_x509_certificate(&der) else { return false };
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let needed = now + DAY * RENEW_DAYS;
    cert.validity().not_before.timestamp() <= now.as_secs() as i64
        && cert.validity().not_after.timestamp() > needed.as_secs() as i64
}

/// From a day ago (clocks differ) for `days`.
fn lasting(days: u32, name: &str, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * days - DAY).into();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

#[derive(Clone, Copy)]
enum Secrecy {
    Private,
    Public,
}

fn write(path: &Path, text: &str, secrecy: Secrecy) -> Result<(), Complaint> {
    remove(path)?;
    let mode = match secrecy {
        Secrecy::Private => 0o600,
        Secrecy::Public => 0o644,
    };
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| unwritable(path, &error))
}

fn remove(path: &Path) -> Result<(), Complaint> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(unwritable(path, &error)),
        _ => Ok(()),
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Complaint {
    let message = format!("the certificate file {} cannot be read or written: {error}", path.display());
    Complaint::new("tls_files", message, "give the right to write there, or name another folder with --data")
}

fn unmade(error: &rcgen::Error) -> Complaint {
    Complaint::new(
        "tls_failed",
        format!("the local certificate cannot be made: {error}"),
        "remove tls/ in the data folder and try again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_kept_until_it_is_about_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let read = |files: &LocalCertificate| {
            (std::fs::read(&files.ca).unwrap(), std::fs::read(&files.cert).unwrap())
        };
        let first = read(&Charter::loopback().ensure(folder.path(), now).unwrap());
        assert_eq!(read(&Charter::loopback().ensure(folder.path(), now + DAY * 300).unwrap()), first);
        let later = read(&Charter::loopback().ensure(folder.path(), now + DAY * 380).unwrap());
        assert!(later.0 == first.0 && later.1 != first.1, "the certificate is new, the CA the same");
        let files = Charter::loopback().ensure(folder.path(), now + DAY * 3640).unwrap();
        let last = read(&files);
        assert!(last.0 != first.0 && last.1 != later.1);
        acceptor(&files.cert, &files.key, Speaks::Http1And2).map(drop).unwrap();

        use std::os::unix::fs::PermissionsExt;
        for secret in ["key.pem", "ca-key.pem"] {
            let mode = folder.path().join("tls").join(secret).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{secret}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cert.pem");
        std::fs::write(&file, "hello").unwrap();
        let complaint = acceptor(&file, &file, Speaks::Http1).map(drop).unwrap_err();
        assert!(complaint.code == "bad_certificate" && complaint.message.contains("cert.pem"), "{complaint}");
    }
}
