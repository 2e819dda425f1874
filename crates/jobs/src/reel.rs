//! What a long take has so far: a folder with the segments that are finished, the state in which the engine left the last of them, and the speech
//! if a text is spoken. Whoever makes the same take again goes on from there, after a crash or a restart, and no picture is made or encoded twice.
//!
//! The folder outlives the attempt. Its ledger is replaced in one step when a segment and its state are on disk, so that at any moment it names
//! whole files only; what it does not name is left of a death and removed. It is held by one attempt at a time.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use contract::{Complaint, EngineCard, Fps, Size, Stop, VideoFormat, Warning};
use media::{Spoken, TtsBackend};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::Store;

use crate::recipe::Studio;
use crate::resolve::{Local, LocalSubject, LocalVoice, Locals};
use crate::{Fault, TakeSpec, VoiceSpec, scratch, stored};

const LEDGER: &str = "ledger.json";
/// Locked by who works on it.
const HELD: &str = ".held";
/// Segments' names, for the program that joins them.
const LIST: &str = "list.txt";
const SPEECH: &str = "speech.wav";
const FORMAT: u32 = 1;

/// Where a reel lies, and what is to become of one of another take that lies there.
#[derive(Clone, Debug)]
pub struct ReelPlace {
    pub folder: PathBuf,
    pub other: Other,
}

/// What to do with a reel of another take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// It is somebody's: refuse.
    Refuse,
    /// Nobody needs it: begin anew.
    Discard,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ledger {
    format: u32,
    /// Of everything that decides what the take looks like.
    take: String,
    picture: Option<Picture>,
    segments: Vec<Segment>,
    state: Option<State>,
    /// What the pieces were made with, for whoever repeats the command without it.
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    speech: Option<Speech>,
}

/// A text as it was spoken for the first piece: a synthesiser need not speak it the same way twice.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Speech {
    bytes: u64,
    backend: String,
    voice: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Picture {
    #[serde(with = "stored::size")]
    size: Size,
    #[serde(with = "stored::rate")]
    fps: Fps,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Segment {
    file: String,
    frames: u64,
    bytes: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    file: String,
    sha256: String,
}

pub struct Reel {
    folder: PathBuf,
    ledger: Ledger,
    state: Option<Vec<u8>>,
    _held: File,
}

/// What distinguishes a take from all others: what was asked for, what is meant by what was not, the bytes of its inputs, the engine's weights, this
/// program, the encoder, and who speaks a text.
pub fn name_of(
    spec: &TakeSpec,
    locals: &Locals,
    card: &EngineCard,
    studio: &Studio,
    stop: &Stop,
) -> Result<String, Fault> {
    let mut sum = Sha256::new();
    let text = serde_json::to_vec(spec).map_err(|error| {
        Complaint::new("internal", format!("a take's specification cannot be written: {error}"), "")
    })?;
    sum.update(&text);
    sum.update(studio.tools.encoder()?.name().as_bytes());
    if let VoiceSpec::Text(_) = spec.voice {
        sum.update(studio.tts.manner(&studio.tools)?.as_bytes());
    }
    sum.update(env!("CARGO_PKG_VERSION").as_bytes());
    for setting in &card.settings {
        sum.update(format!("{} {}\n", setting.name, setting.default).as_bytes());
    }
    for weights in &card.weights {
        // a name tells how strongly an adapter counts
        sum.update(format!("{} {}\n", weights.name, weights.sha256).as_bytes());
    }
    let subject = match &locals.subject {
        LocalSubject::Picture(local, _) | LocalSubject::Clip(local) | LocalSubject::PictureOrClip(local) => {
            Some(local)
        }
        LocalSubject::Avatar(_) => None,
    };
    let voices = locals.voice.iter().flat_map(LocalVoice::files);
    for local in subject.into_iter().chain(voices) {
        add_file(&mut sum, local, stop)?;
    }
    Ok(hex::encode(sum.finalize()))
}

/// A folder of pictures counts by their names and bytes.
fn add_file(sum: &mut Sha256, local: &Local, stop: &Stop) -> Result<(), Fault> {
    let unreadable = |error: std::io::Error| {
        let message = format!("{} cannot be read: {error}", local.name);
        Complaint::new("input_unreadable", message, "check that it exists and may be read")
    };
    if local.path.is_dir() {
        let entries = std::fs::read_dir(&local.path).map_err(unreadable)?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.is_file()) {
            sum.update(path.file_name().unwrap_or_default().as_encoded_bytes());
            add_bytes(sum, path, stop).map_err(unreadable)?;
        }
    } else {
        add_bytes(sum, &local.path, stop).map_err(unreadable)?;
    }
    if stop.is_stopped() { Err(Fault::Canceled) } else { Ok(()) }
}

