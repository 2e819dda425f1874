//! `talkie bench`: what an engine costs on this machine, alone and with decoding, encoding and muxing around it.
//! Seconds of CPU, not of the clock: they hold on a busy machine too. What a card computes is in the clock's only.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use contract::{
    Act, Complaint, Engine, EngineCard, Frame, FrameSink, Layout, Length, Pcm, Settings, Size, Stage, Stop,
    Stopped, Subject, VideoFormat, VoiceSource, Warning,
};
use jobs::{Fault, Source, Studio, SubjectSpec, TakeSpec, Target, VoiceSpec, Watcher};
use serde_json::json;
use store::Existing;

use crate::cli::{BenchArgs, DataArgs, MachineArgs};
use crate::compute::DeviceChoice;
use crate::config::Config;
use crate::machine::{self, HUGGING_FACE, TtsChoice};
use crate::samples::Samples;
use crate::usage::{self, PeakMemory};
use crate::{device, generate, say};

const SIZES: [Size; 2] = [Size::new(512, 512), Size::new(1280, 720)];
const SEED: u64 = 1;

/// What the take is as long as.
enum Speech {
    Voice(PathBuf),
    /// Of an engine that hears nobody.
    Nobody {
        seconds: f64,
    },
}

/// What is measured, at each size.
struct Workload<'a> {
    engine: &'a dyn Engine,
    speech: Speech,
    settings: Settings,
}

/// The engine without anything around it.
struct Alone {
    /// Frames behind the first.
    frames: u64,
    /// What these took.
    cpu: Duration,
    first_frame: Duration,
    /// What the first took: most of a take whose frames come all at once.
    first_cpu: Duration,
}

/// A whole job.
struct Pipeline {
    size: Size,
    video_s: f64,
    cpu: Duration,
    elapsed: Duration,
    peak: PeakMemory,
}

