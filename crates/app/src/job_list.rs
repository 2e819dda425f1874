//! `talkie jobs`: the jobs of a running server.

use std::ops::ControlFlow;
use std::process::ExitCode;

use contract::Complaint;
use serde_json::Value;

use crate::cli::{JobsAction, JobsArgs};
use crate::client::Client;
use crate::say;

pub fn run(args: &JobsArgs) -> Result<ExitCode, Complaint> {
    let client = Client::new(&args.server)?;
    match &args.action {
        JobsAction::List { dialect, state, limit } => {
            let mut path = format!("/v1/jobs?limit={limit}");
            for (name, value) in [("dialect", dialect), ("state", state)] {
                if let Some(value) = value {
                    path.push_str(&format!("&{name}={}", encoded(value)));
                }
            }
            list(&client.get(&path)?, args.json)
        }
        JobsAction::Show { id } => show(&client, id, args.json),
        JobsAction::Watch { id } => watch(&client, id, args.json),
        JobsAction::Cancel { id } => {
            let answer = client.post(&format!("/v1/jobs/{}/cancel", encoded(id)))?;
            if args.json {
                say::line(&answer)?;
            } else {
                say::line(format_args!("{id} {}", text(&answer, "outcome")))?;
            }
            match text(&answer, "outcome") {
                "ended" => Err(Complaint::new("ended", format!("job {id} had ended before"), "")),
                _ => Ok(ExitCode::SUCCESS),
            }
        }
    }
}

fn list(answer: &Value, json: bool) -> Result<ExitCode, Complaint> {
    if json {
        say::line(answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    for job in answer["jobs"].as_array().into_iter().flatten() {
        let line = format!(
            "{}  {:<9} {:<12} {:<10} {}  {}",
            text(job, "id"),
            text(job, "state"),
            text(job, "dialect"),
            text(job, "engine"),
            text(job, "created_at"),
            progress(job)
        );
        say::line(line.trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(client: &Client, id: &str, json: bool) -> Result<ExitCode, Complaint> {
    let job = client.get(&format!("/v1/jobs/{}", encoded(id)))?;
    let log = client.get(&format!("/v1/jobs/{}/log", encoded(id)))?;
    if json {
        let mut whole = job;
        whole["log"] = log["lines"].clone();
        say::line(&whole)?;
        return Ok(ExitCode::SUCCESS);
    }
    for name in ["id", "state", "dialect", "kind", "engine", "created_at", "started_at", "ended_at"] {
        if !job[name].is_null() {
            say::line(format_args!("{name:<10} {}", text(&job, name)))?;
        }
    }
    let doing = progress(&job);
    if !doing.is_empty() {
        say::line(format_args!("progress   {doing}"))?;
    }
    for name in ["take", "error"] {
        for (field, value) in
            job[name].as_object().into_iter().flatten().filter(|(_, value)| !value.is_null())
        {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            say::line(format_args!("{name}.{field} {value}"))?;
        }
    }
    for line in log["lines"].as_array().into_iter().flatten() {
        say::line(format_args!("{} {:<5} {}", text(line, "at"), text(line, "level"), text(line, "message")))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn watch(client: &Client, id: &str, json: bool) -> Result<ExitCode, Complaint> {
    let (mut last, mut trouble) = (String::new(), None);
    let path = format!("/v1/jobs/{}/events", encoded(id));
    client.events(&path, "job", |job| {
        let line = if json {
            job.to_string()
        } else {
            format!("{} {}", text(job, "state"), progress(job)).trim().to_owned()
        };
        if line != last {
            if let Err(complaint) = say::line(&line) {
                trouble = Some(complaint);
                return ControlFlow::Break(());
            }
            last = line;
        }
        ControlFlow::Continue(())
    })?;
    if let Some(complaint) = trouble {
        return Err(complaint);
    }
    // how it ended is asked for anew: a server that was restarted meanwhile has cut the stream
    let job = client.get(&format!("/v1/jobs/{}", encoded(id)))?;
    match job["state"].as_str() {
        Some("done") => Ok(ExitCode::SUCCESS),
        Some("queued" | "running") => Err(Complaint::new(
            "cut_off",
            format!("the server stopped telling while job {id} is {}", text(&job, "state")),
            "watch it again",
        )),
        _ => {
            let error = &job["error"];
            let message =
                error["message"].as_str().map_or_else(|| text(&job, "state").to_owned(), str::to_owned);
            Err(Complaint::new("job_failed", format!("job {id}: {message}"), text(error, "hint")))
        }
    }
}

/// `rendering 12/40, 3 s left`, or the place in the queue, or nothing; what it did last is no news of a job that has ended.
fn progress(job: &Value) -> String {
    if !job["ended_at"].is_null() {
        return String::new();
    }
    if let Some(position) = job["position"].as_u64() {
        let wait = job["wait_ms"].as_f64().map(|ms| format!(", about {:.0} s", (ms / 1e3).ceil()));
        return format!("{position} before it{}", wait.unwrap_or_default());
    }
    let progress = &job["progress"];
    let Some(stage) = progress["stage"].as_str() else { return String::new() };
    let mut line = stage.to_owned();
    if let (Some(done), Some(of)) = (progress["done"].as_u64(), progress["of"].as_u64().filter(|of| *of > 0))
    {
        line.push_str(&format!(" {done}/{of}"));
    }
    if let Some(ms) = progress["eta_ms"].as_f64() {
        line.push_str(&format!(", {:.0} s left", (ms / 1e3).ceil()));
    }
    line
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// A name as a part of a path or query.
pub fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_a_path() {
        assert_eq!(encoded("a-b_c.d~1"), "a-b_c.d~1");
        assert_eq!(encoded("../ä?x=1"), "..%2F%C3%A4%3Fx%3D1");
    }
}
