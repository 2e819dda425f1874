//! A prepared person, as parts with names: `card`, JSON that says what it is and how it was made, and the material of its frames in parts of
//! `CHUNK` frames, `frames-00000` and on, each frame packed (`material::pack`). Whoever keeps the parts gives them checksums. Opened, it
//! reads the card; frames come when they are needed, from a cache that all sessions of the engine share and that is bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contract::{AvatarSink, AvatarSource, Complaint, EngineError, Settings, Size, Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::material::{Material, pack, unpack};
use crate::settings::{Options, Profile};

pub const CARD: &str = "card";
/// Of card and frames.
const FORMAT: u32 = 1;
/// Frames of a part.
const CHUNK: u64 = 64;
/// Bytes of frames that are kept in memory for all avatars.
const CACHED: usize = 256 << 20;
/// An avatar has at most so many frames: 24 hours at 60 a second.
const MOST: u64 = 5_184_000;

/// What the part `card` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    pub format: u32,
    /// Of the material, hex; equal avatars have the same.
    pub sha256: String,
    pub frames: u64,
    pub width: u32,
    pub height: u32,
    pub version: String,
    pub profile: String,
    /// sha256 of the VAE's weights.
    pub vae: String,
    /// The settings it was prepared with, as they would be written on a command line.
    pub settings: Vec<(String, String)>,
    /// Frames in which a face was found.
    pub faces: u64,
}

fn name(chunk: u64) -> String {
    format!("frames-{chunk:05}")
}

/// Settings that are of the preparation: a take cannot change them any more.
const PREPARED: [&str; 7] = [
    "bbox_shift",
    "extra_margin",
    "parsing_mode",
    "left_cheek_width",
    "right_cheek_width",
    "detector",
    "face",
];

/// The profile whose preparation no other can use, by its name.
const CLASSIC: &str = "classic";

/// Writes an avatar, frame after frame.
pub struct Writer<'a> {
    out: &'a mut dyn AvatarSink,
    chunk: Vec<u8>,
    frames: u64,
    faces: u64,
    sum: Sha256,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut dyn AvatarSink) -> Self {
        Self { out, chunk: Vec::new(), frames: 0, faces: 0, sum: Sha256::new() }
    }

    pub fn frame(&mut self, material: Option<&Material>) -> Result<(), EngineError> {
        let packed = pack(material);
        self.sum.update(&packed);
        self.chunk.extend(packed);
        self.frames += 1;
        self.faces += u64::from(material.is_some());
        if self.frames.is_multiple_of(CHUNK) {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), EngineError> {
        let chunk = std::mem::take(&mut self.chunk);
        Ok(self.out.part(&name((self.frames - 1) / CHUNK), &chunk)?)
    }

    /// Frames so far, and those with a face.
    pub fn counts(&self) -> (u64, u64) {
        (self.frames, self.faces)
    }

    pub fn finish(mut self, (size, options): (Size, &Options), vae: &str) -> Result<(), EngineError> {
        if !self.chunk.is_empty() {
            self.flush()?;
        }
        let settings = options.report().into_iter().filter(|(name, _)| PREPARED.contains(&name.as_str()));
        let card = Card {
            format: FORMAT,
            sha256: hex::encode(self.sum.finalize()),
            frames: self.frames,
            width: size.width,
            height: size.height,
            version: options.version.name().to_owned(),
            profile: options.profile.name().to_owned(),
            vae: vae.to_owned(),
            settings: settings.map(|(name, value)| (name, value.to_string())).collect(),
            faces: self.faces,
        };
        let card =
            serde_json::to_vec_pretty(&card).map_err(|error| EngineError::Failed(error.to_string()))?;
        Ok(self.out.part(CARD, &card)?)
    }
}

fn damaged(why: impl std::fmt::Display) -> Complaint {
    Complaint::new("avatar_damaged", format!("the avatar cannot be used: {why}"), "make it anew")
}

