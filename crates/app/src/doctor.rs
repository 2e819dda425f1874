//! `talkie doctor`: what works on this machine, and the remedy for each thing that does not.

use std::process::ExitCode;

use contract::Complaint;
use serde_json::json;

use crate::cli::{DataArgs, MachineArgs};
use crate::compute::DeviceChoice;
use crate::config::Config;
use crate::machine::{self, TtsChoice};
use crate::{device, say};

/// Free space below which a render may fail half-way.
const LITTLE_SPACE: u64 = 512 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Works,
    /// Something is missing that talkie can do without.
    Without,
    Broken,
}

struct Check {
    name: &'static str,
    verdict: Verdict,
    detail: String,
    remedy: String,
}

pub fn run(machine: &MachineArgs, json: bool) -> Result<ExitCode, Complaint> {
    let checks = examine(machine);
    let broken = checks.iter().any(|check| check.verdict == Verdict::Broken);
    if json {
        let checks: Vec<_> = checks.iter().map(as_json).collect();
        say::line(json!({ "works": !broken, "checks": checks }))?;
    } else {
        checks.iter().try_for_each(|check| say::line(as_text(check)))?;
    }
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn examine(machine: &MachineArgs) -> Vec<Check> {
    let mut checks = Vec::new();
    match Config::load(machine) {
        Ok(config) => {
            checks.push(works("configuration", "in order"));
            media(&config, &mut checks);
            checks.extend(engines(&config));
            checks.push(gpu(config.compute.device));
        }
        Err(complaint) => {
            checks.push(broken("configuration", &complaint));
            checks.push(gpu(None));
        }
    }
    checks.push(cpu());
    checks.push(disk());
    checks
}

fn media(config: &Config, checks: &mut Vec<Check>) {
    let tools = match machine::tools(config) {
        Ok(tools) => tools,
        Err(complaint) => return checks.push(broken("ffmpeg", &complaint)),
    };
    checks.push(works("ffmpeg", &tools.version().text));
    checks.push(match tools.encoder() {
        Ok(encoder) => works("encoder", encoder.name()),
        Err(complaint) => broken("encoder", &complaint),
    });
    let speaker = machine::tts(config, TtsChoice::default()).backend(&tools);
    checks.push(match speaker {
        Ok(backend) => works("speech", backend.name()),
        Err(error) => {
            let complaint = error.complaint();
            without("speech", format!("--text does not work: {}", complaint.message), &complaint.hint)
        }
    });
    let cage = tools.sandbox();
    let walls = [
        (
            "limits on decoders",
            cage.rlimits,
            "memory, CPU time and file size",
            "raise the hard limits of this shell (ulimit -H)",
        ),
        (
            "landlock",
            cage.landlock,
            "a decoder opens nothing but its input",
            "use a kernel of 5.13 or newer with landlock",
        ),
        (
            "seccomp",
            cage.seccomp,
            "a decoder opens no socket and starts no program",
            "use a kernel with seccomp filters",
        ),
        (
            "network namespace",
            cage.network_namespace,
            "a decoder has no network",
            "allow unprivileged user namespaces",
        ),
    ];
    for (name, holds, detail, remedy) in walls {
        checks.push(if holds { works(name, detail) } else { without(name, "not on this machine", remedy) });
    }
}

fn cpu() -> Check {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let features = cpu_features();
    let detail = format!(
        "{cores} cores, {}",
        if features.is_empty() { "no vector extensions used" } else { features }
    );
    works("cpu", detail)
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> &'static str {
    if std::is_x86_feature_detected!("avx512f") {
        "AVX-512"
    } else if std::is_x86_feature_detected!("avx2") {
        "AVX2"
    } else {
        "SSE2"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> &'static str {
    ""
}

fn disk() -> Check {
    let folder = std::env::temp_dir();
    let remedy = "free some space, or set TMPDIR to a folder on another disk";
    match store::free_bytes(&folder) {
        Ok(free) if free >= LITTLE_SPACE => {
            works("disk", format!("{} MiB free in {}", free >> 20, folder.display()))
        }
        Ok(free) => without("disk", format!("only {} MiB free in {}", free >> 20, folder.display()), remedy),
        Err(complaint) => broken("disk", &complaint),
    }
}

fn gpu(choice: Option<DeviceChoice>) -> Check {
    if choice == Some(DeviceChoice::Cuda) {
        return match device::worker_cuda() {
            Ok(program) => works("gpu", format!("compute.device is cuda, for {}", program.display())),
            Err(complaint) => broken("gpu", &complaint),
        };
    }
    if std::path::Path::new("/dev/nvidia0").exists() {
        works("gpu", "an NVIDIA device is there; puppet does not need it")
    } else {
        without("gpu", "none; puppet needs none", "")
    }
}

fn engines(config: &Config) -> Vec<Check> {
    match machine::engines(config, &DataArgs::of_environment(), &device::CPU) {
        Ok(engines) => vec![weights(&engines), remote(&engines)],
        Err(complaint) => vec![broken("weights", &complaint)],
    }
}

fn weights(engines: &machine::Engines) -> Check {
    let mut names = Vec::new();
    for card in engines.cards() {
        for weights in &card.weights {
            let origin = if weights.embedded { "built in" } else { "on this machine" };
            names.push(format!("{} for {} ({origin})", weights.name, card.name));
        }
    }
    let absent: Vec<_> = engines.absent.iter().filter(|(name, _)| *name != machine::HUGGING_FACE).collect();
    match absent.first() {
        None => works("weights", names.join(", ")),
        Some((_, why)) => {
            let none: Vec<_> = absent.iter().map(|(name, _)| *name).collect();
            let detail = format!("{}; none for {}", names.join(", "), none.join(", "));
            without("weights", detail, why.hint.clone())
        }
    }
}

fn remote(engines: &machine::Engines) -> Check {
    let name = machine::HUGGING_FACE;
    match (&engines.remote, engines.absent.iter().find(|(absent, _)| *absent == name)) {
        (_, Some((_, why))) if why.code == "no_token" => {
            without(name, "not configured: no picture leaves this machine", why.hint.clone())
        }
        (_, Some((_, why))) => broken(name, why),
        (to, None) => {
            let to = to.as_deref().unwrap_or_default();
            works(name, format!("{to}; pictures go there only where engine = {name} is asked for"))
        }
    }
}

fn works(name: &'static str, detail: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Works, detail: detail.into(), remedy: String::new() }
}

fn without(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check { name, verdict: Verdict::Without, detail: detail.into(), remedy: remedy.into() }
}

fn broken(name: &'static str, complaint: &Complaint) -> Check {
    Check {
        name,
        verdict: Verdict::Broken,
        detail: complaint.message.clone(),
        remedy: complaint.hint.clone(),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Works => "ok",
        Verdict::Without => "without",
        Verdict::Broken => "broken",
    }
}

fn as_text(check: &Check) -> String {
    let line = format!("{:<8} {:<18} {}", word(check.verdict), check.name, check.detail);
    if check.remedy.is_empty() { line } else { format!("{line}\n{:<8} {:<18} -> {}", "", "", check.remedy) }
}

fn as_json(check: &Check) -> serde_json::Value {
    json!({ "name": check.name, "verdict": word(check.verdict), "detail": check.detail, "remedy": check.remedy })
}
