//! From a job's words to what an engine pulls: the subject's pictures, the voice, and the sound track of the take.
//! Everything is checked here, before an engine is taken.

use std::path::Path;

use contract::{
    Complaint, EngineCard, Fps, Length, Pcm, SourceError, Stop, Subject, Turns, VoiceSource, Warning,
};
use media::{
    ClipSpec, Content, MediaError, PictureSpec, Soundtrack, Spoken, Track, VoiceSpec as VoiceFormat,
};
use store::Asset;

use crate::person::Kind;
use crate::recipe::{Studio, Target};
use crate::resolve::{Local, LocalSubject, LocalVoice, Locals};
use crate::{Fault, Source, TakeSpec, VoiceSpec};

pub struct Inputs {
    pub subject: Subject,
    pub voices: Vec<Box<dyn VoiceSource>>,
    pub turns: Turns,
    pub length: Length,
    pub fps: Fps,
    pub content: Content,
    pub soundtrack: Option<Soundtrack>,
    pub warnings: Vec<Warning>,
    /// Synthesised speech lives here until the take is done.
    pub speech: Option<Spoken>,
}

/// `said`: the text as it was spoken for an earlier attempt.
pub fn open(
    studio: &Studio,
    card: &EngineCard,
    (spec, locals, said): (&TakeSpec, Locals, Option<Spoken>),
    stop: &Stop,
) -> Result<Inputs, Fault> {
    // the subject and the voice wait for processes of their own: at the same time
    let (subject, sound) = std::thread::scope(|scope| {
        let sound = std::thread::Builder::new()
            .spawn_scoped(scope, || open_sound(studio, card, (spec, locals.voice, said), stop));
        let subject = open_subject(studio, card, (spec, locals.subject), stop);
        let sound = sound
            .map_err(|error| Fault::failed("machine_failed", format!("no thread could be started: {error}")));
        let panicked =
            |_| Err(Fault::failed("internal", "opening the voice panicked; this is a bug in talkie"));
        (subject, sound.and_then(|thread| thread.join().unwrap_or_else(panicked)))
    });
    let (OpenedSubject { subject, fps, content, mut warnings }, sound) = (subject?, sound?);
    warnings.extend(sound.warnings);
    let most = spec.max_frames.unwrap_or(u64::MAX);
    let length = match spec.voice {
        VoiceSpec::Idle { seconds } => {
            Length::Frames(((seconds * fps.as_f64()).round() as u64).min(most).max(1))
        }
        VoiceSpec::File { .. } | VoiceSpec::Several { .. } | VoiceSpec::Text(_) | VoiceSpec::Arriving => {
            Length::Voice
        }
    };
    let mut voices = sound.voices;
    if let (Some(frames), Length::Voice) = (spec.max_frames, length) {
        let most = |rate: u32| (fps.seconds_at(frames) * f64::from(rate)).round() as u64;
        let cut = |voice: Box<dyn VoiceSource>| Cut { left: most(voice.rate_hz()), voice };
        voices = voices.into_iter().map(|voice| Box::new(cut(voice)) as Box<dyn VoiceSource>).collect();
    }
    let (soundtrack, speech) = (sound.track, sound.speech);
    let turns = match spec.voice {
        VoiceSpec::Several { turns, .. } => turns,
        _ => Turns::Together,
    };
    Ok(Inputs { subject, voices, turns, length, fps, content, soundtrack, warnings, speech })
}

struct OpenedSubject {
    subject: Subject,
    fps: Fps,
    content: Content,
    warnings: Vec<Warning>,
}

