//! What a session is given, as its nets take it: voices, lengths, regions, the prompt, the subject.

use candle_core::{Device, Tensor};
use contract::{Complaint, EngineError, Length, Subject, Turns, VoiceSource};
use stagehand::{Cue, Stagehand};

use super::fault::{asked, failed, net, unseen};
use crate::audio::{self, Hearing, Limits, Speakers, Track};
use crate::model::Model;
use crate::nets::dit::{Dit, Persons};
use crate::picture::{Footage, Geometry, PersonBox, PersonMasks};
use crate::sampler::Prompt;
use crate::sampler::guidance::Branch;
use crate::sampler::plan::{ChunkPlan, ChunkShape};
use crate::settings::Options;
use crate::text::{NEGATIVE_PROMPT, Tokens};
use crate::weights::Files;

/// All voices, side by side; `None` where nobody speaks.
pub(super) fn listen(
    voices: Vec<Box<dyn VoiceSource>>,
    turns: Turns,
    stage: &Stagehand,
) -> Result<Option<Speakers>, EngineError> {
    let mut tracks = Vec::new();
    for (at, voice) in voices.into_iter().enumerate() {
        let track = match Track::read(voice) {
            Ok(track) => Some(track),
            // a person who is silent has a voice of no samples
            Err(audio::AudioError::Empty) => None,
            Err(audio::AudioError::Source(error)) => return Err(error.into()),
            Err(error) => {
                return Err(Complaint::new("bad_audio", error.to_string(), "send another voice").into());
            }
        };
        if let Some(warning) = track.as_ref().and_then(|track| track.warning(at + 1)) {
            stage.tell(Cue::Warning(warning))?;
        }
        tracks.push(track);
    }
    let silent = || Complaint::new("no_audio", "the voice has no samples", "send another voice");
    Ok(match tracks.as_slice() {
        [] => None,
        [Some(only)] => Some(Speakers::one(only)),
        [Some(first), Some(second)] => Some(Speakers::two(first, second, turns)),
        [Some(first), None] => Some(Speakers::one_of_two(first, 0)),
        [None, Some(second)] => Some(Speakers::one_of_two(second, 1)),
        _ => return Err(silent().into()),
    })
}

/// As long as the voice, or as was asked for.
pub(super) fn chunks(
    shape: ChunkShape,
    sound: u64,
    length: Length,
    options: &Options,
) -> Result<ChunkPlan, EngineError> {
    let limit = match length {
        Length::Frames(frames) => Some(frames),
        Length::Voice => None,
    };
    let limit = if options.clip { Some(limit.unwrap_or(u64::MAX).min(shape.frames() as u64)) } else { limit };
    if sound == 0 {
        // without a voice, and without a length, there is one chunk
        let frames = limit.unwrap_or(shape.frames() as u64);
        return Ok(ChunkPlan::new(shape, frames, None).map_err(asked)?);
    }
    Ok(ChunkPlan::new(shape, sound, limit).map_err(asked)?)
}

/// Where two persons are, as the net asks for it.
pub(super) fn regions(
    options: &Options,
    (width, height): (usize, usize),
    target: (usize, usize),
    persons: usize,
    device: &Device,
) -> Result<Option<Persons>, EngineError> {
    if persons < 2 {
        return Ok(None);
    }
    let boxes = match options.persons.as_slice() {
        [first, second] => [*first, *second],
        _ => PersonBox::halves((width, height)),
    };
    let masks = PersonMasks::new(&boxes, &Geometry::new((width, height), target), STRIDE);
    let masks = masks
        .map_err(|error| Complaint::new("bad_setting", error.to_string(), "correct person1 and person2"))?;
    let masks = masks.to_tensor().and_then(|masks| masks.to_device(device)).map_err(net)?;
    Ok(Some(Persons::new(&masks).map_err(net)?))
}

/// Pixels of a latent place's side.
const STRIDE: usize = 8;

/// The prompt and what is not to be seen, as umT5 has them.
pub(super) struct Text {
    prompt: Tensor,
    negative: Option<Tensor>,
}

pub(super) fn read(
    model: &Model,
    files: &Files,
    (prompt, options): (&str, &Options),
    stage: &Stagehand,
) -> Result<Text, EngineError> {
    let prompts = model.prompts(files)?;
    let umt5 = model.umt5(files)?;
    let rows = |text: &str, what: &str| -> Result<Tensor, EngineError> {
        let tokens: Tokens = prompts
            .read(text)
            .map_err(|error| Complaint::new("bad_prompt", error.to_string(), "write another prompt"))?;
        if let Some(warning) = tokens.warning(what) {
            stage.tell(Cue::Warning(warning))?;
        }
        stage.check()?;
        let ids = Tensor::from_vec(tokens.ids, (1, ()), model.device()).map_err(net)?;
        umt5.forward(&ids).and_then(|rows| rows.squeeze(0)).map_err(net) // (l, c)
    };
    let negative =
        options.negative_prompt.as_deref().filter(|text| !text.is_empty()).unwrap_or(NEGATIVE_PROMPT);
    let guidance = options.guidance().map_err(asked)?;
    let without = [Branch::DropText, Branch::Unconditioned];
    let guided = guidance.branches().iter().any(|branch| without.contains(branch));
    Ok(Text {
        prompt: rows(prompt, "prompt")?,
        negative: if guided { Some(rows(negative, "negative prompt")?) } else { None },
    })
}

pub(super) fn prompt(dit: &Dit, text: &Text) -> Result<Prompt, EngineError> {
    Prompt::new(dit, &text.prompt, text.negative.as_ref()).map_err(failed)
}

/// What wav2vec 2.0 makes of every frame, for each person: (frames, layers, c)
pub(super) fn hear(
    model: &Model,
    files: &Files,
    speakers: &Speakers,
    stage: &Stagehand,
) -> Result<Vec<Tensor>, EngineError> {
    let ear = model.ear(files)?;
    let mut features = Vec::new();
    for samples in speakers.persons() {
        stage.check()?;
        let mut hearing = Hearing::new(&ear, model.device(), samples, Limits::default());
        if let Some(warning) = hearing.warning() {
            stage.tell(Cue::Warning(warning))?;
        }
        features.push(hearing.features(&|| stage.is_gone()).map_err(net)?);
    }
    Ok(features)
}

/// The subject, whether it moves or not.
pub(super) struct Seen {
    pub(super) footage: Footage,
    size: (usize, usize),
    pub(super) moves: bool,
}

impl Seen {
    pub(super) fn open(subject: Subject) -> Result<Self, EngineError> {
        let (source, moves) = match subject {
            Subject::Picture(source) => (source, false),
            Subject::Clip(source) => (source, true),
            Subject::Avatar(_) => {
                let message = "an avatar was given, infinitetalk takes a picture or a clip";
                return Err(Complaint::new("unsupported", message, "give the picture or clip itself").into());
            }
        };
        let mut footage = Footage::new(source).map_err(unseen)?;
        let first = footage.at(0).map_err(unseen)?;
        let size = first.size();
        Ok(Self { footage, size, moves })
    }

    pub(super) fn size(&self) -> (usize, usize) {
        self.size
    }
}
