//! `talkie avatars`: the avatars of a running server.

use std::process::ExitCode;

use contract::Complaint;

use crate::cli::{AvatarsAction, AvatarsArgs};
use crate::client::Client;
use crate::job_list::encoded;
use crate::say;

pub fn run(args: &AvatarsArgs) -> Result<ExitCode, Complaint> {
    let client = Client::new(&args.server)?;
    match &args.action {
        AvatarsAction::List => {
            let answer = client.get("/v1/avatars")?;
            if args.json {
                say::line(&answer)?;
            } else {
                for avatar in answer["avatars"].as_array().into_iter().flatten() {
                    let text = |name: &str| avatar[name].as_str().unwrap_or_default().to_owned();
                    say::line(format_args!(
                        "{:<24} {:<12} {:<10} {}",
                        text("name"),
                        text("dialect"),
                        text("engine"),
                        text("created_at")
                    ))?;
                }
            }
        }
        AvatarsAction::Add { name, file } => {
            let answer = client.upload("/v1/avatars", ("name", name), ("source", file))?;
            if args.json { say::line(&answer)? } else { say::line(format_args!("{name} is ready"))? }
        }
        AvatarsAction::Delete { name, dialect } => {
            let answer = client.delete(&format!("/v1/avatars/{}/{}", encoded(dialect), encoded(name)))?;
            if args.json { say::line(&answer)? } else { say::line(format_args!("{name} is deleted"))? }
        }
    }
    Ok(ExitCode::SUCCESS)
}
