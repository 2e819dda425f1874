//! `talkie score`: measures a talking video, and holds it against limits if asked to.

use std::process::ExitCode;

use contract::{Complaint, Stop};
use score::{Bar, Gate, Request, Scores, Truth};

use crate::cli::{GateArg, MachineArgs, ScoreArgs};
use crate::config::Config;
use crate::{machine, say, signals, wire};

/// Largest file of phonemes that is read, in bytes.
const TRUTH_LIMIT: u64 = 64 << 20;

pub fn run(machine: &MachineArgs, args: &ScoreArgs) -> Result<ExitCode, Complaint> {
    let config = Config::load(machine)?;
    let tools = machine::tools(&config)?;
    let truth = args.truth.as_deref().map(read_truth).transpose()?;
    for path in [Some(&args.video), args.audio.as_ref(), args.portrait.as_ref()].into_iter().flatten() {
        store::Asset::open(path)?;
    }
    let request = Request {
        video: &args.video,
        audio: args.audio.as_deref(),
        truth: truth.as_ref(),
        portrait: args.portrait.as_deref(),
    };
    let stop = Stop::new();
    let caught = signals::watch({
        let stop = stop.clone();
        move || stop.stop()
    })?;
    let scores = match score::score(&tools, &request, &machine::limits(&config), &stop) {
        Ok(scores) => scores,
        Err(error) => match caught.exit_code() {
            Some(code) => return Ok(ExitCode::from(code)),
            None => return Err(error.complaint()),
        },
    };
    let gates = args.gate.map(|gate| {
        scores.gates(match gate {
            GateArg::Puppet => Bar::Puppet,
            GateArg::HeldOut => Bar::PuppetHeldOut,
            GateArg::Generative => Bar::Generative,
        })
    });
    if args.json {
        say::line(wire::scores(&scores, gates.as_deref()))?;
    } else {
        say::line(as_text(&scores, gates.as_deref().unwrap_or_default()))?;
    }
    let missed = gates.iter().flatten().any(|gate| !gate.passed);
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read_truth(path: &std::path::Path) -> Result<Truth, Complaint> {
    let asset = store::Asset::open(path)?;
    let refuse = |why: String| {
        let message = format!("the phonemes in {} cannot be read: {why}", path.display());
        Complaint::new("bad_truth", message, "tools/visnet/README.md describes the format")
    };
    if asset.bytes() > TRUTH_LIMIT {
        return Err(refuse(format!("{} bytes, the limit is {TRUTH_LIMIT}", asset.bytes())));
    }
    Truth::parse(&std::fs::read(path).map_err(|error| refuse(error.to_string()))?)
}

fn as_text(scores: &Scores, gates: &[Gate]) -> String {
    let mut rows = Vec::new();
    let mut line = |name: &str, value: Option<f32>, unit: &str| match value {
        Some(value) => rows.push(format!("{name:<22} {value:8.3} {unit}")),
        None => rows.push(format!("{name:<22}        - not measured")),
    };
    let follows = match (scores.sync_reference, scores.sync_series) {
        (Some(reference), Some(series)) => format!("(reference {}, by {})", reference.name(), series.name()),
        _ => String::new(),
    };
    line("sync_r", scores.sync_r, &follows);
    line("  shifted, mean", scores.sync_r_shifted.map(|c| c.mean), "(chance)");
    line("  shifted, sd", scores.sync_r_shifted.map(|c| c.sd), "");
    line("sync_offset_ms", scores.sync_offset_ms, "(positive: the picture is late)");
    line(
        "closure_hit",
        scores.closure_hit,
        &scores.closures.map_or(String::new(), |n| format!("of {n} closures")),
    );
    line("closure_control", scores.closure_control, "(chance)");
    line("upper_face_psnr_db", scores.upper_face_psnr_db, "dB");
    line("  held by the nose", scores.upper_face_nose_psnr_db, "dB");
    line("background_psnr_db", scores.background_psnr_db, "dB");
    line("flicker", scores.flicker, "grey levels");
    line("jerk", scores.jerk, "");
    line("silence_aperture", scores.silence_aperture, "");
    rows.extend(scores.notes.iter().map(|note| format!("note: {note}")));
    for gate in gates {
        let word = if gate.passed { "ok" } else { "MISSED" };
        let value = gate.value.map_or("not measured".to_owned(), |value| format!("{value:.3}"));
        rows.push(format!("{word:<7} {} is {value}, wanted {}", gate.name, gate.limit));
    }
    rows.join("\n")
}