fn open_subject(
    studio: &Studio,
    card: &EngineCard,
    (spec, subject): (&TakeSpec, LocalSubject),
    stop: &Stop,
) -> Result<OpenedSubject, Fault> {
    let still = if card.keeps_background { Content::Still } else { Content::Moving };
    let rate = spec.fps.or_else(|| only_rate(card));
    let (local, kind, sizes) = match subject {
        LocalSubject::Picture(local, sizes) => (local, Kind::Picture, sizes),
        LocalSubject::Clip(local) => (local, Kind::Clip, Vec::new()),
        LocalSubject::PictureOrClip(local) => {
            let kind = kind_of(studio, &local, stop)?;
            (local, kind, Vec::new())
        }
        LocalSubject::Avatar(person) => {
            let fps = spec.fps.or(person.fps()).unwrap_or(card.default_fps);
            let content = if person.fps().is_some() { Content::Moving } else { still };
            let subject = Subject::Avatar(Box::new(person.open(studio, card, stop)?));
            return Ok(OpenedSubject { subject, fps, content, warnings: Vec::new() });
        }
    };
    if kind == Kind::Clip && local.path.is_dir() {
        let clip = media::album(&studio.tools, &local.path, clip_spec(card, rate), &studio.limits, stop);
        return Ok(filmed(clip.map_err(|error| naming(&local, error))?));
    }
    let path = Asset::open(&local.path).map_err(|complaint| hiding(&local, complaint))?.path().to_owned();
    match kind {
        Kind::Picture => {
            let picture = PictureSpec { layout: card.source_layout, longest: card.source_longest };
            let picture =
                media::picture_filling(&studio.tools, &path, (picture, &sizes), &studio.limits, stop);
            let picture = picture.map_err(|error| naming(&local, error))?;
            let fps = spec.fps.unwrap_or(card.default_fps);
            let subject = Subject::Picture(picture.source);
            Ok(OpenedSubject { subject, fps, content: still, warnings: picture.warnings })
        }
        Kind::Clip => {
            let clip = clip_spec(card, rate);
            let clip = media::clip(&studio.tools, &path, clip, &studio.limits, stop);
            Ok(filmed(clip.map_err(|error| naming(&local, error))?))
        }
    }
}

/// Of an engine that knows one frame rate: clips of any other are shown at it.
fn only_rate(card: &EngineCard) -> Option<Fps> {
    (card.fps_range.0 == card.fps_range.1).then_some(card.default_fps)
}

fn filmed(clip: media::Clip) -> OpenedSubject {
    let subject = Subject::Clip(clip.source);
    OpenedSubject { subject, fps: clip.fps, content: Content::Moving, warnings: clip.warnings }
}

/// A clip as the engine wants it.
pub fn clip_spec(card: &EngineCard, fps: Option<Fps>) -> ClipSpec {
    ClipSpec { layout: card.source_layout, longest: card.max_longest, fps }
}

/// Whether a file moves, as its container tells.
pub fn kind_of(studio: &Studio, local: &Local, stop: &Stop) -> Result<Kind, Fault> {
    let probe = media::probe(&studio.tools, &local.path, &studio.limits, stop);
    let probe = probe.map_err(|error| naming(local, error))?;
    let still = probe.format.ends_with("_pipe") || probe.format == "ico";
    let frames = probe.video.as_ref().and_then(|video| video.frames);
    Ok(if still || frames == Some(1) { Kind::Picture } else { Kind::Clip })
}

#[derive(Default)]
struct Sound {
    voices: Vec<Box<dyn VoiceSource>>,
    track: Option<Soundtrack>,
    speech: Option<Spoken>,
    warnings: Vec<Warning>,
}

fn open_sound(
    studio: &Studio,
    card: &EngineCard,
    (spec, voice, said): (&TakeSpec, Option<LocalVoice>, Option<Spoken>),
    stop: &Stop,
) -> Result<Sound, Fault> {
    if let (VoiceSpec::Several { turns, .. }, Some(LocalVoice::Several(voices))) = (&spec.voice, &voice) {
        return open_several(studio, card, (voices, *turns), stop);
    }
    let (local, speech, start, duration) = match (&spec.voice, voice) {
        (VoiceSpec::File { start, duration, .. }, Some(LocalVoice::File(local))) => {
            (local, None, *start, *duration)
        }
        (VoiceSpec::Arriving, Some(LocalVoice::Arriving(pieces))) => {
            let voice = media::arriving(pieces, card.voice_rate_hz);
            return Ok(Sound { voices: vec![voice], ..Sound::default() });
        }
        (VoiceSpec::File { .. } | VoiceSpec::Several { .. }, _) => {
            return Err(Fault::failed("internal", "the voice was not fetched"));
        }
        (VoiceSpec::Arriving, _) => {
            return Err(Fault::failed("internal", "a voice arrives in live sessions only"));
        }
        (VoiceSpec::Text(text), _) => {
            let spoken = match said {
                Some(spoken) => spoken,
                None => studio.tts.speak(&studio.tools, text, stop)?,
            };
            let local = Local { path: spoken.path().to_owned(), name: "the spoken text".to_owned() };
            (local, Some(spoken), None, None)
        }
        (VoiceSpec::Idle { seconds }, _) => {
            check_idle(*seconds, studio.limits.audio_seconds)?;
            return Ok(Sound::default());
        }
    };
    let path = Asset::open(&local.path).map_err(|complaint| hiding(&local, complaint))?.path().to_owned();
    let format = VoiceFormat { rate_hz: card.voice_rate_hz, start, duration };
    let voice = media::voice(&studio.tools, &path, format, &studio.limits, stop);
    let voice = voice.map_err(|error| naming(&local, error))?;
    let track = Some(Track { path, start, duration }.into());
    Ok(Sound { voices: vec![voice.source], track, speech, warnings: voice.warnings })
}