pub fn run(machine: &MachineArgs, args: &BenchArgs) -> Result<ExitCode, Complaint> {
    let config = Config::load(machine)?;
    if args.engine == HUGGING_FACE {
        let message = format!("the engine {HUGGING_FACE} computes nothing here: there is nothing to measure");
        return Err(Complaint::new("unsupported", message, "name another engine"));
    }
    let device = device::open(config.compute.device)?;
    let engine = machine::engines(&config, &DataArgs::of_environment(), &device)?.find(&args.engine)?;
    let _learned = machine::compute(&config, &DataArgs::of_environment())?;
    let settings = Settings { sent: generate::settings(&args.settings)? };
    let studio = machine::studio(&config, TtsChoice::default())?;
    let samples = Samples::unpack()?;
    let portrait = args.image.clone().unwrap_or_else(|| samples.portrait());
    let voice = args.audio.clone().unwrap_or_else(|| samples.speech());

    let long_voice = samples.folder().join("voice.wav");
    let speech = if engine.card().persons == 0 {
        Speech::Nobody { seconds: args.seconds }
    } else {
        lengthen(&studio, &voice, args.seconds, &long_voice)?;
        Speech::Voice(long_voice)
    };
    let work = Workload { engine: engine.as_ref(), speech, settings };
    // all jobs first: what the engine alone is fed from memory would count as the jobs' memory
    let mut measured = Vec::new();
    for size in SIZES {
        let picture = samples.folder().join(format!("{size}.ppm"));
        stage_portrait(&studio, &portrait, size, &picture)?;
        let take = samples.folder().join(format!("{size}.mp4"));
        let pipeline = pipeline(&config, &work, (picture.clone(), take))?;
        measured.push((size, picture, pipeline));
    }
    let device = on(engine.card(), config.compute.device);
    let mut rows = Vec::new();
    for (size, picture, pipeline) in measured {
        let alone = alone(&studio, &work, &picture)?;
        if !args.json {
            say::line(as_text((size, device), &alone, &pipeline))?;
        }
        rows.push(as_json(size, &alone, &pipeline));
    }
    if args.json {
        say::line(
            json!({ "engine": args.engine, "device": device, "seconds": args.seconds, "sizes": rows }),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What computes its nets.
fn on(card: &EngineCard, choice: Option<DeviceChoice>) -> &'static str {
    let learned = card.weights.iter().any(|weights| !weights.embedded);
    if learned && choice == Some(DeviceChoice::Cuda) { "cuda" } else { "cpu" }
}

fn as_text((size, device): (Size, &str), alone: &Alone, whole: &Pipeline) -> String {
    // a model may have sizes of its own
    let made = if whole.size == size { String::new() } else { format!(", a take of {}", whole.size) };
    [
        format!("{size} on {device}{made}"),
        format!("  engine alone    {:6.2} ms CPU a frame behind the first", per_frame_ms(alone)),
        format!(
            "  first frame     {:6.1} ms after the inputs were decoded, {:.2} s CPU",
            alone.first_frame.as_secs_f64() * 1e3,
            alone.first_cpu.as_secs_f64()
        ),
        format!("  whole pipeline  {:6.3} s CPU a second of video", whole.cpu.as_secs_f64() / whole.video_s),
        format!("  speed           {:6.2} times real time", whole.video_s / whole.elapsed.as_secs_f64()),
        format!(
            "  peak memory     {:6} MiB, with children {} MiB",
            whole.peak.own_mib, whole.peak.with_children_mib
        ),
    ]
    .join("\n")
}

fn as_json(size: Size, alone: &Alone, whole: &Pipeline) -> serde_json::Value {
    json!({
        "size": size.to_string(),
        "take_size": whole.size.to_string(),
        "engine_ms_cpu_per_frame": per_frame_ms(alone),
        "first_frame_ms": alone.first_frame.as_secs_f64() * 1e3,
        "first_frame_cpu_s": alone.first_cpu.as_secs_f64(),
        "pipeline_cpu_per_second": whole.cpu.as_secs_f64() / whole.video_s,
        "times_real_time": whole.video_s / whole.elapsed.as_secs_f64(),
        "peak_mib": whole.peak.own_mib,
        "peak_with_children_mib": whole.peak.with_children_mib,
    })
}

fn per_frame_ms(alone: &Alone) -> f64 {
    alone.cpu.as_secs_f64() * 1e3 / alone.frames as f64
}

/// A sound file of at least `seconds`, made of repetitions of `voice`.
fn lengthen(studio: &Studio, voice: &Path, seconds: f64, out: &Path) -> Result<(), Complaint> {
    const RATE_HZ: u32 = 16_000;
    let once = sound(studio, voice, RATE_HZ)?;
    let wanted = (seconds * f64::from(RATE_HZ)) as usize;
    let data: Vec<u8> = once
        .samples
        .iter()
        .cycle()
        .take(wanted)
        .flat_map(|sample| ((sample.clamp(-1.0, 1.0) * 32767.0) as i16).to_le_bytes())
        .collect();
    let mut wav = media::wav::header(RATE_HZ, data.len() as u32);
    wav.extend(data);
    write(out, &wav)
}

fn sound(studio: &Studio, path: &Path, rate_hz: u32) -> Result<Pcm, Complaint> {
    let spec = media::VoiceSpec { rate_hz, start: None, duration: None };
    media::audio(&studio.tools, path, spec, &studio.limits, &Stop::new()).map_err(complaint)
}

/// The portrait in the middle of a canvas of exactly `size`, its border columns and rows continued outwards.
fn stage_portrait(studio: &Studio, portrait: &Path, size: Size, out: &Path) -> Result<(), Complaint> {
    let spec = media::PictureSpec { layout: Layout::Rgb24, longest: size.width.min(size.height) };
    let picture =
        media::picture(&studio.tools, portrait, spec, &studio.limits, &Stop::new()).map_err(complaint)?;
    let mut source = picture.source;
    let frame = source.next().map_err(|error| complaint(error.into()))?;
    let frame = frame
        .ok_or_else(|| Complaint::new("picture_empty", "the portrait has no picture", "give another"))?;
    let from = frame.size();
    let offset = |outer: u32, inner: u32| (outer.saturating_sub(inner) / 2) as i64;
    let (left, top) = (offset(size.width, from.width), offset(size.height, from.height));
    let mut ppm = format!("P6\n{} {}\n255\n", size.width, size.height).into_bytes();
    for y in 0..i64::from(size.height) {
        let row = (y - top).clamp(0, i64::from(from.height) - 1) as usize;
        for x in 0..i64::from(size.width) {
            let column = (x - left).clamp(0, i64::from(from.width) - 1) as usize;
            let at = (row * from.width as usize + column) * 3;
            ppm.extend_from_slice(&frame.data()[at..at + 3]);
        }
    }
    write(out, &ppm)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Complaint> {
    std::fs::write(path, bytes).map_err(|error| {
        Complaint::new(
            "scratch_unwritable",
            format!("{} cannot be written: {error}", path.display()),
            "free some space",
        )
    })
}

/// Runs the engine on inputs that are in memory already.
fn alone(studio: &Studio, work: &Workload, picture: &Path) -> Result<Alone, Complaint> {
    let card = work.engine.card();
    let spec = media::PictureSpec { layout: card.source_layout, longest: card.source_longest };
    // decoded by now: a still is read whole when it is opened
    let still =
        media::picture(&studio.tools, picture, spec, &studio.limits, &Stop::new()).map_err(complaint)?.source;
    let fps = card.default_fps;
    let (voices, length) = match &work.speech {
        Speech::Voice(path) => {
            let voice = std::io::Cursor::new(sound(studio, path, card.voice_rate_hz)?);
            (vec![Box::new(voice) as Box<dyn VoiceSource>], Length::Voice)
        }
        Speech::Nobody { seconds } => {
            (Vec::new(), Length::Frames((seconds * fps.as_f64()).round().max(1.0) as u64))
        }
    };
    let act = Act {
        subject: Subject::Picture(still),
        voices,
        prompt: None,
        length,
        fps,
        seed: SEED,
        settings: work.settings.clone(),
        landmarks: None,
        turns: contract::Turns::Together,
        checkpoint: None,
    };
    let (stamps, seen) = mpsc::channel();
    let (begun, cpu_before) = (Instant::now(), usage::own_cpu());
    let report = work.engine.start(act, Box::new(Counter { stamps })).and_then(|session| session.wait());
    let report = report.map_err(|error| fault(error.into()))?;
    let stamps: Vec<(Instant, Duration)> = seen.try_iter().collect();
    match (stamps.first(), stamps.last()) {
        (Some((at, first)), Some((_, last))) if stamps.len() > 1 => Ok(Alone {
            frames: report.frames - 1,
            cpu: *last - *first,
            first_frame: *at - begun,
            first_cpu: *first - cpu_before,
        }),
        _ => Err(Complaint::new("too_short", "there were too few frames to measure", "give more --seconds")),
    }
}

/// Takes frames and keeps when they came, by the clock and by the CPU time of this process.
struct Counter {
    stamps: mpsc::Sender<(Instant, Duration)>,
}

impl FrameSink for Counter {
    fn begin(&mut self, _: VideoFormat) -> Result<(), Stopped> {
        Ok(())
    }

    fn stage(&mut self, _: Stage, _: u64, _: u64) -> Result<(), Stopped> {
        Ok(())
    }

    fn frame(&mut self, _: Frame) -> Result<(), Stopped> {
        self.stamps.send((Instant::now(), usage::own_cpu())).map_err(|_| Stopped)
    }

    fn warn(&mut self, _: Warning) -> Result<(), Stopped> {
        Ok(())
    }

    fn checkpoint(&mut self, _: &[u8]) -> Result<(), Stopped> {
        Ok(())
    }
}

/// One job as `talkie generate` does it, children included.
fn pipeline(
    config: &Config,
    work: &Workload,
    (picture, take): (PathBuf, PathBuf),
) -> Result<Pipeline, Complaint> {
    let spec = TakeSpec {
        engine: work.engine.card().name.to_owned(),
        subject: SubjectSpec::Picture(Source::Path(picture)),
        voice: match &work.speech {
            Speech::Voice(path) => {
                VoiceSpec::File { source: Source::Path(path.clone()), start: None, duration: None }
            }
            Speech::Nobody { seconds } => VoiceSpec::Idle { seconds: *seconds },
        },
        prompt: None,
        fps: None,
        max_frames: None,
        seed: SEED,
        settings: work.settings.clone(),
        landmarks: None,
        crf: 20,
    };
    let target = Target::File { path: take, existing: Existing::Replace, reel: None };
    let before = usage::cpu_with_children();
    let begun = Instant::now();
    let memory = usage::MemoryWatch::start();
    let studio = machine::studio(config, TtsChoice::default())?;
    let nobody: Arc<dyn Watcher> = Arc::new(|_: &jobs::Event| {});
    let take = jobs::make(&studio, work.engine, (spec, target), &nobody, &Stop::new()).map_err(fault)?;
    drop(studio);
    let elapsed = begun.elapsed();
    Ok(Pipeline {
        size: take.size,
        video_s: take.duration_s,
        cpu: usage::cpu_with_children() - before,
        elapsed,
        peak: memory.finish(),
    })
}

fn complaint(error: media::MediaError) -> Complaint {
    fault(error.into())
}

fn fault(fault: Fault) -> Complaint {
    match fault {
        Fault::Rejected(complaint) => complaint,
        Fault::Canceled | Fault::Failed { .. } => Complaint::new(fault.code(), fault.to_string(), ""),
    }
}
