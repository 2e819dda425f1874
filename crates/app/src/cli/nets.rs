//! `talkie verify` and `talkie plan`: what can be asked about the nets.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::DeviceArg;

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
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub steps: u32,
    /// Passes through the net in a step (default: 3, of wan-i2v 2): 2 with LoRAs for 8 or 4 steps, 1 with weights distilled without guidance
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    pub forwards: Option<u8>,
    /// Voices (infinitetalk; default: 1)
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub persons: Option<u8>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Any size, of which only the shape counts.
fn shape(text: &str) -> Result<(u32, u32), String> {
    let sides =
        text.split_once(['x', 'X']).and_then(|(w, h)| Some((w.trim().parse().ok()?, h.trim().parse().ok()?)));
    sides.filter(|&(w, h): &(u32, u32)| w > 0 && h > 0).ok_or_else(|| "write it as 1280x720".to_owned())
}

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

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Area {
    Musetalk,
    Infinitetalk,
    Svd,
    Loaders,
    Keys,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DtypeArg {
    F32,
    Bf16,
    F16,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProfileArg {
    Strict,
    Fast,
}