/// Reads the card and refuses what cannot be used.
pub fn open(source: &mut dyn AvatarSource, vae: &str) -> Result<Card, EngineError> {
    let card: Card = serde_json::from_slice(&source.part(CARD)?).map_err(damaged)?;
    if card.format != FORMAT {
        let message = format!("the avatar is of format {}, this program reads {FORMAT}", card.format);
        return Err(Complaint::new("avatar_version", message, "make it anew with this program").into());
    }
    if card.vae != vae {
        let message = "the avatar was prepared with other weights of the VAE than the ones that are here";
        return Err(Complaint::new("avatar_weights", message, "make it anew").into());
    }
    if !(1..=MOST).contains(&card.frames) {
        return Err(damaged(format!("it has {} frames", card.frames)).into());
    }
    Ok(card)
}

impl Card {
    /// A take's settings as they hold for this person: what was prepared goes before defaults. `sent` is what the take itself asks for, which
    /// stays, and is checked.
    pub fn over(&self, settings: Settings, sent: &Settings) -> Settings {
        let asked = |name: &str| sent.sent.contains_key(name);
        let mut all = settings.sent;
        all.retain(|name, _| asked(name) || !PREPARED.contains(&name.as_str()));
        let version = ("version".to_owned(), self.version.clone());
        let rows = self.settings.iter().cloned().chain([version]);
        // the profile says how the mouth is parsed where it is classic, and there is no such mode to ask for
        let rows = rows.filter(|(name, value)| !asked(name) && (name != "parsing_mode" || value != CLASSIC));
        all.extend(rows.map(|(name, value)| (name, Value::Text(value))));
        let profile = all.get("profile").map(Value::to_string);
        if !asked("profile") && (profile.as_deref() == Some(CLASSIC)) != (self.profile == CLASSIC) {
            all.insert("profile".to_owned(), Value::Text(self.profile.clone()));
        }
        Settings { sent: all }
    }

    /// A take must fit what was prepared. `sent`: the take's own settings.
    pub fn check<'a>(
        &self,
        options: &Options,
        sent: impl Iterator<Item = (&'a String, &'a Value)>,
    ) -> Result<(), Complaint> {
        let prepared = |name: &str, was: &str, is: &str| {
            Complaint::new(
                "avatar_settings",
                format!("the avatar was prepared with {name}={was}, {name}={is} was asked for"),
                format!("leave {name} out, or prepare the avatar anew with it"),
            )
        };
        if self.version != options.version.name() {
            return Err(prepared("version", &self.version, options.version.name()));
        }
        if (self.profile == CLASSIC) != (options.profile == Profile::Classic) {
            return Err(prepared("profile", &self.profile, options.profile.name()));
        }
        for (name, value) in sent {
            let was = self.settings.iter().find(|(known, _)| known == name);
            if let Some((_, was)) = was.filter(|(_, was)| *was != value.to_string()) {
                return Err(prepared(name, was, &value.to_string()));
            }
        }
        Ok(())
    }
}

/// Packed frames of avatars, the last used ones.
#[derive(Default)]
pub struct Cache {
    chunks: Mutex<Chunks>,
}

#[derive(Default)]
struct Chunks {
    by_name: HashMap<(String, u64), (Arc<Chunk>, u64)>,
    bytes: usize,
    clock: u64,
}

/// Frames of one part.
struct Chunk {
    bytes: Vec<u8>,
    /// Where each begins.
    starts: Vec<usize>,
}

impl Chunk {
    fn parse(bytes: Vec<u8>) -> Option<Self> {
        let mut starts = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            starts.push(bytes.len() - rest.len());
            unpack(&mut rest)?;
        }
        Some(Self { starts, bytes })
    }

    fn frame(&self, at: usize) -> Option<Option<Material>> {
        unpack(&mut &self.bytes[*self.starts.get(at)?..])
    }
}

impl Cache {
    /// The material of a frame.
    pub fn frame(
        &self,
        (source, card): (&mut dyn AvatarSource, &Card),
        index: u64,
    ) -> Result<Option<Material>, EngineError> {
        let (chunk, at) = (index / CHUNK, (index % CHUNK) as usize);
        let found = self.chunk((source, card), chunk)?.frame(at);
        Ok(found.ok_or_else(|| damaged(format!("frame {index} is not in {}", name(chunk))))?)
    }

