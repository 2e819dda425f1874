//! What `talkie serve` can be told, in the configuration file: `[serve]`, `[store]`, `[fetch]`, `[retention]`, `[keys]` and
//! one section a dialect. Everything has a default.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use contract::Complaint;
use serde::Deserialize;

/// The dialects, with the names that flags and files use, and their historic ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    InfiniteTalk,
    MuseTalk,
    MuseTalkS3,
    Svd,
    /// Always over TLS, as its clients insist.
    Fal,
    /// Every dialect under a prefix, Talkie's own API and the operator's routes.
    All,
}

impl Dialect {
    pub const EACH: [Dialect; 6] = [
        Dialect::InfiniteTalk,
        Dialect::MuseTalk,
        Dialect::MuseTalkS3,
        Dialect::Svd,
        Dialect::Fal,
        Dialect::All,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Dialect::InfiniteTalk => "infinitetalk",
            Dialect::MuseTalk => "musetalk",
            Dialect::MuseTalkS3 => "musetalk-s3",
            Dialect::Svd => "svd",
            Dialect::Fal => "fal",
            Dialect::All => "all",
        }
    }

    pub fn historic_port(self) -> u16 {
        match self {
            Dialect::InfiniteTalk => 8200,
            Dialect::MuseTalk => 8000,
            Dialect::MuseTalkS3 => 8080,
            Dialect::Svd => 7860,
            // fal's own is 443
            Dialect::Fal => 8443,
            Dialect::All => 8100,
        }
    }
}

impl std::str::FromStr for Dialect {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Dialect::EACH.into_iter().find(|dialect| dialect.name() == name).ok_or_else(|| {
            let names: Vec<_> = Dialect::EACH.iter().map(|dialect| dialect.name()).collect();
            format!("`{name}` is no dialect, it can be {}", names.join(", "))
        })
    }
}

/// `--port DIALECT=N`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortChoice {
    pub dialect: Dialect,
    pub port: u16,
}

impl std::str::FromStr for PortChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (dialect, port) =
            text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`, write dialect=port"))?;
        let port = port.parse().map_err(|_| format!("`{port}` is no port, it can be 0 to 65535"))?;
        Ok(Self { dialect: dialect.parse()?, port })
    }
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServeSettings {
    /// Address all listeners bind to; 127.0.0.1 unless told otherwise.
    pub listen: Option<IpAddr>,
    /// Ports by dialect; 0 takes a free one.
    pub ports: BTreeMap<String, u16>,
    /// Dialects that are served; none named: all.
    pub only: Vec<String>,
    /// Engine of every dialect that names none of its own.
    pub engine: Option<String>,
    /// Engines by dialect.
    pub engines: BTreeMap<String, String>,
    /// Folders below which local paths of requests may lie.
    pub media_roots: Vec<PathBuf>,
    /// Host names a request may come for when only loopback is bound, besides localhost and loopback addresses.
    pub hosts: Vec<String>,
    /// `http://page.example`: pages of other sites that may send requests which read local paths or cloud storage.
    pub trusted_origins: Vec<String>,
    /// Jobs at a time on the CPU; default: half of its cores, at least 1.
    pub slots: Option<usize>,
    /// Live sessions at a time.
    pub live_slots: Option<usize>,
    /// Jobs that may wait.
    pub queue_limit: Option<u64>,
    /// Connections at a time, a listener.
    pub connections: Option<usize>,
    /// Requests a minute for each key, or for each address without keys; none: no limit.
    pub requests_per_minute: Option<u32>,
    /// Largest upload, in MiB.
    pub upload_mib: Option<u64>,
    /// A job without progress for so long is killed, in seconds.
    pub stall_seconds: Option<u64>,
    /// How long a live session waits for a slot, in seconds.
    pub live_wait_seconds: Option<u64>,
    /// How long running jobs may go on after SIGTERM, in seconds.
    pub drain_seconds: Option<u64>,
    /// A held-open answer sends blanks after so many seconds, where the dialect's clients would time out.
    pub keep_alive_seconds: Option<f64>,
    /// `sqlite` below the data folder unless this is a `postgres://` address.
    pub database: Option<String>,
    pub tls: TlsSettings,
    /// One JSON object a line instead of text.
    pub log_json: bool,
    /// As `RUST_LOG` has it; default: `info`.
    pub log: Option<String>,
}

