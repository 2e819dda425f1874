//! The way a request came in: which of fal's hosts it means, and under which addresses this server answers for them. Clients
//! keep the addresses they are given, so each gets those of its own way.

use std::borrow::Cow;

use axum::http::{HeaderMap, Uri, header};
use url::Url;

use crate::front_door::refused::Refused;

/// What fal has a host for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// `fal.run`: answers when the work is done.
    Run,
    /// `queue.fal.run`
    Queue,
    /// `rest.fal.ai`: tokens, uploads, the webhooks' keys.
    Rest,
    /// `v3.fal.media`: files.
    Cdn,
    /// `fal.ai`, `api.fal.ai`: documents.
    Api,
}

/// What is asked for, and what the answers' addresses begin with.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub service: Service,
    /// Below the service, with its first slash.
    pub path: String,
    pub query: Option<String>,
    pub bases: Bases,
}

/// Where the services lie for whoever asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Bases {
    /// At fal's own hosts.
    Official,
    /// Under their prefixes, below an address without a last slash.
    Below(String),
}

/// Hosts that clients have built in, and what each is.
pub fn official(host: &str) -> Option<Service> {
    match host.to_ascii_lowercase().as_str() {
        "fal.run" | "falrun.com" => Some(Service::Run),
        "queue.fal.run" | "queue.falrun.com" => Some(Service::Queue),
        "rest.fal.ai" | "rest.alpha.fal.ai" => Some(Service::Rest),
        "v3.fal.media" | "v3b.fal.media" | "fal.media" => Some(Service::Cdn),
        "fal.ai" | "api.fal.ai" => Some(Service::Api),
        _ => None,
    }
}

/// The host that the client spoke to, before any proxy of ours or another's.
pub fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let forwarded = text("x-forwarded-host").and_then(|hosts| hosts.split(',').next()).map(str::trim);
    forwarded
        .or_else(|| text(header::HOST.as_str()))
        .or_else(|| uri.authority().map(|authority| authority.as_str()))
}

/// Where this dialect lies.
#[derive(Clone, Debug)]
pub struct Site {
    /// What clients are to use instead of what they used.
    pub public: Option<String>,
    pub https: bool,
    /// Where its services lie below where this door does: nothing, unless the door is an alias.
    pub below: &'static str,
}

/// Where a request goes. `inner` is its path below where this dialect lies, `outer` the whole.
pub fn target((inner, outer): (&str, &Uri), headers: &HeaderMap, site: &Site) -> Result<Target, Refused> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let host = host(headers, outer).unwrap_or("localhost");
    let place = outer.path().strip_suffix(inner).unwrap_or_default();
    let own = || {
        let proto = text("x-forwarded-proto").filter(|proto| matches!(*proto, "http" | "https"));
        let scheme = proto.unwrap_or(if site.https { "https" } else { "http" });
        let before = text("x-forwarded-prefix").unwrap_or_default().trim_end_matches('/');
        let told = || format!("{scheme}://{host}{before}{place}{}", site.below);
        site.public.clone().unwrap_or_else(told)
    };
    let name = host.rsplit_once(':').map_or(host, |(name, port)| match port.parse::<u16>() {
        Ok(_) => name,
        Err(_) => host,
    });
    let query = outer.query().map(str::to_owned);
    let asked = if inner.trim_end_matches('/') == "/api/fal/proxy" {
        let (service, path, query) = proxied(text("x-fal-target-url"))?;
        Target { service, path, query, bases: Bases::below(own()) }
    } else if let Some(service) = official(name) {
        Target { service, path: inner.to_owned(), query, bases: Bases::Official }
    } else {
        let (service, path) = prefixed(inner).ok_or_else(|| Refused::missing("Not Found"))?;
        Target { service, path: path.to_owned(), query, bases: Bases::below(own()) }
    };
    Ok(asked.told_apart())
}

fn prefixed(path: &str) -> Option<(Service, &str)> {
    let services = [
        ("/run", Service::Run),
        ("/queue", Service::Queue),
        ("/rest", Service::Rest),
        ("/cdn", Service::Cdn),
    ];
    let below = |(prefix, service): (&str, Service)| {
        let rest = path.strip_prefix(prefix)?;
        rest.starts_with('/').then_some((service, rest))
    };
    let api = ["/v1/models", "/api/openapi/"].iter().any(|known| path.starts_with(known));
    services.into_iter().find_map(below).or(api.then_some((Service::Api, path)))
}

/// `x-fal-target-url` names one of fal's hosts, or it is refused; it is never fetched.
fn proxied(url: Option<&str>) -> Result<(Service, String, Option<String>), Refused> {
    let invalid = || Refused::bad("Invalid request");
    let url = Url::parse(url.ok_or_else(invalid)?).map_err(|_| invalid())?;
    let service = url.host_str().and_then(official).ok_or_else(invalid)?;
    if url.scheme() != "https" {
        return Err(invalid());
    }
    Ok((service, url.path().to_owned(), url.query().map(str::to_owned)))
}

impl Target {
    /// fal's queue and its run share their paths: what stands below `/requests/`, and what says `_subdomain=queue` as the router
    /// of Hugging Face does, is meant for the queue.
    fn told_apart(self) -> Self {
        let named = self.value("_subdomain").as_deref() == Some("queue");
        let service = match self.service {
            Service::Run if named || self.path.contains("/requests/") => Service::Queue,
            service => service,
        };
        Self { service, ..self }
    }

