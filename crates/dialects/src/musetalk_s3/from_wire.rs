//! From the MuseTalk S3 API's words to orders. The only place that knows its defaults; the bucket of its documents is a
//! stranger's, and is none of them.

use std::path::{Component, Path, PathBuf};

use contract::{EngineCard, Fps, Value};
use jobs::{
    AvatarName, AvatarView, Delivery, Order, PrepareSpec, Source, SubjectSpec, TakeSpec, Terms, VoiceSpec,
    Work, is_data_uri,
};

use super::wire::{AvatarNote, InferenceRequest};
use crate::front_door::errand::{fingerprint, noted};
use crate::front_door::house::{MuseTalkS3, Room, settings};
use crate::front_door::keys::{LOCAL, Owner};
use crate::front_door::model::{Field, Fitting, INT, Kind, Model, Need};
use crate::front_door::refused::Refused;

const ATTACH_S: u32 = 60;
const SEED: u64 = 42;
/// As the original encodes.
const CRF: u8 = 18;
/// Bytes of an avatar's name, of a file's name.
const NAME_LIMIT: usize = 200;

const fn field(name: &'static str, kind: Kind, need: Need) -> Field {
    Field { name, kind, need, help: "" }
}

const fn helped(name: &'static str, kind: Kind, need: Need, help: &'static str) -> Field {
    Field { name, kind, need, help }
}

pub static QUERY: Model = Model {
    name: "InferenceQuery",
    fields: &[
        helped("avatar_id", Kind::Text, Need::Required, "A key of `avatars`"),
        helped("audio_id", Kind::Text, Need::Required, "A key of that avatar's `audio_clips`"),
    ],
};

static AVATAR: Model = Model {
    name: "AvatarConfig",
    fields: &[
        helped(
            "preparation",
            Kind::Bool,
            Need::Bool(true),
            "false: use the avatar as it was prepared by an earlier request",
        ),
        helped("video_path", Kind::Text, Need::Required, "s3://bucket/key, a URL, or a local path"),
        field("bbox_shift", INT, Need::Int(0)),
        helped(
            "audio_clips",
            Kind::Map(&Kind::Text),
            Need::Required,
            "Id to s3://bucket/key, URL or local path",
        ),
    ],
};

const IGNORED: &str = "Accepted and ignored: nothing of it is run or loaded";

pub static CONFIG: Model = Model {
    name: "InferenceConfig",
    fields: &[
        field("version", Kind::Text, Need::Text("v15")),
        helped(
            "ffmpeg_path",
            Kind::Text,
            Need::Text("./ffmpeg/ffmpeg-master-latest-linux64-gpl/bin/"),
            IGNORED,
        ),
        helped("gpu_id", INT, Need::Int(0), IGNORED),
        helped("vae_type", Kind::Text, Need::Text("sd-vae"), IGNORED),
        helped("unet_config", Kind::Text, Need::Text("./models/musetalk/musetalk.json"), IGNORED),
        helped("unet_model_path", Kind::Text, Need::Text("./models/musetalk/pytorch_model.bin"), IGNORED),
        helped("whisper_dir", Kind::Text, Need::Text("./models/whisper"), IGNORED),
        field("bbox_shift", INT, Need::Int(0)),
        helped("result_dir", Kind::Text, Need::Text("./results"), "A folder below this server's own results"),
        field("extra_margin", INT, Need::Int(10)),
        field("fps", INT, Need::Int(25)),
        field("audio_padding_length_left", INT, Need::Int(2)),
        field("audio_padding_length_right", INT, Need::Int(2)),
        field("batch_size", INT, Need::Int(30)),
        helped(
            "output_vid_name",
            Kind::Text,
            Need::Null,
            "Name of the result without .mp4; null: made of the video's and the audio's names",
        ),
        field("use_saved_coord", Kind::Bool, Need::Bool(false)),
        field("saved_coord", Kind::Bool, Need::Bool(false)),
        field("parsing_mode", Kind::Text, Need::Text("jaw")),
        field("left_cheek_width", INT, Need::Int(90)),
        field("right_cheek_width", INT, Need::Int(90)),
        helped("skip_save_images", Kind::Bool, Need::Bool(false), "The video is made all the same"),
        helped(
            "s3_bucket",
            Kind::Text,
            Need::Null,
            "null: the bucket of this server's configuration, if any",
        ),
        helped("s3_prefix", Kind::Text, Need::Null, "null: the prefix of this server's configuration"),
        Field {
            name: "avatars",
            kind: Kind::Map(&Kind::Nested(&AVATAR)),
            need: Need::Required,
            help: "Id to avatar",
        },
    ],
};