/// To the end of the file, or until it is stopped.
fn add_bytes(sum: &mut Sha256, path: &Path, stop: &Stop) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; 1 << 16];
    while !stop.is_stopped() {
        match file.read(&mut chunk)? {
            0 => break,
            n => sum.update(&chunk[..n]),
        }
    }
    Ok(())
}

/// Where a job's reel lies, whichever attempt makes it.
pub fn folder(store: &Store, job: &str) -> PathBuf {
    shelf(store).join(job)
}

/// Where the reels of all jobs lie.
pub fn shelf(store: &Store) -> PathBuf {
    store.folder().join("reels")
}

/// The take is complete. What cannot be removed is left: it is found again by nobody.
pub fn remove(place: &ReelPlace) {
    if let Err(error) = std::fs::remove_dir_all(&place.folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %place.folder.display(), %error, "a reel cannot be removed");
    }
}

/// Of a take whose first pieces lie in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    pub seed: u64,
    pub frames: u64,
}

/// If there is a reel at this place.
pub fn begun(folder: &Path) -> Option<Begun> {
    let ledger: Ledger = serde_json::from_slice(&std::fs::read(folder.join(LEDGER)).ok()?).ok()?;
    Some(Begun { seed: ledger.seed?, frames: frames_of(&ledger) })
}

fn frames_of(ledger: &Ledger) -> u64 {
    ledger.segments.iter().map(|segment| segment.frames).sum()
}

impl Reel {
    /// What lies at the place, or an empty reel. `take`: as `name_of` has it.
    pub fn open(place: &ReelPlace, take: String, seed: u64) -> Result<Self, Complaint> {
        let folder = place.folder.clone();
        std::fs::create_dir_all(&folder).map_err(|error| scratch::failed(&folder, &error))?;
        let held = File::create(folder.join(HELD)).map_err(|error| scratch::failed(&folder, &error))?;
        held.try_lock().map_err(|_| {
            Complaint::new(
                "reel_in_use",
                format!("the reel {} is being worked on by another process", folder.display()),
                "wait for it, or name another folder",
            )
        })?;
        let fresh = Ledger {
            format: FORMAT,
            take,
            picture: None,
            segments: Vec::new(),
            state: None,
            seed: Some(seed),
            speech: None,
        };
        let mut reel = Self { folder, ledger: fresh, state: None, _held: held };
        match reel.read() {
            Ok(Some((ledger, state))) if ledger.take == reel.ledger.take => {
                (reel.ledger, reel.state) = (ledger, Some(state));
            }
            Ok(None) if reel.is_empty()? => {}
            Ok(_) | Err(_) if place.other == Other::Discard => {
                let _ = std::fs::remove_file(reel.folder.join(LEDGER));
            }
            Ok(None) => {
                return Err(Complaint::new(
                    "not_a_reel",
                    format!("{} holds other files than a reel's", reel.folder.display()),
                    "name a new or an empty folder",
                ));
            }
            Ok(Some(_)) => {
                return Err(Complaint::new(
                    "reel_of_another_take",
                    format!(
                        "the reel {} belongs to a take of other inputs, settings, weights or another seed",
                        reel.folder.display()
                    ),
                    "repeat the command with which it was begun, seed included, or name another folder",
                ));
            }
            Err(why) => {
                return Err(Complaint::new(
                    "reel_damaged",
                    format!("the reel {} cannot be gone on with: {why}", reel.folder.display()),
                    "remove it, and the take begins anew",
                ));
            }
        }
        reel.sweep();
        Ok(reel)
    }

