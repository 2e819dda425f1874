//! The take on its way out: frames cross a bounded channel to a thread that feeds what writes them, a file or a live
//! session. That is started when the engine names its format, before the first frame exists.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::{
    FaceReport, Fps, Frame, FrameSink, Size, Stage, Stop, Stopped, Value, VideoFormat, Warning, Weights,
};
use media::MediaError;
use serde::{Deserialize, Serialize};

use crate::progress::Progress;
use crate::{Fault, Remark, Watcher, stored};

/// Frames that may wait for the encoder.
const FRAMES_IN_FLIGHT: usize = 4;

/// A finished take and everything it has to say about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Take {
    pub duration_s: f64,
    pub frames: u64,
    #[serde(with = "stored::rate")]
    pub fps: Fps,
    #[serde(with = "stored::size")]
    pub size: Size,
    pub engine: String,
    #[serde(with = "stored::weights")]
    pub weights: Vec<Weights>,
    pub seed: u64,
    #[serde(with = "stored::face")]
    pub face: Option<FaceReport>,
    #[serde(with = "stored::resolved")]
    pub settings: Vec<(String, Value)>,
    /// What the engine measured of it.
    #[serde(with = "stored::resolved", default)]
    pub measured: Vec<(String, Value)>,
    /// Who spoke the text, and with which voice.
    pub speech: Option<(String, String)>,
    pub warnings: Vec<Remark>,
    pub timings: Vec<PhaseTiming>,
    /// Codec and encoder of the picture: `libx264`, `h264_nvenc`.
    pub encoder: String,
    /// From the start of the engine to its first frame, in seconds.
    pub first_frame_s: Option<f64>,
}

/// A part of a job that takes time: `opening` the inputs, `speaking` a text, each stage of the engine, `finishing` (from the
/// last frame to the complete file), and the `total`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseTiming {
    pub phase: String,
    #[serde(with = "stored::seconds")]
    pub elapsed: Duration,
}

/// Writes all frames of a take, in the writer's thread.
pub type Write = Box<dyn FnOnce(VideoFormat, &Frames) -> Result<(), MediaError> + Send>;

enum Message {
    Begin(VideoFormat),
    Frame(Frame),
    Cut(Vec<u8>),
}

/// What the engine sees.
pub struct TakeSink {
    frames: SyncSender<Message>,
    seen: Arc<Mutex<Seen>>,
    progress: Progress,
    stop: Stop,
    /// The writer has given up. An engine that works for hours before its next frame learns it with its next step.
    broken: Arc<AtomicBool>,
}

/// What the recipe wants to know afterwards.
#[derive(Clone, Default)]
pub struct Seen {
    pub format: Option<VideoFormat>,
    pub first_frame: Option<Instant>,
    pub warnings: Vec<Warning>,
}

/// The recipe's end: the thread that feeds the encoder.
pub struct Writer {
    thread: JoinHandle<Result<(), MediaError>>,
    seen: Arc<Mutex<Seen>>,
}

/// The two ends of a take.
pub fn open(write: Write, watcher: &Arc<dyn Watcher>, stop: &Stop) -> (TakeSink, Writer) {
    let (frames, messages) = sync_channel(FRAMES_IN_FLIGHT);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let broken = Arc::new(AtomicBool::new(false));
    let thread = {
        let (stop, broken) = (stop.clone(), Arc::clone(&broken));
        // leaves at the first error: whatever the engine says next is answered with `Stopped`
        std::thread::spawn(move || match messages.recv() {
            Ok(Message::Begin(format)) => {
                let written = write(format, &Frames { messages, stop });
                broken.store(written.is_err(), Ordering::Relaxed);
                written
            }
            _ => Ok(()), // the engine ended before it had a format; it says why
        })
    };
    let sink = TakeSink {
        frames,
        seen: Arc::clone(&seen),
        progress: Progress::new(Arc::clone(watcher)),
        stop: stop.clone(),
        broken,
    };
    (sink, Writer { thread, seen })
}

/// Frames as the engine makes them.
pub struct Frames {
    messages: Receiver<Message>,
    stop: Stop,
}

