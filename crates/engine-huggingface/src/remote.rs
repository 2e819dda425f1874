//! Where a picture goes: the form of the requests, the model, the hosts, the token, and what an answer may cost. Checked once, when the engine
//! is made. A token goes over TLS or stays on this machine; it is never shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::Complaint;
use futures_util::future::BoxFuture;
use media::{Limits, ToolPaths};
use url::{Host, Url};

use crate::token::{HOW_TO_GET_A_TOKEN, Token};

pub const DEFAULT_MODEL: &str = "stabilityai/stable-video-diffusion-img2vid-xt";
/// Frames of one clip of that model.
const DEFAULT_MODEL_FRAMES: u64 = 25;
const CLASSIC: &str = "https://api-inference.huggingface.co";
const ROUTER: &str = "https://router.huggingface.co";
const HUB: &str = "https://huggingface.co";
const SEE: &str = "docs/huggingface.md lists what can be set";

/// How a provider is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// `{base}/hf-inference/models/{id}`, JSON.
    #[default]
    Router,
    /// `{base}/models/{id}`, a form with a file, as the original backend sends it.
    Classic,
    /// fal's queue behind the router.
    Fal,
}

impl Form {
    pub fn named(name: &str) -> Option<Self> {
        [Form::Router, Form::Classic, Form::Fal].into_iter().find(|form| form.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Form::Router => "router",
            Form::Classic => "classic",
            Form::Fal => "fal-ai",
        }
    }

    /// Whose machine computes.
    pub fn provider(self) -> &'static str {
        match self {
            Form::Router | Form::Classic => "hf-inference",
            Form::Fal => "fal-ai",
        }
    }

    fn base(self) -> &'static str {
        match self {
            Form::Router | Form::Fal => ROUTER,
            Form::Classic => CLASSIC,
        }
    }
}

#[derive(Clone)]
pub struct Proxy {
    pub url: String,
    /// Hosts that are reached without it, as `NO_PROXY` lists them.
    pub except: Option<String>,
}

pub type Fetching<'a> = BoxFuture<'a, Result<PathBuf, Complaint>>;

/// Fetches an address that a provider named, under the house's guard and without any header of ours. Within a tokio runtime. What may pass
/// is told by one of the codes `url_broken`, `url_busy`, `url_timeout` and `url_unreachable`.
pub trait Download: Send + Sync {
    fn download<'a>(&'a self, url: &'a str, folder: &'a Path) -> Fetching<'a>;
}

/// What whoever runs the machine wants; `None` is the usual.
pub struct Setup {
    pub form: Form,
    pub model: Option<String>,
    /// Where requests go.
    pub base: Option<String>,
    /// Which hub knows a model's providers.
    pub hub: Option<String>,
    pub token: Option<Token>,
    /// Frames that are asked for at most.
    pub max_frames: Option<u64>,
    pub means: Means,
}

/// What a take is made with, and what it may cost.
pub struct Means {
    /// Not used where a host is asked in clear.
    pub proxy: Option<Proxy>,
    /// From the first request to the last byte.
    pub deadline: Duration,
    /// How often a request is sent at most, where it fails in a way that may pass.
    pub tries: u32,
    /// Of a provider's video.
    pub answer_bytes: u64,
    pub tools: ToolPaths,
    pub limits: Limits,
    pub downloads: Arc<dyn Download>,
    /// Chance, for the jitter of waits.
    pub chance: fn() -> u64,
}

/// A setup that was checked.
pub struct Remote {
    pub form: Form,
    pub model: String,
    pub base: Url,
    pub hub: Url,
    pub token: Option<Token>,
    pub max_frames: Option<u64>,
    pub means: Means,
}