pub fn request(query: &Fitting, config: &Fitting) -> Result<InferenceRequest, Refused> {
    let (avatar_id, audio_id) = (query.text("avatar_id").to_owned(), query.text("audio_id").to_owned());
    let avatar = config.models("avatars").into_iter().find(|(id, _)| *id == avatar_id);
    let avatar = avatar.map(|(_, avatar)| avatar);
    let avatar =
        avatar.ok_or_else(|| Refused::bad(format!("Avatar {avatar_id} not found in configuration")))?;
    let audio = avatar.texts("audio_clips").into_iter().find(|(id, _)| *id == audio_id);
    let (_, audio_path) = audio.ok_or_else(|| {
        Refused::bad(format!("Audio {audio_id} not found in avatar {avatar_id} configuration"))
    })?;
    let version = config.text("version").to_owned();
    if !matches!(version.as_str(), "v1" | "v15") {
        return Err(Refused::bad(format!("Unsupported version: {version}. Use 'v1' or 'v15'")));
    }
    let int = |name| config.int(name).unwrap_or_default();
    let optional = |name| config.optional(name).filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(InferenceRequest {
        preparation: avatar.flag("preparation"),
        video_path: avatar.text("video_path").to_owned(),
        // version 1.5 ignores it
        bbox_shift: if version == "v15" { 0 } else { avatar.int("bbox_shift").unwrap_or_default() },
        audio_path,
        avatar_id,
        audio_id,
        fps: int("fps"),
        batch_size: int("batch_size"),
        extra_margin: int("extra_margin"),
        parsing_mode: config.text("parsing_mode").to_owned(),
        left_cheek_width: int("left_cheek_width"),
        right_cheek_width: int("right_cheek_width"),
        audio_padding_length_left: int("audio_padding_length_left"),
        audio_padding_length_right: int("audio_padding_length_right"),
        result_dir: config.text("result_dir").to_owned(),
        output_vid_name: optional("output_vid_name"),
        s3_bucket: optional("s3_bucket"),
        s3_prefix: optional("s3_prefix"),
        version,
    })
}

pub fn avatar(room: &Room, Owner(owner): &Owner, request: &InferenceRequest) -> Result<AvatarName, Refused> {
    let name = &request.avatar_id;
    if name.is_empty() || name.len() > NAME_LIMIT || name.chars().any(char::is_control) {
        return Err(Refused::bad(format!(
            "avatar_id has {} bytes, it may have 1 to {NAME_LIMIT}",
            name.len()
        )));
    }
    Ok(AvatarName { dialect: room.dialect.to_owned(), owner: owner.clone(), name: name.clone() })
}

/// An avatar of an earlier request, if it is the one that is meant.
pub fn prepared_before(found: Option<AvatarView>, request: &InferenceRequest) -> Result<AvatarView, Refused> {
    let id = &request.avatar_id;
    let missing = || Refused::bad(format!("{id} does not exist, you should set preparation to True"));
    let found = found.ok_or_else(missing)?;
    let note: AvatarNote = serde_json::from_value(found.note.clone()).map_err(|_| missing())?;
    if note.bbox_shift != request.bbox_shift {
        let detail = format!(
            "bbox_shift is changed from {} to {}, you should set preparation to True to re-create {id}",
            note.bbox_shift, request.bbox_shift
        );
        return Err(Refused::bad(detail));
    }
    if note.video_path != noted(&request.video_path) {
        let detail = format!("{id} was prepared from another video_path, you should set preparation to True");
        return Err(Refused::bad(detail));
    }
    Ok(found)
}

/// Where an input lies, or in the original's words why not.
pub fn source(room: &Room, name: &str) -> Result<Source, Refused> {
    let lower = name.strip_prefix("S3://").map_or(name.to_owned(), |rest| format!("s3://{rest}"));
    room.house.desk.source(room.dialect, &lower).map_err(|complaint| {
        if lower.starts_with("s3://") {
            Refused::bad(format!("Failed to download file from S3: {complaint}"))
        } else {
            Refused::complaint(&complaint)
        }
    })
}