/// What came of waiting for a frame.
pub enum Next {
    Frame(Frame),
    /// A piece is complete; with this state the engine can go on behind it.
    Cut(Vec<u8>),
    /// Nothing yet.
    Silence,
    End,
}

impl Frames {
    /// `None`: the engine has put out its last one.
    pub fn next(&self) -> Result<Option<Frame>, MediaError> {
        loop {
            match self.within(Duration::MAX)? {
                Next::Frame(frame) => return Ok(Some(frame)),
                Next::End => return Ok(None),
                Next::Cut(_) | Next::Silence => {}
            }
        }
    }

    pub fn within(&self, patience: Duration) -> Result<Next, MediaError> {
        let next = match self.messages.recv_timeout(patience) {
            Ok(Message::Frame(frame)) => Next::Frame(frame),
            Ok(Message::Cut(state)) => Next::Cut(state),
            Ok(Message::Begin(_)) | Err(RecvTimeoutError::Timeout) => Next::Silence,
            Err(RecvTimeoutError::Disconnected) => Next::End,
        };
        if self.stop.is_stopped() { Err(MediaError::Stopped) } else { Ok(next) }
    }
}

impl Writer {
    /// Waits until the file is complete. Call when the engine has dropped its sink.
    pub fn finish(self) -> Result<Seen, Fault> {
        match self.thread.join() {
            Ok(Ok(())) => Ok(self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            Ok(Err(MediaError::Stopped)) => Err(Fault::Canceled),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Fault::failed("internal", "the writer panicked; this is a bug in talkie")),
        }
    }
}

impl From<MediaError> for Fault {
    fn from(error: MediaError) -> Self {
        match error {
            MediaError::Rejected(complaint) => Fault::Rejected(complaint),
            MediaError::Stopped => Fault::Canceled,
        }
    }
}

impl TakeSink {
    fn send(&self, message: Message) -> Result<(), Stopped> {
        self.go_on()?;
        self.frames.send(message).map_err(|_| Stopped)
    }

    fn go_on(&self) -> Result<(), Stopped> {
        if self.stop.is_stopped() || self.broken.load(Ordering::Relaxed) { Err(Stopped) } else { Ok(()) }
    }

    fn seen(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl FrameSink for TakeSink {
    fn begin(&mut self, format: VideoFormat) -> Result<(), Stopped> {
        self.seen(|seen| seen.format = Some(format));
        self.send(Message::Begin(format))
    }

    fn stage(&mut self, stage: Stage, done: u64, of: u64) -> Result<(), Stopped> {
        self.progress.stage(stage, done, of);
        self.go_on()
    }

    fn frame(&mut self, frame: Frame) -> Result<(), Stopped> {
        self.seen(|seen| {
            seen.first_frame.get_or_insert_with(Instant::now);
        });
        self.send(Message::Frame(frame))
    }

    fn warn(&mut self, warning: Warning) -> Result<(), Stopped> {
        self.progress.warn(warning.clone());
        self.seen(|seen| seen.warnings.push(warning));
        self.go_on()
    }

    fn checkpoint(&mut self, state: &[u8]) -> Result<(), Stopped> {
        self.send(Message::Cut(state.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_learns_of_a_broken_writer_before_its_next_frame() {
        let full =
            || MediaError::from(contract::Complaint::new("disk_full", "no space is left", "make room"));
        let write: Write = Box::new(move |_, _| Err(full()));
        let nobody: Arc<dyn Watcher> = Arc::new(|_: &crate::Event| {});
        let (mut sink, writer) = open(write, &nobody, &Stop::default());
        let size = Size { width: 64, height: 64 };
        sink.begin(VideoFormat { size, layout: contract::Layout::I420, fps: Fps::whole(25) }).unwrap();
        while sink.stage(Stage::Rendering, 0, 40).is_ok() {
            std::thread::yield_now();
        }
        drop(sink);
        assert!(matches!(writer.finish(), Err(Fault::Rejected(told)) if told.code == "disk_full"));
    }
}
