//! The machine as jobs see it: tools, limits and speech synthesis from the configuration, and the engines of this program.

use std::sync::Arc;

use contract::{Complaint, Engine};
use engine_puppet::Puppet;
use jobs::Studio;
use media::{Limits, ToolPaths, Tools, Tts, TtsBackend, TtsConfig, TtsEndpoint};

use crate::cli::{self, MachineArgs};
use crate::config::Config;

/// Every engine of this program, in the order in which they are listed.
pub fn engines() -> Vec<Arc<dyn Engine>> {
    vec![Arc::new(Puppet::new())]
}

pub fn engine(name: &str) -> Result<Arc<dyn Engine>, Complaint> {
    let engines = engines();
    let names: Vec<_> = engines.iter().map(|engine| engine.card().name).collect();
    let unknown = || {
        let hint = format!("this program has: {}", names.join(", "));
        Complaint::new("unknown_engine", format!("there is no engine `{name}`"), hint)
    };
    engines.iter().find(|engine| engine.card().name == name).cloned().ok_or_else(unknown)
}

/// What a command line may say about speech.
#[derive(Default)]
pub struct TtsChoice {
    pub backend: Option<cli::TtsBackend>,
    pub voice: Option<String>,
}

pub fn tools(config: &Config) -> Result<Tools, Complaint> {
    Tools::find(&tool_paths(config))
}

pub fn tool_paths(config: &Config) -> ToolPaths {
    ToolPaths { ffmpeg: config.ffmpeg.clone(), ffprobe: config.ffprobe.clone() }
}

pub fn studio(machine: &MachineArgs, speech: TtsChoice) -> Result<Studio, Complaint> {
    let config = Config::load(machine)?;
    let tools = tools(&config)?;
    Ok(Studio { tools, limits: limits(&config), tts: tts(&config, speech)? })
}

pub fn limits(config: &Config) -> Limits {
    const MIB: u64 = 1 << 20;
    let mut limits = Limits::default();
    let given = &config.limits;
    if let Some(mib) = given.file_mib {
        limits.file_bytes = mib * MIB;
    }
    if let Some(megapixels) = given.picture_megapixels {
        limits.picture_pixels = megapixels * 1_000_000;
    }
    if let Some(side) = given.picture_side {
        limits.picture_side = side;
    }
    if let Some(seconds) = given.audio_seconds {
        limits.audio_seconds = seconds;
    }
    if let Some(seconds) = given.clip_seconds {
        limits.clip_seconds = seconds;
    }
    if let Some(mib) = given.decoder_mib {
        limits.decode_memory_bytes = mib * MIB;
    }
    limits
}

fn tts(config: &Config, speech: TtsChoice) -> Result<Tts, Complaint> {
    let file = &config.tts;
    let endpoint = file.url.clone().map(|url| TtsEndpoint {
        url,
        model: file.model.clone().unwrap_or_else(|| "tts-1".to_owned()),
        api_key: file.api_key.clone().or_else(|| std::env::var("TALKIE_TTS_API_KEY").ok()),
    });
    let backend = match speech.backend.or(file.backend).unwrap_or(cli::TtsBackend::Auto) {
        cli::TtsBackend::Auto => TtsBackend::Auto,
        cli::TtsBackend::Flite => TtsBackend::Flite,
        cli::TtsBackend::Espeak => TtsBackend::Espeak,
        cli::TtsBackend::Http => TtsBackend::Http,
    };
    Ok(Tts::new(TtsConfig { backend, voice: speech.voice.or_else(|| file.voice.clone()), endpoint }))
}
