//! The command line: what can be asked, and how it becomes a `TakeSpec`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use contract::Fps;

use crate::compute::DeviceChoice;
use crate::serve::settings::{Dialect, PortChoice};

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
            Self::Worker(_) => false,
        }
    }
}

#[cfg(feature = "neural")]
#[derive(Args)]
pub struct PlanArgs {
    /// `infinitetalk` or `wan-i2v`
    pub engine: String,
    /// 480 or 720
    #[arg(long, default_value_t = 480)]
    pub size: u32,
    /// Size of the picture, which decides the take's shape
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1x1", value_parser = shape)]
    pub picture: (u32, u32),
    /// Memory of a card, in GB (10^9 bytes); without it this machine's processor is measured and planned for
    #[arg(long, value_name = "GB")]
    pub vram: Option<f64>,
    /// What the card multiplies in bf16, in TFLOP/s; default 165, an RTX 4090's
    #[arg(long, value_name = "TFLOPS", requires = "vram")]
    pub tflops: Option<f64>,
    /// What comes to the card from this machine's memory, in GB/s; default 25, PCIe 4.0 with 16 lanes
    #[arg(long, value_name = "GB/S", requires = "vram")]
    pub link: Option<f64>,
    /// How weights are held: f32, bf16 or q8_0 (default: as configured, else bf16)
    #[arg(long, value_name = "NAME")]
    pub numbers: Option<String>,
    /// Denoising steps a chunk
    #[arg(long, default_value_t = 40)]
    pub steps: usize,
    /// Passes through the net in a step (default: 3, of wan-i2v 2): 2 with LoRAs for 8 or 4 steps, 1 with weights distilled without guidance
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub forwards: Option<u8>,
    /// Voices
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub persons: u8,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Any size, of which only the shape counts.
#[cfg(feature = "neural")]
fn shape(text: &str) -> Result<(u32, u32), String> {
    let sides =
        text.split_once(['x', 'X']).and_then(|(w, h)| Some((w.trim().parse().ok()?, h.trim().parse().ok()?)));
    sides.filter(|&(w, h): &(u32, u32)| w > 0 && h > 0).ok_or_else(|| "write it as 1280x720".to_owned())
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

#[cfg(feature = "neural")]
#[derive(Args)]
pub struct VerifyArgs {
    /// The folder of the golden kit (default: ./goldens)
    #[arg(long, value_name = "DIR")]
    pub goldens: Option<PathBuf>,
    /// One part of it: a model family, the weight files, or the key inventories
    #[arg(long, value_enum)]
    pub only: Option<Area>,
    /// Where the nets run
    #[arg(long, value_enum, default_value_t = DeviceArg::Cpu)]
    pub device: DeviceArg,
    /// Only the cases that compute in it (default: all)
    #[arg(long, value_enum)]
    pub dtype: Option<DtypeArg>,
    /// Which kernels run: `strict` computes in f32 as the reference does
    #[arg(long, value_enum, default_value_t = ProfileArg::Strict)]
    pub profile: ProfileArg,
    /// Write every output that was computed to DIR/<area>/<case>.safetensors
    #[arg(long, value_name = "DIR")]
    pub dump: Option<PathBuf>,
    /// Cases whose net does not exist here do not count as failures
    #[arg(long)]
    pub allow_missing: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

#[cfg(feature = "neural")]
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Area {
    Musetalk,
    Infinitetalk,
    Svd,
    Loaders,
    Keys,
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

#[cfg(feature = "neural")]
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DtypeArg {
    F32,
    Bf16,
    F16,
}

#[cfg(feature = "neural")]
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProfileArg {
    Strict,
    Fast,
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

impl DataArgs {
    /// For commands that have no such flag.
    pub fn of_environment() -> Self {
        Self { data: std::env::var_os("TALKIE_DATA").filter(|data| !data.is_empty()).map(PathBuf::from) }
    }
}

/// Where a server keeps everything.
#[derive(Args, Clone, Default)]
pub struct DataArgs {
    /// Folder for all state: record, uploads, takes, avatars, certificates
    /// (default: talkie in the user's data folder)
    #[arg(long, env = "TALKIE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Args, Clone)]
pub struct ServeArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Folder below which local paths of requests may lie; may be repeated
    #[arg(long = "media-root", value_name = "DIR")]
    pub media_roots: Vec<PathBuf>,
    /// The engine of every dialect, whatever weights there are; what `serve.engines` says of a dialect goes before it
    #[arg(long, value_name = "NAME")]
    pub engine: Option<String>,
    /// Serve this dialect only (infinitetalk, musetalk, musetalk-s3, svd, fal); may be repeated
    #[arg(long, value_name = "DIALECT")]
    pub only: Vec<Dialect>,
    /// Address to listen on (default: 127.0.0.1)
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<std::net::IpAddr>,
    /// Port of a dialect (infinitetalk, musetalk, musetalk-s3, svd, fal, all); 0 takes a free one; may be repeated
    #[arg(long = "port", value_name = "DIALECT=N")]
    pub ports: Vec<PortChoice>,
    /// HTTPS with a certificate signed by a local CA, made on first use
    #[arg(long)]
    pub tls: bool,
}

#[derive(Args)]
pub struct TakeoverArgs {
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub server: AddressArgs,
    /// Where clients find the proxy: loopback only; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8999")]
    pub listen: std::net::SocketAddr,
}

#[derive(Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Folders below which local paths may lie, as the server was told
    #[arg(long = "media-root")]
    pub media_roots: Vec<PathBuf>,
    /// Jobs at a time
    #[arg(long)]
    pub slots: usize,
    /// Live sessions at a time
    #[arg(long)]
    pub live_slots: usize,
}

#[derive(Args)]
pub struct KeyArgs {
    /// Whose key it is; jobs and avatars belong to this name
    pub name: String,
}

/// How a running server is reached.
#[derive(Args)]
pub struct ServerArgs {
    #[command(flatten)]
    pub address: AddressArgs,
    /// API key, where the server asks for one
    #[arg(long, global = true, env = "TALKIE_KEY", value_name = "KEY", hide_env_values = true)]
    pub key: Option<String>,
}

#[derive(Args)]
pub struct AddressArgs {
    /// Address of the all port
    #[arg(
        long,
        global = true,
        env = "TALKIE_SERVER",
        default_value = "http://127.0.0.1:8100",
        value_name = "URL"
    )]
    pub server: String,
    /// CA to trust besides the public ones, for https with a certificate of a local CA
    #[arg(long, global = true, env = "TALKIE_CA", value_name = "FILE.pem")]
    pub ca: Option<PathBuf>,
}

#[derive(Args)]
pub struct JobsArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(subcommand)]
    pub action: JobsAction,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum JobsAction {
    /// The newest jobs
    List {
        /// Only this dialect's
        #[arg(long)]
        dialect: Option<String>,
        /// Only these: queued, running, done, failed or canceled
        #[arg(long)]
        state: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// One job, whole, with its log
    Show {
        /// As `jobs list` shows it
        id: String,
    },
    /// Follow a job to its end; exits with 1 if it fails
    Watch {
        /// As `jobs list` shows it
        id: String,
    },
    /// Cancel a job: a queued one ends at once, a running one within a frame
    Cancel {
        /// As `jobs list` shows it
        id: String,
    },
}

#[derive(Args)]
pub struct AvatarsArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(subcommand)]
    pub action: AvatarsAction,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum AvatarsAction {
    /// Every avatar
    List,
    /// Make one of a clip or a picture
    Add {
        /// By which requests will call it
        name: String,
        /// The clip or the picture
        file: PathBuf,
    },
    /// Delete one; a session that uses it goes on
    Delete {
        /// As `avatars list` shows it
        name: String,
        /// Whose avatar it is
        #[arg(long, default_value = "musetalk")]
        dialect: String,
    },
}

#[derive(Args)]
pub struct ModelsArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// Folder of the weights, which `pull` fills (default: models in the data folder)
    #[arg(long, global = true, env = "TALKIE_MODELS", value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// Another folder in an official layout, or a checkout of an official project, to use in place; may be repeated
    #[arg(long = "folder", global = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,
    #[command(subcommand)]
    pub action: ModelsAction,
    /// Print JSON; one event a line while something is going on
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
pub enum ModelsAction {
    /// Sets, components and files, with licences and what is there
    List {
        /// Sets, components or files (default: everything, in short)
        names: Vec<String>,
    },
    /// Fetch what is missing
    Pull(PullArgs),
    /// Compare sizes and checksums; exits with 1 if a file is missing or wrong
    Check {
        /// Sets, components or files (default: whatever is there)
        names: Vec<String>,
    },
    /// Print where each file was found; exits with 1 if one is missing
    Path {
        /// Sets, components or files
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Write seeded weights in the official layout: right names and shapes, no training
    Seed {
        /// Sets, components or files
        #[arg(required = true)]
        names: Vec<String>,
        /// Folder they go to
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// What the values depend on besides name and shape
        #[arg(long, default_value = "public")]
        salt: String,
        /// `full`: as large as the released files; `tiny`: the same nets with a few channels, for trying things out; `small`: in between, for
        /// measuring
        #[arg(long, value_enum, default_value = "full")]
        scale: SeedScale,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SeedScale {
    Full,
    Small,
    Tiny,
}

#[derive(Args)]
pub struct PullArgs {
    /// Sets, components or files
    #[arg(required = true)]
    pub names: Vec<String>,
    /// Parts of a file that are fetched at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=32))]
    pub connections: u8,
    /// Replace files that are there but are not the ones of the catalogue
    #[arg(long)]
    pub replace: bool,
    /// Take the hub's word where its size or checksum is not the catalogue's
    #[arg(long)]
    pub hub_checksums: bool,
    /// The hub or a mirror of it (default: HF_ENDPOINT, else `endpoint` of [models], else https://huggingface.co)
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Give up a connection after so many seconds without a byte
    #[arg(long, value_name = "N", default_value_t = 30.0, value_parser = seconds_above_zero)]
    pub silence: f64,
    /// No progress
    #[arg(long, short)]
    pub quiet: bool,
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
