//! What a user's URL may be: `http:` or `https:`, no credentials in it, the usual ports, and a host that is public or opened by
//! the operator. The form is checked here; where a name leads to is checked when it is resolved, and the connection goes
//! to exactly the addresses that were checked, so that a second, different answer changes nothing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use contract::Complaint;
use futures_util::future::BoxFuture;
use url::{Host, Url};

use crate::address::Addresses;

/// What browsers and servers agree to carry.
const URL_BYTES: usize = 8192;

/// Asks for the addresses of a name. Handed in, so that a test can lie.
pub(crate) trait Lookup: Send + Sync {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// What every other program on this machine would be told: hosts file, DNS, whatever is configured.
pub(crate) struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

#[derive(Clone)]
pub(crate) struct Guard {
    addresses: Addresses,
    lookup: Arc<dyn Lookup>,
}

/// How far a checked URL may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Public addresses and opened networks.
    Admitted,
    /// An unusual port: opened networks only.
    Opened,
}

impl Guard {
    pub(crate) fn new(addresses: Addresses, lookup: Arc<dyn Lookup>) -> Self {
        Self { addresses, lookup }
    }

    /// The form of a URL.
    pub(crate) fn check(&self, text: &str) -> Result<(Url, Reach), Complaint> {
        if text.len() > URL_BYTES {
            let message = format!("a URL has {} bytes, the limit is {URL_BYTES}", text.len());
            return Err(Complaint::new("bad_url", message, "use a shorter URL, or upload the file"));
        }
        // a parser would skip or turn these; whoever writes them means to be misread
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            let message = format!("`{}` holds a blank, a control character or a backslash", told_raw(text));
            return Err(Complaint::new("bad_url", message, "percent-encode it"));
        }
        let url = Url::parse(text).map_err(|error| {
            let message = format!("`{}` is no URL: {error}", told_raw(text));
            Complaint::new("bad_url", message, "write it like https://example.com/file.png")
        })?;
        let reach = self.check_parsed(&url)?;
        // a parser also takes `http:host` and `http:////host`, which others read differently
        let rest = text.get(url.scheme().len()..).and_then(|rest| rest.strip_prefix("://"));
        if rest.is_none_or(|rest| rest.starts_with('/')) {
            let message = format!("`{}` has no `//` and host behind its scheme", told(&url));
            return Err(Complaint::new("bad_url", message, "write it like https://example.com/file.png"));
        }
        Ok((url, reach))
    }

    pub(crate) fn check_parsed(&self, url: &Url) -> Result<Reach, Complaint> {
        let shown = told(url);
        if !matches!(url.scheme(), "http" | "https") {
            let message = format!("`{}:` URLs are not fetched", url.scheme().escape_debug());
            return Err(Complaint::new(
                "url_scheme",
                message,
                "use http:, https: or data:, or upload the file",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            let message = format!("`{shown}` carries a user name or a password");
            return Err(Complaint::new(
                "url_credentials",
                message,
                "use a URL that needs none, or upload the file",
            ));
        }
        let usual = url.port().is_none_or(|port| matches!(port, 80 | 443));
        let allowed = match url.host() {
            Some(Host::Ipv4(v4)) => self.literal(IpAddr::V4(v4), usual),
            Some(Host::Ipv6(v6)) => self.literal(IpAddr::V6(v6), usual),
            Some(Host::Domain(name)) if is_localhost(name) => {
                let local = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1u16])];
                local.into_iter().any(|address| self.literal(address, usual))
            }
            Some(Host::Domain(name)) => !name.is_empty() && (usual || self.addresses.opens_any()),
            None => false,
        };
        match (allowed, usual) {
            (true, true) => Ok(Reach::Admitted),
            (true, false) => Ok(Reach::Opened),
            (false, _) if matches!(url.host(), Some(Host::Domain(name)) if !is_localhost(name)) => {
                Err(bad_port(&shown, url))
            }
            (false, _) => Err(closed(&shown)),
        }
    }

    fn literal(&self, address: IpAddr, usual_port: bool) -> bool {
        if usual_port { self.addresses.admit(address) } else { self.addresses.opens(address) }
    }

    /// A resolver for an HTTP client: it tells only what the reach allows.
    pub(crate) fn resolver(&self, reach: Reach) -> Arc<Resolver> {
        Arc::new(Resolver { guard: self.clone(), reach })
    }
}

pub(crate) struct Resolver {
    guard: Guard,
    reach: Reach,
}