pub async fn preparation(
    room: &Room,
    card: &EngineCard,
    avatar: AvatarName,
    video: Source,
    request: &InferenceRequest,
) -> Order {
    let note = AvatarNote {
        video_path: noted(&request.video_path),
        bbox_shift: request.bbox_shift,
        version: request.version.clone(),
    };
    let sent = vec![
        ("version", Value::Text(request.version.clone())),
        ("bbox_shift", Value::Int(request.bbox_shift)),
        ("extra_margin", Value::Int(request.extra_margin)),
        ("parsing_mode", Value::Text(request.parsing_mode.clone())),
        ("left_cheek_width", Value::Int(request.left_cheek_width)),
        ("right_cheek_width", Value::Int(request.right_cheek_width)),
    ];
    let words = format!("prepare {avatar:?} {note:?} {sent:?}");
    let twin = fingerprint(room.dialect, &words, &[&video]).await;
    let owner = avatar.owner.clone();
    let prepare =
        PrepareSpec { engine: card.name.to_owned(), avatar, source: video, settings: settings(card, sent) };
    Order {
        dialect: room.dialect,
        owner,
        work: Work::Prepare(prepare),
        priority: 0,
        idempotency: None,
        twin: Some(twin),
        attach_s: ATTACH_S,
        deliver: Delivery::default(),
        avatar: None,
        note: serde_json::to_value(note).unwrap_or_default(),
        terms: Terms::default(),
    }
}

pub async fn take(
    room: &Room,
    card: &EngineCard,
    avatar: &AvatarView,
    (voice, deliver): (Source, Delivery),
    request: &InferenceRequest,
) -> Result<Order, Refused> {
    let name = avatar.avatar.clone();
    let words = format!("take {name:?} {} {request:?}", avatar.source_sha256);
    let twin = fingerprint(room.dialect, &words, &[&voice]).await;
    let fps = u32::try_from(request.fps).ok().and_then(|fps| Fps::new(fps, 1));
    let fps = fps.ok_or_else(|| Refused::bad(format!("fps is {}, it must be at least 1", request.fps)))?;
    let sent = vec![
        ("batch_size", Value::Int(request.batch_size)),
        ("audio_padding_length_left", Value::Int(request.audio_padding_length_left)),
        ("audio_padding_length_right", Value::Int(request.audio_padding_length_right)),
    ];
    let owner = name.owner.clone();
    let take = TakeSpec {
        engine: card.name.to_owned(),
        subject: SubjectSpec::Avatar(name),
        voice: VoiceSpec::File { source: voice, start: None, duration: None },
        prompt: None,
        fps: Some(fps),
        max_frames: None,
        seed: SEED,
        settings: settings(card, sent),
        landmarks: None,
        crf: CRF,
    };
    Ok(Order {
        dialect: room.dialect,
        owner,
        work: Work::Take(take),
        priority: 0,
        idempotency: None,
        twin: Some(twin),
        attach_s: ATTACH_S,
        deliver,
        avatar: Some(avatar.asset()),
        note: serde_json::json!({ "avatar_id": request.avatar_id, "audio_id": request.audio_id }),
        terms: Terms::default(),
    })
}

/// Where the result goes: a file below our own results, and a bucket only if the request or our configuration names one.
pub fn delivery(room: &Room, owner: &str, request: &InferenceRequest) -> Result<Delivery, Refused> {
    let own = &room.house.musetalk_s3;
    let name = file_name(request)?;
    let path = folder(own, owner, &request.result_dir).join(format!("{name}.mp4"));
    let bucket = request.s3_bucket.as_ref().or(own.bucket.as_ref());
    let prefix = request.s3_prefix.as_deref().unwrap_or(&own.prefix).trim_end_matches('/');
    let s3 = bucket.map(|bucket| match prefix {
        "" => format!("s3://{bucket}/{name}.mp4"),
        prefix => format!("s3://{bucket}/{prefix}/{name}.mp4"),
    });
    if let Some(s3) = &s3 {
        let refused = |complaint| Refused::bad(format!("Failed to upload file to S3: {complaint}"));
        room.house.desk.source(room.dialect, s3).map_err(refused)?;
    }
    Ok(Delivery { path: Some(path), s3 })
}

