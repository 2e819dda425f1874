//! The server and those who talk to it: `talkie serve`, `takeover`, `worker`, `key`, `jobs`, `avatars`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::serve::settings::{Dialect, PortChoice};

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
