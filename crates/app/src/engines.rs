//! `talkie engines`: what each engine is and what it promises.

use std::process::ExitCode;

use contract::{Complaint, Device, EngineCard, SubjectKind};
use serde_json::json;

use crate::cli::{DataArgs, MachineArgs};
use crate::config::Config;
use crate::{device, machine, say, wire};

pub fn run(machine: &MachineArgs, json: bool) -> Result<ExitCode, Complaint> {
    let engines = machine::engines(&Config::load(machine)?, &DataArgs::of_environment(), &device::CPU)?;
    let cards = engines.cards();
    if json {
        let absent = engines.absent.iter().map(
            |(name, why)| json!({ "name": name, "code": why.code, "message": why.message, "hint": why.hint }),
        );
        say::line(
            json!({ "engines": cards.iter().map(as_json).collect::<Vec<_>>(), "absent": absent.collect::<Vec<_>>() }),
        )?;
    } else {
        cards.iter().try_for_each(|card| say::line(as_text(card)))?;
        engines
            .absent
            .iter()
            .try_for_each(|(name, why)| say::line(format_args!("{name}: not here: {why}")))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn as_text(card: &EngineCard) -> String {
    let mut rows = vec![format!("{}: {}", card.name, card.summary)];
    let mut row = |name: &str, value: String| rows.push(format!("  {name:<12} {value}"));
    row("device", device(card.device).to_owned());
    row("input", card.subjects.iter().map(|s| subject(*s)).collect::<Vec<_>>().join(", "));
    let voice = match (card.persons, card.idles) {
        (0, _) => "none: clips are silent",
        (_, true) => "optional (idles without one)",
        (_, false) => "required",
    };
    row("voice", voice.to_owned());
    if card.persons > 1 {
        row("persons", format!("up to {}, each with a voice", card.persons));
    }
    row("output", format!("longest side up to {} px", card.max_longest));
    row(
        "frame rate",
        format!("{} to {} fps, default {}", card.fps_range.0, card.fps_range.1, card.default_fps),
    );
    if card.min_face > 0 {
        row("face", format!("at least {} px wide", card.min_face));
    }
    row("memory", format!("about {} MiB a session", card.memory_mib));
    for weights in &card.weights {
        let origin = if weights.embedded { "built in" } else { "on this machine" };
        row(
            "weights",
            format!("{} ({origin}, sha256 {}…)", weights.name, weights.sha256.get(..12).unwrap_or("unknown")),
        );
    }
    for setting in &card.settings {
        row("setting", format!("{}={}: {}", setting.name, setting.default, setting.help));
    }
    rows.join("\n")
}

fn as_json(card: &EngineCard) -> serde_json::Value {
    json!({
        "name": card.name,
        "summary": card.summary,
        "device": device(card.device),
        "subjects": card.subjects.iter().map(|s| subject(*s)).collect::<Vec<_>>(),
        "voice_required": !card.idles,
        "persons": card.persons,
        "resumes": card.resumes,
        "max_longest": card.max_longest,
        "fps": { "min": card.fps_range.0, "max": card.fps_range.1, "default": card.default_fps.as_f64() },
        "min_face": card.min_face,
        "memory_mib": card.memory_mib,
        "weights": card.weights.iter().map(|w| json!({
            "name": w.name, "sha256": w.sha256, "embedded": w.embedded
        })).collect::<Vec<_>>(),
        "settings": card.settings.iter().map(|s| json!({
            "name": s.name, "default": wire::value(&s.default), "help": s.help
        })).collect::<Vec<_>>(),
    })
}

fn device(device: Device) -> &'static str {
    match device {
        Device::Cpu => "cpu",
        Device::Cuda => "cuda",
        Device::Remote => "remote",
    }
}

fn subject(kind: SubjectKind) -> &'static str {
    match kind {
        SubjectKind::Picture => "picture",
        SubjectKind::Clip => "clip",
        SubjectKind::Avatar => "avatar",
    }
}
