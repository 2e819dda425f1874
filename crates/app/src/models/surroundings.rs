//! What this machine says of weights: the folders of Talkie, of the hub's and torch's own libraries, the token, the proxy. All
//! of it is read here and handed on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::Complaint;
use models::{Access, Places, ProxyChoice, is_on};

use crate::cli::PullArgs;
use crate::config::Config;

const HUB: &str = "https://huggingface.co";

/// `models`: a folder that a flag names; `data`: the data folder.
pub fn places(models: Option<PathBuf>, config: &Config, data: &Path) -> Places {
    let root = models.or_else(|| path("TALKIE_MODELS")).or_else(|| config.models.dir.clone());
    let root = root.unwrap_or_else(|| data.join("models"));
    let folders = config.models.folders.clone();
    Places { root, folders, hub_caches: hub_caches(), torch_home: torch_home() }
}

pub fn access(args: &PullArgs, config: &Config) -> Result<Access, Complaint> {
    if let Some(value) = text("HF_HUB_OFFLINE").filter(|value| is_on(value)) {
        let message = format!("HF_HUB_OFFLINE is {value}: nothing is fetched");
        return Err(Complaint::new(
            "offline",
            message,
            "unset it, or use `talkie models path` to see what is there",
        ));
    }
    let endpoint =
        args.endpoint.clone().or_else(|| text("HF_ENDPOINT")).or_else(|| config.models.endpoint.clone());
    let endpoint = endpoint.unwrap_or_else(|| HUB.to_owned());
    Ok(Access {
        token: token()?,
        proxy: proxy(&endpoint),
        endpoint,
        silence: Duration::from_secs_f64(args.silence),
    })
}

/// `HF_HUB_CACHE`, its older name, else the cache below the hub's home.
fn hub_caches() -> Vec<PathBuf> {
    let named = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
    named.or_else(|| Some(hub_home()?.join("hub"))).into_iter().collect()
}

fn hub_home() -> Option<PathBuf> {
    path("HF_HOME").or_else(|| Some(cache()?.join("huggingface")))
}

fn torch_home() -> Option<PathBuf> {
    path("TORCH_HOME").or_else(|| Some(cache()?.join("torch")))
}

fn cache() -> Option<PathBuf> {
    // the specification of these folders takes a relative one for none
    path("XDG_CACHE_HOME")
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(path("HOME")?.join(".cache")))
}

/// As the hub's own library looks for it, and by the SVD backend's name for it: variables, then a file.
fn token() -> Result<Option<String>, Complaint> {
    let names = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGING_FACE_TOKEN"];
    if let Some(token) = names.into_iter().find_map(text) {
        return Ok(Some(token));
    }
    let (named, file) = match path("HF_TOKEN_PATH") {
        Some(file) => (true, Some(file)),
        None => (false, hub_home().map(|home| home.join("token"))),
    };
    let Some(file) = file else { return Ok(None) };
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty())),
        Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let message = format!("the token in {} cannot be read: {error}", file.display());
            Err(Complaint::new("token_unreadable", message, "mend the file, or give the token as HF_TOKEN"))
        }
    }
}

/// The variables curl reads; a proxy for everything else comes last.
pub fn proxy(endpoint: &str) -> Option<ProxyChoice> {
    let either = |upper: &str, lower: &str| text(lower).or_else(|| text(upper));
    let secure = endpoint.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
    let own = if secure { either("HTTPS_PROXY", "https_proxy") } else { text("http_proxy") };
    let url = own.or_else(|| either("ALL_PROXY", "all_proxy"))?;
    Some(ProxyChoice { url, except: either("NO_PROXY", "no_proxy") })
}

fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
