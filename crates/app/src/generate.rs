//! `talkie generate`: one take, made in this process.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use contract::{Complaint, EngineCard, Landmarks, Settings, Stop, Turns, Value};
use jobs::{Fault, Other, ReelPlace, Source, SubjectSpec, Take, TakeSpec, Target, VoiceSpec, Watcher};
use store::Existing;

use crate::cli::{self, Crop, DataArgs, GenerateArgs, MachineArgs, VoiceArgs};
use crate::config::Config;
use crate::machine::{self, TtsChoice};
use crate::terminal::{Audience, Screen};
use crate::wire;
use crate::{device, say, signals};

/// The setting of engines that make takes of a few fixed sizes.
const RESOLUTION: &str = "resolution";
/// Longest text that is read from a file or standard input, in bytes.
const TEXT_LIMIT: u64 = 1 << 20;

pub fn run(machine: &MachineArgs, args: GenerateArgs) -> Result<ExitCode, Complaint> {
    let (json, streamed) = (args.json, is_dash(&args.out));
    let audience = Audience::of(args.quiet, args.json);
    let path = (!streamed).then(|| args.out.clone());
    let reel = args.reel.clone();
    let report = |value: serde_json::Value| match (json, streamed) {
        (false, _) => Ok(()),
        (true, false) => say::line(value),
        // the take itself is on standard output
        (true, true) => {
            say::aside(value);
            Ok(())
        }
    };
    match make(machine, args, audience) {
        Ok(take) => {
            report(wire::take(&take, path.as_deref()))?;
            if audience != Audience::Silent {
                say::aside(summary(&take, path.as_deref()));
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(Ended { fault, signal }) => {
            report(wire::fault(&fault))?;
            match (signal, streamed) {
                (None, _) => say::aside(format_args!("talkie: {fault}")),
                (Some(_), true) => say::aside("talkie: canceled; the stream is not complete"),
                (Some(_), false) => match reel.and_then(|folder| Some((jobs::begun(&folder)?, folder))) {
                    Some((begun, folder)) => say::aside(format_args!(
                        "talkie: canceled; {} frames are kept in {}, and the same command goes on behind them",
                        begun.frames,
                        folder.display()
                    )),
                    None => say::aside("talkie: canceled; nothing was written"),
                },
            }
            Ok(signal.map_or(ExitCode::FAILURE, ExitCode::from))
        }
    }
}

/// Why there is no take.
struct Ended {
    fault: Fault,
    /// The exit code, if a signal ended it.
    signal: Option<u8>,
}

impl<F: Into<Fault>> From<F> for Ended {
    fn from(fault: F) -> Self {
        Self { fault: fault.into(), signal: None }
    }
}

fn make(machine: &MachineArgs, args: GenerateArgs, audience: Audience) -> Result<Take, Ended> {
    let speech = TtsChoice { backend: args.voice.tts, voice: args.voice.tts_voice.clone() };
    let config = Config::load(machine)?;
    let device = args.device.map(Into::into).or(config.compute.device);
    let engine =
        machine::engines(&config, &DataArgs::of_environment(), &device::open(device)?)?.find(&args.engine)?;
    let (spec, target) = what(args, engine.card())?;
    let _learned = machine::compute(&config, &DataArgs::of_environment())?;
    let studio = machine::studio(&config, speech)?;
    let stop = Stop::new();
    let caught = {
        let stop = stop.clone();
        signals::watch(move || stop.stop())?
    };
    let screen: Arc<dyn Watcher> = Arc::new(Screen::new(audience));
    let made = jobs::make(&studio, engine.as_ref(), (spec, target), &screen, &stop);
    made.map_err(|fault| Ended { fault, signal: caught.exit_code() })
}

fn what(args: GenerateArgs, card: &EngineCard) -> Result<(TakeSpec, Target), Complaint> {
    let subject = match (args.subject.image, args.subject.video) {
        (Some(path), _) => SubjectSpec::Picture(Source::Path(path)),
        (None, Some(path)) => SubjectSpec::Clip(Source::Path(path)),
        (None, None) => return Err(usage("neither --image nor --video was given", "give one of them")),
    };
    let mut sent = settings(&args.settings)?;
    if let Some(size) = args.size {
        let fixed = card.settings.iter().any(|setting| setting.name == RESOLUTION);
        let name = if fixed { RESOLUTION } else { "size" };
        sent.insert(name.to_owned(), Value::Int(i64::from(size)));
    }
    for (at, person) in args.persons.into_iter().enumerate() {
        sent.insert(format!("person{}", at + 1), Value::Text(person));
    }
    if let Some(detector) = args.detector {
        sent.insert("detector".to_owned(), Value::Text(detector));
    }
    if let Some(crop) = args.crop {
        let name = match crop {
            Crop::Full => "full",
            Crop::Face => "face",
        };
        sent.insert("crop".to_owned(), Value::Text(name.to_owned()));
    }
    if let (Some(folder), false) = (&args.reel, card.resumes) {
        let message = format!(
            "--reel {} was given, but the engine {} makes a take in one piece",
            folder.display(),
            card.name
        );
        return Err(usage(&message, "leave it out"));
    }
    // whoever repeats a command that named no seed means the same take
    let begun = args.reel.as_deref().and_then(jobs::begun).map(|begun| begun.seed);
    let target = if is_dash(&args.out) {
        if let Some(folder) = args.reel {
            let message = format!(
                "--reel {} was given, but a stream has gone before its pieces are kept",
                folder.display()
            );
            return Err(usage(&message, "let --out name a file, or leave --reel out"));
        }
        Target::Stream(Box::new(std::io::stdout()))
    } else {
        check_extension(&args.out)?;
        let existing = if args.overwrite { Existing::Replace } else { Existing::Refuse };
        let reel = args.reel.map(|folder| ReelPlace { folder, other: Other::Refuse });
        Target::File { path: args.out, existing, reel }
    };
    let spec = TakeSpec {
        engine: args.engine,
        subject,
        voice: voice(args.voice)?,
        prompt: args.prompt,
        fps: args.fps,
        max_frames: None,
        seed: args.seed.or(begun).unwrap_or_else(fresh_seed),
        settings: Settings { sent },
        landmarks: args.landmarks.as_deref().map(landmarks).transpose()?,
        crf: args.crf,
    };
    Ok((spec, target))
}

fn voice(args: VoiceArgs) -> Result<VoiceSpec, Complaint> {
    let source = args.source;
    let mut files = source.audio.into_iter();
    match (files.next(), files.len()) {
        (None, _) => {}
        (Some(path), 0) if is_dash(&path) => {
            return Err(usage("--audio - is one who is silent, and there is nobody else", "give --seconds"));
        }
        (Some(_), 0) if args.turns.is_some() => {
            return Err(usage("--turns orders several voices, and one was given", "leave it out"));
        }
        (Some(path), 0) => {
            let source = Source::Path(path);
            return Ok(VoiceSpec::File { source, start: args.start, duration: args.duration });
        }
        (Some(_), _) if args.start.is_some() || args.duration.is_some() => {
            return Err(usage(
                "--start and --duration cut one voice, and several were given",
                "cut them first",
            ));
        }
        (Some(first), _) => {
            let voice = |path: PathBuf| (!is_dash(&path)).then_some(Source::Path(path));
            let voices = std::iter::once(first).chain(files).map(voice).collect();
            let turns = match args.turns {
                Some(cli::Turns::InTurn) => Turns::InTurn,
                Some(cli::Turns::Together) | None => Turns::Together,
            };
            return Ok(VoiceSpec::Several { voices, turns });
        }
    }
    if let Some(text) = source.text {
        return Ok(VoiceSpec::Text(text));
    }
    if let Some(path) = source.text_file {
        return read_text(&path).map(VoiceSpec::Text);
    }
    match source.seconds {
        Some(seconds) => Ok(VoiceSpec::Idle { seconds }),
        None => Err(usage(
            "there is neither speech nor a length",
            "give --audio, --text, --text-file or --seconds",
        )),
    }
}

fn read_text(path: &Path) -> Result<String, Complaint> {
    let name = if is_dash(path) { "standard input".to_owned() } else { path.display().to_string() };
    let cannot =
        |why: String| usage(&format!("the text in {name} cannot be read: {why}"), "give a UTF-8 text file");
    let mut bytes = Vec::new();
    if is_dash(path) {
        std::io::stdin().take(TEXT_LIMIT + 1).read_to_end(&mut bytes).map_err(|e| cannot(e.to_string()))?;
    } else {
        let file = std::fs::File::open(path).map_err(|e| cannot(e.to_string()))?;
        file.take(TEXT_LIMIT + 1).read_to_end(&mut bytes).map_err(|e| cannot(e.to_string()))?;
    }
    if bytes.len() as u64 > TEXT_LIMIT {
        return Err(cannot(format!("it is longer than the limit of {TEXT_LIMIT} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| cannot("it is not UTF-8".to_owned()))
}

/// The take is an MP4; under another name it would mislead every player.
fn check_extension(path: &Path) -> Result<(), Complaint> {
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("mp4" | "m4v") | None => Ok(()),
        Some(other) => Err(usage(
            &format!("the take is an MP4, but --out names a .{other} file"),
            "let the name end in .mp4",
        )),
    }
}

/// `NAME=VALUE`: a number where it reads as one, else text.
pub fn settings(given: &[String]) -> Result<BTreeMap<String, Value>, Complaint> {
    given
        .iter()
        .map(|item| {
            let (name, value) = item
                .split_once('=')
                .ok_or_else(|| usage(&format!("`--set {item}` has no `=`"), "write --set name=value"))?;
            let value = match (value.parse::<i64>(), value.parse::<f64>(), value) {
                (Ok(whole), _, _) => Value::Int(whole),
                (_, Ok(real), _) => Value::Float(real),
                (_, _, "true") => Value::Bool(true),
                (_, _, "false") => Value::Bool(false),
                _ => Value::Text(value.to_owned()),
            };
            Ok((name.to_owned(), value))
        })
        .collect()
}

fn landmarks(given: &str) -> Result<Landmarks, Complaint> {
    let (text, name) = if given.trim_start().starts_with(['{', '[']) {
        (given.to_owned(), "--landmarks".to_owned())
    } else {
        let path = PathBuf::from(given);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            usage(
                &format!("the landmarks {given} cannot be read: {error}"),
                "give a JSON file or the JSON itself",
            )
        })?;
        (text, given.to_owned())
    };
    wire::parse_landmarks(&text).map_err(|error| {
        usage(
            &format!("the landmarks in {name} are not right: {error}"),
            "write {\"left_eye\":[x,y],\"right_eye\":[x,y],\"mouth_left\":[x,y],\"mouth_right\":[x,y],\"mouth_center\":[x,y]}, in pixels",
        )
    })
}

fn fresh_seed() -> u64 {
    // 53 bits: a JSON reader that keeps numbers as doubles still reads it exactly
    RandomState::new().hash_one(std::process::id()) >> 11
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn usage(message: &str, hint: &str) -> Complaint {
    Complaint::new("bad_request", message, hint)
}

fn summary(take: &Take, path: Option<&Path>) -> String {
    let name = path.map_or("standard output".to_owned(), |path| path.display().to_string());
    let total = take.timings.last().map_or(0.0, |timing| timing.elapsed.as_secs_f64());
    format!(
        "{name}: {:.2} s of video, {} frames of {} at {} fps, made by {} in {total:.1} s (seed {})",
        take.duration_s, take.frames, take.size, take.fps, take.engine, take.seed
    )
}