/// No `tls` at all: plain HTTP.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// With a certificate signed by a local CA, both below the data folder, made on first use.
    pub local: bool,
    /// Your own certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
}

/// Where takes and avatars are kept, and which `s3:` names requests may use.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    /// `s3://bucket/prefix` for takes and avatars instead of the data folder.
    pub remote: Option<String>,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// `https://endpoint/bucket/key`; default: yes with an endpoint of your own.
    pub path_style: Option<bool>,
    /// Dialect -> `s3://bucket/prefix` that its requests may read and write.
    pub s3_allowed: BTreeMap<String, Vec<String>>,
}

/// What a URL in a request may cost.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchSettings {
    pub mib: Option<u64>,
    pub total_seconds: Option<u64>,
    pub idle_seconds: Option<u64>,
    pub redirects: Option<u32>,
    /// Private networks that may be reached, e.g. `10.1.0.0/16`.
    pub allowed_networks: Vec<String>,
}

/// What is removed, oldest first. Nothing is, unless it is said here.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSettings {
    pub takes_days: Option<f64>,
    pub takes_gib: Option<f64>,
    pub uploads_days: Option<f64>,
    pub records_days: Option<f64>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InfiniteTalkSettings {
    /// Where finished videos are put, `OUTPUT_DIR` of the original.
    pub output: Option<PathBuf>,
    pub on_hangup: OnHangup,
    /// Folder of `Wan2.1-I2V-14B-480P`, `CKPT_DIR` of the original.
    pub ckpt_dir: Option<PathBuf>,
    /// `infinitetalk.safetensors`, or the folder `InfiniteTalk` with `single` and `multi`.
    pub infinitetalk_dir: Option<PathBuf>,
    /// Folder of `chinese-wav2vec2-base`.
    pub wav2vec_dir: Option<PathBuf>,
    /// One file in place of the base's shards, such as a distilled model.
    pub dit_path: Option<PathBuf>,
    /// A DiT that optimum-quanto quantised, `.safetensors` with its `.json`.
    pub quant_dir: Option<PathBuf>,
    pub loras: Vec<LoraSettings>,
    /// What the weights were trained for: `base`, `8-steps`, `4-steps`, `4-steps-unguided`; by the files' names where it is left out.
    pub trained: Option<String>,
    /// How weights are held: `f32`, `bf16` (default) or `q8_0`.
    pub numbers: Option<String>,
    /// Memory that the engine may take, in GiB; default: what the machine has.
    pub memory_gib: Option<f64>,
    /// Parameters of the DiT that stay in memory, as `NUM_PERSISTENT_PARAM_IN_DIT`; default: what the memory has room for.
    pub persistent_parameters: Option<u64>,
}

/// An adapter of the DiT.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "neural"), expect(dead_code, reason = "read where the engine is"))]
pub struct LoraSettings {
    pub path: PathBuf,
    pub scale: Option<f64>,
}

/// What happens to a job whose client is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnHangup {
    #[default]
    Finish,
    Cancel,
}

/// How fast an MJPEG stream is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamPace {
    #[default]
    RealTime,
    AsFastAsPossible,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MuseTalkSettings {
    pub pace: StreamPace,
    /// JPEG quality, 1 to 100; default 80.
    pub jpeg_quality: Option<u8>,
    /// Settings of the engine musetalk where a request says nothing, by their names.
    pub settings: std::collections::BTreeMap<String, toml::Value>,
}

