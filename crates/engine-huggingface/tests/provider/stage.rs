//! What the tests share: an act of one small picture, a sink that keeps what it is told, and videos.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use contract::{
    Act, Complaint, Engine, EngineError, Fps, Frame, FrameSink, FrameSource, Layout, Length, Report,
    Settings, Size, SourceError, SourceFormat, Stage, Stopped, Subject, Turns, Value, VideoFormat, Warning,
};
use engine_huggingface::{Download, Fetching, Form, HuggingFace, Means, Setup, Token};
use media::{Limits, ToolPaths};

pub const TOKEN: &str = "hf_Secret1";

/// 14 frames of 128x64 at 7 a second; its index comes first, so that its beginning can be decoded.
pub fn film() -> &'static [u8] {
    static FILM: OnceLock<Vec<u8>> = OnceLock::new();
    FILM.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.mp4");
        let words = "-v error -f lavfi -i testsrc2=size=128x64:rate=7 -frames:v 14 -c:v libx264 -pix_fmt yuv420p -g 1 -movflags +faststart";
        let made = Command::new("ffmpeg").args(words.split(' ')).arg(&path).status().unwrap();
        assert!(made.success());
        std::fs::read(path).unwrap()
    })
}

struct Still(Option<Frame>);

const PICTURE: Size = Size::new(96, 64);

impl FrameSource for Still {
    fn format(&self) -> SourceFormat {
        SourceFormat { size: PICTURE, natural: PICTURE, layout: Layout::I420, fps: None }
    }

    fn next(&mut self) -> Result<Option<Frame>, SourceError> {
        Ok(self.0.take())
    }
}

pub fn act(sent: &[(&str, Value)]) -> Act {
    let grey = vec![128; Layout::I420.bytes(PICTURE)];
    let picture = Still(Some(Frame::new(PICTURE, Layout::I420, grey).unwrap()));
    Act {
        subject: Subject::Picture(Box::new(picture)),
        voices: Vec::new(),
        turns: Turns::Together,
        prompt: Some("wave".into()),
        length: Length::Frames(16),
        fps: Fps::whole(8),
        seed: 7,
        settings: Settings {
            sent: sent
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect::<BTreeMap<_, _>>(),
        },
        landmarks: None,
        checkpoint: None,
    }
}

#[derive(Default)]
pub struct Told {
    pub format: Option<VideoFormat>,
    pub frames: u64,
    pub warnings: Vec<Warning>,
    pub stages: Vec<Stage>,
}

/// `stop`: whether nobody wants the take any more.
pub struct Sink {
    told: Arc<Mutex<Told>>,
    stop: Box<dyn Fn(&Told) -> bool + Send>,
}

impl Sink {
    fn note(&mut self, change: impl FnOnce(&mut Told)) -> Result<(), Stopped> {
        let mut told = self.told.lock().unwrap();
        change(&mut told);
        if (self.stop)(&told) { Err(Stopped) } else { Ok(()) }
    }
}

impl FrameSink for Sink {
    fn begin(&mut self, format: VideoFormat) -> Result<(), Stopped> {
        self.note(|told| told.format = Some(format))
    }

    fn stage(&mut self, stage: Stage, _: u64, _: u64) -> Result<(), Stopped> {
        self.note(|told| told.stages.push(stage))
    }

    fn frame(&mut self, _: Frame) -> Result<(), Stopped> {
        self.note(|told| told.frames += 1)
    }

    fn warn(&mut self, warning: Warning) -> Result<(), Stopped> {
        self.note(|told| told.warnings.push(warning))
    }

    fn checkpoint(&mut self, _: &[u8]) -> Result<(), Stopped> {
        panic!("huggingface makes a take in one piece")
    }
}

/// Fetches as the house does, without its guard.
pub struct Plain;

impl Download for Plain {
    fn download<'a>(&'a self, url: &'a str, folder: &'a Path) -> Fetching<'a> {
        Box::pin(async move {
            let broken =
                |error: reqwest::Error| Complaint::new("url_broken", error.without_url().to_string(), "");
            let answer = reqwest::Client::builder()
                .no_proxy()
                .build()
                .unwrap()
                .get(url)
                .send()
                .await
                .map_err(broken)?;
            let status = answer.status().as_u16();
            if status != 200 {
                let code = if status >= 500 { "url_busy" } else { "url_status" };
                return Err(Complaint::new(code, format!("status {status}"), ""));
            }
            let bytes = answer.bytes().await.map_err(broken)?;
            let path = folder.join("fetched");
            std::fs::write(&path, bytes).unwrap();
            Ok(path)
        })
    }
}

pub fn setup(form: Form, base: &str) -> Setup {
    Setup {
        form,
        model: None,
        base: Some(base.to_owned()),
        hub: Some(base.to_owned()),
        token: Some(Token::new(TOKEN, "HF_TOKEN").unwrap()),
        max_frames: None,
        means: Means {
            proxy: None,
            deadline: Duration::from_secs(60),
            tries: 3,
            answer_bytes: 1 << 20,
            tools: ToolPaths::default(),
            limits: Limits::default(),
            downloads: Arc::new(Plain),
            chance: || 0,
        },
    }
}

/// The same, with so long for a take.
pub fn within(seconds: u64, setup: Setup) -> Setup {
    Setup { means: Means { deadline: Duration::from_secs(seconds), ..setup.means }, ..setup }
}

pub fn run(setup: Setup, act: Act) -> (Result<Report, EngineError>, Told) {
    run_until(setup, act, |_| false)
}

pub fn run_until(
    setup: Setup,
    act: Act,
    stop: impl Fn(&Told) -> bool + Send + 'static,
) -> (Result<Report, EngineError>, Told) {
    let told = Arc::new(Mutex::new(Told::default()));
    let sink = Sink { told: Arc::clone(&told), stop: Box::new(stop) };
    let engine = HuggingFace::new(setup).unwrap();
    let outcome = engine.start(act, Box::new(sink)).and_then(|session| session.wait());
    // the sink is gone: whoever held it has left
    let told = Arc::into_inner(told).expect("the session holds its sink no longer").into_inner().unwrap();
    (outcome, told)
}

/// The complaint of a take that failed, in which no token may stand.
pub fn complaint(outcome: Result<Report, EngineError>) -> Complaint {
    match outcome {
        Err(EngineError::Rejected(complaint)) => {
            let shown = format!("{complaint} {complaint:?}");
            assert!(!shown.contains(TOKEN), "{shown}");
            complaint
        }
        other => panic!("{other:?}"),
    }
}
