//! `/realtime`: a socket that takes a voice while it is spoken and answers with pictures as they are made. Messages are msgpack,
//! or JSON from whoever begins so. A slow reader loses pictures, never memory; who hangs up ends the session.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Request};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use contract::Fps;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use jobs::crew::{LiveForm, Pace};
use jobs::{Failure, Held, Live, LiveOrder, LiveVoice, SubjectSpec, TakeSpec, VoiceSpec};
use rmpv::Value as Packed;
use serde_json::{Value as Json, json};
use tokio::sync::watch;

use super::apps::{App, FPS, Shape};
use super::crowd;
use super::from_wire;
use super::to_wire::No;
use super::way::{Bases, Target};
use super::{DIALECT, Door};
use crate::front_door::house::settings;
use crate::front_door::keys::Owner;
use crate::front_door::refused::Refused;

/// Of a voice that does not say.
const USUAL_RATE: u32 = 16_000;
/// Bytes of one message: a picture as a `data:` URI in the first, a second of sound in the others.
const MESSAGE_LIMIT: usize = 12 << 20;
/// Of a voice.
const RATES: std::ops::RangeInclusive<u32> = 8_000..=48_000;
/// A client that neither speaks nor ends its voice for so long is gone.
const IDLE: Duration = Duration::from_secs(60);
const QUALITY: u8 = 80;
const SEED: i64 = 42;

const NORMAL: u16 = 1000;
const TOO_BIG_OR_WRONG: u16 = 1008;

