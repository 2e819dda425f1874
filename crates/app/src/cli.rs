//! The command line: what can be asked. A file of `cli/` for what belongs together, the short commands here.

mod generate;
mod models;
#[cfg(feature = "neural")]
mod nets;
mod server;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::compute::DeviceChoice;

pub use generate::{Crop, GenerateArgs, TtsBackend, Turns, VoiceArgs};
pub use models::{ModelsAction, ModelsArgs, PullArgs, SeedScale};
#[cfg(feature = "neural")]
pub use nets::{DtypeArg, PlanArgs, ProfileArg, VerifyArgs};
pub use server::{
    AvatarsAction, AvatarsArgs, DataArgs, JobsAction, JobsArgs, KeyArgs, ServeArgs, ServerArgs, TakeoverArgs,
    WorkerArgs,
};

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
    /// Longest voice that is accepted, in seconds (default: 3600)
    #[arg(long, global = true, env = "TALKIE_MAX_AUDIO_SECONDS", value_name = "N", help_heading = "Machine")]
    pub max_audio_seconds: Option<f64>,
    /// Any key of the configuration file; may be repeated
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE", help_heading = "Machine")]
    pub conf: Vec<String>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make a talking video
    Generate(Box<GenerateArgs>),
    /// Measure lip-sync and picture quality of a talking video, whatever made it
    Score(ScoreArgs),
    /// Prove the nets against reference values of the official implementations, without their weights
    #[cfg(feature = "neural")]
    Verify(VerifyArgs),
    /// Check what works on this machine, and say how to mend what does not
    Doctor(JsonArgs),
    /// List the engines and their limits
    Engines(JsonArgs),
    /// Measure the speed of an engine on this machine
    Bench(BenchArgs),
    /// What a take of a large model needs: memory, and seconds of work for a second of video
    #[cfg(feature = "neural")]
    Plan(PlanArgs),
    /// Serve the HTTP APIs of InfiniteTalk, MuseTalk, MuseTalk S3, the SVD backend and fal
    Serve(ServeArgs),
    /// Lead fal's own clients here: prints the variables to export, then is a proxy in place of fal's hosts until it is interrupted
    Takeover(TakeoverArgs),
    /// Jobs of a running server
    Jobs(JobsArgs),
    /// Avatars of a running server
    Avatars(AvatarsArgs),
    /// Make the local CA and certificate that `serve --tls` uses, and print where they are
    Cert(DataArgs),
    /// Make an API key: prints it once, and the line for the configuration file
    Key(KeyArgs),
    /// Weights of the neural engines: what there is, fetch, check
    Models(ModelsArgs),
    /// What `serve` starts for each device; its server is on descriptor 3
    #[command(hide = true)]
    Worker(WorkerArgs),
}

impl Command {
    /// Whether the answer is to be JSON.
    pub fn json(&self) -> bool {
        match self {
            Command::Generate(args) => args.json,
            Command::Score(args) => args.json,
            #[cfg(feature = "neural")]
            Command::Verify(args) => args.json,
            Command::Doctor(args) | Command::Engines(args) => args.json,
            Command::Bench(args) => args.json,
            #[cfg(feature = "neural")]
            Command::Plan(args) => args.json,
            Command::Jobs(args) => args.json,
            Command::Avatars(args) => args.json,
            Command::Models(args) => args.json,
            Command::Serve(_)
            | Command::Takeover(_)
            | Command::Cert(_)
            | Command::Key(_)
            | Command::Worker(_) => false,
        }
    }
}

#[cfg(feature = "cuda")]
#[derive(Parser)]
#[command(
    name = "talkie-worker-cuda",
    version,
    about = "What of Talkie computes, on NVIDIA cards.",
    max_term_width = 110
)]
pub struct CudaCli {
    #[command(flatten)]
    pub machine: MachineArgs,
    #[command(subcommand)]
    pub command: CudaCommand,
}

#[cfg(feature = "cuda")]
#[derive(Subcommand)]
pub enum CudaCommand {
    /// Prove the nets against reference values of the official implementations, without their weights
    Verify(VerifyArgs),
    /// Make a video: `talkie generate` gives its place to this where `compute.device` is `cuda`
    Generate(Box<GenerateArgs>),
    /// Time every kernel on this card against what its memory and its arithmetic allow
    Kernels(JsonArgs),
    /// Measure speed and memory of an engine: `talkie bench` gives its place to this where `compute.device` is `cuda`
    Bench(BenchArgs),
    /// What a server starts for each device; its server is on descriptor 3
    #[command(hide = true)]
    Worker(WorkerArgs),
}

#[cfg(feature = "cuda")]
impl CudaCommand {
    /// Whether the answer is to be JSON.
    pub fn json(&self) -> bool {
        match self {
            Self::Verify(args) => args.json,
            Self::Generate(args) => args.json,
            Self::Kernels(args) => args.json,
            Self::Bench(args) => args.json,
            Self::Worker(_) => false,
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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceArg {
    Cpu,
    Cuda,
}

impl From<DeviceArg> for DeviceChoice {
    fn from(device: DeviceArg) -> Self {
        match device {
            DeviceArg::Cpu => DeviceChoice::Cpu,
            DeviceArg::Cuda => DeviceChoice::Cuda,
        }
    }
}

#[derive(Args)]
pub struct BenchArgs {
    /// The engine to measure
    #[arg(default_value = "puppet")]
    pub engine: String,
    /// Seconds of video for each measurement
    #[arg(long, default_value_t = 20.0, value_parser = |text: &str| seconds_to(text, 3600.0))]
    pub seconds: f64,
    /// A portrait of your own (default: the built-in sample)
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Speech of your own (default: the built-in sample)
    #[arg(long, value_name = "FILE")]
    pub audio: Option<PathBuf>,
    /// A setting of the engine, as for `talkie generate`; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub settings: Vec<String>,
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

fn seconds_to(text: &str, most: f64) -> Result<f64, String> {
    seconds_above_zero(text).and_then(|value| {
        if value <= most { Ok(value) } else { Err(format!("{value} s are too many, it can be up to {most}")) }
    })
}
