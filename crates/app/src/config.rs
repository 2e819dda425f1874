//! Configuration: defaults < TOML file < environment < flags. Any key of the file can also be set by
//! `TALKIE__SECTION__KEY=value` and by `--conf section.key=value`; the flags with names of their own come through clap.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contract::Complaint;
use serde::Deserialize;
use toml::{Table, Value};

use crate::cli::{MachineArgs, TtsBackend};
use crate::compute::ComputeConfig;
use crate::serve::settings::{
    FalSettings, FetchSettings, HuggingFaceSettings, InfiniteTalkSettings, MuseTalkS3Settings,
    MuseTalkSettings, RetentionSettings, ServeSettings, StoreSettings, SvdSettings,
};

/// `TALKIE__SERVE__LISTEN` sets `serve.listen`.
const ENV_PREFIX: &str = "TALKIE__";
/// What no command line may set, itself or within its table.
const SECRET: [&str; 4] = ["huggingface", "huggingface.token", "tts", "tts.api_key"];

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub ffmpeg: Option<PathBuf>,
    pub ffprobe: Option<PathBuf>,
    /// Where all state of a server lies.
    pub data: Option<PathBuf>,
    pub limits: LimitsConfig,
    pub tts: TtsConfig,
    pub serve: ServeSettings,
    pub store: StoreSettings,
    pub fetch: FetchSettings,
    pub retention: RetentionSettings,
    /// API keys: name -> `sha256:<hex>` of the key, as `talkie key` prints it. None: no key is asked for.
    pub keys: BTreeMap<String, String>,
    pub infinitetalk: InfiniteTalkSettings,
    pub musetalk: MuseTalkSettings,
    #[serde(rename = "musetalk-s3")]
    pub musetalk_s3: MuseTalkS3Settings,
    pub svd: SvdSettings,
    pub fal: FalSettings,
    pub huggingface: HuggingFaceSettings,
    pub models: ModelsConfig,
    pub compute: ComputeConfig,
}

/// Where the engines' weights lie, and where they come from.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelsConfig {
    /// What `talkie models pull` fills; default `models` in the data folder.
    pub dir: Option<PathBuf>,
    /// Folders in an official layout that are used in place.
    pub folders: Vec<PathBuf>,
    /// The hub, or a mirror of it.
    pub endpoint: Option<String>,
}

/// What a user's file may cost; a field that is left out keeps its default.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Largest input file, in MiB.
    pub file_mib: Option<u64>,
    /// Largest picture, in million pixels.
    pub picture_megapixels: Option<u64>,
    /// Longest side of a picture, in pixels.
    pub picture_side: Option<u32>,
    /// Longest voice, in seconds.
    pub audio_seconds: Option<f64>,
    /// Longest clip, in seconds.
    pub clip_seconds: Option<f64>,
    /// Memory a decoder may take, in MiB.
    pub decoder_mib: Option<u64>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TtsConfig {
    pub backend: Option<TtsBackend>,
    pub voice: Option<String>,
    /// Base address of an OpenAI-compatible server, e.g. `http://127.0.0.1:8880`; `/v1/audio/speech` is added.
    pub url: Option<String>,
    pub model: Option<String>,
    pub api_key: Option<String>,
}