    /// In which the engine left the last segment.
    pub fn state(&self) -> Option<&[u8]> {
        self.state.as_deref()
    }

    /// Frames of the segments that are here.
    pub fn frames(&self) -> u64 {
        frames_of(&self.ledger)
    }

    /// The text as it was spoken for the pieces that are here.
    pub fn speech(&self) -> Option<Spoken> {
        let speech = self.ledger.speech.as_ref()?;
        let backend = TtsBackend::named(&speech.backend)?;
        Some(Spoken::before(self.folder.join(SPEECH), backend, speech.voice.clone()))
    }

    /// Keeps the spoken text with the first piece.
    pub fn keep_speech(&mut self, spoken: &Spoken) -> Result<(), Complaint> {
        let path = self.folder.join(SPEECH);
        std::fs::copy(spoken.path(), &path).map_err(|error| scratch::failed(&path, &error))?;
        let (backend, voice) = (spoken.backend().name().to_owned(), spoken.voice().to_owned());
        self.ledger.speech = Some(Speech { bytes: on_disk(&path)?, backend, voice });
        Ok(())
    }

    /// What the pictures are like must not have changed.
    pub fn fits(&self, format: VideoFormat) -> bool {
        let picture = Picture { size: format.size, fps: format.fps };
        self.ledger.picture.as_ref().is_none_or(|kept| *kept == picture)
    }

    /// Where the next segment is to be written.
    pub fn next_segment(&self) -> PathBuf {
        self.folder.join(segment_name(self.ledger.segments.len()))
    }

    pub fn list(&self) -> PathBuf {
        self.folder.join(LIST)
    }

    pub fn segments(&self) -> Vec<media::Segment> {
        let segments = self.ledger.segments.iter();
        segments
            .map(|segment| media::Segment { path: self.folder.join(&segment.file), frames: segment.frames })
            .collect()
    }

    /// The segment at `next_segment` is complete.
    pub fn add(&mut self, format: VideoFormat, frames: u64) -> Result<(), Complaint> {
        let path = self.next_segment();
        let bytes = on_disk(&path)?;
        let file = segment_name(self.ledger.segments.len());
        self.ledger.picture = Some(Picture { size: format.size, fps: format.fps });
        self.ledger.segments.push(Segment { file, frames, bytes });
        Ok(())
    }

