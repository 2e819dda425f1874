//! The synthesisers of this machine, caged like decoders: text in by a file, PCM out by a pipe.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use contract::Stop;

use crate::child::{Child, Feed, Order};
use crate::error::{machine, plain_line};
use crate::sandbox::Confinement;
use crate::{Limits, MediaError, Scratch, Tools, wav};

/// Voices that flite was built with.
const FLITE: [&str; 5] = ["awb", "kal", "kal16", "rms", "slt"];

/// What espeak-ng says of a voice it does not have.
const NO_SUCH_VOICE: &str = "voice does not exist";

pub(super) fn flite(
    tools: &Tools,
    (voice, text): (&str, &str),
    scratch: &Scratch,
    out: &Path,
    stop: &Stop,
) -> Result<(), MediaError> {
    if !FLITE.contains(&voice) {
        return Err(unknown_voice("flite", voice, &format!("choose one of {}", FLITE.join(", "))));
    }
    let text = written(scratch, text)?;
    let source = format!("flite=textfile=/proc/self/fd/{}:voice={voice}", text.as_raw_fd());
    let rate = if matches!(voice, "kal" | "awb") { "8000" } else { "16000" };
    let args = [
        "-nostdin",
        "-hide_banner",
        "-loglevel",
        "error",
        "-f",
        "lavfi",
        "-i",
        &source,
        "-ac",
        "1",
        "-ar",
        rate,
        "-f",
        "s16le",
        "pipe:1",
    ];
    let rate_hz = rate.parse().expect("it is one of the two above");
    let order = order(tools, tools.ffmpeg(), &args, Feed::Nothing, Some(text));
    synthesise(tools, order, out, Header::Known(rate_hz), stop)
}

pub(super) fn espeak(
    tools: &Tools,
    (voice, text): (&str, &str),
    scratch: &Scratch,
    out: &Path,
    stop: &Stop,
) -> Result<(), MediaError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-_".contains(c);
    if voice.starts_with('-') || !voice.chars().all(plain) || voice.is_empty() {
        return Err(unknown_voice("espeak-ng", voice, "espeak-ng --voices lists them"));
    }
    let program = tools.espeak().ok_or_else(|| {
        MediaError::new("no_tts", "espeak-ng is not installed", "install it: sudo apt-get install espeak-ng")
    })?;
    let text = written(scratch, text)?;
    let text = Arc::into_inner(text).expect("it was made just now");
    let args = ["--stdin", "--stdout", "-b", "1", "-v", voice];
    let mut order = order(tools, program, &args, Feed::File(text), None);
    let Limits { decode_memory_bytes: memory_bytes, decode_cpu_seconds: cpu_seconds, .. } = Limits::default();
    // espeak-ng greets a sound server even when it writes to a pipe, and sizes shared memory for it
    order.confinement = Confinement::Decoder { memory_bytes, cpu_seconds, file_bytes: 256 << 20 };
    synthesise(tools, order, out, Header::Wav, stop).map_err(|error| match error {
        MediaError::Rejected(c) if c.message.contains(NO_SUCH_VOICE) => {
            unknown_voice("espeak-ng", voice, "espeak-ng --voices lists them")
        }
        error => error,
    })
}

fn unknown_voice(backend: &str, voice: &str, hint: &str) -> MediaError {
    let shown: String = voice.chars().take(40).filter(|c| !c.is_control()).collect();
    MediaError::new("unknown_voice", format!("{backend} has no voice `{shown}`"), hint)
}

fn written(scratch: &Scratch, text: &str) -> Result<Arc<File>, MediaError> {
    let path = scratch.file("text");
    let file = std::fs::write(&path, format!("{text}\n")).and_then(|()| File::open(&path));
    file.map(Arc::new).map_err(|e| machine("cannot write the text to a temporary file", &e))
}

fn order(tools: &Tools, program: &Path, args: &[&str], stdin: Feed, input: Option<Arc<File>>) -> Order {
    Order {
        program: program.to_owned(),
        args: args.iter().map(Into::into).collect(),
        confinement: Confinement::decoder(&Limits::default()),
        stdin,
        inputs: input.into_iter().collect(),
        pipes: Vec::new(),
        library_path: tools.library_path(),
    }
}

/// What comes before the samples.
#[derive(Clone, Copy)]
enum Header {
    /// Nothing; 16-bit mono at this rate.
    Known(u32),
    /// A WAV header of 44 bytes, with a length that is not true yet.
    Wav,
}

fn synthesise(
    tools: &Tools,
    order: Order,
    out: &Path,
    header: Header,
    stop: &Stop,
) -> Result<(), MediaError> {
    let failed = |e: std::io::Error| machine("cannot write speech to a temporary file", &e);
    let mut child = Child::start(tools.spawner(), order, &Limits::default(), stop)?;
    let rate_hz = match header {
        Header::Known(rate_hz) => rate_hz,
        Header::Wav => {
            let mut head = [0; 44];
            let whole = child.fill(&mut head)? == head.len();
            if !whole || &head[..4] != b"RIFF" || &head[36..40] != b"data" {
                return Err(mute(&child.finish()?.stderr));
            }
            u32::from_le_bytes([head[24], head[25], head[26], head[27]])
        }
    };
    let mut file = BufWriter::new(File::create(out).map_err(failed)?);
    file.write_all(&wav::header(rate_hz, 0)).map_err(failed)?;
    let (mut bytes, mut chunk) = (0_u32, vec![0; 1 << 16]);
    while let n @ 1.. = child.read(&mut chunk)? {
        file.write_all(&chunk[..n]).map_err(failed)?;
        bytes = bytes.saturating_add(n as u32);
    }
    let exit = child.finish()?;
    if !exit.well() || bytes == 0 {
        return Err(mute(&exit.stderr));
    }
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.write_all(&wav::header(rate_hz, bytes)))
        .map_err(failed)?;
    file.flush().map_err(failed)
}

fn mute(stderr: &str) -> MediaError {
    let missing = stderr.lines().find(|line| line.contains(NO_SUCH_VOICE));
    let line = missing.map_or_else(|| plain_line(stderr), str::to_owned);
    let why = if line.is_empty() { "it gave no sound".to_owned() } else { line };
    MediaError::new(
        "tts_failed",
        format!("the speech synthesis failed: {why}"),
        "choose another with --tts, or send --audio",
    )
}
