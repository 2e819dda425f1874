//! The machine as jobs see it: tools, limits and speech synthesis from the configuration, and the engines of this program.

use std::sync::Arc;

use contract::{Complaint, Engine, EngineCard};
use engine_puppet::Puppet;
use jobs::Studio;
use media::{Limits, ToolPaths, Tools, Tts, TtsBackend, TtsConfig, TtsEndpoint};

use crate::cli::{self, DataArgs};
use crate::config::Config;
use crate::device::Device;
#[cfg(feature = "neural")]
pub use crate::learned::Learned;
#[cfg(feature = "neural")]
use crate::models::surroundings;
use crate::serve::{data_place, originals::Originals};

/// The engine that sends inputs away.
pub const HUGGING_FACE: &str = "huggingface";

/// The engines of this program.
pub struct Engines {
    /// Those that can work here, in the order in which they are listed.
    pub ready: Vec<Arc<dyn Engine>>,
    /// Those that cannot, and why.
    pub absent: Vec<(&'static str, Complaint)>,
    /// Where the engine that sends inputs away sends them, if it is ready.
    pub remote: Option<String>,
}

impl Engines {
    pub fn find(&self, name: &str) -> Result<Arc<dyn Engine>, Complaint> {
        if let Some(engine) = self.ready.iter().find(|engine| engine.card().name == name) {
            return Ok(Arc::clone(engine));
        }
        let absent = self.absent.iter().find(|(absent, _)| *absent == name);
        Err(absent.map_or_else(|| self.unknown(name), |(_, why)| why.clone()))
    }

    fn unknown(&self, name: &str) -> Complaint {
        let names = self
            .ready
            .iter()
            .map(|engine| engine.card().name)
            .chain(self.absent.iter().map(|(name, _)| *name));
        let hint = format!("this program has: {}", names.collect::<Vec<_>>().join(", "));
        Complaint::new("unknown_engine", format!("there is no engine `{name}`"), hint)
    }

    pub fn cards(&self) -> Vec<EngineCard> {
        self.ready.iter().map(|engine| engine.card().clone()).collect()
    }
}

/// `data`: the data folder, below which the weights lie if nothing else is said. `device`: what nets compute on.
pub fn engines(config: &Config, data: &DataArgs, device: &Device) -> Result<Engines, Complaint> {
    let mut engines = built_in();
    let data = data_place(data, config)?;
    let here = std::env::current_dir().unwrap_or_else(|_| data.clone());
    let originals = Originals::read(&data, &here)?;
    #[cfg(feature = "neural")]
    add_neural(&mut engines, &data, (&originals, config, device));
    #[cfg(not(feature = "neural"))]
    {
        let _ = device;
        let why = || {
            Complaint::new(
                "no_nets",
                "this talkie was built without the nets",
                "`make build` makes one with them",
            )
        };
        engines.absent.extend(["musetalk", "infinitetalk", "wan-i2v", "svd"].map(|name| (name, why())));
    }
    match crate::huggingface::engine(&originals, config) {
        Ok(engine) => {
            engines.remote = Some(engine.describe());
            engines.ready.push(Arc::new(engine));
        }
        Err(why) => engines.absent.push((HUGGING_FACE, why)),
    }
    Ok(engines)
}

#[cfg(feature = "neural")]
fn add_neural(
    engines: &mut Engines,
    data: &std::path::Path,
    (originals, config, device): (&Originals, &Config, &Device),
) {
    let places = surroundings::places(None, config, data);
    match crate::musetalk::engine(&places, originals, (config, device)) {
        Ok(engine) => engines.ready.push(Arc::new(engine)),
        Err(why) => engines.absent.push(("musetalk", why)),
    }
    // a mistake in what is said of their weights is theirs, not that of whoever wants another engine
    let made = crate::infinitetalk::engines(&places, originals, (config, device));
    let made = match made {
        Ok(crate::infinitetalk::Engines { infinitetalk, wan_i2v }) => [infinitetalk, wan_i2v],
        Err(why) => [Err(why.clone()), Err(why)],
    };
    for (name, engine) in ["infinitetalk", "wan-i2v"].into_iter().zip(made) {
        match engine {
            Ok(engine) => engines.ready.push(Arc::new(engine)),
            Err(why) => engines.absent.push((name, why)),
        }
    }
    match crate::svd::engine(&places, originals, (config, device)) {
        Ok(engine) => engines.ready.push(Arc::new(engine)),
        Err(why) => engines.absent.push(("svd", why)),
    }
}

/// The engines that need no weights.
pub fn built_in() -> Engines {
    Engines { ready: vec![Arc::new(Puppet::new())], absent: Vec::new(), remote: None }
}

/// To be called once, before an engine works. What comes back is to be kept until the work is done.
#[cfg(feature = "neural")]
pub fn compute(config: &Config, data: &DataArgs) -> Result<Learned, Complaint> {
    config.compute.tell(config.compute.profile.into())?;
    let data = data_place(data, config).ok();
    Ok(Learned::open(data.as_deref(), config.compute.threads()))
}

/// Without the neural half there is nothing to configure and nothing to learn.
#[cfg(not(feature = "neural"))]
pub struct Learned;

#[cfg(not(feature = "neural"))]
impl Learned {
    pub fn save(&mut self) {}
}

#[cfg(not(feature = "neural"))]
pub fn compute(_: &Config, _: &DataArgs) -> Result<Learned, Complaint> {
    Ok(Learned)
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

pub fn studio(config: &Config, speech: TtsChoice) -> Result<Studio, Complaint> {
    Ok(Studio { tools: tools(config)?, limits: limits(config), tts: tts(config, speech) })
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

pub fn tts(config: &Config, speech: TtsChoice) -> Tts {
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
    Tts::new(TtsConfig { backend, voice: speech.voice.or_else(|| file.voice.clone()), endpoint })
}