    /// From here on the take can be gone on with.
    pub fn keep(&mut self, state: &[u8]) -> Result<(), Complaint> {
        let file = format!("state-{:06}", self.ledger.segments.len());
        let path = self.folder.join(&file);
        std::fs::write(&path, state).map_err(|error| scratch::failed(&path, &error))?;
        on_disk(&path)?;
        self.ledger.state = Some(State { file, sha256: hex::encode(Sha256::digest(state)) });
        let text = serde_json::to_vec_pretty(&self.ledger).map_err(|error| {
            Complaint::new("internal", format!("a reel's ledger cannot be written: {error}"), "")
        })?;
        let (draft, ledger) = (self.folder.join("ledger.draft"), self.folder.join(LEDGER));
        let written = File::create(&draft).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&draft, &ledger)?;
            File::open(&self.folder)?.sync_all()
        });
        written.map_err(|error| scratch::failed(&ledger, &error))?;
        self.sweep();
        Ok(())
    }

    /// What its user should know.
    pub fn remark(&self) -> Warning {
        let message = format!(
            "an earlier attempt was broken off; its first {} frames are kept, the take goes on behind them",
            self.frames()
        );
        Warning::new("gone_on", message)
    }

    /// `None`: there is no ledger. What it names is whole, or it is an error.
    fn read(&self) -> Result<Option<(Ledger, Vec<u8>)>, String> {
        let text = match std::fs::read(self.folder.join(LEDGER)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let ledger: Ledger = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        if ledger.format != FORMAT {
            return Err(format!("it is of format {}, this program reads {FORMAT}", ledger.format));
        }
        for (at, segment) in ledger.segments.iter().enumerate() {
            let there = std::fs::metadata(self.folder.join(segment_name(at))).map(|found| found.len());
            if segment.file != segment_name(at) || there.ok() != Some(segment.bytes) {
                return Err(format!("its segment {} is not what it was", segment.file));
            }
        }
        if let Some(speech) = &ledger.speech {
            let there = std::fs::metadata(self.folder.join(SPEECH)).map(|found| found.len());
            if there.ok() != Some(speech.bytes) || TtsBackend::named(&speech.backend).is_none() {
                return Err("its speech is not what it was".into());
            }
        }
        let Some(kept) = &ledger.state else { return Err("it has no state".into()) };
        if kept.file.contains(['/', '\\']) {
            return Err(format!("its state is called {}", kept.file));
        }
        let mut state = Vec::new();
        let read = File::open(self.folder.join(&kept.file)).and_then(|mut file| file.read_to_end(&mut state));
        if read.is_err() || hex::encode(Sha256::digest(&state)) != kept.sha256 {
            return Err(format!("its state {} is not what it was", kept.file));
        }
        Ok(Some((ledger, state)))
    }

    fn is_empty(&self) -> Result<bool, Complaint> {
        let entries =
            std::fs::read_dir(&self.folder).map_err(|error| scratch::failed(&self.folder, &error))?;
        Ok(entries.flatten().all(|entry| is_ours(&entry.file_name().to_string_lossy())))
    }

    /// Removes what the ledger does not name.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let named = name == LEDGER
                || name == HELD
                || (name == SPEECH && self.ledger.speech.is_some())
                || self.ledger.segments.iter().any(|segment| segment.file == name)
                || self.ledger.state.as_ref().is_some_and(|state| state.file == name);
            if !named && is_ours(&name) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn segment_name(at: usize) -> String {
    format!("segment-{at:06}.mp4")
}

fn is_ours(name: &str) -> bool {
    name.starts_with("segment-")
        || name.starts_with("state-")
        || name.starts_with("ledger.")
        || name == LIST
        || name == SPEECH
        || name == HELD
}

/// Its length, once it is sure to stay.
fn on_disk(path: &Path) -> Result<u64, Complaint> {
    let synced = File::open(path).and_then(|file| file.sync_all().and_then(|()| file.metadata()));
    synced.map(|found| found.len()).map_err(|error| scratch::failed(path, &error))
}

#[cfg(test)]
mod tests {
    use contract::Layout;

    use super::*;

    const FORMAT_25: VideoFormat =
        VideoFormat { size: Size::new(64, 64), layout: Layout::I420, fps: Fps::whole(25) };

    fn place(folder: &Path, other: Other) -> ReelPlace {
        ReelPlace { folder: folder.join("reel"), other }
    }

    fn filled(folder: &Path) -> ReelPlace {
        let place = place(folder, Other::Refuse);
        let mut reel = Reel::open(&place, "one".into(), 7).unwrap();
        assert!(reel.state().is_none());
        for (frames, state) in [(81, b"a"), (72, b"b")] {
            std::fs::write(reel.next_segment(), vec![7; frames as usize]).unwrap();
            reel.add(FORMAT_25, frames).unwrap();
            reel.keep(state).unwrap();
        }
        place
    }

    #[test]
    fn what_was_kept_is_there_and_what_was_not_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let place = filled(folder.path());
        // a death in the third segment
        std::fs::write(place.folder.join("segment-000002.mp4"), b"half").unwrap();
        std::fs::write(place.folder.join("ledger.draft"), b"{").unwrap();
        let reel = Reel::open(&place, "one".into(), 7).unwrap();
        assert_eq!((reel.state(), reel.frames(), reel.segments().len()), (Some(&b"b"[..]), 153, 2));
        assert!(reel.fits(FORMAT_25) && !reel.fits(VideoFormat { fps: Fps::whole(24), ..FORMAT_25 }));
        assert!(!reel.next_segment().exists());
        let busy = Reel::open(&place, "one".into(), 7).err().unwrap();
        assert_eq!(busy.code, "reel_in_use");
        drop(reel);
        assert_eq!(begun(&place.folder), Some(Begun { seed: 7, frames: 153 }));
        remove(&place);
        assert!(!place.folder.exists());
        assert_eq!(begun(&place.folder), None);
    }

    #[test]
    fn a_text_is_spoken_once() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path(), Other::Refuse);
        let wav = folder.path().join("said.wav");
        std::fs::write(&wav, b"said").unwrap();
        let spoken = Spoken::before(wav, TtsBackend::Flite, "slt".into());
        let mut reel = Reel::open(&place, "one".into(), 7).unwrap();
        assert!(reel.speech().is_none());
        reel.keep_speech(&spoken).unwrap();
        std::fs::write(reel.next_segment(), b"piece").unwrap();
        reel.add(FORMAT_25, 81).unwrap();
        reel.keep(b"state").unwrap();
        drop(reel);

        let reel = Reel::open(&place, "one".into(), 7).unwrap();
        let kept = reel.speech().unwrap();
        assert_eq!((kept.backend(), kept.voice()), (TtsBackend::Flite, "slt"));
        assert_eq!(std::fs::read(kept.path()).unwrap(), b"said");
        drop(reel);
        std::fs::write(place.folder.join(SPEECH), b"something else").unwrap();
        assert_eq!(Reel::open(&place, "one".into(), 7).err().unwrap().code, "reel_damaged");

        // of a death before the first piece
        let other = ReelPlace { folder: folder.path().join("other"), other: Other::Refuse };
        Reel::open(&other, "one".into(), 7).unwrap().keep_speech(&spoken).unwrap();
        assert!(Reel::open(&other, "two".into(), 8).unwrap().speech().is_none());
        assert!(!other.folder.join(SPEECH).exists());
    }

    #[test]
    fn a_reel_of_another_take_and_foreign_files_are_kept_or_given_up_as_told() {
        let folder = tempfile::tempdir().unwrap();
        let mine = filled(folder.path());
        assert_eq!(Reel::open(&mine, "two".into(), 8).err().unwrap().code, "reel_of_another_take");
        let fresh = Reel::open(&place(folder.path(), Other::Discard), "two".into(), 8).unwrap();
        assert_eq!((fresh.state(), fresh.frames()), (None, 0));
        drop(fresh);
        remove(&mine);

        std::fs::create_dir(&mine.folder).unwrap();
        std::fs::write(mine.folder.join("holiday.jpg"), b"x").unwrap();
        assert_eq!(Reel::open(&mine, "one".into(), 7).err().unwrap().code, "not_a_reel");
        assert!(mine.folder.join("holiday.jpg").exists());
    }

    #[test]
    fn damage_is_told_or_begun_anew() {
        for (file, bytes) in [
            ("segment-000001.mp4", &b"short"[..]),
            ("state-000002", b"other"),
            ("ledger.json", b"{"),
            ("ledger.json", b"{\"format\":9,\"take\":\"one\",\"segments\":[]}"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mine = filled(folder.path());
            std::fs::write(mine.folder.join(file), bytes).unwrap();
            assert_eq!(Reel::open(&mine, "one".into(), 7).err().unwrap().code, "reel_damaged", "{file}");
            let fresh = Reel::open(&place(folder.path(), Other::Discard), "one".into(), 7).unwrap();
            assert_eq!(fresh.frames(), 0);
        }
    }
}
