//! Frames -> MP4: H.264 (yuv420p, BT.709 limited, tagged in bitstream and container) and AAC of the original sound,
//! encoded once. `file` writes faststart (moov first), `stream` writes fragments as they come. The encoder's process
//! starts before the first frame exists.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use contract::{Frame, Layout, Stop, VideoFormat};

use crate::child::{Child, Exit, Feed, Order};
use crate::error::{machine, plain_line};
use crate::sandbox::Confinement;
use crate::scale::pixel_format;
use crate::soundtrack::{SoundPump, Soundtrack};
use crate::tools::Encoder;
use crate::{Limits, MediaError, Tools};

#[derive(Clone, Debug, PartialEq)]
pub struct Mp4Options {
    pub format: VideoFormat,
    /// `None`: the take has no sound track.
    pub sound: Option<Soundtrack>,
    /// Quality on the scale of x264's constant rate factor, 0 (lossless) to 51; 20 is the default.
    pub crf: u8,
    pub content: Content,
    pub part: Part,
    /// Encoder threads; one takes the least CPU.
    pub threads: u8,
    /// The `comment` tag, `made by talkie, engine puppet, …`.
    pub comment: Option<String>,
}

/// What the pictures are like, as far as the encoder's choices go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A face moves before a background that stands still. At each key frame a constant rate factor would draw that
    /// background anew with another quantiser: a pulse every ten seconds. So the quantiser is constant and key frames are fine.
    Still,
    Moving,
}

/// Whether a file stands for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Whole,
    /// One of several that are joined: its pictures are stored in the order in which they are shown, so that the last of one segment comes
    /// before the first of the next, however short they are.
    Segment,
}

/// Of `Content::Still`, measured on three portraits (docs/bench.md): PSNR and CPU as good as the same `crf`, and no pulse.
const STILL_QP_ABOVE_CRF: u8 = 2;
const STILL_KEY_FRAMES: &str = "ipratio=3";

impl Mp4Options {
    pub fn new(format: VideoFormat) -> Self {
        Self {
            format,
            sound: None,
            crf: 20,
            content: Content::Moving,
            part: Part::Whole,
            threads: threads_for(format),
            comment: None,
        }
    }
}

/// One thread keeps up to 1080p ahead of any engine on a CPU.
fn threads_for(format: VideoFormat) -> u8 {
    if format.size.pixels() > 1920 * 1080 { 4 } else { 1 }
}

/// Takes frames; dropped without `finish`, it kills the encoder.
pub struct Mp4Sink {
    sound: Option<SoundPump>,
    child: Child,
    writer: Option<JoinHandle<Result<(), MediaError>>>,
    format: VideoFormat,
    frames: u64,
    file: Option<PathBuf>,
}

impl Mp4Sink {
    /// Writes to `draft`, whose name the caller replaces when all is done.
    pub fn file(
        tools: &Tools,
        draft: &Path,
        options: Mp4Options,
        limits: &Limits,
        stop: &Stop,
    ) -> Result<Self, MediaError> {
        let mut target = OsString::from("file:");
        target.push(draft);
        let mut sink = Self::start(tools, target, options, limits, stop)?;
        sink.file = Some(draft.to_owned());
        Ok(sink)
    }

    /// Writes fragments to `out` as soon as they are complete.
    pub fn stream(
        tools: &Tools,
        out: Box<dyn Write + Send>,
        options: Mp4Options,
        limits: &Limits,
        stop: &Stop,
    ) -> Result<Self, MediaError> {
        // whoever reads the stream may pause for as long as they like
        let limits = Limits { idle_timeout: STREAM_PATIENCE, ..limits.clone() };
        let mut sink = Self::start(tools, "pipe:1".into(), options, &limits, stop)?;
        let stdout = sink.child.take_stdout();
        let kill = sink.child.killer();
        let thread = std::thread::Builder::new().name("media-stream".into());
        let writer = thread.spawn(move || {
            let outcome = forward(stdout, out);
            if outcome.is_err() {
                kill();
            }
            outcome
        });
        sink.writer = Some(writer.map_err(|e| machine("cannot start a thread", &e))?);
        Ok(sink)
    }

    fn start(
        tools: &Tools,
        target: OsString,
        options: Mp4Options,
        limits: &Limits,
        stop: &Stop,
    ) -> Result<Self, MediaError> {
        if options.crf > 51 {
            let message = format!("crf is {}, the range is 0 to 51", options.crf);
            return Err(MediaError::new(
                "bad_crf",
                message,
                "18 looks like the source, 20 is the default, 28 is small",
            ));
        }
        let encoder = tools.encoder()?;
        let (sound, inherited) = match &options.sound {
            None => (None, None),
            Some(track) => {
                let (reader, writer) = std::io::pipe().map_err(|e| machine("cannot make a pipe", &e))?;
                let pump = SoundPump::start(tools, track, (options.format.fps, writer), limits, stop)?;
                (Some(pump), Some(OwnedFd::from(reader)))
            }
        };
        let order = Order {
            program: tools.ffmpeg().to_owned(),
            args: arguments(encoder, &options, inherited.as_ref().map(AsRawFd::as_raw_fd), target),
            confinement: Confinement::Encoder,
            stdin: Feed::Pipe,
            inputs: Vec::new(),
            pipes: inherited.into_iter().collect(),
            library_path: None,
        };
        let child = Child::start(tools.spawner(), order, limits, stop)?;
        child.widen_pipes();
        Ok(Self { sound, child, writer: None, format: options.format, frames: 0, file: None })
    }

