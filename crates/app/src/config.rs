//! Configuration: defaults < TOML file < environment < flags. Environment and flags arrive through clap; this is the file.

use std::path::{Path, PathBuf};

use contract::Complaint;
use serde::Deserialize;

use crate::cli::{MachineArgs, TtsBackend};

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub ffmpeg: Option<PathBuf>,
    pub ffprobe: Option<PathBuf>,
    pub limits: LimitsConfig,
    pub tts: TtsConfig,
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
    /// Reads the file that was named, or the user's own where there is one.
    pub fn load(args: &MachineArgs) -> Result<Self, Complaint> {
        let (path, named) = match (&args.config, users_file()) {
            (Some(path), _) => (path.clone(), true),
            (None, Some(path)) => (path, false),
            (None, None) => return Self::default().under(args).checked(),
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => parse(&text, &path)?.under(args).checked(),
            Err(error) if !named && error.kind() == std::io::ErrorKind::NotFound => {
                Self::default().under(args).checked()
            }
            Err(error) => Err(Complaint::new(
                "bad_config",
                format!("the configuration {} cannot be read: {error}", path.display()),
                "name another file with --config",
            )),
        }
    }

    /// Limits that no machine can keep, or that let nothing through, are mistakes.
    fn checked(self) -> Result<Self, Complaint> {
        let limits = &self.limits;
        let whole = |value: Option<u64>| value.map(|value| value as f64);
        let rows = [
            ("audio_seconds (--max-audio-seconds)", limits.audio_seconds, 0.1, 1e6),
            ("clip_seconds", limits.clip_seconds, 0.1, 1e6),
            ("file_mib", whole(limits.file_mib), 1.0, 1e9),
            ("picture_megapixels", whole(limits.picture_megapixels), 1.0, 2000.0),
            ("picture_side", whole(limits.picture_side.map(u64::from)), 64.0, 65_535.0),
            // ffmpeg's libraries alone map about 300 MiB
            ("decoder_mib", whole(limits.decoder_mib), 512.0, 1e9),
        ];
        for (name, value, least, most) in rows {
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                let message = format!("the limit {name} is {value}, it can be {least} to {most}");
                return Err(Complaint::new(
                    "bad_config",
                    message,
                    "correct it; docs/config.md tells what it means",
                ));
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

fn parse(text: &str, path: &Path) -> Result<Config, Complaint> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        Complaint::new(
            "bad_config",
            format!(
                "the configuration {} is wrong in line {at}: {}",
                path.display(),
                error.message().trim().replace('\n', " ")
            ),
            "docs/config.md lists what can stand in it",
        )
    })
}

fn users_file() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
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
    fn flags_lie_over_the_file() {
        let file =
            check("[limits]\naudio_seconds = 10.0\n[tts]\nbackend = \"http\"\nurl = \"http://h\"\n").unwrap();
        let args = MachineArgs { max_audio_seconds: Some(20.0), ..MachineArgs::default() };
        assert_eq!(file.clone().under(&args).limits.audio_seconds, Some(20.0));
        assert_eq!(file.under(&MachineArgs::default()).limits.audio_seconds, Some(10.0));
    }
}
