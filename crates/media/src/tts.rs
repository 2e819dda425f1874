//! Text -> speech, by whichever synthesiser there is: ffmpeg's flite, espeak-ng, or an OpenAI-compatible endpoint.
//! The text goes by a private file or in a request's body: never through a shell, an argument or a filter string.

mod endpoint;
mod local;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use contract::Stop;

use crate::error::machine;
use crate::{MediaError, Scratch, Tools};

/// Longest text that is spoken; about 25 minutes.
const MAX_CHARS: usize = 20_000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TtsBackend {
    /// The endpoint if one is configured, else flite, else espeak-ng.
    #[default]
    Auto,
    Flite,
    Espeak,
    Http,
}

impl TtsBackend {
    /// Of a `name`.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Auto, Self::Flite, Self::Espeak, Self::Http].into_iter().find(|backend| backend.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Flite => "flite",
            Self::Espeak => "espeak-ng",
            Self::Http => "endpoint",
        }
    }
}

/// A server that answers `POST {url}/v1/audio/speech` as OpenAI's does.
#[derive(Clone, PartialEq, Eq)]
pub struct TtsEndpoint {
    pub url: String,
    pub model: String,
    pub api_key: Option<String>,
}

impl std::fmt::Debug for TtsEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TtsEndpoint({} {})", self.url, self.model) // not the key
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TtsConfig {
    pub backend: TtsBackend,
    /// A name the backend knows: `slt`, `en-us+f3`, `alloy`.
    pub voice: Option<String>,
    pub endpoint: Option<TtsEndpoint>,
}

#[derive(Clone, Debug)]
pub struct Tts {
    config: TtsConfig,
}

/// Speech in a file, a private one that is gone when this is dropped, or one that somebody keeps.
pub struct Spoken {
    path: PathBuf,
    elapsed: Duration,
    backend: TtsBackend,
    voice: String,
    _scratch: Option<Scratch>,
}

impl Spoken {
    /// Spoken before, by this backend in this voice.
    pub fn before(path: PathBuf, backend: TtsBackend, voice: String) -> Self {
        Self { path, elapsed: Duration::ZERO, backend, voice, _scratch: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Time the synthesis took.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// The one that spoke; never `Auto`.
    pub fn backend(&self) -> TtsBackend {
        self.backend
    }

    pub fn voice(&self) -> &str {
        &self.voice
    }
}

impl Tts {
    pub fn new(config: TtsConfig) -> Self {
        Self { config }
    }

    /// The backend that `speak` would use here.
    pub fn backend(&self, tools: &Tools) -> Result<TtsBackend, MediaError> {
        let there = |backend: TtsBackend| match backend {
            TtsBackend::Auto => false,
            TtsBackend::Flite => tools.has_flite(),
            TtsBackend::Espeak => tools.espeak().is_some(),
            TtsBackend::Http => self.config.endpoint.is_some(),
        };
        let missing = |what: &str| {
            let hint = "install one: sudo apt-get install espeak-ng, or configure a speech endpoint ([tts] url), or send --audio";
            MediaError::new("no_tts", what, hint)
        };
        match self.config.backend {
            TtsBackend::Auto => [TtsBackend::Http, TtsBackend::Flite, TtsBackend::Espeak]
                .into_iter()
                .find(|&backend| there(backend))
                .ok_or_else(|| {
                    missing("there is no speech synthesis here: ffmpeg has no flite, espeak-ng is missing")
                }),
            chosen if there(chosen) => Ok(chosen),
            TtsBackend::Flite => Err(missing("flite was asked for, but this ffmpeg was built without it")),
            TtsBackend::Espeak => Err(missing("espeak-ng was asked for, but it is not installed")),
            TtsBackend::Http => Err(missing("a speech endpoint was asked for, but none is configured")),
        }
    }

    /// Everything that decides how a text sounds here, as far as that is known: an endpoint may have changed behind its address.
    pub fn manner(&self, tools: &Tools) -> Result<String, MediaError> {
        let backend = self.backend(tools)?;
        let endpoint = self.config.endpoint.as_ref().filter(|_| backend == TtsBackend::Http);
        let by = endpoint.map(|endpoint| format!(" {} {}", endpoint.url, endpoint.model)).unwrap_or_default();
        Ok(format!("{} {}{by}", backend.name(), self.voice(backend)))
    }

    fn voice(&self, backend: TtsBackend) -> &str {
        let usual = match backend {
            TtsBackend::Http => "alloy",
            TtsBackend::Espeak => "en-us",
            TtsBackend::Flite | TtsBackend::Auto => "slt",
        };
        self.config.voice.as_deref().unwrap_or(usual)
    }

    /// Speaks `text` into a private file.
    pub fn speak(&self, tools: &Tools, text: &str, stop: &Stop) -> Result<Spoken, MediaError> {
        let begun = Instant::now();
        let text = clean(text)?;
        let backend = self.backend(tools)?;
        let scratch = Scratch::new()?;
        let path = scratch.file("speech.wav");
        let voice = self.voice(backend).to_owned();
        match (backend, &self.config.endpoint) {
            (TtsBackend::Http, Some(endpoint)) => {
                let sound = endpoint::speak(endpoint, &voice, &text, stop)?;
                std::fs::write(&path, sound)
                    .map_err(|e| machine("cannot write speech to a temporary file", &e))?;
            }
            (TtsBackend::Espeak, _) => local::espeak(tools, (&voice, &text), &scratch, &path, stop)?,
            _ => local::flite(tools, (&voice, &text), &scratch, &path, stop)?,
        }
        Ok(Spoken { path, elapsed: begun.elapsed(), backend, voice, _scratch: Some(scratch) })
    }
}

/// Control characters become spaces; what is left must be something and not too much.
fn clean(text: &str) -> Result<String, MediaError> {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let text = text.trim();
    if !text.chars().any(char::is_alphanumeric) {
        return Err(MediaError::new(
            "text_empty",
            "the text has no word to speak",
            "say something: --text \"Hello\"",
        ));
    }
    let chars = text.chars().count();
    if chars > MAX_CHARS {
        return Err(MediaError::new(
            "text_too_long",
            format!("the text has {chars} characters, the limit is {MAX_CHARS}"),
            "split it into several takes",
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cleaned_and_measured() {
        assert_eq!(clean("  Hello\u{1b}[31m,\nworld \u{0}").unwrap(), "Hello [31m, world");
        assert_eq!(clean(" \n\t…!").unwrap_err().complaint().code, "text_empty");
        assert_eq!(clean(&"a".repeat(MAX_CHARS + 1)).unwrap_err().complaint().code, "text_too_long");
    }
}
