//! `InfiniteTalk` as an `Engine`: says what it can do with the weights that are here, checks an act, and runs each session in threads of its own.
//! Sessions share the nets; the device makes one take at a time, because one chunk fills it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use contract::{
    Act, AvatarSink, Complaint, Device as DeviceKind, Engine, EngineCard, EngineError, FrameSink,
    FrameSource, Layout, Length, Session, Settings, Subject, SubjectKind, Weights,
};

use crate::model::{Model, Setup};
use crate::presets::Trained;
use crate::session::{self, Take};
use crate::settings::{Defaults, FPS, Options, WAN_FPS, cards};
use crate::weights::Files;

/// Samples a second at which voices are asked for: more than the nets hear, so that they are resampled as the official program does it.
const RATE_HZ: u32 = 48_000;
/// Longest side of a source: more is scaled down while it is decoded, and the model's largest picture is half of it.
const LONGEST: u32 = 4096;
const PERSONS: u32 = 2;

pub struct InfiniteTalk {
    card: EngineCard,
    defaults: Defaults,
    model: Arc<Model>,
    weights: BTreeMap<PathBuf, Weights>,
}

impl InfiniteTalk {
    /// `weights`: how a take names its files, by their paths. `defaults`: what whoever runs this machine wants where a user says nothing.
    pub fn new(
        setup: Setup,
        weights: BTreeMap<PathBuf, Weights>,
        defaults: Defaults,
    ) -> Result<Self, Complaint> {
        let hears = setup.hears();
        let (fps, defaults) = match hears {
            true => (FPS, defaults),
            false => {
                // an adapter that was trained for fewer steps is no less so without a voice
                let trained = if defaults.trained == Trained::Base { Trained::Wan } else { defaults.trained };
                // `mode` is of a voice: a clip is as long as it was asked for
                (WAN_FPS, Defaults { trained, hears, motion_frame: 1, clip: false, ..defaults })
            }
        };
        // what whoever runs this machine wants is checked now, not when somebody sends nothing
        Options::parse(&Settings::default(), defaults)?;
        let card = EngineCard {
            name: if hears { "infinitetalk" } else { "wan-i2v" },
            summary: match hears {
                true => {
                    "InfiniteTalk on Wan2.1 14B: a person in a picture or clip speaks, for as long as the voice is"
                }
                false => "Wan2.1 I2V 14B: a picture and a prompt become a clip, without a voice",
            },
            device: if setup.device.is_cpu() { DeviceKind::Cpu } else { DeviceKind::Cuda },
            weights: unique(setup.files().flat_map(|files| used(files, &weights)).collect()),
            subjects: match hears {
                true => vec![SubjectKind::Picture, SubjectKind::Clip],
                false => vec![SubjectKind::Picture],
            },
            keeps_background: false,
            idles: !hears,
            persons: if hears { PERSONS } else { 0 },
            reads_prompt: true,
            resumes: true,
            source_layout: Layout::Rgb24,
            source_longest: LONGEST,
            voice_rate_hz: RATE_HZ,
            default_fps: fps,
            fps_range: (fps.as_f64(), fps.as_f64()),
            max_longest: 2048,
            min_face: 0,
            memory_mib: u32::try_from(setup.memory_bytes >> 20).unwrap_or(u32::MAX),
            settings: cards(defaults),
        };
        Ok(Self { card, defaults, model: Arc::new(Model::new(setup)), weights })
    }
}

/// Those of a model, in the order of its files.
fn used(files: &Files, weights: &BTreeMap<PathBuf, Weights>) -> Vec<Weights> {
    files.of_weights().iter().filter_map(|file| weights.get(file.path).cloned()).collect()
}

fn unique(weights: Vec<Weights>) -> Vec<Weights> {
    let mut once: Vec<Weights> = Vec::new();
    for card in weights {
        if !once.contains(&card) {
            once.push(card);
        }
    }
    once
}

impl Engine for InfiniteTalk {
    fn card(&self) -> &EngineCard {
        &self.card
    }

    fn prepare(
        &self,
        _: &mut dyn FrameSource,
        _: &Settings,
        _: &mut dyn AvatarSink,
    ) -> Result<(), EngineError> {
        let message = format!("the engine {} prepares no avatars", self.card.name);
        Err(Complaint::new("unsupported", message, "give the picture or clip itself").into())
    }

    fn start(&self, act: Act, out: Box<dyn FrameSink + Send>) -> Result<Session, EngineError> {
        let take = self.check(act)?;
        let model = Arc::clone(&self.model);
        stagehand::session(self.card.name, move || session::run(&model, take, out))
    }
}

impl InfiniteTalk {
    fn check(&self, act: Act) -> Result<Take, EngineError> {
        let name = self.card.name;
        let refuse = |code, message: String, hint: &str| Err(Complaint::new(code, message, hint).into());
        let options = Options::parse(&act.settings, self.defaults)?;
        if act.fps != self.card.default_fps {
            let message = format!("the frame rate is {}, {name} makes {}", act.fps, self.card.default_fps);
            return refuse("bad_fps", message, "leave the frame rate out");
        }
        if matches!(act.subject, Subject::Clip(_)) && !self.card.subjects.contains(&SubjectKind::Clip) {
            let message = format!("a clip was given, {name} takes a picture");
            return refuse(
                "unsupported_subject",
                message,
                "give a picture, or use infinitetalk with a voice",
            );
        }
        if act.landmarks.is_some() {
            let message = format!("landmarks were given, {name} does not look for a face");
            return refuse(
                "unsupported",
                message,
                "leave them out; person1 and person2 say where persons are",
            );
        }
        let (voices, persons) = (act.voices.len(), self.card.persons as usize);
        if voices > persons {
            let message = format!("{voices} voices were given, {name} animates {persons}");
            return refuse("too_many_voices", message, "give fewer voices");
        }
        if voices == 0 && persons > 0 {
            let message = format!("no voice was given, and {name} cannot idle");
            return refuse("no_voice", message, "give a voice, or use the engine wan-i2v or puppet");
        }
        if voices != 2 && options.persons.len() == 2 {
            let message = format!("two persons were named, but {voices} voice was given");
            return refuse("bad_setting", message, "give a voice for each person, `-` for one who is silent");
        }
        if act.length == Length::Frames(0) {
            return refuse("no_frames", "the take is to have 0 frames".into(), "ask for a longer take");
        }
        Ok(Take {
            subject: act.subject,
            voices: act.voices,
            turns: act.turns,
            prompt: act.prompt.unwrap_or_default(),
            length: act.length,
            fps: act.fps,
            seed: act.seed,
            options,
            checkpoint: act.checkpoint,
            weights: used(self.model.files(voices)?, &self.weights),
        })
    }
}
