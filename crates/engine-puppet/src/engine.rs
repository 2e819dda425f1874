//! `Puppet` as an `Engine`: says what it can do, checks an act, and runs each session in a thread of its own.
//! Sessions share nothing; how many run at once is the caller's choice.

use contract::{
    Act, AvatarSink, Complaint, Device, Engine, EngineCard, EngineError, FrameSink, FrameSource, Layout,
    Length, Session, Settings, Subject, SubjectKind, Weights,
};

use crate::avatar;
use crate::session::{self, Take};
use crate::settings::{DEFAULT_FPS, MAX_LONGEST, Options, cards};
use crate::track::PART;

/// Frame rates, frames a second.
const FPS_RANGE: (f64, f64) = (1.0, 60.0);
/// Longest side of the frames that are asked for; faces are measured at this size.
const SOURCE_LONGEST: u32 = 3072;
/// Narrowest face, px of the user's picture.
pub const MIN_FACE: u32 = 40;
/// The rate at which the mouth reading works.
pub const VOICE_RATE_HZ: u32 = 16_000;

pub struct Puppet {
    card: EngineCard,
}

/// Of the net that reads the voice.
pub fn weights() -> Vec<Weights> {
    let net = speech::weights_card();
    vec![Weights { name: net.name.into(), sha256: net.sha256.into(), embedded: true }]
}

impl Default for Puppet {
    fn default() -> Self {
        Self::new()
    }
}

impl Puppet {
    pub fn new() -> Self {
        let card = EngineCard {
            name: "puppet",
            summary: "warps one portrait or clip to a voice; built in, no download, CPU, faster than real time",
            device: Device::Cpu,
            weights: weights(),
            subjects: vec![SubjectKind::Picture, SubjectKind::Clip, SubjectKind::Avatar],
            keeps_background: true,
            idles: true,
            persons: 1,
            reads_prompt: false,
            resumes: false,
            source_layout: Layout::I420,
            source_longest: SOURCE_LONGEST,
            voice_rate_hz: VOICE_RATE_HZ,
            default_fps: DEFAULT_FPS,
            fps_range: FPS_RANGE,
            max_longest: MAX_LONGEST,
            min_face: MIN_FACE,
            memory_mib: 60,
            settings: cards(),
        };
        Self { card }
    }
}

impl Engine for Puppet {
    fn card(&self) -> &EngineCard {
        &self.card
    }

    fn prepare(
        &self,
        source: &mut dyn FrameSource,
        settings: &Settings,
        out: &mut dyn AvatarSink,
    ) -> Result<(), EngineError> {
        Options::parse(settings)?;
        let track = avatar::measure(source)?;
        Ok(out.part(PART, &track.to_bytes())?)
    }

    fn start(&self, act: Act, out: Box<dyn FrameSink + Send>) -> Result<Session, EngineError> {
        let options = Options::parse(&act.settings)?;
        let take = check(act, options)?;
        let (session, end) = Session::pair();
        std::thread::Builder::new()
            .name("puppet".into())
            .spawn(move || end.finish(session::run(take, out)))
            .map_err(|error| EngineError::Failed(format!("no thread could be started: {error}")))?;
        Ok(session)
    }
}

fn check(act: Act, options: Options) -> Result<Take, EngineError> {
    let fps = act.fps.as_f64();
    if !(FPS_RANGE.0..=FPS_RANGE.1).contains(&fps) {
        return Err(Complaint::new(
            "bad_fps",
            format!("the frame rate is {}, puppet makes {} to {}", act.fps, FPS_RANGE.0, FPS_RANGE.1),
            "choose a frame rate in that range; 25 is usual",
        )
        .into());
    }
    if act.voices.len() > 1 {
        return Err(Complaint::new(
            "too_many_voices",
            format!("{} voices were given, puppet animates 1 person", act.voices.len()),
            "give one voice",
        )
        .into());
    }
    let voice = act.voices.into_iter().next();
    match (&voice, act.length) {
        (None, Length::Voice) => {
            return Err(Complaint::new(
                "no_voice",
                "the take is to be as long as its voice, and no voice was given",
                "give a voice, or a length in frames to make the person idle",
            )
            .into());
        }
        (_, Length::Frames(0)) => {
            return Err(Complaint::new(
                "no_frames",
                "the take is to have 0 frames, at least 1 is needed",
                "ask for a longer take",
            )
            .into());
        }
        (Some(voice), _) if voice.rate_hz() != VOICE_RATE_HZ => {
            return Err(EngineError::Failed(format!(
                "the voice comes at {} Hz, the card asks for {VOICE_RATE_HZ} Hz",
                voice.rate_hz()
            )));
        }
        _ => {}
    }
    let subject = match act.subject {
        Subject::Picture(source) => session::Subject::Picture(source),
        Subject::Clip(source) => session::Subject::Clip(source),
        Subject::Avatar(_) if act.landmarks.is_some() => {
            return Err(Complaint::new(
                "unsupported",
                "landmarks were given for an avatar, whose face is known",
                "leave them out, or give the picture or the clip itself",
            )
            .into());
        }
        Subject::Avatar(avatar) => session::Subject::Avatar(avatar),
    };
    Ok(Take {
        subject,
        voice,
        length: act.length,
        fps: act.fps,
        seed: act.seed,
        landmarks: act.landmarks,
        options,
    })
}