/// What a message says.
#[derive(Debug, Default, PartialEq)]
struct Said {
    /// Who speaks, a picture or a clip: the field that names it, and where it lies.
    subject: Option<(&'static str, String)>,
    /// s16le, mono.
    audio: Option<Vec<u8>>,
    sample_rate: Option<u32>,
    end: bool,
    seed: Option<i64>,
    size: Option<i64>,
    bbox_shift: Option<i64>,
    request_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tongue {
    Msgpack,
    Json,
}

pub async fn connect(
    door: &Door,
    (owner, target): (&Owner, &Target),
    app: &'static App,
    request: Request,
) -> Result<Response, No> {
    if !matches!(app.shape, Shape::Puppet | Shape::MuseTalk) {
        let detail = format!(
            "Path /realtime not found: {} makes whole videos only; talkie/puppet and talkie/musetalk speak in real time",
            app.id
        );
        return Err(No::said(StatusCode::NOT_FOUND, detail));
    }
    let (mut parts, _) = request.into_parts();
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &()).await;
    let upgrade = upgrade.map_err(|_| {
        No::flat(StatusCode::BAD_REQUEST, "/realtime is a WebSocket; connect with wss://", "bad_request")
    })?;
    let seat = Arc::clone(&door.fal().sockets).try_acquire_owned();
    let seat =
        seat.map_err(|_| Refused::later("too many realtime connections at a time; try again soon", 5))?;
    let (door, owner, bases) = (door.clone(), owner.clone(), target.bases.clone());
    Ok(upgrade.max_message_size(MESSAGE_LIMIT).max_frame_size(MESSAGE_LIMIT).on_upgrade(
        move |socket| async move {
            let _seat = seat;
            talk(door, owner, (app, bases), socket).await;
        },
    ))
}

/// The answering half of a socket.
struct Mouth {
    sink: SplitSink<WebSocket, Message>,
    tongue: Tongue,
    request_id: watch::Receiver<Option<String>>,
}

/// Why a session ends early.
struct Broken {
    kind: &'static str,
    reason: String,
}

impl Broken {
    fn new(kind: &'static str, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    fn bad(reason: impl Into<String>) -> Self {
        Self::new("BAD_REQUEST", reason)
    }
}

impl From<No> for Broken {
    fn from(no: No) -> Self {
        Self::new(if no.status.is_client_error() { "BAD_REQUEST" } else { "INTERNAL_ERROR" }, no.line())
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        let kind = match failure.blame {
            jobs::Blame::Client => "BAD_REQUEST",
            jobs::Blame::Server => "INTERNAL_ERROR",
        };
        Self::new(kind, failure.message)
    }
}

async fn talk(door: Door, owner: Owner, (app, bases): (&'static App, Bases), socket: WebSocket) {
    let (sink, mut ear) = socket.split();
    let (named, request_id) = watch::channel(None);
    let mut mouth = Mouth { sink, tongue: Tongue::Msgpack, request_id };
    let outcome = session(&door, &owner, (app, &bases), (&mut mouth, &mut ear, &named)).await;
    let code = match outcome {
        Ok(()) => NORMAL,
        Err(None) => return, // nobody is there any more
        Err(Some(Broken { kind, reason })) => {
            // clients read this one as text, whatever they speak
            let told = json!({ "type": "x-fal-error", "error": kind, "reason": reason });
            let _ = mouth.sink.send(Message::Text(told.to_string().into())).await;
            if kind == "BAD_REQUEST" { TOO_BIG_OR_WRONG } else { NORMAL }
        }
    };
    let _ = mouth.sink.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await;
    let _ = mouth.sink.close().await;
}

/// `Err(None)`: the client is gone.
type Ended = Result<(), Option<Broken>>;

async fn session(
    door: &Door,
    owner: &Owner,
    (app, bases): (&'static App, &Bases),
    (mouth, ear, named): (&mut Mouth, &mut SplitStream<WebSocket>, &watch::Sender<Option<String>>),
) -> Ended {
    let (first, tongue) = hear(ear).await?;
    mouth.tongue = tongue;
    named.send_replace(first.request_id.clone());
    // copies that were made for the session go when it ends
    let mut copies = Vec::new();
    let order =
        order(door, owner, (app, bases), (&first, &mut copies)).await.map_err(|no| Some(no.into()))?;
    let live = door
        .room
        .house
        .desk
        .open_live(order)
        .await
        .map_err(|refusal| Some(No::from(Refused::from(refusal)).into()))?;
    let (live, voice) = live.with_voice();
    let mut voice = Voice { way: voice, rate_hz: None, begun: false };
    // beside the pictures: a voice that is longer than what waits for the engine is taken as fast as they are shown
    let listening = async {
        let ended = say(&mut voice, first).await?;
        listen(ear, (&mut voice, named), ended).await
    };
    tokio::select! {
        shown = show(mouth, live) => shown,
        // the pictures go on when the voice has ended; anything else that ends here ends all
        gone = listening => match gone {
            Ok(never) => match never {},
            Err(broken) => Err(broken),
        },
    }
}

async fn order(
    door: &Door,
    owner: &Owner,
    (app, bases): (&'static App, &Bases),
    (first, copies): (&Said, &mut Vec<Held>),
) -> Result<LiveOrder, No> {
    let card = from_wire::engine(door, app)?;
    let Some((field, url)) = &first.subject else {
        let detail = "the first message needs image_url or video_url: who is to speak";
        return Err(No::flat(StatusCode::BAD_REQUEST, detail, "bad_request"));
    };
    let subject = from_wire::source(door, bases, (*field, url), copies).await?;
    let sent = [("size", first.size), ("bbox_shift", first.bbox_shift)];
    let sent = sent.into_iter().filter_map(|(name, value)| Some((name, contract::Value::Int(value?))));
    let take = TakeSpec {
        engine: card.name.to_owned(),
        subject: SubjectSpec::PictureOrClip(subject),
        voice: VoiceSpec::Arriving,
        prompt: None,
        fps: (app.shape == Shape::MuseTalk).then_some(Fps::whole(FPS)),
        max_frames: None,
        seed: first.seed.unwrap_or(SEED) as u64,
        settings: settings(card, sent.collect()),
        landmarks: None,
        crf: 20,
    };
    let form = LiveForm::Jpeg { pace: Pace::AsFastAsPossible, quality: QUALITY };
    Ok(LiveOrder { dialect: DIALECT, owner: owner.0.clone(), take, form, note: json!({ "app": app.id }) })
}

/// The next message that says something.
async fn hear(ear: &mut SplitStream<WebSocket>) -> Result<(Said, Tongue), Option<Broken>> {
    loop {
        let message = tokio::time::timeout(IDLE, ear.next()).await;
        let silent = || Broken::new("TIMEOUT", format!("nothing was said for {} s", IDLE.as_secs()));
        match message.map_err(|_| Some(silent()))? {
            Some(Ok(Message::Binary(bytes))) => return Ok((unpack(&bytes).map_err(Some)?, Tongue::Msgpack)),
            Some(Ok(Message::Text(text))) => return Ok((parse(&text).map_err(Some)?, Tongue::Json)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_))) | None => return Err(None),
            Some(Err(error)) => {
                let reason =
                    format!("a message cannot be read: {error}; the limit is {} MiB", MESSAGE_LIMIT >> 20);
                return Err(Some(Broken::bad(reason)));
            }
        }
    }
}

/// The voice on its way to the engine.
struct Voice {
    way: LiveVoice,
    /// As its client said.
    rate_hz: Option<u32>,
    begun: bool,
}

/// Hands on what is said of the voice; true when that was its end, or nobody hears it any more: why that is, the pictures' end tells.
async fn say(voice: &mut Voice, said: Said) -> Result<bool, Option<Broken>> {
    let asked = said.sample_rate;
    if let Some(hz) = asked.filter(|hz| !RATES.contains(hz)) {
        return Err(Some(Broken::bad(format!(
            "sample_rate is {hz}, it can be {} to {}",
            RATES.start(),
            RATES.end()
        ))));
    }
    match (voice.rate_hz, asked) {
        (Some(hz), Some(other)) if hz != other => {
            let reason =
                format!("sample_rate is {other} now and was {hz}; a session keeps the rate it began with");
            return Err(Some(Broken::bad(reason)));
        }
        (known, asked) => voice.rate_hz = asked.or(known),
    }
    if let Some(audio) = said.audio {
        if audio.len() % 2 != 0 {
            return Err(Some(Broken::bad(
                "audio has an odd number of bytes; it is 16 bit, little endian, mono",
            )));
        }
        if !voice.begun {
            voice.begun = true;
            let rate_hz = *voice.rate_hz.get_or_insert(USUAL_RATE);
            if voice.way.begin(rate_hz).await.is_err() {
                return Ok(true);
            }
        }
        if voice.way.say(&audio).await.is_err() {
            return Ok(true);
        }
    }
    if said.end {
        let _ = voice.way.end().await;
    }
    Ok(said.end)
}

async fn listen(
    ear: &mut SplitStream<WebSocket>,
    (voice, named): (&mut Voice, &watch::Sender<Option<String>>),
    mut ended: bool,
) -> Result<std::convert::Infallible, Option<Broken>> {
    loop {
        if ended {
            // nothing more is expected, and the pictures of what was said may take a while
            match ear.next().await {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(None),
                Some(Ok(_)) => continue,
            }
        }
        let (said, _) = hear(ear).await?;
        if said.request_id.is_some() {
            named.send_replace(said.request_id.clone());
        }
        ended = say(voice, said).await?;
    }
}

async fn show(mouth: &mut Mouth, mut live: Live) -> Ended {
    let mut frames = 0u64;
    while let Some(packet) = live.next().await {
        let jpeg = packet.map_err(|failure| Some(failure.into()))?;
        mouth.picture(&jpeg, frames).await.map_err(|_| None)?;
        frames += 1;
    }
    mouth.done(frames).await.map_err(|_| None)
}

impl Mouth {
    async fn picture(&mut self, jpeg: &Bytes, frame: u64) -> Result<(), axum::Error> {
        let request_id = self.request_id.borrow().clone();
        let message = match self.tongue {
            Tongue::Json => {
                let content = STANDARD.encode(jpeg);
                let mut told =
                    json!({ "image": { "content": content, "content_type": "image/jpeg" }, "frame": frame });
                if let Some(id) = request_id {
                    told["request_id"] = json!(id);
                }
                Message::Text(told.to_string().into())
            }
            Tongue::Msgpack => {
                let image = vec![
                    ("content".into(), Packed::Binary(jpeg.to_vec())),
                    ("content_type".into(), "image/jpeg".into()),
                ];
                let mut told = vec![("image".into(), Packed::Map(image)), ("frame".into(), frame.into())];
                told.extend(request_id.map(|id| ("request_id".into(), id.into())));
                packed(Packed::Map(told))
            }
        };
        self.sink.send(message).await
    }

    async fn done(&mut self, frames: u64) -> Result<(), axum::Error> {
        let message = match self.tongue {
            Tongue::Json => Message::Text(json!({ "done": true, "frames": frames }).to_string().into()),
            Tongue::Msgpack => {
                packed(Packed::Map(vec![("done".into(), true.into()), ("frames".into(), frames.into())]))
            }
        };
        self.sink.send(message).await
    }
}

fn packed(value: Packed) -> Message {
    let mut bytes = Vec::new();
    // a Vec takes everything
    let _ = rmpv::encode::write_value(&mut bytes, &value);
    Message::Binary(bytes.into())
}

/// Deeper nesting than this is nothing a client of ours says.
const DEPTH: usize = 16;

fn unpack(bytes: &[u8]) -> Result<Said, Broken> {
    if crowd::in_msgpack(bytes) {
        return Err(crowded());
    }
    let mut rest = bytes;
    let value = rmpv::decode::read_value_with_max_depth(&mut rest, DEPTH);
    let value = value.map_err(|error| Broken::bad(format!("the message is no msgpack: {error}")))?;
    if !rest.is_empty() {
        return Err(Broken::bad("the message holds more than one value"));
    }
    let Packed::Map(fields) = value else { return Err(Broken::bad("the message is no map")) };
    if fields.iter().any(|(name, _)| name.as_str().is_none()) {
        return Err(Broken::bad("a key of the message is no text"));
    }
    let mut said = Said::default();
    for (name, value) in fields {
        let number = || value.as_i64().or_else(|| value.as_f64().map(|value| value as i64));
        let wrong = |what: &str| Broken::bad(format!("{} is no {what}", name.as_str().unwrap_or("a field")));
        let text = || value.as_str().map(str::to_owned).ok_or_else(|| wrong("text"));
        match name.as_str().unwrap_or_default() {
            _ if value.is_nil() => {}
            "image_url" => said.subject = Some(("image_url", text()?)),
            "video_url" => said.subject = Some(("video_url", text()?)),
            "request_id" => said.request_id = Some(text()?),
            "audio" => {
                said.audio = Some(match &value {
                    Packed::Binary(bytes) => bytes.clone(),
                    Packed::String(text) => decode(text.as_str().unwrap_or_default())?,
                    _ => return Err(wrong("sound: bytes, or base64")),
                });
            }
            "sample_rate" => said.sample_rate = Some(rate(number().ok_or_else(|| wrong("number"))?)?),
            "seed" => said.seed = Some(number().ok_or_else(|| wrong("number"))?),
            "size" => said.size = Some(number().ok_or_else(|| wrong("number"))?),
            "bbox_shift" => said.bbox_shift = Some(number().ok_or_else(|| wrong("number"))?),
            "end" => said.end = value.as_bool().ok_or_else(|| wrong("boolean"))?,
            _ => {}
        }
    }
    Ok(said)
}

fn crowded() -> Broken {
    Broken::bad(format!("the message holds more than {} values, the limit", crowd::MOST))
}

fn parse(text: &str) -> Result<Said, Broken> {
    if crowd::in_json(text.as_bytes()) {
        return Err(crowded());
    }
    let value: Json = serde_json::from_str(text)
        .map_err(|error| Broken::bad(format!("the message is no JSON: {error}")))?;
    let Json::Object(fields) = value else { return Err(Broken::bad("the message is no object")) };
    let mut said = Said::default();
    for (name, value) in fields {
        let number = || value.as_i64().or_else(|| value.as_f64().map(|value| value as i64));
        let wrong = |what: &str| Broken::bad(format!("{name} is no {what}"));
        let text = || value.as_str().map(str::to_owned).ok_or_else(|| wrong("text"));
        match name.as_str() {
            _ if value.is_null() => {}
            "image_url" => said.subject = Some(("image_url", text()?)),
            "video_url" => said.subject = Some(("video_url", text()?)),
            "request_id" => said.request_id = Some(text()?),
            "audio" => said.audio = Some(decode(value.as_str().ok_or_else(|| wrong("base64 text"))?)?),
            "sample_rate" => said.sample_rate = Some(rate(number().ok_or_else(|| wrong("number"))?)?),
            "seed" => said.seed = Some(number().ok_or_else(|| wrong("number"))?),
            "size" => said.size = Some(number().ok_or_else(|| wrong("number"))?),
            "bbox_shift" => said.bbox_shift = Some(number().ok_or_else(|| wrong("number"))?),
            "end" => said.end = value.as_bool().ok_or_else(|| wrong("boolean"))?,
            _ => {}
        }
    }
    Ok(said)
}

fn rate(hz: i64) -> Result<u32, Broken> {
    u32::try_from(hz).map_err(|_| {
        Broken::bad(format!("sample_rate is {hz}, it can be {} to {}", RATES.start(), RATES.end()))
    })
}

fn decode(text: &str) -> Result<Vec<u8>, Broken> {
    STANDARD.decode(text).map_err(|error| Broken::bad(format!("audio is no base64: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tongues_say_the_same() {
        let map = Packed::Map(vec![
            ("image_url".into(), "data:,x".into()),
            ("audio".into(), Packed::Binary(vec![1, 2])),
            ("sample_rate".into(), 24_000.into()),
            ("bbox_shift".into(), 3.into()),
            ("end".into(), true.into()),
            ("request_id".into(), "r".into()),
            ("other".into(), Packed::Nil),
        ]);
        let Message::Binary(bytes) = packed(map) else { panic!() };
        let json = r#"{"image_url":"data:,x","audio":"AQI=","sample_rate":24000,"bbox_shift":3,"end":true,"request_id":"r","other":[]}"#;
        let (one, other) = (unpack(&bytes).ok(), parse(json).ok());
        assert!(one.is_some() && one == other, "{one:?} {other:?}");
    }

    #[test]
    fn nonsense_is_refused_and_never_panics() {
        let deep = [0x91u8; 5000];
        let claims_much = [0xdd, 0xff, 0xff, 0xff, 0xff];
        let crowd = [&b"\xdc\xff\xff"[..], &[0xc0; 65_535]].concat();
        for bytes in [
            &crowd[..],
            &b""[..],
            &b"\xc1"[..],
            &b"\x93\x01\x02"[..],
            &deep[..],
            &claims_much[..],
            &b"\x01"[..],
        ] {
            assert!(unpack(bytes).is_err(), "{bytes:?}");
        }
        let crowd = format!("{{\"other\":[0{}]}}", ",0".repeat(crowd::MOST));
        for text in [
            crowd.as_str(),
            "",
            "[]",
            "{\"audio\": 3}",
            "{\"video_url\": 3}",
            "{\"audio\": \"?\"}",
            "{\"end\": 1}",
            "{\"sample_rate\": -1}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