    /// A value of the query; the last of equal names counts.
    pub fn value(&self, name: &str) -> Option<String> {
        let query = self.query.as_deref()?;
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.filter(|(known, _)| known == name).last().map(|(_, value)| value.into_owned())
    }
}

impl Bases {
    fn below(mut base: String) -> Self {
        base.truncate(base.trim_end_matches('/').len());
        Self::Below(base)
    }

    /// A request of the queue.
    pub fn request(&self, app: &str, id: &str) -> String {
        match self {
            Self::Official => format!("https://queue.fal.run/{app}/requests/{id}"),
            Self::Below(base) => format!("{base}/queue/{app}/requests/{id}"),
        }
    }

    pub fn cdn(&self) -> Cow<'static, str> {
        match self {
            Self::Official => Cow::Borrowed("https://v3.fal.media"),
            Self::Below(base) => Cow::Owned(format!("{base}/cdn")),
        }
    }

    /// The path of a file of ours, if this address is one, by whichever way it was told.
    pub fn file_path(&self, url: &str) -> Option<String> {
        if let Some(rest) = url.strip_prefix(&*self.cdn()).filter(|rest| rest.starts_with('/')) {
            return Some(rest.to_owned());
        }
        // most addresses are others': that much is seen without reading them whole
        let (_, rest) = url.split_once("://")?;
        let host = rest.split(['/', '?', '#', ':']).next()?;
        (official(host) == Some(Service::Cdn)).then_some(())?;
        Some(Url::parse(url).ok()?.path().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &str)]) -> HeaderMap {
        rows.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn site(below: &'static str) -> Site {
        Site { public: None, https: false, below }
    }

    #[test]
    fn each_way_in_is_told_the_addresses_of_its_own() {
        let rows = [
            // inner, outer, host, service, path, cdn
            ("/run/a/b", "/fal/run/a/b", "h:1", Service::Run, "/a/b", "http://h:1/fal/cdn"),
            ("/queue/a/b", "/queue/a/b", "h:1", Service::Queue, "/a/b", "http://h:1/cdn"),
            (
                "/run/a/b/requests/x/status",
                "/run/a/b/requests/x/status",
                "h",
                Service::Queue,
                "/a/b/requests/x/status",
                "http://h/cdn",
            ),
            ("/run/a/b", "/run/a/b?_subdomain=queue", "h", Service::Queue, "/a/b", "http://h/cdn"),
            ("/a/b", "/fal/a/b", "queue.fal.run", Service::Queue, "/a/b", "https://v3.fal.media"),
            (
                "/files/upload",
                "/files/upload",
                "v3.fal.media:443",
                Service::Cdn,
                "/files/upload",
                "https://v3.fal.media",
            ),
            ("/v1/models", "/fal/v1/models?x=1", "h", Service::Api, "/v1/models", "http://h/fal/cdn"),
        ];
        for (inner, outer, host, service, path, cdn) in rows {
            let target =
                target((inner, &outer.parse().unwrap()), &headers(&[("host", host)]), &site("")).unwrap();
            assert_eq!(
                (target.service, target.path.as_str(), &*target.bases.cdn()),
                (service, path, cdn),
                "{outer}"
            );
        }
        let outer: Uri = "/run/a/b".parse().unwrap();
        let forwarded = headers(&[
            ("host", "127.0.0.1:8100"),
            ("x-forwarded-host", "talkie.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/ai/"),
        ]);
        let told = target(("/run/a/b", &outer), &forwarded, &site("")).unwrap();
        assert_eq!(told.bases.cdn(), "https://talkie.example/ai/cdn");
        let public = Site { public: Some("https://p.example/fal".into()), ..site("") };
        let told = target(("/run/a/b", &outer), &forwarded, &public).unwrap();
        assert_eq!(told.bases.cdn(), "https://p.example/fal/cdn");
    }

    #[test]
    fn the_proxy_goes_to_fals_hosts_only() {
        let outer: Uri = "/api/fal/proxy".parse().unwrap();
        let go = |url: Option<&str>| {
            let rows: Vec<_> =
                url.map(|url| ("x-fal-target-url", url)).into_iter().chain([("host", "h:1")]).collect();
            target(("/api/fal/proxy", &outer), &headers(&rows), &site("/fal"))
        };
        let told = go(Some("https://queue.fal.run/fal-ai/infinitalk/requests/x/status?logs=1")).unwrap();
        assert_eq!(told.service, Service::Queue);
        assert_eq!(told.path, "/fal-ai/infinitalk/requests/x/status");
        assert_eq!(told.value("logs").as_deref(), Some("1"));
        assert_eq!(told.bases.cdn(), "http://h:1/fal/cdn");
        for wrong in [
            None,
            Some("https://evil.example/"),
            Some("http://fal.run/x"),
            Some("fal.run"),
            Some("https://fal.run.evil.example/"),
        ] {
            assert!(go(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn files_of_ours_are_known_by_every_address_they_have() {
        let bases = Bases::below("http://h:1/fal".to_owned());
        let rows = [
            ("http://h:1/fal/cdn/files/a/b.mp4", Some("/files/a/b.mp4")),
            ("https://v3.fal.media/files/a/b.mp4", Some("/files/a/b.mp4")),
            ("http://h:1/fal/cdnx/files/a", None),
            ("https://example.com/files/a/b.mp4", None),
            ("data:,x", None),
        ];
        for (url, expected) in rows {
            assert_eq!(bases.file_path(url).as_deref(), expected, "{url}");
        }
    }
}