/// A name that leads nowhere a user's URL may lead.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to no address that may be reached")]
pub(crate) struct Closed;

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let asked = self.guard.lookup.lookup(name.as_str().to_owned());
        let (addresses, reach) = (self.guard.addresses.clone(), self.reach);
        Box::pin(async move {
            let mut found = asked.await?;
            if found.is_empty() {
                return Err(io::Error::from(io::ErrorKind::NotFound).into());
            }
            found.retain(|address| match reach {
                Reach::Admitted => addresses.admit(*address),
                Reach::Opened => addresses.opens(*address),
            });
            if found.is_empty() {
                tracing::info!(
                    name = name.as_str(),
                    "a URL of a request leads to no address that may be reached"
                );
                return Err(Closed.into());
            }
            // the client puts the port in
            let told = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(told) as reqwest::dns::Addrs)
        })
    }
}

fn is_localhost(name: &str) -> bool {
    name.trim_end_matches('.').rsplit('.').next() == Some("localhost")
}

/// A URL as it may be shown: without query, fragment and credentials, which may be secrets.
pub(crate) fn told(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shorten(shown.as_str())
}

fn told_raw(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let shown = if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") };
    shorten(&shown.escape_debug().to_string())
}

fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(200).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The same words for every reason, so that nobody learns from them what lies in the private network.
pub(crate) fn closed(shown: &str) -> Complaint {
    let message = format!("`{shown}` does not lead to a public address");
    let hint = "use a public URL or upload the file; the operator opens private networks with allowed_networks in [fetch]";
    Complaint::new("url_not_allowed", message, hint)
}