impl Remote {
    pub fn check(setup: Setup) -> Result<Self, Complaint> {
        let model = setup.model.unwrap_or_else(|| DEFAULT_MODEL.to_owned());
        check_model(&model)?;
        let base = address("base_url", setup.base.as_deref().unwrap_or(setup.form.base()))?;
        let hub = address("hub_url", setup.hub.as_deref().unwrap_or(HUB))?;
        let asked = match setup.form {
            Form::Router | Form::Classic => vec![("base_url", &base)],
            Form::Fal => vec![("base_url", &base), ("hub_url", &hub)],
        };
        for (key, url) in asked {
            if setup.token.is_none() && of_hugging_face(url) {
                let message = format!("the engine huggingface has no token, and {} wants one", host(url));
                return Err(Complaint::new("no_token", message, HOW_TO_GET_A_TOKEN));
            }
            if setup.token.is_some() && url.scheme() == "http" && !is_loopback(url) {
                let message =
                    format!("huggingface.{key} is {url}: the token would cross the network in clear");
                return Err(Complaint::new("bad_config", message, "use https:, or a server on this machine"));
            }
        }
        if setup.max_frames == Some(0) {
            return Err(Complaint::new(
                "bad_config",
                "huggingface.max_frames is 0, it must be at least 1",
                "correct it, or leave it out",
            ));
        }
        if setup.means.tries == 0 {
            return Err(Complaint::new(
                "bad_config",
                "huggingface.tries is 0, it must be at least 1",
                "correct it, or leave it out",
            ));
        }
        let mut means = setup.means;
        if [&base, &hub].into_iter().any(|url| url.scheme() == "http") {
            // in clear, a token and a picture go to this machine and through nobody else
            means.proxy = None;
        }
        let usual = (model == DEFAULT_MODEL).then_some(DEFAULT_MODEL_FRAMES);
        Ok(Self {
            form: setup.form,
            max_frames: setup.max_frames.or(usual),
            model,
            base,
            hub,
            token: setup.token,
            means,
        })
    }

    /// How a take names what it was made with.
    pub fn weights(&self) -> String {
        format!("{}@{} (remote)", self.model, self.form.provider())
    }

    /// Where the model is described, and its licence accepted.
    pub fn page(&self) -> String {
        format!("{}/{}", self.hub.as_str().trim_end_matches('/'), self.model)
    }
}

/// `owner/name`, as the hub allows it: it becomes part of a path.
fn check_model(model: &str) -> Result<(), Complaint> {
    let plain = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match model.split_once('/') {
        Some((owner, name)) if plain(owner) && plain(name) => Ok(()),
        _ => {
            let message = format!("huggingface.model is `{}`, it must be owner/name", model.escape_debug());
            Err(Complaint::new("bad_config", message, format!("write it like {DEFAULT_MODEL}")))
        }
    }
}

fn address(key: &str, text: &str) -> Result<Url, Complaint> {
    // an address may hold a password: it is shown only where it can be taken apart
    let wrong =
        |why: String| Complaint::new("bad_config", format!("huggingface.{key} cannot be used: {why}"), SEE);
    let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("it must begin with https:// or http:// and name a host".to_owned()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it carries a user name or a password; a token is set by HF_TOKEN".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it carries a query or a fragment".to_owned()));
    }
    Ok(url)
}

pub fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