/// A voice for each person. One who is silent has a voice of no samples.
fn open_several(
    studio: &Studio,
    card: &EngineCard,
    (locals, turns): (&[Option<Local>], Turns),
    stop: &Stop,
) -> Result<Sound, Fault> {
    let mut sound = Sound::default();
    let mut tracks = Vec::new();
    for local in locals {
        let Some(local) = local else {
            let silence = Pcm { rate_hz: card.voice_rate_hz, samples: Vec::new() };
            sound.voices.push(Box::new(std::io::Cursor::new(silence)));
            continue;
        };
        let path = Asset::open(&local.path).map_err(|complaint| hiding(local, complaint))?.path().to_owned();
        let format = VoiceFormat { rate_hz: card.voice_rate_hz, start: None, duration: None };
        let voice = media::voice(&studio.tools, &path, format, &studio.limits, stop);
        let voice = voice.map_err(|error| naming(local, error))?;
        sound.voices.push(voice.source);
        sound.warnings.extend(voice.warnings);
        tracks.push(Track { path, start: None, duration: None });
    }
    if tracks.is_empty() {
        let message = format!("all {} persons are silent", locals.len());
        return Err(Complaint::new("no_voice", message, "give at least one voice").into());
    }
    sound.track = Some(Soundtrack { tracks, turns });
    Ok(sound)
}

/// A voice that ends with the last frame of a take that may not be longer.
struct Cut {
    voice: Box<dyn VoiceSource>,
    /// Samples still to come.
    left: u64,
}

impl VoiceSource for Cut {
    fn rate_hz(&self) -> u32 {
        self.voice.rate_hz()
    }

    fn read(&mut self, out: &mut [f32]) -> Result<usize, SourceError> {
        let room = out.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if room == 0 {
            return Ok(0);
        }
        let read = self.voice.read(&mut out[..room])?;
        self.left -= read as u64;
        Ok(read)
    }

    fn expected(&self) -> Option<u64> {
        self.voice.expected().map(|expected| expected.min(self.left))
    }
}

/// A take must not take the place of what it is made of.
pub fn keep_apart(spec: &TakeSpec, target: &Target) -> Result<(), Complaint> {
    let Target::File { path: target, .. } = target else { return Ok(()) };
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let Some(there) = real(target) else { return Ok(()) };
    let sources = spec.subject.source().into_iter().chain(spec.voice.sources());
    let mut named = sources.filter_map(|source| match source {
        Source::Path(path) => Some(path),
        Source::Stored(_) | Source::Url(_) | Source::S3(_) => None,
    });
    match named.find(|input| real(input).as_ref() == Some(&there)) {
        None => Ok(()),
        Some(input) => Err(Complaint::new(
            "output_is_input",
            format!("{} is an input of this take and would be lost", input.display()),
            "give the take another name",
        )),
    }
}

/// A take without a voice may be as long as one with the longest voice.
fn check_idle(seconds: f64, limit: f64) -> Result<(), Complaint> {
    if seconds <= limit {
        return Ok(());
    }
    Err(Complaint::new(
        "too_long",
        format!("{seconds} s of idle motion were asked for, the limit is {limit} s"),
        "ask for less, or raise the limit with --max-audio-seconds",
    ))
}

/// With two files in a job, a complaint says which one it is about.
pub fn naming(local: &Local, error: MediaError) -> Fault {
    match error {
        MediaError::Rejected(complaint) => Fault::Rejected(Complaint {
            message: format!("{}: {}", local.name, complaint.message),
            ..complaint
        }),
        MediaError::Stopped => Fault::Canceled,
    }
}

/// Where a fetched input lies is not the user's business.
fn hiding(local: &Local, complaint: Complaint) -> Complaint {
    let path = local.path.display().to_string();
    Complaint { message: complaint.message.replace(&path, &local.name), ..complaint }
}
