//! The programs `talkie` and `talkie-worker-cuda`: they parse the command line, wire the rooms together, print. The only room that names
//! engines, reads the environment and decides on exit codes.

mod avatars;
mod bench;
#[cfg(feature = "cuda")]
mod card_times;
mod cli;
mod client;
mod compute;
mod config;
#[cfg(feature = "neural")]
mod device;
#[cfg(not(feature = "neural"))]
#[path = "no_device.rs"]
mod device;
mod doctor;
mod engines;
mod generate;
mod huggingface;
#[cfg(feature = "neural")]
mod infinitetalk;
mod job_list;
#[cfg(feature = "neural")]
mod learned;
mod machine;
mod models;
#[cfg(feature = "neural")]
mod musetalk;
#[cfg(feature = "neural")]
mod plan;
mod samples;
mod say;
mod score;
mod serve;
mod signals;
#[cfg(feature = "neural")]
mod svd;
mod takeover;
mod terminal;
mod usage;
#[cfg(feature = "neural")]
mod verify;
#[cfg(feature = "neural")]
mod weights;
mod wire;
mod worker;

use std::process::ExitCode;

use clap::Parser;
use contract::Complaint;

use cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: allocator::MiMalloc = allocator::MiMalloc;

/// `talkie`
pub fn talkie() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.command.json();
    let outcome = match cli.command {
        Command::Generate(args) => generate::run(&cli.machine, *args),
        Command::Score(args) => score::run(&cli.machine, &args),
        #[cfg(feature = "neural")]
        Command::Verify(args) => verify::run(&cli.machine, &args),
        Command::Doctor(args) => doctor::run(&cli.machine, args.json),
        Command::Engines(args) => engines::run(&cli.machine, args.json),
        Command::Bench(args) => bench::run(&cli.machine, &args),
        #[cfg(feature = "neural")]
        Command::Plan(args) => plan::run(&cli.machine, &args),
        Command::Serve(args) => serve::run(&cli.machine, &args),
        Command::Takeover(args) => takeover::run(&cli.machine, &args),
        Command::Jobs(args) => job_list::run(&args),
        Command::Avatars(args) => avatars::run(&args),
        Command::Cert(args) => serve::cert(&cli.machine, &args),
        Command::Key(args) => serve::keys::run(&args.name),
        Command::Models(args) => models::run(&cli.machine, &args),
        Command::Worker(args) => worker::run(&cli.machine, &args),
    };
    exit_code(outcome, json)
}

/// `talkie-worker-cuda`: what computes, on NVIDIA cards.
#[cfg(feature = "cuda")]
pub fn worker_cuda() -> ExitCode {
    let cli = cli::CudaCli::parse();
    let json = cli.command.json();
    let outcome = match cli.command {
        cli::CudaCommand::Verify(args) => verify::run(&cli.machine, &args),
        cli::CudaCommand::Kernels(args) => card_times::run(args.json),
        cli::CudaCommand::Bench(args) => bench::run(&cli.machine, &args),
        cli::CudaCommand::Generate(args) => generate::run(&cli.machine, *args),
        cli::CudaCommand::Worker(args) => worker::run(&cli.machine, &args),
    };
    exit_code(outcome, json)
}

fn exit_code(outcome: Result<ExitCode, Complaint>, json: bool) -> ExitCode {
    outcome.unwrap_or_else(|complaint| {
        if json {
            // the line below says it in any case
            let _ = say::line(wire::complaint(&complaint));
        }
        say::aside(format_args!("talkie: {complaint}"));
        ExitCode::FAILURE
    })
}