    /// Blocks while the encoder is busy.
    ///
    /// # Panics
    /// When the frame is not of the format that was promised.
    pub fn frame(&mut self, frame: &Frame) -> Result<(), MediaError> {
        assert_eq!(
            (frame.size(), frame.layout()),
            (self.format.size, self.format.layout),
            "a frame differs from the format its engine began with"
        );
        if let Some(sound) = &self.sound {
            sound.grant(self.frames + 1)?;
        }
        if !self.child.write(frame.data())? {
            return Err(self.broken());
        }
        self.frames += 1;
        Ok(())
    }

    /// Completes the file; the sound is cut or filled with silence to the picture's length.
    pub fn finish(mut self) -> Result<(), MediaError> {
        if self.frames == 0 {
            return Err(MediaError::new(
                "no_frames",
                "the engine put out 0 frames, a take has at least 1",
                "",
            ));
        }
        // the picture's end first: while the encoder waits for a picture it takes no sound, and at a low frame rate the
        // sound of one picture is more than a pipe holds
        self.child.close_stdin();
        self.sound.take().map_or(Ok(()), SoundPump::complete)?;
        let written = self.writer.take().map_or(Ok(()), |w| w.join().unwrap_or(Ok(())));
        let exit = self.child.wait_for(FINISH_PATIENCE)?;
        written?;
        if !exit.well() {
            return Err(encode_failed(&exit));
        }
        match &self.file {
            // ffmpeg may end well although its last write failed
            Some(file) => check_boxes(file),
            None => Ok(()),
        }
    }

    /// The encoder closed its ears: why?
    fn broken(&mut self) -> MediaError {
        if self.child.is_stopped() {
            return MediaError::Stopped;
        }
        let sounded = self.sound.take();
        let written = self.writer.take().map_or(Ok(()), |w| w.join().unwrap_or(Ok(())));
        let exit = self.child.wait();
        drop(sounded);
        match (written, exit) {
            (Err(error), _) | (_, Err(error)) => error,
            (Ok(()), Ok(exit)) => encode_failed(&exit),
        }
    }
}

impl Drop for Mp4Sink {
    fn drop(&mut self) {
        // the encoder first: its end frees the sound's thread
        (self.child.killer())();
        self.sound = None;
        // the stream's thread is not waited for: it may hang on a reader who has stopped reading
    }
}

