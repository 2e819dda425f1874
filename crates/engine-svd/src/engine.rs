//! `Svd` as an `Engine`: says what it can do with the weights that are here, checks an act, and runs each session in threads of its own.
//! Sessions share the nets; the device makes one take at a time, because one clip fills it.

use std::sync::Arc;

use contract::{
    Act, AvatarSink, Complaint, Device as DeviceKind, Engine, EngineCard, EngineError, FrameSink,
    FrameSource, Layout, Length, Session, Settings, Subject, SubjectKind, Warning, Weights,
};

use crate::model::{Model, Setup};
use crate::session::{self, Take};
use crate::settings::{FPS, FPS_RANGE, Options, SIZES, cards};

/// Longest side of a source: more is scaled down while it is decoded, and CLIP sees 224 pixels of it.
const LONGEST: u32 = 8192;
/// It takes no voices; what is asked for where one would be heard.
const RATE_HZ: u32 = 16_000;

pub struct Svd {
    card: EngineCard,
    usual: Options,
    model: Arc<Model>,
}

impl Svd {
    /// `weights`: how a take names the files. `defaults`: what whoever runs this machine wants where a user says nothing.
    pub fn new(setup: Setup, weights: Vec<Weights>, defaults: &Settings) -> Result<Self, Complaint> {
        let usual = Options::usual(setup.frames()).with(defaults)?;
        let memory = setup.memory_bytes(&usual)? >> 20;
        let card = EngineCard {
            name: "svd",
            summary: "Stable Video Diffusion: a picture becomes a moving clip, without a voice or a prompt",
            device: if setup.device.is_cpu() { DeviceKind::Cpu } else { DeviceKind::Cuda },
            weights,
            subjects: vec![SubjectKind::Picture],
            keeps_background: false,
            idles: true,
            persons: 0,
            reads_prompt: false,
            resumes: false,
            source_layout: Layout::Rgb24,
            source_longest: LONGEST,
            voice_rate_hz: RATE_HZ,
            default_fps: FPS,
            fps_range: FPS_RANGE,
            max_longest: SIZES.1 as u32,
            min_face: 0,
            memory_mib: u32::try_from(memory).unwrap_or(u32::MAX),
            settings: cards(&usual),
        };
        Ok(Self { card, usual, model: Arc::new(Model::new(setup)) })
    }

    fn check(&self, act: Act) -> Result<Take, EngineError> {
        let refuse = |code, message: String, hint: &str| Err(Complaint::new(code, message, hint).into());
        let options = self.usual.with(&act.settings)?;
        let picture = match act.subject {
            Subject::Picture(picture) => picture,
            Subject::Clip(_) => {
                let message = "a clip was given, svd takes a picture".to_owned();
                return refuse("unsupported", message, "give a picture");
            }
            Subject::Avatar(_) => {
                let message = "an avatar was given, svd takes a picture".to_owned();
                return refuse("unsupported", message, "give the picture itself");
            }
        };
        let fps = act.fps.as_f64();
        if !(FPS_RANGE.0..=FPS_RANGE.1).contains(&fps) {
            let message =
                format!("the frame rate is {}, svd makes {} to {}", act.fps, FPS_RANGE.0, FPS_RANGE.1);
            return refuse("bad_fps", message, "ask for one of those, or leave it out");
        }
        if !act.voices.is_empty() {
            let message = format!("{} voices were given, svd hears none", act.voices.len());
            let hint = "leave it out and say how many seconds, or use puppet, musetalk or infinitetalk";
            return refuse("too_many_voices", message, hint);
        }
        if act.landmarks.is_some() {
            let message = "landmarks were given, svd does not look for a face".to_owned();
            return refuse("unsupported", message, "leave them out");
        }
        let Length::Frames(frames @ 1..) = act.length else {
            let message = "how long the take is to be was not said".to_owned();
            return refuse("no_frames", message, "say how many seconds");
        };
        let unread = act.prompt.as_deref().is_some_and(|prompt| !prompt.trim().is_empty()).then(|| {
            let message = "the prompt does not steer the take: svd knows no text; the engine wan-i2v does";
            Warning::new("prompt_unread", message)
        });
        Ok(Take {
            picture,
            frames,
            fps: act.fps,
            seed: act.seed,
            options,
            warnings: unread.into_iter().collect(),
            weights: self.card.weights.clone(),
        })
    }
}

impl Engine for Svd {
    fn card(&self) -> &EngineCard {
        &self.card
    }

    fn prepare(
        &self,
        _: &mut dyn FrameSource,
        _: &Settings,
        _: &mut dyn AvatarSink,
    ) -> Result<(), EngineError> {
        let message = "the engine svd prepares no avatars";
        Err(Complaint::new("unsupported", message, "give the picture itself").into())
    }

    fn start(&self, act: Act, out: Box<dyn FrameSink + Send>) -> Result<Session, EngineError> {
        let take = self.check(act)?;
        let model = Arc::clone(&self.model);
        stagehand::session(self.card.name, move || session::run(&model, take, out))
    }
}
