//! From the backend's words to orders. The only place that knows its defaults.

use std::path::Path;

use axum::http::HeaderMap;
use contract::{EngineCard, Value};
use jobs::{Delivery, Order, Source, SubjectSpec, TakeSpec, Terms, VoiceSpec, Work, is_data_uri};
use ulid::Ulid;
use uuid::Uuid;

use super::wire::GenerateRequest;
use crate::front_door::errand::{idempotency, noted};
use crate::front_door::form::Arriving;
use crate::front_door::house::{Room, settings};
use crate::front_door::json::Json;
use crate::front_door::keys::Owner;
use crate::front_door::model::{Field, Fitting, Kind, Model, Need, Place};
use crate::front_door::refused::{Refused, broken};

/// Of the script, as the original's page has it.
const SCRIPT_CHARS: usize = 500;
/// Of the address of a picture; a `data:` URL has the limit of the body.
const URL_CHARS: usize = 2048;
/// Longest sides a quality may ask for, in pixels.
const SIDES: std::ops::RangeInclusive<i64> = 64..=1920;
const SEED: u64 = 42;
const CRF: u8 = 20;

pub static UPLOAD: Model = Model {
    name: "Body_upload_character",
    fields: &[Field {
        name: "character",
        kind: Kind::File,
        need: Need::Required,
        help: "The picture: JPEG, PNG, WebP, GIF or BMP",
    }],
};

pub static GENERATE: Model = Model {
    name: "GenerateVideoRequest",
    fields: &[
        Field {
            name: "characterImageUrl",
            kind: Kind::Text,
            need: Need::Required,
            help: "What /upload-character answered",
        },
        Field { name: "script", kind: Kind::Text, need: Need::Required, help: "At most 500 characters" },
        Field {
            name: "duration",
            kind: Kind::Int { ge: Some(1), le: Some(3600) },
            need: Need::Int(5),
            help: "Seconds",
        },
        Field { name: "quality", kind: Kind::Text, need: Need::Text("768"), help: "512, 768 or 1024" },
    ],
};

pub fn request(fitting: &Fitting) -> GenerateRequest {
    GenerateRequest {
        character_image_url: fitting.text("characterImageUrl").to_owned(),
        script: fitting.text("script").to_owned(),
        duration: fitting.int("duration").unwrap_or_default(),
        quality: fitting.text("quality").to_owned(),
    }
}

pub async fn order(
    room: &Room,
    card: &EngineCard,
    Owner(owner): Owner,
    headers: &HeaderMap,
    request: &GenerateRequest,
) -> Result<Order, Refused> {
    check_limits(request, i64::from(room.house.limits.video_seconds))?;
    let side = side(&request.quality)?;
    let take = TakeSpec {
        engine: card.name.to_owned(),
        subject: SubjectSpec::Picture(picture(room, &request.character_image_url).await?),
        voice: VoiceSpec::Idle { seconds: request.duration as f64 },
        prompt: card.reads_prompt.then(|| request.script.clone()),
        fps: None,
        max_frames: None,
        seed: SEED,
        settings: settings(
            card,
            vec![("size", Value::Int(side)), ("resolution", Value::Int(resolution(side)))],
        ),
        landmarks: None,
        crf: CRF,
    };
    Ok(Order {
        dialect: room.dialect,
        owner,
        work: Work::Take(take),
        priority: 0,
        idempotency: idempotency(headers)?,
        twin: None,
        attach_s: 0,
        deliver: Delivery::default(),
        avatar: None,
        note: serde_json::to_value(GenerateRequest {
            character_image_url: noted(&request.character_image_url),
            ..request.clone()
        })
        .unwrap_or_default(),
        terms: Terms::default(),
    })
}

fn check_limits(request: &GenerateRequest, seconds: i64) -> Result<(), Refused> {
    let body = Place::Root("body");
    let mut mistakes = Vec::new();
    let url = &request.character_image_url;
    if !is_data_uri(url) && url.chars().count() > URL_CHARS {
        let msg = format!("String should have at most {URL_CHARS} characters");
        let (input, limit) = (Json::Text(url.clone()), ("max_length", URL_CHARS as i64));
        mistakes.push(Place::In(&body, "characterImageUrl").beyond("string_too_long", msg, limit, &input));
    }
    if request.script.chars().count() > SCRIPT_CHARS {
        let msg = format!("String should have at most {SCRIPT_CHARS} characters");
        let (input, limit) = (Json::Text(request.script.clone()), ("max_length", SCRIPT_CHARS as i64));
        mistakes.push(Place::In(&body, "script").beyond("string_too_long", msg, limit, &input));
    }
    if request.duration > seconds {
        let msg = format!("Input should be less than or equal to {seconds}");
        let input = Json::Int(request.duration);
        mistakes.push(Place::In(&body, "duration").beyond("less_than_equal", msg, ("le", seconds), &input));
    }
    if mistakes.is_empty() { Ok(()) } else { Err(Refused::Invalid(mistakes)) }
}

