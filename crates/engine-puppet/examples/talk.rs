//! Renders a take to raw I420 on stdout: `talk picture.yuv WIDTHxHEIGHT voice.f32 [name=value ...]`.
//! `voice.f32` is mono at 16 kHz; `-` idles for 10 s. Pipe it into `ffmpeg -f rawvideo -pix_fmt yuv420p`.

use std::io::{Cursor, Write};

use contract::{
    Act, Engine, Fps, Frame, FrameSink, FrameSource, Layout, Length, Pcm, Settings, Size, SourceError,
    SourceFormat, Stage, Stopped, Subject, Value, VideoFormat, VoiceSource, Warning,
};
use engine_puppet::Puppet;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (w, h) = args[2].split_once('x').expect("WIDTHxHEIGHT");
    let size = Size::new(w.parse().expect("width"), h.parse().expect("height"));
    let source = Raw { data: std::fs::read(&args[1]).expect("picture"), size, at: 0 };
    let clip = source.data.len() > Layout::I420.bytes(size);
    let mut voices: Vec<Box<dyn VoiceSource>> = Vec::new();
    let mut length = Length::Frames(250);
    if args[3] != "-" {
        let bytes = std::fs::read(&args[3]).expect("voice");
        let samples = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        voices.push(Box::new(Cursor::new(Pcm { rate_hz: 16_000, samples })));
        length = Length::Voice;
    }
    let mut settings = Settings::default();
    for pair in &args[4..] {
        let (name, value) = pair.split_once('=').expect("name=value");
        settings.sent.insert(name.into(), Value::Text(value.into()));
    }
    let source: Box<dyn FrameSource> = Box::new(source);
    let act = Act {
        subject: if clip { Subject::Clip(source) } else { Subject::Picture(source) },
        voices,
        prompt: None,
        length,
        fps: Fps::whole(25),
        seed: 1,
        settings,
        landmarks: None,
        turns: contract::Turns::Together,
        checkpoint: None,
    };
    let start = std::time::Instant::now();
    let session = Puppet::new().start(act, Box::new(Stdout)).expect("start");
    match session.wait() {
        Ok(report) => {
            eprintln!("{:?}\n{:?}", report.face, report.settings);
            for timing in &report.timings {
                let each = timing.elapsed.as_secs_f64() * 1000.0 / report.frames as f64;
                eprintln!("{:12} {:8.1?}  {each:.2} ms a frame", timing.stage.name(), timing.elapsed);
            }
            eprintln!("{} frames in {:.2?}", report.frames, start.elapsed());
        }
        Err(error) => eprintln!("error: {error}"),
    }
}

struct Raw {
    data: Vec<u8>,
    size: Size,
    at: usize,
}

impl FrameSource for Raw {
    fn format(&self) -> SourceFormat {
        let fps = (self.data.len() > Layout::I420.bytes(self.size)).then(|| Fps::whole(25));
        SourceFormat { size: self.size, natural: self.size, layout: Layout::I420, fps }
    }

    fn next(&mut self) -> Result<Option<Frame>, SourceError> {
        let n = Layout::I420.bytes(self.size);
        let bytes = self.data.get(self.at..self.at + n);
        self.at += n;
        Ok(bytes.map(|b| Frame::new(self.size, Layout::I420, b.to_vec()).expect("I420")))
    }
}

struct Stdout;

impl FrameSink for Stdout {
    fn begin(&mut self, format: VideoFormat) -> Result<(), Stopped> {
        eprintln!("{}", format.size);
        Ok(())
    }

    fn stage(&mut self, _stage: Stage, _done: u64, _of: u64) -> Result<(), Stopped> {
        Ok(())
    }

    fn frame(&mut self, frame: Frame) -> Result<(), Stopped> {
        std::io::stdout().write_all(frame.data()).map_err(|_| Stopped)
    }

    fn warn(&mut self, warning: Warning) -> Result<(), Stopped> {
        eprintln!("warning: {}", warning.message);
        Ok(())
    }

    fn checkpoint(&mut self, _state: &[u8]) -> Result<(), Stopped> {
        Ok(())
    }
}
