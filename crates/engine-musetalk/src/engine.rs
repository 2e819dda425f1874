//! `Musetalk` as an `Engine`: says what it can do with the weights that are here, checks an act, and runs each session in threads of its own.
//! The sessions share the nets, the thread that owns the device, and the prepared frames of avatars.

use std::sync::{Arc, Mutex, PoisonError};

use contract::{
    Act, AvatarSink, Complaint, Device as DeviceKind, Engine, EngineCard, EngineError, FrameSink,
    FrameSource, Layout, Length, Session, Settings, SubjectKind,
};

use crate::audio::RATE_HZ;
use crate::avatar::{Cache, Writer};
use crate::checkpoints::{Checkpoints, Memory, Nets};
use crate::device::Device;
use crate::mask::MaskRule;
use crate::material::MIN_FACE;
use crate::person::{no_face, view};
use crate::session::{self, Shared, Take};
use crate::settings::{DEFAULT_FPS, Options, Profile, cards};
use crate::steady::Steady;

/// Longest side of a frame: 4K.
const LONGEST: u32 = 4096;
/// Frame rates, frames a second.
const FPS_RANGE: (f64, f64) = (1.0, 60.0);
/// Of the profile `default`, whose audio windows are made for these.
const DEFAULT_FPS_RANGE: (f64, f64) = (12.0, 60.0);

pub struct Musetalk {
    card: EngineCard,
    defaults: Settings,
    nets: Arc<Nets>,
    cache: Arc<Cache>,
    /// Started with the first session.
    device: Mutex<Option<Device>>,
}

impl Musetalk {
    /// `defaults`: what whoever runs this machine wants where a user says nothing.
    pub fn new(
        files: Checkpoints,
        device: candle_core::Device,
        (defaults, memory): (Settings, Memory),
    ) -> Result<Self, Complaint> {
        let usual = Options::parse(&defaults, files.usual_version())?;
        let card = EngineCard {
            name: "musetalk",
            summary: "MuseTalk: redraws the mouth of a clip or a portrait to a voice, with neural nets",
            device: if device.is_cpu() { DeviceKind::Cpu } else { DeviceKind::Cuda },
            weights: files.used(&usual)?,
            subjects: vec![SubjectKind::Picture, SubjectKind::Clip, SubjectKind::Avatar],
            keeps_background: true,
            idles: false,
            persons: 1,
            reads_prompt: false,
            resumes: false,
            source_layout: Layout::Rgb24,
            source_longest: LONGEST,
            voice_rate_hz: RATE_HZ,
            default_fps: DEFAULT_FPS,
            fps_range: FPS_RANGE,
            max_longest: LONGEST,
            min_face: MIN_FACE,
            memory_mib: 8_000,
            settings: cards(usual.version),
        };
        let nets = Arc::new(Nets::new(files, device, memory));
        Ok(Self { card, defaults, nets, cache: Arc::default(), device: Mutex::default() })
    }

    /// What was sent, over the defaults.
    fn over_defaults(&self, sent: &Settings) -> Settings {
        let mut all = self.defaults.clone();
        all.sent.extend(sent.sent.iter().map(|(name, value)| (name.clone(), value.clone())));
        all
    }

    fn shared(&self) -> Result<Shared, EngineError> {
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        let device = match &*device {
            Some(device) => device.clone(),
            None => device.insert(Device::start()?).clone(),
        };
        Ok(Shared { nets: Arc::clone(&self.nets), device, cache: Arc::clone(&self.cache) })
    }
}

impl Engine for Musetalk {
    fn card(&self) -> &EngineCard {
        &self.card
    }

    fn prepare(
        &self,
        source: &mut dyn FrameSource,
        settings: &Settings,
        out: &mut dyn AvatarSink,
    ) -> Result<(), EngineError> {
        let options = Options::parse(&self.over_defaults(settings), self.nets.files().usual_version())?;
        self.nets.files().unet(options.version)?;
        let _in_use = self.nets.in_use();
        let rule = match options.profile {
            Profile::Classic => MaskRule::classic(),
            Profile::Default | Profile::Strict => MaskRule::realtime(options.parsing),
        };
        let mut maker = session::maker(&self.nets, &options, rule)?;
        let mut steady = Steady::new(session::steadying(&options));
        let mut writer = Writer::new(out);
        let mut ended = false;
        while !ended {
            match source.next()? {
                Some(frame) => {
                    let seen = maker.see(view(&frame)?)?;
                    steady.push(frame, seen);
                }
                None => ended = true,
            }
            while let Some((frame, placed)) = steady.next(ended) {
                let material = match placed {
                    Some(placed) => maker.make(view(&frame)?, &placed)?,
                    None => None,
                };
                writer.frame(material.as_ref())?;
            }
        }
        match writer.counts() {
            (0, _) => Err(Complaint::new("no_video", "the clip has no frame", "send another clip").into()),
            (frames, 0) => Err(no_face(frames).into()),
            _ => writer.finish((source.format().size, &options), &self.nets.files().vae.card.sha256),
        }
    }

    fn start(&self, act: Act, out: Box<dyn FrameSink + Send>) -> Result<Session, EngineError> {
        let settings = self.over_defaults(&act.settings);
        let take = check(act, settings, self.nets.files())?;
        let shared = self.shared()?;
        let (session, end) = Session::pair();
        std::thread::Builder::new()
            .name("musetalk".into())
            .spawn(move || end.finish(session::run(&shared, take, out)))
            .map_err(|error| EngineError::Failed(format!("no thread could be started: {error}")))?;
        Ok(session)
    }
}

fn check(act: Act, settings: Settings, files: &Checkpoints) -> Result<Take, EngineError> {
    let options = Options::parse(&settings, files.usual_version())?;
    files.unet(options.version)?;
    let range = if options.profile == Profile::Default { DEFAULT_FPS_RANGE } else { FPS_RANGE };
    if !(range.0..=range.1).contains(&act.fps.as_f64()) {
        return Err(Complaint::new(
            "bad_fps",
            format!(
                "the frame rate is {}, musetalk makes {} to {} in the profile {}",
                act.fps,
                range.0,
                range.1,
                options.profile.name()
            ),
            "choose a frame rate in that range; 25 is usual",
        )
        .into());
    }
    if act.landmarks.is_some() {
        let message = "landmarks were given, musetalk finds the face's box itself";
        return Err(Complaint::new(
            "unsupported",
            message,
            "leave them out, or move the box with bbox_shift",
        )
        .into());
    }
    let mut voices = act.voices.into_iter();
    let (voice, more) = (voices.next(), voices.count());
    if more > 0 {
        let message = format!("{} voices were given, musetalk animates 1 person", more + 1);
        return Err(Complaint::new("too_many_voices", message, "give one voice").into());
    }
    let Some(voice) = voice else {
        let message = "no voice was given, and musetalk cannot idle";
        return Err(Complaint::new("no_voice", message, "give a voice, or use the engine puppet").into());
    };
    if act.length == Length::Frames(0) {
        let message = "the take is to have 0 frames, at least 1 is needed";
        return Err(Complaint::new("no_frames", message, "ask for a longer take").into());
    }
    let (subject, length, fps) = (act.subject, act.length, act.fps);
    Ok(Take { subject, voice, length, fps, settings, sent: act.settings, batch: options.batch_size })
}