/// Only its plain parts count: `/etc/../x` is `etc/x` below our results. Where keys are configured each has a folder of its own:
/// results of equal names are made by different people.
fn folder(own: &MuseTalkS3, owner: &str, result_dir: &str) -> PathBuf {
    let results = if owner == LOCAL { own.results.clone() } else { own.results.join(owner) };
    let plain = Path::new(result_dir).components().filter_map(|part| match part {
        Component::Normal(part) => Some(part),
        _ => None,
    });
    results.join(plain.take(16).collect::<PathBuf>())
}

fn file_name(request: &InferenceRequest) -> Result<String, Refused> {
    let stem = |path: &str| {
        let last =
            path.split(['?', '#']).next().unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
        last.rsplit_once('.').map_or(last, |(stem, _)| stem).to_owned()
    };
    let name = match &request.output_vid_name {
        Some(name) => name.clone(),
        None if is_data_uri(&request.audio_path) || is_data_uri(&request.video_path) => {
            format!("{}_{}", request.avatar_id, request.audio_id)
        }
        None => format!("{}_{}", stem(&request.video_path), stem(&request.audio_path)),
    };
    let plain = !name.chars().any(|c| c.is_control() || c == '/' || c == '\\');
    if plain && !name.starts_with('.') && (1..=NAME_LIMIT).contains(&name.len()) {
        Ok(name)
    } else {
        let shown: String = name.chars().take(NAME_LIMIT).collect();
        Err(Refused::bad(format!(
            "`{shown}` is no name for a file of at most {NAME_LIMIT} bytes; set output_vid_name to one without folders"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front_door::json::Json;
    use crate::front_door::model::Place;

    fn read(body: &str) -> Fitting {
        let mut mistakes = Vec::new();
        let fitting = CONFIG.read(&Json::read(body.as_bytes()).unwrap(), Place::Root("body"), &mut mistakes);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        fitting
    }

    fn query(avatar: &str, audio: &str) -> Fitting {
        let mut mistakes = Vec::new();
        let raw = format!("avatar_id={avatar}&audio_id={audio}");
        crate::front_door::body::query(&raw, &QUERY, &mut mistakes)
    }

    const BODY: &str = r#"{"version":"VERSION","avatars":{
        "a":{"video_path":"s3://b/in/Ann.b.mp4","bbox_shift":5,"audio_clips":{"c":"/x/hi.wav"}},
        "b":{"preparation":"no","video_path":"v.mp4","audio_clips":{}}}}"#;

    #[test]
    fn only_what_was_asked_for_is_taken_and_the_strangers_bucket_never() {
        let request =
            |version: &str| request(&query("a", "c"), &read(&BODY.replace("VERSION", version))).unwrap();
        let (old, new) = (request("v1"), request("v15"));
        assert_eq!((old.bbox_shift, new.bbox_shift), (5, 0), "version 1.5 ignores it");
        assert_eq!((new.s3_bucket.as_ref(), new.fps, new.preparation), (None, 25, true));
        assert_eq!(file_name(&new).unwrap(), "Ann.b_hi");
    }

    #[test]
    fn what_is_not_in_the_configuration_is_told_in_the_originals_words() {
        let config = read(&BODY.replace("VERSION", "v15"));
        let rows = [
            ("x", "c", "Avatar x not found in configuration"),
            ("a", "d", "Audio d not found in avatar a configuration"),
            ("b", "c", "Audio c not found in avatar b configuration"),
        ];
        for (avatar, audio, expected) in rows {
            let refused = request(&query(avatar, audio), &config).unwrap_err();
            assert_eq!(refused, Refused::bad(expected));
        }
    }

    #[test]
    fn results_stay_below_our_own_folder() {
        let own = MuseTalkS3 { results: "/data/output".into(), ..MuseTalkS3::default() };
        let rows = [
            ("./results", "/data/output/results"),
            ("/etc/../x", "/data/output/etc/x"),
            ("../../..", "/data/output"),
            ("", "/data/output"),
        ];
        for (asked, expected) in rows {
            assert_eq!(folder(&own, LOCAL, asked), Path::new(expected), "{asked}");
        }
        assert_eq!(folder(&own, "ann", "../bob"), Path::new("/data/output/ann/bob"), "one's own folder");
        let mut named = request(&query("a", "c"), &read(&BODY.replace("VERSION", "v15"))).unwrap();
        for name in ["../x", "a/b", "..", ".hidden", "a\\b", "a\nb"] {
            named.output_vid_name = Some(name.to_owned());
            assert!(file_name(&named).is_err(), "{name}");
        }
    }
}
