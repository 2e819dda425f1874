//! `talkie models`: which weights, and what is to be done with them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DataArgs, seconds_to};

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
    #[arg(long, value_name = "N", default_value_t = 30.0, value_parser = |text: &str| seconds_to(text, 86_400.0))]
    pub silence: f64,
    /// No progress
    #[arg(long, short)]
    pub quiet: bool,
}