fn arguments(encoder: Encoder, options: &Mp4Options, sound: Option<i32>, target: OsString) -> Vec<OsString> {
    let VideoFormat { size, layout, fps } = options.format;
    let mut args = Vec::new();
    let mut add = |list: &[&str]| args.extend(list.iter().map(OsString::from));
    add(&["-nostdin", "-hide_banner", "-loglevel", "error", "-xerror", "-filter_threads", "1"]);
    add(&[
        "-f",
        "rawvideo",
        "-pix_fmt",
        pixel_format(layout),
        "-s",
        &size.to_string(),
        "-framerate",
        &fps.to_string(),
    ]);
    if sound.is_some() {
        let queue = (fps.as_f64() * SOUND_LAG_SECONDS).ceil() as u64 + 2;
        add(&["-thread_queue_size", &queue.to_string()]);
    }
    // all is said: ffmpeg would else wait for twenty frames before it looks at the sound
    add(&["-probesize", "32", "-fpsprobesize", "0", "-analyzeduration", "0", "-i", "pipe:0"]);
    if let Some(fd) = sound {
        add(&[
            "-nofind_stream_info", // would wait for a packet of sound before the first frame is taken
            "-f",
            "au",
            "-i",
            &format!("pipe:{fd}"),
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-c:a",
            "aac",
            "-b:a",
            "160k",
        ]);
    }
    if layout == Layout::Rgb24 {
        let flags = "bicubic+accurate_rnd+full_chroma_int";
        let even = "crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0";
        add(&[
            "-vf",
            &format!("{even},scale=flags={flags}:out_color_matrix=bt709:out_range=tv,format=yuv420p"),
        ]);
    }
    match encoder {
        Encoder::X264 => {
            let threads = options.threads.to_string();
            add(&["-c:v", "libx264", "-preset", "veryfast", "-threads", &threads]);
            match options.content {
                Content::Still if options.crf > 0 => {
                    let qp = (options.crf + STILL_QP_ABOVE_CRF).min(51).to_string();
                    add(&["-qp", &qp, "-x264-params", STILL_KEY_FRAMES]);
                }
                Content::Still | Content::Moving => add(&["-crf", &options.crf.to_string()]),
            }
        }
        Encoder::Nvenc => {
            let cq = options.crf.max(1).to_string();
            add(&["-c:v", "h264_nvenc", "-preset", "p4", "-rc", "vbr", "-cq", &cq, "-b:v", "0"]);
        }
    }
    if options.part == Part::Segment {
        add(&["-bf", "0"]);
    }
    add(&["-pix_fmt", "yuv420p"]);
    if options.crf > 0 {
        add(&["-profile:v", "high"]); // which has no lossless pictures
    }
    add(&["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv"]);
    add(&["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]);
    if let Some(comment) = &options.comment {
        add(&["-metadata", &format!("comment={comment}")]);
    }
    if target == "pipe:1" {
        // who joins or seeks needs a key frame: two seconds are a bearable wait and a small loss
        let group = ((fps.as_f64() * STREAM_GROUP_SECONDS).round() as u64).max(1).to_string();
        let flags = "+frag_keyframe+empty_moov+default_base_moof";
        add(&["-g", &group, "-bf", "0", "-flush_packets", "1", "-movflags", flags]);
        add(&["-frag_duration", STREAM_FRAGMENT_US]);
    } else {
        add(&["-movflags", "+faststart", "-y"]);
    }
    add(&["-f", "mp4"]);
    args.push(target);
    args
}

/// How long a reader of a stream may pause.
const STREAM_PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long moving a long take's index to its front may last: the encoder says nothing meanwhile.
pub(crate) const FINISH_PATIENCE: Duration = Duration::from_secs(30 * 60);

const STREAM_GROUP_SECONDS: f64 = 2.0;
/// Longest fragment of a stream, in microseconds: what a player has to wait for.
const STREAM_FRAGMENT_US: &str = "400000";
/// ffmpeg takes no picture while it waits for sound, and sound comes no earlier than its picture: so it must be able to
/// hold as many pictures as its sound may lag. Three AAC frames at 8 kHz and a packet are 0.43 s.
const SOUND_LAG_SECONDS: f64 = 0.6;

pub(crate) fn encode_failed(exit: &Exit) -> MediaError {
    use std::os::unix::process::ExitStatusExt;
    let text = &exit.stderr;
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
        return MediaError::new(
            "disk_full",
            "the disk is full: the take could not be written",
            "free some space or write elsewhere",
        );
    }
    if text.contains("File too large") || exit.status.signal() == Some(libc::SIGXFSZ) {
        return MediaError::new(
            "file_size_limit",
            "the take outgrew this machine's limit on file size",
            "raise it (ulimit -f) or write to another file system",
        );
    }
    let line = plain_line(text);
    let why = match exit.status.signal() {
        Some(signal) if line.is_empty() => format!("signal {signal} ended it"),
        _ => line,
    };
    MediaError::new("encode_failed", format!("the encoder failed: {why}"), "see `talkie doctor`")
}

/// The boxes of the file follow each other to its very end, and `moov` comes before `mdat`.
pub(crate) fn check_boxes(path: &Path) -> Result<(), MediaError> {
    let incomplete = |why: &str| {
        let hint = "free some space or write elsewhere";
        MediaError::new("disk_full", format!("the take is incomplete on disk: {why}"), hint)
    };
    let boxes = || -> std::io::Result<Option<Vec<[u8; 4]>>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let (mut at, mut names) = (0, Vec::new());
        while at < length {
            file.seek(SeekFrom::Start(at))?;
            let mut head = [0; 16];
            let room = ((length - at).min(16)) as usize;
            file.read_exact(&mut head[..room])?;
            let short = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let long = u64::from_be_bytes([
                head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15],
            ]);
            let size = if short == 1 { long } else { u64::from(short) };
            if size < 8 {
                return Ok(None);
            }
            names.push([head[4], head[5], head[6], head[7]]);
            at += size;
        }
        Ok((at == length).then_some(names))
    };
    let names = boxes()
        .map_err(|e| incomplete(&e.to_string()))?
        .ok_or_else(|| incomplete("its boxes are cut off"))?;
    let place = |name: &[u8; 4]| names.iter().position(|n| n == name);
    match (place(b"moov"), place(b"mdat")) {
        (Some(moov), Some(mdat)) if moov < mdat => Ok(()),
        _ => Err(incomplete("its index is missing")),
    }
}

/// Copies the encoder's output until its end.
fn forward(from: Option<impl Read>, mut out: Box<dyn Write + Send>) -> Result<(), MediaError> {
    let Some(mut from) = from else { return Ok(()) };
    let closed = |e: &std::io::Error| {
        MediaError::new(
            "output_closed",
            format!("whoever reads the take has stopped reading: {e}"),
            "keep the reader open",
        )
    };
    let mut chunk = vec![0; 1 << 16];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => out.write_all(&chunk[..n]).and_then(|()| out.flush()).map_err(|e| closed(&e))?,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(machine("cannot read from the encoder", &e)),
        }
    }
    out.flush().map_err(|e| closed(&e))
}