/// The engine huggingface. Pictures leave this machine only where it is the engine that was asked for.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HuggingFaceSettings {
    /// `router` (default), `classic` or `fal-ai`.
    pub form: Option<String>,
    /// `owner/name` at the hub.
    pub model: Option<String>,
    /// Where requests go, if not to Hugging Face's own hosts.
    pub base_url: Option<String>,
    /// The hub that knows a model's providers.
    pub hub_url: Option<String>,
    /// Default: `HUGGING_FACE_TOKEN`, else `HF_TOKEN`.
    pub token: Option<String>,
    /// From the first request to the last byte of the video; default 600.
    pub deadline_seconds: Option<f64>,
    /// How often a request that fails in a way that may pass is sent; default 3.
    pub tries: Option<u32>,
    /// Frames that are asked for at most; default 25 for the usual model, else no limit.
    pub max_frames: Option<u64>,
    /// Largest video that is taken, in MiB; default 512.
    pub answer_mib: Option<u64>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FalSettings {
    /// Under which clients reach `/run`, `/queue`, … of this server, if not as they say themselves.
    pub public_url: Option<String>,
    /// Seconds until a webhook that was not taken is sent again; doubled each time.
    pub webhook_first_retry_seconds: Option<f64>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SvdSettings {
    /// Folder in the layout of diffusers, or the original program's single file; `SVD_DIR` is the same.
    pub dir: Option<PathBuf>,
    /// Settings of the engine svd where a request says nothing, by their names.
    pub settings: std::collections::BTreeMap<String, toml::Value>,
}

/// `[<engine>.settings]`
#[cfg(feature = "neural")]
pub fn engine_settings(
    engine: &str,
    configured: &std::collections::BTreeMap<String, toml::Value>,
) -> Result<std::collections::BTreeMap<String, contract::Value>, Complaint> {
    use contract::Value;
    let read = |(name, value): (&String, &toml::Value)| {
        let value = match value {
            toml::Value::String(text) => Value::Text(text.clone()),
            toml::Value::Integer(number) => Value::Int(*number),
            toml::Value::Float(number) => Value::Float(*number),
            toml::Value::Boolean(switch) => Value::Bool(*switch),
            other => {
                let message = format!(
                    "{engine}.settings.{name} is {other}, it must be a text, a number, true or false"
                );
                return Err(Complaint::new("bad_config", message, "correct it"));
            }
        };
        Ok((name.clone(), value))
    };
    configured.iter().map(read).collect()
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MuseTalkS3Settings {
    /// Bucket for the output of requests that name none; without it nothing is uploaded.
    pub bucket: Option<String>,
    pub prefix: Option<String>,
}

impl ServeSettings {
    /// The dialects that get a port, in their own order; the all port always is there, and fal has one of its own where it is asked for.
    pub fn dialects(&self) -> Result<Vec<Dialect>, Complaint> {
        let named: Vec<Dialect> = self.only.iter().map(|name| named(name)).collect::<Result<_, _>>()?;
        let served = |dialect: &Dialect| match dialect {
            Dialect::All => true,
            Dialect::Fal => self.ports.contains_key(dialect.name()) || named.contains(dialect),
            _ => named.is_empty() || named.contains(dialect),
        };
        Ok(Dialect::EACH.into_iter().filter(served).collect())
    }

    pub fn check(&self) -> Result<(), Complaint> {
        self.dialects()?;
        let names = self.ports.keys().chain(self.engines.keys());
        names.map(|name| named(name)).collect::<Result<Vec<_>, _>>()?;
        match (&self.tls.cert, &self.tls.key, self.tls.local) {
            (Some(_), None, _) | (None, Some(_), _) => Err(Complaint::new(
                "bad_config",
                "TLS needs a certificate and its key, one of them is missing",
                "set both serve.tls.cert and serve.tls.key",
            )),
            (Some(_), Some(_), true) => Err(Complaint::new(
                "bad_config",
                "serve.tls has both a certificate of your own and local = true",
                "leave one of them out",
            )),
            _ => Ok(()),
        }
    }
}

fn named(name: &str) -> Result<Dialect, Complaint> {
    name.parse().map_err(|why: String| Complaint::new("bad_config", why, "docs/serve.md lists the dialects"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialects_go_by_their_names_and_have_their_ports() {
        assert_eq!("musetalk-s3=9000".parse(), Ok(PortChoice { dialect: Dialect::MuseTalkS3, port: 9000 }));
        for wrong in ["musetalk", "muse=1", "svd=70000", "svd=", "=80"] {
            assert!(wrong.parse::<PortChoice>().is_err(), "{wrong}");
        }
        let mut settings = ServeSettings::default();
        let own: Vec<Dialect> = Dialect::EACH.into_iter().filter(|one| *one != Dialect::Fal).collect();
        assert_eq!(settings.dialects().unwrap(), own, "fal gets a port where it is asked for");
        settings.ports.insert("fal".into(), 0);
        assert_eq!(settings.dialects().unwrap(), Dialect::EACH);
        settings.ports.clear();
        assert_eq!(Dialect::EACH.map(Dialect::historic_port), [8200, 8000, 8080, 7860, 8443, 8100]);
        settings.only = vec!["svd".into()];
        assert_eq!(settings.dialects().unwrap(), [Dialect::Svd, Dialect::All]);
        settings.only = vec!["vsd".into()];
        assert!(settings.check().unwrap_err().message.contains("vsd"));
    }
}
