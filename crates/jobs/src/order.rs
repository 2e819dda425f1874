//! What was asked for, parsed and complete: every dialect and the command line turn their own words into these types.
//! They are what the record keeps and what a worker gets; nothing in them is a handle.

use std::path::PathBuf;

use contract::{Fps, Landmarks, Settings, Turns};
use serde::{Deserialize, Serialize};

use crate::{Prepared, stored};

/// Where an input lies. A value that exists was allowed at the door of its dialect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A file of this machine: named on the command line, or below a media root with its symbolic links resolved.
    Path(PathBuf),
    /// Something of ours in the store, by key: an upload.
    Stored(String),
    /// `http:`, `https:` or `data:`; fetched under the guard when the job runs.
    Url(String),
    /// `s3://bucket/key` in a bucket that the dialect's configuration allows.
    S3(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectSpec {
    Picture(Source),
    /// A picture that is scaled until it fills the one of these sizes (width, height) that is nearest in shape, cut at its centre.
    Filling {
        picture: Source,
        sizes: Vec<(u32, u32)>,
    },
    Clip(Source),
    /// A picture or a clip: its bytes decide.
    PictureOrClip(Source),
    Avatar(AvatarName),
}

impl SubjectSpec {
    /// `None` for an avatar, which is no input but something of ours.
    pub fn source(&self) -> Option<&Source> {
        match self {
            SubjectSpec::Picture(source)
            | SubjectSpec::Filling { picture: source, .. }
            | SubjectSpec::Clip(source)
            | SubjectSpec::PictureOrClip(source) => Some(source),
            SubjectSpec::Avatar(_) => None,
        }
    }

    fn source_mut(&mut self) -> Option<&mut Source> {
        match self {
            SubjectSpec::Picture(source)
            | SubjectSpec::Filling { picture: source, .. }
            | SubjectSpec::Clip(source)
            | SubjectSpec::PictureOrClip(source) => Some(source),
            SubjectSpec::Avatar(_) => None,
        }
    }
}

/// Avatars of different dialects or owners never meet, whatever their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AvatarName {
    pub dialect: String,
    pub owner: String,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoiceSpec {
    /// Anything with a sound track; `start` and `duration` in seconds.
    File { source: Source, start: Option<f64>, duration: Option<f64> },
    /// A file for each person, in their order; `None`: this one is silent.
    Several {
        voices: Vec<Option<Source>>,
        #[serde(with = "stored::turns")]
        turns: Turns,
    },
    /// To be spoken by the configured speech synthesis.
    Text(String),
    /// Comes while it is spoken, over the socket of a live session: s16le, mono.
    Arriving,
    /// No voice: the engine idles for this many seconds.
    Idle { seconds: f64 },
}

impl VoiceSpec {
    pub fn sources(&self) -> Vec<&Source> {
        match self {
            VoiceSpec::File { source, .. } => vec![source],
            VoiceSpec::Several { voices, .. } => voices.iter().flatten().collect(),
            VoiceSpec::Text(_) | VoiceSpec::Arriving | VoiceSpec::Idle { .. } => Vec::new(),
        }
    }

    fn sources_mut(&mut self) -> Vec<&mut Source> {
        match self {
            VoiceSpec::File { source, .. } => vec![source],
            VoiceSpec::Several { voices, .. } => voices.iter_mut().flatten().collect(),
            VoiceSpec::Text(_) | VoiceSpec::Arriving | VoiceSpec::Idle { .. } => Vec::new(),
        }
    }

    /// Persons who speak, or could.
    pub fn persons(&self) -> usize {
        match self {
            VoiceSpec::Several { voices, .. } => voices.len(),
            VoiceSpec::File { .. } | VoiceSpec::Text(_) | VoiceSpec::Arriving => 1,
            VoiceSpec::Idle { .. } => 0,
        }
    }
}

/// One take: who speaks, what, and how it is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TakeSpec {
    /// `EngineCard::name` of the engine that is to do it. There is no fall-back to another.
    pub engine: String,
    pub subject: SubjectSpec,
    pub voice: VoiceSpec,
    pub prompt: Option<String>,
    /// `None`: the clip's own rate for a clip, else the engine's default.
    #[serde(with = "stored::fps")]
    pub fps: Option<Fps>,
    /// Frames the take may have at most; `None`: as many as the voice is long.
    pub max_frames: Option<u64>,
    pub seed: u64,
    #[serde(with = "stored::settings")]
    pub settings: Settings,
    /// In pixels of the subject's own picture.
    #[serde(with = "stored::landmarks")]
    pub landmarks: Option<Landmarks>,
    /// x264's constant rate factor, 0 (lossless) .. 51.
    pub crf: u8,
}

/// An avatar to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrepareSpec {
    pub engine: String,
    pub avatar: AvatarName,
    /// A picture or a clip.
    pub source: Source,
    #[serde(with = "stored::settings")]
    pub settings: Settings,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Take(TakeSpec),
    Prepare(PrepareSpec),
}

impl Work {
    pub fn engine(&self) -> &str {
        match self {
            Work::Take(take) => &take.engine,
            Work::Prepare(prepare) => &prepare.engine,
        }
    }

    /// Where its inputs lie.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        let (one, others) = match self {
            Work::Prepare(prepare) => (Some(&prepare.source), Vec::new()),
            Work::Take(take) => (take.subject.source(), take.voice.sources()),
        };
        one.into_iter().chain(others)
    }

    pub(crate) fn sources_mut(&mut self) -> Vec<(Role, &mut Source)> {
        match self {
            Work::Prepare(prepare) => vec![(Role::Person, &mut prepare.source)],
            Work::Take(take) => take.sources_mut(),
        }
    }
}

/// What an input is to a take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Person,
    Voice,
}

impl TakeSpec {
    pub(crate) fn sources_mut(&mut self) -> Vec<(Role, &mut Source)> {
        let person = self.subject.source_mut().map(|source| (Role::Person, source));
        let voices = self.voice.sources_mut().into_iter().map(|source| (Role::Voice, source));
        person.into_iter().chain(voices).collect()
    }
}

/// Where a finished take goes besides the store. Both are replaced whole, never half written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// A file name below a folder that the dialect's configuration allows.
    pub path: Option<PathBuf>,
    /// `s3://bucket/key`.
    pub s3: Option<String>,
}

/// A job as a dialect hands it in.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub dialect: &'static str,
    /// Name of the API key it came with, or `local`. Nobody sees another owner's jobs.
    pub owner: String,
    pub work: Work,
    /// Higher goes first; within one priority the order of submission holds.
    pub priority: i32,
    /// The client's own key: the same key with the same work is the same job.
    pub idempotency: Option<String>,
    /// Fingerprint of the request: while a job with the same one lives, or has ended less than `attach_s` ago, that job is the answer.
    pub twin: Option<String>,
    pub attach_s: u32,
    pub deliver: Delivery,
    /// The asset that a take of an avatar is to use; `None`: what the name stands for when the order comes in. Either way the take
    /// has it from then on, whatever becomes of the name.
    pub avatar: Option<Prepared>,
    /// What the dialect wants to find again when it answers; kept as it is.
    pub note: serde_json::Value,
    pub terms: Terms,
}

/// What was agreed on besides the work. Milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Since the epoch: not begun by then, it has failed (`start_timeout`).
    pub start_by_ms: Option<i64>,
    /// How long after its end its file is kept, whatever retention says of others.
    pub keep_ms: Option<i64>,
    /// Where its end is to be told.
    pub webhook: Option<String>,
}
