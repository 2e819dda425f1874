//! From MuseTalk's words to orders. The only place that knows its defaults.

use std::sync::Arc;

use contract::{EngineCard, Fps, Value};
use jobs::crew::{LiveForm, Pace};
use jobs::{
    AvatarName, AvatarView, LiveOrder, Order, PrepareSpec, Received, Source, SubjectSpec, TakeSpec,
    VoiceSpec, Work,
};

use super::tickets::Lent;
use super::wire::{Info, Shape};
use crate::front_door::errand::fingerprint;
use crate::front_door::house::{Room, settings};
use crate::front_door::keys::Owner;
use crate::front_door::model::{Field, Fitting, INT, Kind, Model, Need};
use crate::front_door::refused::Refused;

const ATTACH_S: u32 = 60;
const SEED: u64 = 42;
/// As the original encodes.
const CRF: u8 = 18;
/// Letters of an avatar's id.
const ID_LETTERS: usize = 64;

pub static PREPROCESS: Model = Model {
    name: "Body_preprocess_avatar",
    fields: &[
        Field {
            name: "avatar_id",
            kind: Kind::Text,
            need: Need::Required,
            help: "1 to 64 of a-z, A-Z, 0-9, _ and -; one that is there already is replaced",
        },
        Field {
            name: "bbox_shift",
            kind: INT,
            need: Need::Null,
            help: "Moves the box of the face, positive down; default MUSETALK_BBOX_SHIFT, 0",
        },
        Field {
            name: "video_file",
            kind: Kind::File,
            need: Need::Required,
            help: "A clip or a picture of the person",
        },
    ],
};

pub static INFERENCE: Model = Model {
    name: "Body_inference",
    fields: &[
        Field {
            name: "audio_file", kind: Kind::File, need: Need::Required, help: "The voice: WAV, MP3, …"
        },
        Field {
            name: "batch_size",
            kind: Kind::Int { ge: Some(1), le: Some(32) },
            need: Need::Null,
            help: "Frames the model makes at a time; default MUSETALK_BATCH_SIZE",
        },
    ],
};

pub static STREAM: Model = Model {
    name: "StreamQuery",
    fields: &[
        Field {
            name: "ticket",
            kind: Kind::Bool,
            need: Need::Bool(false),
            help: "Answer with addresses that play this voice by GET, instead of playing it",
        },
        PACE,
    ],
};

pub static PLAY: Model = Model { name: "PlayQuery", fields: &[PACE] };

const PACE: Field = Field { name: "pace", kind: Kind::Text, need: Need::Null, help: "realtime or fast" };

/// `^[a-zA-Z0-9_\-]{1,64}$`
pub fn avatar(room: &Room, Owner(owner): &Owner, id: &str) -> Result<AvatarName, Refused> {
    let letters = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !letters || id.is_empty() || id.len() > ID_LETTERS {
        let detail =
            "Invalid avatar_id. Use only letters, numbers, underscores, and hyphens (1-64 characters).";
        return Err(Refused::bad(detail));
    }
    Ok(AvatarName { dialect: room.dialect.to_owned(), owner: owner.clone(), name: id.to_owned() })
}

/// `person.mp4` is the film of `person`.
pub fn shape(name: &str) -> (&str, Shape) {
    match name.strip_suffix(".mp4") {
        Some(name) => (name, Shape::Film),
        None => (name, Shape::Pictures),
    }
}

pub fn pace(room: &Room, query: &Fitting) -> Result<Pace, Refused> {
    match query.optional("pace") {
        None => Ok(room.house.musetalk.pace),
        Some("realtime") => Ok(Pace::RealTime),
        Some("fast") => Ok(Pace::AsFastAsPossible),
        Some(other) => Err(Refused::bad(format!("Unknown pace: {other}. Use 'realtime' or 'fast'"))),
    }
}

