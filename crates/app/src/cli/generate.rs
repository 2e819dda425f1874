//! `talkie generate`: of whom, in whose voice, and what the take is to be.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use contract::Fps;

use super::{DeviceArg, seconds_above_zero, seconds_from_zero};

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
    /// Where nets compute (default: as `compute.device` says); cuda: talkie-worker-cuda, which must lie beside this program, takes over
    #[arg(long, value_enum)]
    pub device: Option<DeviceArg>,
    /// Frame rate, e.g. 25, 29.97 or 30000/1001 (default: the clip's own, else the engine's)
    #[arg(long)]
    pub fps: Option<Fps>,
    /// What is to be seen (engines infinitetalk, wan-i2v and huggingface)
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Longest side of the take, in pixels. puppet: by default the picture's, at most 1280, and 512 with --crop face; svd: 1024;
    /// infinitetalk and wan-i2v: 480 or 720; huggingface: what is asked for; musetalk keeps the picture's
    #[arg(long, value_name = "PX")]
    pub size: Option<u32>,
    /// Where a person is in the picture, in pixels; one for each --audio, in the same order (default: left and right half). Four numbers
    /// without names are the official ones: rows first
    #[arg(long = "person", value_name = "left=L,top=T,right=R,bottom=B")]
    pub persons: Vec<String>,
    /// Keep the finished pieces of a long take in this folder, and go on behind them if they are there
    #[arg(long, value_name = "DIR")]
    pub reel: Option<PathBuf>,
    /// What of the picture comes out (engine puppet; default: full)
    #[arg(long, value_enum)]
    pub crop: Option<Crop>,
    /// What finds the face: `official`, with the checkpoints of the official code, or `face`, built in (engine musetalk)
    #[arg(long, value_name = "NAME")]
    pub detector: Option<String>,
    /// Seed of motion and noise; equal seeds give equal takes (default: a new one, told in the report)
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
    /// A clip of a person, or a folder of pictures of it; every frame is animated
    #[arg(long, value_name = "FILE|DIR")]
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
    /// Whether several voices speak at the same time or one after the other (default: together)
    #[arg(long, value_enum, requires = "audio")]
    pub turns: Option<Turns>,
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
    /// The speech: any sound that ffmpeg reads, or the sound track of a video; once for each person, `-` for one who is silent
    #[arg(long, short, value_name = "FILE")]
    pub audio: Vec<PathBuf>,
    /// A text to be spoken
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// A text to be spoken, from a file; `-` is standard input
    #[arg(long, value_name = "FILE|-")]
    pub text_file: Option<PathBuf>,
    /// No speech: idle motion for so many seconds, without a sound track
    #[arg(long, value_name = "N", value_parser = seconds_above_zero)]
    pub seconds: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Turns {
    Together,
    InTurn,
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