fn of_hugging_face(url: &Url) -> bool {
    let host = host(url);
    host == "huggingface.co" || host.ends_with(".huggingface.co")
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    struct Nowhere;

    impl Download for Nowhere {
        fn download<'a>(&'a self, _: &'a str, _: &'a Path) -> Fetching<'a> {
            Box::pin(async { Err(Complaint::new("url_not_allowed", "nothing is fetched here", "")) })
        }
    }

    pub(crate) fn setup(token: Option<&str>) -> Setup {
        Setup {
            form: Form::Router,
            model: None,
            base: None,
            hub: None,
            token: token.map(|token| Token::new(token, "HF_TOKEN").unwrap()),
            max_frames: None,
            means: Means {
                proxy: None,
                deadline: Duration::from_secs(60),
                tries: 3,
                answer_bytes: 1 << 20,
                tools: ToolPaths::default(),
                limits: Limits::default(),
                downloads: Arc::new(Nowhere),
                chance: || 0,
            },
        }
    }

    #[test]
    fn what_is_wrong_with_a_setup_is_told_before_anything_is_sent() {
        let check = |change: &dyn Fn(&mut Setup), token: Option<&str>| {
            let mut setup = setup(token);
            change(&mut setup);
            Remote::check(setup).map(drop).map_err(|complaint| complaint.code)
        };
        let base = |text: &'static str| move |setup: &mut Setup| setup.base = Some(text.to_owned());
        let model = |text: &'static str| move |setup: &mut Setup| setup.model = Some(text.to_owned());
        assert_eq!(check(&|_| {}, Some("hf_x")), Ok(()));
        assert_eq!(check(&|_| {}, None), Err("no_token"));
        assert_eq!(check(&base("http://127.0.0.1:9/x"), None), Ok(()), "a server of one's own may want none");
        assert_eq!(check(&base("http://127.0.0.1:9"), Some("hf_x")), Ok(()));
        let fal =
            |setup: &mut Setup| (setup.form, setup.base) = (Form::Fal, Some("http://[::1]:9".to_owned()));
        assert_eq!(check(&fal, None), Err("no_token"), "the hub is asked too");
        let wrong = ["http://10.0.0.1", "ftp://x", "https://u:p@h", "https://h/?q", "x", "https://"];
        for text in wrong {
            assert_eq!(check(&base(text), Some("hf_x")), Err("bad_config"), "{text}");
        }
        for text in ["", "x", "a/b/c", "../x", "a/..", "a/b?x", "a/b c", "a/é"] {
            assert_eq!(check(&model(text), Some("hf_x")), Err("bad_config"), "{text}");
        }
        assert_eq!(check(&|setup| setup.means.tries = 0, Some("hf_x")), Err("bad_config"));
        assert_eq!(check(&|setup| setup.max_frames = Some(0), Some("hf_x")), Err("bad_config"));
    }

    #[test]
    fn what_goes_in_clear_goes_through_no_proxy() {
        let rows = [
            ("https://h.example", None, true),
            ("HTTPS://h.example", None, true),
            ("http://127.0.0.1:9", None, false),
            ("HTTP://127.0.0.1:9", None, false),
            ("\thttp://127.0.0.1:9", None, false),
            ("https://h.example", Some("Http://[::1]:9"), false),
        ];
        for (base, hub, used) in rows {
            let mut setup = setup(Some("hf_x"));
            (setup.base, setup.hub) = (Some(base.to_owned()), hub.map(str::to_owned));
            setup.means.proxy = Some(Proxy { url: "http://proxy.example:3128".to_owned(), except: None });
            let remote = Remote::check(setup).expect(base);
            assert_eq!(remote.means.proxy.is_some(), used, "{base} {hub:?}");
        }
    }

    #[test]
    fn a_take_says_who_made_it() {
        let mut fal = setup(Some("hf_x"));
        (fal.form, fal.model) = (Form::Fal, Some("Wan-AI/Wan2.2-I2V-A14B".to_owned()));
        let fal = Remote::check(fal).unwrap();
        assert_eq!(fal.weights(), "Wan-AI/Wan2.2-I2V-A14B@fal-ai (remote)");
        assert_eq!(fal.page(), "https://huggingface.co/Wan-AI/Wan2.2-I2V-A14B");
        assert_eq!(fal.max_frames, None, "only the usual model's length is known");
        assert_eq!(Remote::check(setup(Some("hf_x"))).unwrap().max_frames, Some(25));
        for form in [Form::Router, Form::Classic, Form::Fal] {
            assert_eq!(Form::named(form.name()), Some(form));
        }
        assert_eq!(Form::named("fal"), None);
    }
}