/// `bbox_shift`: where the client named one.
pub async fn preparation(
    room: &Room,
    card: &EngineCard,
    avatar: AvatarName,
    bbox_shift: Option<i64>,
    video: Received,
) -> Order {
    let defaults = &room.house.musetalk;
    let bbox_shift = bbox_shift.unwrap_or(defaults.bbox_shift);
    let info = Info {
        avatar_id: avatar.name.clone(),
        video_path: video.path.display().to_string(),
        bbox_shift,
        version: defaults.version.clone(),
        engine: card.name.to_owned(),
    };
    let words = format!("prepare {avatar:?} {bbox_shift} {}", video.sha256);
    let twin = fingerprint(room.dialect, &words, &[]).await;
    let owner = avatar.owner.clone();
    let prepare = PrepareSpec {
        engine: card.name.to_owned(),
        avatar,
        source: video.source,
        settings: settings(card, vec![("bbox_shift", Value::Int(bbox_shift))]),
    };
    let note = serde_json::to_value(info).unwrap_or_default();
    Order { twin: Some(twin), attach_s: 0, ..plain(room, owner, Work::Prepare(prepare), note) }
}

/// What is to be said by whom.
#[derive(Clone, Debug)]
pub struct Line {
    pub avatar: AvatarName,
    pub voice: Source,
    /// Keeps the voice, where it is to go with the last that may play it.
    pub lent: Option<Arc<Lent>>,
    pub batch_size: Option<i64>,
}

pub fn take(room: &Room, card: &EngineCard, line: Line) -> TakeSpec {
    let defaults = &room.house.musetalk;
    let batch_size = line.batch_size.unwrap_or(i64::from(defaults.batch_size));
    TakeSpec {
        engine: card.name.to_owned(),
        subject: SubjectSpec::Avatar(line.avatar),
        voice: VoiceSpec::File { source: line.voice, start: None, duration: None },
        prompt: None,
        fps: Fps::new(defaults.fps, 1),
        max_frames: None,
        seed: SEED,
        settings: settings(card, vec![("batch_size", Value::Int(batch_size))]),
        landmarks: None,
        crf: CRF,
    }
}

pub fn live(room: &Room, card: &EngineCard, line: Line, (shape, pace): (Shape, Pace)) -> LiveOrder {
    let form = match shape {
        Shape::Pictures => LiveForm::Jpeg { pace, quality: room.house.musetalk.jpeg_quality },
        Shape::Film => LiveForm::Mp4,
    };
    let note = serde_json::json!({ "avatar_id": line.avatar.name });
    let owner = line.avatar.owner.clone();
    LiveOrder { dialect: room.dialect, owner, take: take(room, card, line), form, note }
}

pub async fn batch(
    room: &Room,
    card: &EngineCard,
    avatar: &AvatarView,
    (form, audio): (&Fitting, Received),
    idempotency: Option<String>,
) -> Order {
    let name = avatar.avatar.clone();
    let words = format!(
        "batch {name:?} {} {} {:?} {}",
        avatar.source_sha256,
        avatar.created_ms,
        form.int("batch_size"),
        audio.sha256
    );
    let twin = Some(fingerprint(room.dialect, &words, &[]).await);
    let owner = name.owner.clone();
    let note = serde_json::json!({ "avatar_id": name.name });
    let line = Line { avatar: name, voice: audio.source, lent: None, batch_size: form.int("batch_size") };
    let work = Work::Take(take(room, card, line));
    Order { twin, idempotency, attach_s: ATTACH_S, ..plain(room, owner, work, note) }
}

fn plain(room: &Room, owner: String, work: Work, note: serde_json::Value) -> Order {
    Order {
        dialect: room.dialect,
        owner,
        work,
        priority: 0,
        idempotency: None,
        twin: None,
        attach_s: 0,
        deliver: jobs::Delivery::default(),
        avatar: None,
        note,
        terms: jobs::Terms::default(),
    }
}
