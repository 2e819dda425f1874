//! The command line: what can be asked, and how it becomes a `TakeSpec`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use contract::Fps;

#[derive(Parser)]
#[command(
    name = "talkie",
    version,
    about = "A portrait and speech in, a talking video out.",
    max_term_width = 110
)]
pub struct Cli {
    #[command(flatten)]
    pub machine: MachineArgs,
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command: where the tools are and what a user's file may cost.
#[derive(Args, Clone, Default)]
pub struct MachineArgs {
    /// Configuration file (default: talkie/config.toml in the user's configuration folder, where it exists)
    #[arg(long, global = true, env = "TALKIE_CONFIG", value_name = "FILE", help_heading = "Machine")]
    pub config: Option<PathBuf>,
    /// The ffmpeg to use (default: the one in PATH)
    #[arg(long, global = true, env = "TALKIE_FFMPEG", value_name = "PROGRAM", help_heading = "Machine")]
    pub ffmpeg: Option<PathBuf>,
    /// The ffprobe to use (default: the one in PATH)
    #[arg(long, global = true, env = "TALKIE_FFPROBE", value_name = "PROGRAM", help_heading = "Machine")]
    pub ffprobe: Option<PathBuf>,
    /// Longest voice that is accepted, in seconds
    #[arg(long, global = true, env = "TALKIE_MAX_AUDIO_SECONDS", value_name = "N", help_heading = "Machine")]
    pub max_audio_seconds: Option<f64>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make a talking video
    Generate(Box<GenerateArgs>),
    /// Measure lip-sync and picture quality of a talking video, whatever made it
    Score(ScoreArgs),
    /// Check what works on this machine, and say how to mend what does not
    Doctor(JsonArgs),
    /// List the engines and their limits
    Engines(JsonArgs),
    /// Measure the speed of an engine on this machine
    Bench(BenchArgs),
}

impl Command {
    /// Whether the answer is to be JSON.
    pub fn json(&self) -> bool {
        match self {
            Command::Generate(args) => args.json,
            Command::Score(args) => args.json,
            Command::Doctor(args) | Command::Engines(args) => args.json,
            Command::Bench(args) => args.json,
        }
    }
}

#[derive(Args)]
pub struct JsonArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct GenerateArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    #[command(flatten)]
    pub voice: VoiceArgs,
    /// Where the take goes; `-` streams a fragmented MP4 to standard output
    #[arg(long, short, value_name = "FILE.mp4|-")]
    pub out: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    pub overwrite: bool,
    /// The engine that is to make it
    #[arg(long, default_value = "puppet")]
    pub engine: String,
    /// Frame rate, e.g. 25, 29.97 or 30000/1001 (default: the clip's own, else the engine's)
    #[arg(long)]
    pub fps: Option<Fps>,
    /// Longest side of the take, in pixels (default: the picture's, at most 1280; 512 for --crop face)
    #[arg(long, value_name = "PX")]
    pub size: Option<u32>,
    /// What of the picture comes out
    #[arg(long, value_enum)]
    pub crop: Option<Crop>,
    /// Seed of the motion; equal seeds give equal takes (default: a new one, told in the report)
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where eyes and mouth are, instead of looking for them: a JSON file or the JSON itself, as `--json` reports it
    #[arg(long, value_name = "FILE|JSON")]
    pub landmarks: Option<String>,
    /// Quality of the picture on the scale of x264's constant rate factor, 0 (lossless) to 51
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(0..=51))]
    pub crf: u8,
    /// A setting of the engine by name (see `talkie engines`); may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,
    /// No progress, no warnings; errors only
    #[arg(long, short)]
    pub quiet: bool,
    /// Print one JSON object about the take (to standard error when the take itself goes to standard output)
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct SubjectArgs {
    /// A portrait: any picture that ffmpeg reads
    #[arg(long, short, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// A clip of a person; every frame of it is animated
    #[arg(long, value_name = "FILE")]
    pub video: Option<PathBuf>,
}

#[derive(Args)]
pub struct VoiceArgs {
    #[command(flatten)]
    pub source: VoiceSourceArgs,
    /// Begin this many seconds into the audio
    #[arg(long, value_name = "SECONDS", requires = "audio", value_parser = seconds_from_zero, allow_hyphen_values = true)]
    pub start: Option<f64>,
    /// Use this many seconds of the audio
    #[arg(long, value_name = "SECONDS", requires = "audio", value_parser = seconds_above_zero, allow_hyphen_values = true)]
    pub duration: Option<f64>,
    /// What speaks a text (default: a configured endpoint, else flite, else espeak-ng)
    #[arg(long, value_enum, conflicts_with_all = ["audio", "seconds"])]
    pub tts: Option<TtsBackend>,
    /// The voice that speaks a text, by the name the speech synthesis has for it
    #[arg(long, value_name = "NAME", conflicts_with_all = ["audio", "seconds"])]
    pub tts_voice: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct VoiceSourceArgs {
    /// The speech: any sound that ffmpeg reads, or the sound track of a video
    #[arg(long, short, value_name = "FILE")]
    pub audio: Option<PathBuf>,
    /// A text to be spoken
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// A text to be spoken, from a file; `-` is standard input
    #[arg(long, value_name = "FILE|-")]
    pub text_file: Option<PathBuf>,
    /// No speech: so many seconds of idle motion, without a sound track
    #[arg(long, value_name = "N", value_parser = seconds_above_zero)]
    pub seconds: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Crop {
    /// The whole picture, the face animated in place
    Full,
    /// A square around the face
    Face,
}

#[derive(Clone, Copy, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TtsBackend {
    Auto,
    Flite,
    Espeak,
    Http,
}

#[derive(Args)]
pub struct ScoreArgs {
    /// The video to measure
    pub video: PathBuf,
    /// The speech it should show (default: its own sound track)
    #[arg(long, value_name = "FILE")]
    pub audio: Option<PathBuf>,
    /// Phonemes with their times, as tools/visnet/README.md describes them
    #[arg(long, value_name = "FILE.json")]
    pub truth: Option<PathBuf>,
    /// The picture it was made from
    #[arg(long, value_name = "FILE")]
    pub portrait: Option<PathBuf>,
    /// Hold the figures against these limits; exits with 1 if one is missed
    #[arg(long, value_enum)]
    pub gate: Option<GateArg>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum GateArg {
    /// A take of puppet
    Puppet,
    /// A take of puppet for held-out voices with phoneme truth
    HeldOut,
    /// A take of an engine that draws every pixel anew
    Generative,
}

#[derive(Args)]
pub struct BenchArgs {
    /// The engine to measure
    #[arg(default_value = "puppet")]
    pub engine: String,
    /// Seconds of video for each measurement
    #[arg(long, default_value_t = 20.0, value_parser = seconds_above_zero)]
    pub seconds: f64,
    /// A portrait of your own (default: the built-in sample)
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Speech of your own (default: the built-in sample)
    #[arg(long, value_name = "FILE")]
    pub audio: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

fn seconds_from_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err(format!("`{text}` is not a number of seconds, 0 or more")),
    }
}

fn seconds_above_zero(text: &str) -> Result<f64, String> {
    match seconds_from_zero(text) {
        Ok(value) if value > 0.0 => Ok(value),
        _ => Err(format!("`{text}` is not a number of seconds above 0")),
    }
}
