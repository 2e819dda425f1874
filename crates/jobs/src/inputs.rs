//! From a job's words to what an engine pulls: the subject's pictures, the voice, and the sound track of the take.
//! Everything is checked here, before an engine is taken.

use std::path::Path;

use contract::{Complaint, EngineCard, Fps, Length, Stop, Subject, VoiceSource, Warning};
use media::{ClipSpec, MediaError, PictureSpec, Soundtrack, VoiceSpec as VoiceFormat};
use store::Asset;

use crate::recipe::{Studio, Target};
use crate::{Fault, Source, SubjectSpec, TakeSpec, VoiceSpec};

pub struct Inputs {
    pub subject: Subject,
    pub voices: Vec<Box<dyn VoiceSource>>,
    pub length: Length,
    pub fps: Fps,
    pub soundtrack: Option<Soundtrack>,
    pub warnings: Vec<Warning>,
    /// Synthesised speech lives here until the take is done.
    pub speech: Option<media::Spoken>,
}

pub fn open(studio: &Studio, card: &EngineCard, spec: &TakeSpec, stop: &Stop) -> Result<Inputs, Fault> {
    let mut warnings = Vec::new();
    let subject_path = match &spec.subject {
        SubjectSpec::Picture(source) | SubjectSpec::Clip(source) | SubjectSpec::PictureOrClip(source) => {
            path_of(source)?
        }
        SubjectSpec::Avatar(_) => todo!(),
    };
    let subject_asset = Asset::open(subject_path)?;
    let (voice_asset, speech, start, duration) = match &spec.voice {
        VoiceSpec::File { source, start, duration } => {
            (Some(Asset::open(path_of(source)?)?), None, *start, *duration)
        }
        VoiceSpec::Text(text) => {
            let spoken = studio.tts.speak(&studio.tools, text, stop)?;
            (Some(Asset::open(spoken.path())?), Some(spoken), None, None)
        }
        VoiceSpec::Idle { seconds } => {
            check_idle(*seconds, studio.limits.audio_seconds)?;
            (None, None, None, None)
        }
    };
    let (subject, fps) = match &spec.subject {
        SubjectSpec::Picture(_) => {
            let picture = PictureSpec { layout: card.source_layout, longest: card.source_longest };
            let path = subject_asset.path();
            let picture = media::picture(&studio.tools, path, picture, &studio.limits, stop);
            let picture = picture.map_err(|error| naming(path, error))?;
            warnings.extend(picture.warnings);
            (Subject::Picture(picture.source), spec.fps.unwrap_or(card.default_fps))
        }
        _ => {
            let clip = ClipSpec {
                layout: card.source_layout,
                longest: card.max_longest,
                fps: spec.fps,
                start: None,
                duration: None,
            };
            let path = subject_asset.path();
            let clip = media::clip(&studio.tools, path, clip, &studio.limits, stop);
            let clip = clip.map_err(|error| naming(path, error))?;
            warnings.extend(clip.warnings);
            (Subject::Clip(clip.source), clip.fps)
        }
    };
    let mut voices = Vec::new();
    let mut soundtrack = None;
    if let Some(asset) = voice_asset {
        let format = VoiceFormat { rate_hz: card.voice_rate_hz, start, duration };
        let voice = media::voice(&studio.tools, asset.path(), format, &studio.limits, stop);
        let voice = voice.map_err(|error| naming(asset.path(), error))?;
        warnings.extend(voice.warnings);
        voices.push(voice.source);
        soundtrack = Some(Soundtrack { path: asset.path().to_owned(), start, duration });
    }
    let length = match spec.voice {
        VoiceSpec::Idle { seconds } => Length::Frames(((seconds * fps.as_f64()).round() as u64).max(1)),
        VoiceSpec::File { .. } | VoiceSpec::Text(_) => Length::Voice,
    };
    Ok(Inputs { subject, voices, length, fps, soundtrack, warnings, speech })
}

fn path_of(source: &Source) -> Result<&Path, Complaint> {
    match source {
        Source::Path(path) => Ok(path),
        _ => todo!(),
    }
}

/// A take must not take the place of what it is made of.
pub fn keep_apart(spec: &TakeSpec, target: &Target) -> Result<(), Complaint> {
    let Target::File { path: target, .. } = target else { return Ok(()) };
    let subject = match &spec.subject {
        SubjectSpec::Picture(source) | SubjectSpec::Clip(source) | SubjectSpec::PictureOrClip(source) => {
            Some(source)
        }
        SubjectSpec::Avatar(_) => None,
    };
    let voice = match &spec.voice {
        VoiceSpec::File { source, .. } => Some(source),
        VoiceSpec::Text(_) | VoiceSpec::Idle { .. } => None,
    };
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let Some(there) = real(target) else { return Ok(()) };
    let named = [subject, voice].into_iter().flatten().filter_map(|source| match source {
        Source::Path(path) => Some(path),
        Source::Stored(_) | Source::Url(_) | Source::S3(_) => None,
    });
    match named.into_iter().find(|input| real(input).as_ref() == Some(&there)) {
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
fn naming(path: &Path, error: MediaError) -> Fault {
    match error {
        MediaError::Rejected(complaint) => Fault::Rejected(Complaint {
            message: format!("{}: {}", path.display(), complaint.message),
            ..complaint
        }),
        MediaError::Stopped => Fault::Canceled,
    }
}