impl Config {
    /// Reads the file that was named, or the user's own where there is one, and lays environment and flags over it.
    pub fn load(args: &MachineArgs) -> Result<Self, Complaint> {
        let (path, named) = match (&args.config, users_file()) {
            (Some(path), _) => (Some(path.clone()), true),
            (None, path) => (path, false),
        };
        let text = match path.as_deref().map(std::fs::read_to_string) {
            None => String::new(),
            Some(Ok(text)) => text,
            Some(Err(error)) if !named && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Some(Err(error)) => {
                let shown = path.unwrap_or_default().display().to_string();
                return Err(wrong(
                    format!("the configuration {shown} cannot be read: {error}"),
                    "name another file with --config",
                ));
            }
        };
        let file = path.unwrap_or_default();
        // first alone, so that a mistake in it is told with its line
        parse(&text, &file)?;
        let mut table: Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string(), ""))?;
        let environment = environment().filter_map(|(name, value)| {
            let path = name.strip_prefix(ENV_PREFIX)?.to_ascii_lowercase().replace("__", ".");
            Some((name, path, value))
        });
        for (name, path, value) in environment {
            lay_over(&mut table, &path, &value).map_err(|why| wrong(format!("{name}: {why}"), SEE))?;
        }
        for item in &args.conf {
            let (path, value) = item.split_once('=').ok_or_else(|| {
                wrong(format!("`--conf {item}` has no `=`"), "write --conf section.key=value")
            })?;
            if SECRET.contains(&path) {
                // command lines can be read by everybody on this machine, and a worker gets the same
                let message = format!("--conf {path} could show a token to others");
                return Err(wrong(
                    message,
                    "set HF_TOKEN or TALKIE_TTS_API_KEY, and other keys of the section by --conf SECTION.KEY=VALUE",
                ));
            }
            // the value itself is not shown: it may be a password
            lay_over(&mut table, path, value).map_err(|why| wrong(format!("--conf {path}: {why}"), SEE))?;
        }
        let config: Self =
            table.try_into().map_err(|error: toml::de::Error| wrong(plain(error.message()), SEE))?;
        config.under(args).checked()
    }

    /// Limits that no machine can keep, or that let nothing through, are mistakes.
    fn checked(self) -> Result<Self, Complaint> {
        let (limits, serve, fetch) = (&self.limits, &self.serve, &self.fetch);
        let whole = |value: Option<u64>| value.map(|value| value as f64);
        let count = |value: Option<usize>| value.map(|value| value as f64);
        let rows = [
            ("the limit audio_seconds (--max-audio-seconds)", limits.audio_seconds, 0.1, 1e6),
            ("the limit clip_seconds", limits.clip_seconds, 0.1, 1e6),
            ("the limit file_mib", whole(limits.file_mib), 1.0, 1e9),
            ("the limit picture_megapixels", whole(limits.picture_megapixels), 1.0, 2000.0),
            ("the limit picture_side", whole(limits.picture_side.map(u64::from)), 64.0, 65_535.0),
            // ffmpeg's libraries alone map about 300 MiB
            ("the limit decoder_mib", whole(limits.decoder_mib), 512.0, 1e9),
            // sums with the clock and with MiB must hold: a hundred million seconds are three years
            ("serve.stall_seconds", whole(serve.stall_seconds), 1.0, 1e8),
            ("serve.live_wait_seconds", whole(serve.live_wait_seconds), 0.0, 1e8),
            ("serve.drain_seconds", whole(serve.drain_seconds), 0.0, 1e8),
            ("serve.keep_alive_seconds", serve.keep_alive_seconds, 0.0, 1e8),
            ("serve.upload_mib", whole(serve.upload_mib), 1.0, 1e9),
            ("serve.connections", count(serve.connections), 1.0, 1e6),
            ("serve.slots", count(serve.slots), 1.0, 4096.0),
            ("serve.live_slots", count(serve.live_slots), 1.0, 4096.0),
            ("serve.queue_limit", whole(serve.queue_limit), 1.0, 1e9),
            // to have no limit, leave it out
            ("serve.requests_per_minute", whole(serve.requests_per_minute.map(u64::from)), 1.0, 1e9),
            ("musetalk.jpeg_quality", whole(self.musetalk.jpeg_quality.map(u64::from)), 1.0, 100.0),
            ("fal.webhook_first_retry_seconds", self.fal.webhook_first_retry_seconds, 0.001, 1e6),
            ("fetch.mib", whole(fetch.mib), 1.0, 1e9),
            ("fetch.total_seconds", whole(fetch.total_seconds), 1.0, 1e8),
            ("fetch.idle_seconds", whole(fetch.idle_seconds), 1.0, 1e8),
        ];
        for (name, value, least, most) in rows {
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                let message = format!("{name} is {value}, it can be {least} to {most}");
                return Err(wrong(message, SEE));
            }
        }
        // an amount to keep: none at all, or less, is what many programs call for ever
        let kept = &self.retention;
        let rows = [
            ("takes_days", kept.takes_days),
            ("takes_gib", kept.takes_gib),
            ("uploads_days", kept.uploads_days),
            ("records_days", kept.records_days),
        ];
        for (name, value) in rows {
            if let Some(value) = value.filter(|value| !(*value > 0.0 && *value <= 1e6)) {
                let message = format!("retention.{name} is {value}, it can be more than 0, to 1000000");
                return Err(wrong(message, "leave it out to keep everything"));
            }
        }
        self.serve.check()?;
        self.compute.check()?;
        for (name, hash) in &self.keys {
            check_key_name(name)?;
            let hex = hash.strip_prefix("sha256:").unwrap_or_default();
            if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                // the value itself is not shown: somebody may have put the key there
                let message = format!("the API key `{name}` is not given as sha256:<64 hex digits>");
                return Err(wrong(message, "`talkie key NAME` makes a key and prints that line"));
            }
        }
        Ok(self)
    }

    /// Flags and environment lie over the file.
    fn under(mut self, args: &MachineArgs) -> Self {
        self.ffmpeg = args.ffmpeg.clone().or(self.ffmpeg);
        self.ffprobe = args.ffprobe.clone().or(self.ffprobe);
        self.limits.audio_seconds = args.max_audio_seconds.or(self.limits.audio_seconds);
        self
    }
}

