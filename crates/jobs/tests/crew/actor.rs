//! An engine that does what its prompt says, one word after the other: `frames=50`, `delay=10` (ms a frame), `side=512`,
//! `noise`, `piece=10` (a state behind every tenth frame), and at a frame `panic@3`, `abort@3`, `abort-once@3` (not where it goes on),
//! `hang@3`, `oom@3`, `fail@3`, `pause@3` (7 s).

use std::time::Duration;

use contract::{
    Act, AvatarSink, Complaint, Device, Engine, EngineCard, EngineError, Fps, Frame, FrameSink, FrameSource,
    Layout, Length, Report, Session, Settings, Size, Stage, Subject, SubjectKind, VideoFormat,
};

pub struct Actor(EngineCard);

/// The one who can go on behind a piece.
pub const RESUMES: &str = "actor-in-pieces";

impl Actor {
    pub fn new(name: &'static str) -> Self {
        Self(EngineCard {
            name,
            summary: "does as it is told",
            device: Device::Cpu,
            weights: Vec::new(),
            subjects: vec![SubjectKind::Picture, SubjectKind::Clip, SubjectKind::Avatar],
            keeps_background: false,
            idles: true,
            persons: 1,
            reads_prompt: false,
            resumes: name == RESUMES,
            source_layout: Layout::I420,
            source_longest: 512,
            voice_rate_hz: 16_000,
            default_fps: Fps::whole(25),
            fps_range: (1.0, 60.0),
            max_longest: 512,
            min_face: 0,
            memory_mib: 1,
            settings: Vec::new(),
        })
    }
}

impl Engine for Actor {
    fn card(&self) -> &EngineCard {
        &self.0
    }

    /// The avatar is the number of its frames.
    fn prepare(
        &self,
        source: &mut dyn FrameSource,
        settings: &Settings,
        out: &mut dyn AvatarSink,
    ) -> Result<(), EngineError> {
        if settings.sent.contains_key("refuse") {
            return Err(Complaint::new("no_face", "nobody is there", "send another picture").into());
        }
        let mut frames = 0_u32;
        while source.next()?.is_some() {
            frames += 1;
        }
        Ok(out.part("count", &frames.to_le_bytes())?)
    }

    fn start(&self, act: Act, mut out: Box<dyn FrameSink + Send>) -> Result<Session, EngineError> {
        let (session, end) = Session::pair();
        std::thread::spawn(move || end.finish(play(act, out.as_mut())));
        Ok(session)
    }
}

fn play(act: Act, out: &mut dyn FrameSink) -> Result<Report, EngineError> {
    let script = act.prompt.unwrap_or_default();
    let number = |name: &str, otherwise: u64| {
        let told = script.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        told.map_or(otherwise, |told| told.parse().unwrap())
    };
    let told = |name: &str, at: u64| script.split(' ').any(|word| word == format!("{name}@{at}"));
    let mut frames = match act.length {
        Length::Frames(frames) => frames,
        Length::Voice => 25,
    };
    if let Subject::Avatar(mut avatar) = act.subject {
        let count = avatar.part("count")?;
        frames = u32::from_le_bytes(count.try_into().unwrap()).into();
        assert!(avatar.frames()?.next()?.is_some());
    }
    let (frames, side) = (number("frames", frames), number("side", 64) as u32);
    let delay = Duration::from_millis(number("delay", 0));
    let size = Size::new(side, side);
    out.begin(VideoFormat { size, layout: Layout::I420, fps: act.fps })?;
    let mut seed = act.seed | 1;
    let kept = act.checkpoint.as_deref().map_or(0, |state| u64::from_le_bytes(state.try_into().unwrap()));
    let piece = number("piece", u64::MAX);
    for at in kept..frames {
        std::thread::sleep(delay);
        match () {
            () if told("panic", at) => panic!("as told"),
            () if told("abort", at) => std::process::abort(),
            () if told("abort-once", at) && act.checkpoint.is_none() => std::process::abort(),
            () if told("oom", at) => return Err(EngineError::OutOfMemory("as told".into())),
            () if told("fail", at) => return Err(EngineError::Failed("as told".into())),
            () if told("hang", at) => loop {
                std::thread::park();
            },
            () if told("pause", at) => std::thread::sleep(Duration::from_secs(7)),
            () => {}
        }
        // the first bytes tell which frame it is: a bright column that moves
        let mut data = vec![128; Layout::I420.bytes(size)];
        let luma = size.pixels() as usize;
        if script.contains("noise") {
            for byte in &mut data[..luma] {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = 16 + ((seed >> 33) % 219) as u8;
            }
        } else {
            data[..luma].fill(16 + (at * 8 % 219) as u8);
        }
        out.frame(Frame::new(size, Layout::I420, data).expect("it is as large as it says"))?;
        out.stage(Stage::Rendering, at + 1, frames)?;
        if (at + 1).is_multiple_of(piece) {
            out.checkpoint(&(at + 1).to_le_bytes())?;
        }
    }
    Ok(Report {
        frames,
        face: None,
        settings: Vec::new(),
        measured: Vec::new(),
        weights: Vec::new(),
        timings: Vec::new(),
    })
}