/// `768` or `768x768`.
fn side(quality: &str) -> Result<i64, Refused> {
    let longest =
        quality.split(['x', 'X']).map(|side| side.trim().parse::<i64>().ok()).collect::<Option<Vec<_>>>();
    let longest = longest.and_then(|sides| sides.into_iter().max()).filter(|side| SIDES.contains(side));
    longest.ok_or_else(|| Refused::bad(format!("Unsupported quality: {quality}. Use '512', '768' or '1024'")))
}

/// Of engines that make videos of two sizes: what is nearest to a longest side.
fn resolution(side: i64) -> i64 {
    if side > 900 { 720 } else { 480 }
}

/// One of our uploads, or an address that this server may fetch. A picture that is not there is no mistake of the request
/// in this dialect: its generation fails, later. So it becomes a file that cannot be.
async fn picture(room: &Room, url: &str) -> Result<Source, Refused> {
    let desk = &room.house.desk;
    let name = url.split_once("/uploads/").map_or(url, |(_, name)| name);
    if let Some(key) = upload_key(name) {
        if desk.open_upload(&key).await.map_err(broken)?.is_some() {
            return Ok(Source::Stored(key));
        }
    } else if is_data_uri(url) || ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
        return desk.source(room.dialect, url).map_err(|complaint| Refused::complaint(&complaint));
    }
    let plain = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    let shown: String = name.chars().filter(plain).take(64).collect();
    Ok(Source::Path(Path::new("/dev/null/uploads").join(shown)))
}

/// Under which an upload is stored; what is no picture is refused before a byte of it is.
pub fn picture_name(arriving: &Arriving) -> Result<String, Refused> {
    let declared = arriving.content_type.as_deref().is_none_or(|kind| kind.starts_with("image/"));
    if declared && is_picture(&arriving.head) {
        // whatever it is, a JPEG is made of it
        return Ok("character.jpg".to_owned());
    }
    Err(Refused::bad("File must be an image"))
}

/// Whether it is of a kind that is taken, by its first bytes.
fn is_picture(head: &[u8]) -> bool {
    matches!(
        head,
        [0xff, 0xd8, 0xff, ..]
            | [0x89, b'P', b'N', b'G', ..]
            | [b'G', b'I', b'F', b'8', ..]
            | [b'B', b'M', ..]
            | [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..]
    )
}

/// `uploads/<ulid>/character.jpg` -> `character_<the same 128 bits as a UUID>.jpg`: no table of names is needed.
pub fn upload_name(key: &str) -> Option<String> {
    let (ulid, extension) = key.strip_prefix("uploads/")?.split_once("/character.")?;
    Some(format!("character_{}.{extension}", Uuid::from_u128(Ulid::from_string(ulid).ok()?.0)))
}

/// The way back. Early servers kept pictures as they came.
pub fn upload_key(name: &str) -> Option<String> {
    let (id, extension) = name.strip_prefix("character_")?.split_once('.')?;
    let known = ["jpg", "png", "gif", "bmp", "webp"].contains(&extension) && id.len() == 36;
    let id = Uuid::try_parse(id).ok().filter(|_| known)?;
    Some(format!("uploads/{}/character.{extension}", Ulid(id.as_u128()).to_string().to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uploads_name_leads_back_to_its_key() {
        for ulid in ["01arz3ndektsv4rrffq69g5fav", "7zzzzzzzzzzzzzzzzzzzzzzzzz", "00000000000000000000000000"]
        {
            let key = format!("uploads/{ulid}/character.jpg");
            let name = upload_name(&key).unwrap();
            assert!(name.starts_with("character_") && name.ends_with(".jpg") && name.len() == 50, "{name}");
            assert_eq!(upload_key(&name).unwrap(), key);
        }
        let strange = [
            "uploads/01arz3ndektsv4rrffq69g5fav/other.jpg",
            "uploads/short/character.jpg",
            "takes/01arz3ndektsv4rrffq69g5fav/character.jpg",
        ];
        assert!(strange.into_iter().all(|key| upload_name(key).is_none()));
        let strange = [
            "character_.jpg",
            "../character_x.jpg",
            "character_01890a5d-ac96-774b-bcce-b302099a8057.exe",
            "",
        ];
        assert!(strange.into_iter().all(|name| upload_key(name).is_none()));
    }

    #[test]
    fn qualities_are_longest_sides() {
        let rows = [("768", Some(768)), ("1024x1024", Some(1024)), ("512x768", Some(768))];
        for (quality, expected) in rows {
            assert_eq!(side(quality).ok(), expected, "{quality}");
        }
        for quality in ["", "high", "10", "99999", "768x", "-768"] {
            assert!(side(quality).is_err(), "{quality}");
        }
    }

    #[test]
    fn pictures_are_known_by_their_bytes() {
        let rows: [(&[u8], _); 7] = [
            (b"\xff\xd8\xff\xe0", true),
            (b"\x89PNG\r\n", true),
            (b"GIF89a", true),
            (b"RIFF\x00\x00\x00\x00WEBP", true),
            (b"RIFF\x00\x00\x00\x00WAVE", false),
            (b"<svg>", false),
            (b"", false),
        ];
        for (head, expected) in rows {
            assert_eq!(is_picture(head), expected, "{head:?}");
        }
    }
}