/// Whether an API key can be called so.
pub fn check_key_name(name: &str) -> Result<(), Complaint> {
    if name == "local" {
        let message = "an API key cannot be called `local`: that is whoever comes without one";
        return Err(wrong(message, "choose another name"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'@');
    if name.starts_with('.') || !name.bytes().all(plain) || !(1..=64).contains(&name.len()) {
        let message = format!("`{name}` cannot be the name of an API key: it names a folder too");
        return Err(wrong(message, "use 1 to 64 of a-z, A-Z, 0-9, _, -, . and @, none of them a first dot"));
    }
    Ok(())
}

/// The variables that are text: what is not (a name of a file in another encoding, say) is none of ours.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

const SEE: &str = "docs/config.md lists what can be set";

fn wrong(message: impl Into<String>, hint: &str) -> Complaint {
    Complaint::new("bad_config", message, hint)
}

fn plain(message: &str) -> String {
    message.trim().replace('\n', " ")
}

fn parse(text: &str, path: &Path) -> Result<Config, Complaint> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        wrong(
            format!("the configuration {} is wrong in line {at}: {}", path.display(), plain(error.message())),
            SEE,
        )
    })
}

/// Sets `path` (dotted) in the table. The value is TOML where it reads as such, else a text.
/// Sets a key as TOML has it (`3`, `["svd"]`), or as text where the key takes no such value. The error does not show the value: it
/// may be a password.
fn lay_over(table: &mut Table, path: &str, text: &str) -> Result<(), String> {
    let read = format!("v = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("v"));
    let mut why = None;
    for value in read.into_iter().chain([Value::String(text.to_owned())]) {
        match fits(path, value.clone()) {
            Ok(()) => return place(table, path, value),
            Err(error) => {
                why.get_or_insert(error);
            }
        }
    }
    Err(why.unwrap_or_default())
}

/// Whether there is such a key, for such a value.
fn fits(path: &str, value: Value) -> Result<(), String> {
    let mut alone = Table::new();
    place(&mut alone, path, value)?;
    let config: Result<Config, toml::de::Error> = alone.try_into();
    config.map(drop).map_err(|error| match plain(error.message()) {
        unknown if unknown.starts_with("unknown field") => unknown,
        wrong => match wrong.split_once("expected ") {
            Some((_, expected)) => format!("the value is not {expected}"),
            None => "the value is not one that this key takes".to_owned(),
        },
    })
}

fn place(table: &mut Table, path: &str, value: Value) -> Result<(), String> {
    let mut names: Vec<&str> = path.split('.').collect();
    let key = names.pop().filter(|key| !key.is_empty()).ok_or("no key is named")?;
    let mut place = table;
    for name in names {
        let next = place.entry(name).or_insert_with(|| Value::Table(Table::new()));
        place = next.as_table_mut().ok_or_else(|| format!("`{name}` is no section"))?;
    }
    place.insert(key.to_owned(), value);
    Ok(())
}

fn users_file() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|base| base.is_absolute()) // as its specification has it: others are as good as none
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(base.join("talkie").join("config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Config, String> {
        parse(text, Path::new("c.toml")).map_err(|complaint| complaint.message)
    }

    #[test]
    fn an_unknown_key_is_told_with_its_line() {
        let message = check("ffmpeg = \"/opt/ffmpeg\"\n[limits]\naudio_second = 3\n").err().unwrap();
        assert!(message.contains("line 3") && message.contains("audio_second"), "{message}");
    }

    #[test]
    fn any_key_can_be_laid_over_the_file() {
        let rows = [
            ("serve.listen", "0.0.0.0", "0.0.0.0"),
            ("serve.slots", "3", "3"),
            ("serve.only", "[\"svd\"]", "svd"),
            ("keys.anna", "sha256:00", "sha256:00"),
            ("data", "/srv/it's here", "/srv/it's here"),
            // text, though it reads as a number
            ("tts.api_key", "12345", "\"12345\""),
            ("infinitetalk.loras", "[{ path = \"a.safetensors\" }]", "a.safetensors"),
        ];
        for (path, value, expected) in rows {
            let mut table = Table::new();
            lay_over(&mut table, path, value).unwrap();
            let text = table.to_string();
            assert!(text.contains(expected), "{path} {text}");
            assert!(table.try_into::<Config>().is_ok(), "{text}");
        }
        let mut file: Table = "data = \"x\"".parse().unwrap();
        assert!(lay_over(&mut file, "data.deeper", "1").is_err());
        assert!(lay_over(&mut file, "serve.", "1").is_err());
        assert!(lay_over(&mut file, "serve.slotz", "1").unwrap_err().contains("slotz"));
        for (path, value) in [("serve.slots", "hunter2"), ("compute.device", "hunter2"), ("serve.tls", "77")]
        {
            let why = lay_over(&mut file, path, value).unwrap_err();
            assert!(why.starts_with("the value is not ") && !why.contains(value), "{why}");
        }
    }

    #[test]
    fn names_of_keys_are_folders_of_their_own() {
        for name in ["anna", "a.b@example.com", "A_1-2"] {
            assert!(check_key_name(name).is_ok(), "{name}");
        }
        for name in ["", "local", ".", "..", "a/b", "a b", "ä", &"a".repeat(65)] {
            assert!(check_key_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_keeps_nothing_is_not_taken_for_what_keeps_everything() {
        for key in ["takes_days", "takes_gib", "uploads_days", "records_days"] {
            let checked = |value| check(&format!("[retention]\n{key} = {value}\n")).unwrap().checked();
            for value in ["-1.0", "0.0", "nan", "inf"] {
                let complaint = checked(value).err().unwrap().to_string();
                assert!(complaint.contains(&format!("retention.{key} is")), "{complaint}");
            }
            assert!(checked("0.5").is_ok());
        }
    }

    #[test]
    fn no_number_is_too_large_for_a_clock() {
        let rows = [
            ("serve", "stall_seconds", "0"),
            ("serve", "drain_seconds", "9223372036854775807"),
            ("fetch", "mib", "9007199254740993"),
            ("serve", "keep_alive_seconds", "nan"),
            ("serve", "connections", "9000000000000000000"),
            ("serve", "requests_per_minute", "0"),
            ("musetalk", "jpeg_quality", "0"),
            ("musetalk", "jpeg_quality", "101"),
            ("fal", "webhook_first_retry_seconds", "0.0"),
        ];
        for (section, key, value) in rows {
            let told = check(&format!("[{section}]\n{key} = {value}\n")).unwrap().checked().err().unwrap();
            assert!(told.to_string().contains(&format!("{section}.{key} is")), "{told}");
        }
        assert!(check("[serve]\ndrain_seconds = 0\nstall_seconds = 100000000\n").unwrap().checked().is_ok());
    }

    #[test]
    fn a_token_on_a_command_line_is_refused_and_not_repeated() {
        for item in
            ["huggingface.token=hf_Secret1", "huggingface={token=\"hf_Secret1\"}", "tts.api_key=Secret1"]
        {
            let args = MachineArgs { conf: vec![item.to_owned()], ..MachineArgs::default() };
            let complaint = Config::load(&args).err().unwrap().to_string();
            assert!(complaint.contains("HF_TOKEN") && !complaint.contains("Secret1"), "{complaint}");
        }
    }

    #[test]
    fn flags_lie_over_the_file() {
        let file =
            check("[limits]\naudio_seconds = 10.0\n[tts]\nbackend = \"http\"\nurl = \"http://h\"\n").unwrap();
        let args = MachineArgs { max_audio_seconds: Some(20.0), ..MachineArgs::default() };
        assert_eq!(file.clone().under(&args).limits.audio_seconds, Some(20.0));
        assert_eq!(file.under(&MachineArgs::default()).limits.audio_seconds, Some(10.0));
    }
}
