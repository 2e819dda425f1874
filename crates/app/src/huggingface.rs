//! The engine huggingface as the configuration and the variables of the original backend describe it. Its token is read here and handed to that
//! engine alone; where the engine is not asked for, nothing is sent.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use contract::Complaint;
use engine_huggingface::{Download, Fetching, Form, HuggingFace, Means, Proxy, Setup, Token};
use store::{Downloads, FetchLimits};

use crate::config::Config;
use crate::machine;
use crate::models::surroundings;
use crate::serve::originals::Originals;

const DEADLINE: f64 = 600.0;
/// As often as the original backend tries.
const TRIES: u32 = 3;
const ANSWER_MIB: u64 = 512;
/// The first that is set counts, as the original backend has it.
const TOKENS: [&str; 2] = ["HUGGING_FACE_TOKEN", "HF_TOKEN"];

/// A mistake in the configuration, or no token where one is wanted, leaves the engine out.
pub fn engine(originals: &Originals, config: &Config) -> Result<HuggingFace, Complaint> {
    let settings = &config.huggingface;
    let form = match &settings.form {
        None => Form::default(),
        Some(name) => Form::named(name).ok_or_else(|| {
            let message = format!("huggingface.form is `{name}`, it must be router, classic or fal-ai");
            Complaint::new("bad_config", message, "correct it, or leave it out")
        })?,
    };
    let token = match &settings.token {
        Some(token) => Some(Token::new(token, "huggingface.token")?),
        None => {
            let set = TOKENS.into_iter().find_map(|name| Some((name, originals.text(name)?)));
            set.map(|(name, token)| Token::new(token, name)).transpose()?
        }
    };
    let deadline = settings.deadline_seconds.unwrap_or(DEADLINE);
    if !(1.0..=86_400.0).contains(&deadline) {
        let message = format!("huggingface.deadline_seconds is {deadline}, it can be 1 to 86400");
        return Err(Complaint::new("bad_config", message, "correct it, or leave it out"));
    }
    let deadline = Duration::from_secs_f64(deadline);
    let answer_mib = settings.answer_mib.unwrap_or(ANSWER_MIB);
    if !(1..=65_536).contains(&answer_mib) {
        let message = format!("huggingface.answer_mib is {answer_mib}, it can be 1 to 65536");
        return Err(Complaint::new("bad_config", message, "correct it, or leave it out"));
    }
    let answer_bytes = answer_mib << 20;
    let downloads = Downloads::new(FetchLimits {
        bytes: answer_bytes,
        total: deadline,
        allowed_networks: config.fetch.allowed_networks.clone(),
        ..FetchLimits::default()
    })?;
    // as for the hub: the variables curl reads, for what goes over TLS; the engine uses it for nothing else
    let proxy = surroundings::proxy("https:");
    HuggingFace::new(Setup {
        form,
        model: settings.model.clone(),
        base: settings.base_url.clone(),
        hub: settings.hub_url.clone(),
        token,
        max_frames: settings.max_frames,
        means: Means {
            proxy: proxy.map(|proxy| Proxy { url: proxy.url, except: proxy.except }),
            deadline,
            tries: settings.tries.unwrap_or(TRIES),
            answer_bytes,
            tools: machine::tool_paths(config),
            limits: machine::limits(config),
            downloads: Arc::new(Guarded(downloads)),
            chance: || RandomState::new().hash_one(std::process::id()),
        },
    })
}

/// Addresses of videos, under the guard of the URLs of requests.
struct Guarded(Downloads);

impl Download for Guarded {
    fn download<'a>(&'a self, url: &'a str, folder: &'a Path) -> Fetching<'a> {
        Box::pin(self.0.fetch(url, folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &str, env: &str) -> Result<String, Complaint> {
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join(".env"), env).unwrap();
        let originals = Originals::read(data.path(), data.path()).unwrap();
        engine(&originals, &toml::from_str(config).unwrap()).map(|engine| engine.describe())
    }

    #[test]
    fn the_configuration_is_read_and_the_token_not_shown() {
        let rows = [
            (
                "",
                "HF_TOKEN=hf_Secret1",
                "stabilityai/stable-video-diffusion-img2vid-xt@hf-inference (remote) at router.huggingface.co, token of HF_TOKEN",
            ),
            ("", "HF_TOKEN=hf_Secret1\nHUGGING_FACE_TOKEN=hf_Secret2", "token of HUGGING_FACE_TOKEN"),
            (
                "[huggingface]\ntoken = \"hf_Secret3\"\nform = \"classic\"",
                "HF_TOKEN=hf_Secret1",
                "at api-inference.huggingface.co, token of huggingface.token",
            ),
            (
                "[huggingface]\nform = \"fal-ai\"\nmodel = \"a/b\"",
                "HF_TOKEN=hf_Secret1",
                "a/b@fal-ai (remote)",
            ),
            ("[huggingface]\nbase_url = \"http://127.0.0.1:9\"", "", "at 127.0.0.1, no token"),
        ];
        for (config, env, told) in rows {
            let line = check(config, env).unwrap();
            assert!(line.contains(told) && !line.contains("Secret"), "{line}");
        }
        let rows = [
            ("", "", "no_token"),
            ("[huggingface]\nform = \"fal\"", "HF_TOKEN=hf_Secret1", "bad_config"),
            ("[huggingface]\ndeadline_seconds = 0", "HF_TOKEN=hf_Secret1", "bad_config"),
            ("[huggingface]\ndeadline_seconds = nan", "HF_TOKEN=hf_Secret1", "bad_config"),
            ("[huggingface]\nanswer_mib = 0", "HF_TOKEN=hf_Secret1", "bad_config"),
            ("[huggingface]\ntoken = \"hf Secret1\"", "", "bad_config"),
            ("[fetch]\nallowed_networks = [\"x\"]", "HF_TOKEN=hf_Secret1", "bad_network"),
        ];
        for (config, env, code) in rows {
            let complaint = check(config, env).unwrap_err();
            assert!(
                complaint.code == code && !complaint.to_string().contains("Secret1"),
                "{config} {complaint}"
            );
        }
    }
}