    fn chunk(
        &self,
        (source, card): (&mut dyn AvatarSource, &Card),
        at: u64,
    ) -> Result<Arc<Chunk>, EngineError> {
        let key = (card.sha256.clone(), at);
        {
            let mut chunks = self.lock();
            chunks.clock += 1;
            let now = chunks.clock;
            if let Some((chunk, used)) = chunks.by_name.get_mut(&key) {
                *used = now;
                return Ok(Arc::clone(chunk));
            }
        }
        let name = name(at);
        let chunk = Chunk::parse(source.part(&name)?)
            .ok_or_else(|| damaged(format!("{name} is not what it should be")))?;
        let chunk = Arc::new(chunk);
        self.lock().keep(key, Arc::clone(&chunk));
        Ok(chunk)
    }

    fn lock(&self) -> MutexGuard<'_, Chunks> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chunks {
    fn keep(&mut self, key: (String, u64), chunk: Arc<Chunk>) {
        self.bytes += chunk.bytes.len();
        self.clock += 1;
        if let Some((before, _)) = self.by_name.insert(key, (chunk, self.clock)) {
            self.bytes -= before.bytes.len();
        }
        while self.bytes > CACHED && self.by_name.len() > 1 {
            let oldest = self.by_name.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
            let Some((chunk, _)) = oldest.and_then(|key| self.by_name.remove(&key)) else { return };
            self.bytes -= chunk.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use contract::{FrameSource, SourceError, Stopped};

    use super::*;
    use crate::generator::LATENTS;
    use crate::mask::SoftMask;
    use crate::settings::Version;
    use pictures::{Plane, Rect};

    #[derive(Default)]
    struct Parts {
        parts: BTreeMap<String, Vec<u8>>,
        read: usize,
    }

    impl AvatarSink for Parts {
        fn part(&mut self, name: &str, bytes: &[u8]) -> Result<(), Stopped> {
            self.parts.insert(name.to_owned(), bytes.to_vec());
            Ok(())
        }
    }

    impl AvatarSource for Parts {
        fn frames(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
            Err(SourceError::Stopped)
        }

        fn part(&mut self, name: &str) -> Result<Vec<u8>, SourceError> {
            self.read += 1;
            self.parts.get(name).cloned().ok_or_else(|| Complaint::new("gone", name, "").into())
        }
    }

    fn options(rows: &[(&str, Value)]) -> Options {
        let sent = rows.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Options::parse(&Settings { sent }, Version::V15).unwrap()
    }

    fn material(i: u64) -> Material {
        let mask =
            SoftMask::new(Rect::new(0, 0, 2, 1), Plane::new(vec![i as u8, 9], (2, 1)).unwrap()).unwrap();
        Material { place: Rect::new(i as i32, 0, 9, 9), mask, latents: vec![i as f32; LATENTS].into() }
    }

    fn written(frames: u64) -> Parts {
        let mut parts = Parts::default();
        let mut writer = Writer::new(&mut parts);
        for i in 0..frames {
            writer.frame((i != 3).then(|| material(i)).as_ref()).unwrap();
        }
        assert_eq!(writer.counts(), (frames, frames - 1));
        writer.finish((Size::new(20, 10), &options(&[])), "vae").unwrap();
        parts
    }

    fn settings(rows: &[(&str, &str)]) -> Settings {
        let text = |text: &str| Value::Text(text.to_owned());
        Settings { sent: rows.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect() }
    }

    #[test]
    fn what_was_prepared_goes_before_defaults_and_what_is_asked_for_is_checked() {
        let made = |rows: &[(&str, &str)]| {
            let mut parts = Parts::default();
            let options = Options::parse(&settings(rows), Version::V15).unwrap();
            Writer::new(&mut parts).finish((Size::new(20, 10), &options), "vae").unwrap();
            let card = Card { frames: 1, ..serde_json::from_slice(&parts.parts[CARD]).unwrap() };
            (card, options)
        };
        let defaults =
            settings(&[("version", "v15"), ("extra_margin", "7"), ("detector", "face"), ("batch_size", "3")]);
        let (card, prepared) = made(&[("version", "v1"), ("bbox_shift", "5"), ("face", "2")]);
        let nothing = Settings::default();
        let options = Options::parse(&card.over(defaults.clone(), &nothing), Version::V15).unwrap();
        assert_eq!(options, Options { batch_size: 3, ..prepared });
        card.check(&options, nothing.sent.iter()).unwrap();
        let asked = settings(&[("version", "v15")]);
        let mut all = defaults.clone();
        all.sent.extend(asked.sent.clone());
        let options = Options::parse(&card.over(all, &asked), Version::V15).unwrap();
        let refused = card.check(&options, asked.sent.iter()).unwrap_err();
        assert_eq!(refused.code, "avatar_settings");
        // a classic preparation, and a server whose takes are not
        let (card, prepared) = made(&[("version", "v1"), ("profile", "classic")]);
        let options = Options::parse(&card.over(defaults.clone(), &nothing), Version::V15).unwrap();
        assert_eq!(options, Options { batch_size: 3, ..prepared });
        // and the other way round; strict and default are one preparation
        let (card, _) = made(&[("profile", "strict")]);
        for (default, played) in [("classic", Profile::Strict), ("default", Profile::Default)] {
            let defaults = settings(&[("version", "v1"), ("profile", default)]);
            let options = Options::parse(&card.over(defaults, &nothing), Version::V1).unwrap();
            assert_eq!((options.version, options.profile), (Version::V15, played));
            card.check(&options, nothing.sent.iter()).unwrap();
        }
    }

    #[test]
    fn an_avatar_comes_back_frame_by_frame() {
        let mut parts = written(150);
        assert_eq!(parts.parts.len(), 4, "three parts of frames and the card");
        let card = open(&mut parts, "vae").unwrap();
        assert_eq!((card.frames, card.faces, card.version.as_str()), (150, 149, "v15"));
        let cache = Cache::default();
        for i in [0, 3, 63, 64, 149] {
            let frame = cache.frame((&mut parts, &card), i).unwrap();
            assert_eq!(frame, (i != 3).then(|| material(i)));
        }
        let read = parts.read;
        cache.frame((&mut parts, &card), 70).unwrap();
        assert_eq!(parts.read, read, "it was in memory");
        assert!(cache.frame((&mut parts, &card), 150).is_err());
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let mut parts = written(5);
        let told = |outcome: Result<Card, EngineError>| outcome.unwrap_err().to_string();
        assert!(told(open(&mut parts, "another")).contains("other weights"));
        let card = open(&mut parts, "vae").unwrap();
        let sent: BTreeMap<String, Value> = [("extra_margin".to_owned(), Value::Int(4))].into();
        let same: BTreeMap<String, Value> = [("extra_margin".to_owned(), Value::Int(10))].into();
        assert!(card.check(&options(&[]), same.iter()).is_ok());
        let refused = card.check(&options(&[("extra_margin", Value::Int(4))]), sent.iter()).unwrap_err();
        assert!(refused.message.contains("extra_margin=10"), "{refused}");
        let v1 = options(&[("version", Value::Text("v1".into()))]);
        assert!(card.check(&v1, std::iter::empty()).unwrap_err().message.contains("version=v15"));
        let text = String::from_utf8(parts.parts[CARD].clone()).unwrap();
        parts.parts.insert(CARD.into(), text.replace("\"format\": 1", "\"format\": 2").into_bytes());
        assert!(told(open(&mut parts, "vae")).contains("format 2"));
        parts.parts.insert(CARD.into(), b"{}".to_vec());
        assert!(told(open(&mut parts, "vae")).contains("cannot be used"));
        let torn = parts.parts["frames-00000"][..40].to_vec();
        parts.parts.insert("frames-00000".into(), torn);
        let error = Cache::default().frame((&mut parts, &card), 0).unwrap_err().to_string();
        assert!(error.contains("frames-00000"), "{error}");
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut chunks = Chunks::default();
        for i in 0..10 {
            chunks.keep(("a".into(), i), Arc::new(Chunk { bytes: vec![0; CACHED / 4], starts: Vec::new() }));
            assert!(chunks.bytes <= CACHED);
        }
        assert!(
            chunks.by_name.contains_key(&("a".into(), 9)) && !chunks.by_name.contains_key(&("a".into(), 0))
        );
    }
}