fn bad_port(shown: &str, url: &Url) -> Complaint {
    let port = url.port().unwrap_or_default();
    let message = format!("`{shown}` names port {port}, the ports 80 and 443 are allowed");
    Complaint::new("url_port", message, "use the usual port, or upload the file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(opened: &[&str]) -> Guard {
        let opened: Vec<String> = opened.iter().map(|&n| n.to_owned()).collect();
        Guard::new(Addresses::open(&opened).unwrap(), Arc::new(SystemLookup))
    }

    /// Rows that no network has to be asked about: every spelling of an address that a URL may hold.
    #[test]
    fn urls_by_their_form() {
        let guard = guard(&[]);
        let good = [
            "http://example.com",
            "https://example.com/a.png?x=1#y",
            "HTTPS://EXAMPLE.COM/",
            "http://example.com:80/",
            "https://example.com:443/",
            "http://example.com:443/",
            "https://example.com:80/a",
            "http://8.8.8.8/",
            "http://134744072/",
            "http://[2606:4700::1111]/",
            "http://[::ffff:8.8.8.8]/",
            "https://münchen.example/ä.png",
            "http://a.b-c.example./x",
            "http://@example.com/",
        ];
        for url in good {
            assert_eq!(guard.check(url).map(|(_, reach)| reach), Ok(Reach::Admitted), "{url}");
        }
        let long = format!("https://example.com/{}", "a".repeat(9000));
        let rows: &[(&str, &[&str])] = &[
            (
                "url_not_allowed",
                &[
                    // loopback, in every spelling
                    "http://127.0.0.1/",
                    "http://127.1/",
                    "http://127.0.1/",
                    "http://2130706433/",
                    "http://0x7f000001/",
                    "http://0x7f.1/",
                    "http://0177.0.0.1/",
                    "http://017700000001/",
                    "http://0x7F.0x0.0x0.0x1/",
                    "http://127.0.0.1./",
                    "http://127.0.0.%31/",
                    "http://%31%32%37.0.0.1/",
                    "http://１２７.0.0.1/",
                    "http://127。0。0。1/",
                    "http://127.00.000.1/",
                    "http://localhost/",
                    "http://LOCALHOST./",
                    "http://foo.localhost/",
                    "http://127.255.255.254/",
                    "http://0/",
                    "http://0.0.0.0/",
                    "http://localhost:8080/",
                    "http://127.0.0.1:8080/",
                    "http://127.0.0.1:443/",
                    // private, carrier, link-local, metadata, multicast, reserved
                    "http://10.0.0.1/",
                    "http://0xa.1/",
                    "http://172.16.0.1/",
                    "http://192.168.1.1/",
                    "http://3232235777/",
                    "http://100.64.0.1/",
                    "http://169.254.169.254/latest/meta-data/",
                    "http://2852039166/",
                    "http://0xa9fea9fe/",
                    "http://0251.0376.0251.0376/",
                    "http://169.254.43518/",
                    "http://168.63.129.16/",
                    "http://192.0.0.192/",
                    "http://192.0.2.1/",
                    "http://198.18.0.1/",
                    "http://224.0.0.1/",
                    "http://255.255.255.255/",
                    "http://240.0.0.1/",
                    // IPv6
                    "http://[::1]/",
                    "http://[::]/",
                    "http://[0:0:0:0:0:0:0:1]/",
                    "http://[0000::0001]/",
                    "http://[::ffff:127.0.0.1]/",
                    "http://[::ffff:7f00:1]/",
                    "http://[::FFFF:a9fe:a9fe]/",
                    "http://[::127.0.0.1]/",
                    "http://[64:ff9b::7f00:1]/",
                    "http://[64:ff9b::169.254.169.254]/",
                    "http://[64:ff9b:1::1]/",
                    "http://[2002:7f00:1::]/",
                    "http://[2001::1]/",
                    "http://[2001:db8::1]/",
                    "http://[fc00::1]/",
                    "http://[fd00:ec2::254]/",
                    "http://[fe80::1]/",
                    "http://[fec0::1]/",
                    "http://[ff02::1]/",
                    "http://[::ffff:0:127.0.0.1]/",
                    "http://8.8.8.8:22/",
                ],
            ),
            (
                "bad_url",
                &[
                    "",
                    "http://",
                    "http:example.com/",
                    "http:/example.com/",
                    "http:///example.com/",
                    "http:ttp://example.com/",
                    "http:///",
                    "https://[fe80::1%25eth0]/",
                    "https://[fe80::1%eth0]/",
                    "http://[::1",
                    "http://exa mple.com/",
                    "http://example.com\\@127.0.0.1/",
                    "http://example.com/\r\nHost: x",
                    " http://example.com/",
                    "http://example.com/\t",
                    "http://256.256.256.256/",
                    "http://1.2.3.4.5/",
                    "http://0x100000000/",
                    "http://example.com:99999/",
                    "example.com/a.png",
                    "//example.com/a",
                    "/etc/passwd",
                    "http://exam\u{0}ple.com/",
                    "http://a..b%00/",
                    &long,
                ],
            ),
            (
                "url_scheme",
                &[
                    "ftp://example.com/",
                    "file:///etc/passwd",
                    "gopher://127.0.0.1/",
                    "javascript:alert(1)",
                    "jar:http://x!/",
                    "s3://bucket/key",
                    "data:,x",
                    "blob:https://example.com/x",
                    "dict://x/",
                    "localhost:80",
                    "unix:/run/x",
                ],
            ),
            (
                "url_credentials",
                &[
                    "http://user@example.com/",
                    "http://user:pass@example.com/",
                    "https://:pass@example.com/",
                    "http://example.com@127.0.0.1/",
                    "http://127.0.0.1:80@example.com/",
                    "http://a%40b@example.com/",
                ],
            ),
            (
                "url_port",
                &[
                    "http://example.com:22/",
                    "https://example.com:8443/",
                    "http://example.com:0/",
                    "http://example.com:65535/",
                ],
            ),
        ];
        for (code, urls) in rows {
            for url in *urls {
                let complaint = guard.check(url).map(|(_, reach)| reach).unwrap_err();
                assert_eq!(complaint.code, *code, "{url}: {complaint}");
                assert!(complaint.message.len() < 700 && !complaint.message.contains('\n'), "{complaint}");
                assert!(!complaint.message.contains("pass@"), "{complaint}");
            }
        }
    }

    #[test]
    fn an_opened_network_has_any_port() {
        let guard = guard(&["127.0.0.0/8", "10.0.0.0/8"]);
        for (url, expected) in [
            ("http://127.0.0.1/", Ok(Reach::Admitted)),
            ("http://127.0.0.1:9000/", Ok(Reach::Opened)),
            ("http://localhost:9000/", Ok(Reach::Opened)),
            ("http://inner.example:9000/", Ok(Reach::Opened)),
            ("http://0xa.1:8080/", Ok(Reach::Opened)),
            ("http://[::ffff:10.0.0.1]:8080/", Ok(Reach::Opened)),
            ("http://192.168.0.1/", Err("url_not_allowed")),
            ("http://8.8.8.8:9000/", Err("url_not_allowed")),
            ("http://[::1]:9000/", Err("url_not_allowed")),
        ] {
            assert_eq!(guard.check(url).map(|(_, reach)| reach).map_err(|c| c.code), expected, "{url}");
        }
    }

    #[test]
    fn a_secret_in_a_url_is_not_shown() {
        let guard = guard(&[]);
        for url in [
            "http://10.0.0.1/a?X-Amz-Signature=SECRET",
            "http://10.0.0.1/a#SECRET",
            "http://SECRET:SECRET@example.com/",
            "http://SECRET@exa mple.com/",
            "http://exa mple.com/?SECRET",
            "ht tp://SECRET@x/",
        ] {
            let complaint = guard.check(url).unwrap_err();
            assert!(!complaint.to_string().contains("SECRET"), "{complaint}");
        }
    }
}
