//! `HuggingFace` as an `Engine`: says what it can do, checks an act, and runs each session in threads of its own.

use std::sync::Arc;

use contract::{
    Act, AvatarSink, Complaint, Device, Engine, EngineCard, EngineError, Fps, FrameSink, FrameSource, Layout,
    Session, Settings, Subject, SubjectKind,
};

use crate::remote::{Remote, Setup};
use crate::session::{self, Take};
use crate::settings::{SIDES, Wish, cards};

/// What the original backend asks for.
const DEFAULT_FPS: Fps = Fps::whole(8);
/// That may be asked for, frames a second.
const FPS_RANGE: (f64, f64) = (1.0, 60.0);
/// Longest side of the picture that is sent, px: more than the models see.
const SOURCE_LONGEST: u32 = 1280;

pub struct HuggingFace {
    card: EngineCard,
    remote: Arc<Remote>,
}

impl HuggingFace {
    /// Sends nothing. Refuses a setup that cannot work, one without a token that wants one among them.
    pub fn new(setup: Setup) -> Result<Self, Complaint> {
        let remote = Remote::check(setup)?;
        let card = EngineCard {
            name: "huggingface",
            summary: "sends a picture to a model at Hugging Face or a provider behind it; a silent clip comes back; nothing is computed here",
            device: Device::Remote,
            weights: Vec::new(),
            subjects: vec![SubjectKind::Picture],
            keeps_background: false,
            idles: true,
            persons: 0,
            reads_prompt: true,
            resumes: false,
            source_layout: Layout::I420,
            source_longest: SOURCE_LONGEST,
            voice_rate_hz: 16_000,
            default_fps: DEFAULT_FPS,
            fps_range: FPS_RANGE,
            max_longest: SIDES.1 as u32,
            min_face: 0,
            memory_mib: 60,
            settings: cards(),
        };
        Ok(Self { card, remote: Arc::new(remote) })
    }

    /// One line: the form, the model and where it is.
    pub fn describe(&self) -> String {
        let from = self
            .remote
            .token
            .as_ref()
            .map_or("no token".to_owned(), |token| format!("token of {}", token.from()));
        format!("{} at {}, {from}", self.remote.weights(), crate::remote::host(&self.remote.base))
    }
}

impl Engine for HuggingFace {
    fn card(&self) -> &EngineCard {
        &self.card
    }

    fn prepare(
        &self,
        _: &mut dyn FrameSource,
        _: &Settings,
        _: &mut dyn AvatarSink,
    ) -> Result<(), EngineError> {
        Err(unsupported("an avatar"))
    }

    fn start(&self, act: Act, out: Box<dyn FrameSink + Send>) -> Result<Session, EngineError> {
        let take = check(act, &self.remote)?;
        let remote = Arc::clone(&self.remote);
        stagehand::session(self.card.name, move || session::run(&remote, take, out))
    }
}

fn check(act: Act, remote: &Remote) -> Result<Take, EngineError> {
    if !act.voices.is_empty() {
        let message = format!("{} voices were given, huggingface makes silent clips", act.voices.len());
        return Err(Complaint::new("too_many_voices", message, "leave the voice out: --seconds").into());
    }
    if act.landmarks.is_some() {
        let message = "landmarks were given, huggingface has no use for them";
        return Err(Complaint::new("unsupported", message, "leave them out").into());
    }
    let fps = act.fps.as_f64();
    if !(FPS_RANGE.0..=FPS_RANGE.1).contains(&fps) {
        let message =
            format!("the frame rate is {}, huggingface asks for {} to {}", act.fps, FPS_RANGE.0, FPS_RANGE.1);
        return Err(
            Complaint::new("bad_fps", message, "choose a frame rate in that range; 8 is usual").into()
        );
    }
    let wish = Wish::of(&act, remote.max_frames)?;
    match act.subject {
        Subject::Picture(picture) => Ok(Take { picture, wish }),
        Subject::Clip(_) => Err(unsupported("a clip")),
        Subject::Avatar(_) => Err(unsupported("an avatar")),
    }
}

fn unsupported(what: &str) -> EngineError {
    let message = format!("the engine huggingface does not work on {what}");
    Complaint::new("unsupported_subject", message, "send a picture").into()
}
