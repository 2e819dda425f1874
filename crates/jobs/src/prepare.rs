//! Avatars: a person's own picture or clip, what an engine made of it, and a manifest that says so. The manifest is written
//! last: a folder with one is whole, a folder without one is nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::{
    AvatarSink, Complaint, Engine, Fps, Frame, FrameSource, SourceError, SourceFormat, Stage, Stop, Stopped,
};
use media::PictureSpec;

use crate::crew::AvatarAsset;
use crate::person::{FORMAT, Kind, MANIFEST, Manifest, Part, Person};
use crate::progress::Progress;
use crate::recipe::Studio;
use crate::resolve::{Larder, Local};
use crate::{Fault, PrepareSpec, Prepared, Watcher, inputs, scratch};

pub fn make(
    studio: &Studio,
    engine: &dyn Engine,
    (spec, larder): (&PrepareSpec, &Larder<'_>),
    job: &str,
    watcher: &Arc<dyn Watcher>,
) -> Result<Prepared, Fault> {
    let local = larder.one(&spec.source, "source")?;
    let kind = inputs::kind_of(studio, &local, larder.stop)?;
    let mut progress = Progress::new(Arc::clone(watcher));
    let opened = open(studio, engine, (&local, kind), larder.stop)?;
    opened.warnings.iter().for_each(|warning| progress.warn(warning.clone()));
    progress.stage(Stage::Preparing, 0, opened.frames);
    let mut source =
        Watched { source: opened.source, done: 0, of: opened.frames, progress, stop: larder.stop.clone() };
    let folder = larder.scratch.room("parts")?;
    let mut parts = Parts { folder, files: BTreeMap::new(), broken: None };
    let made = engine.prepare(&mut source, &spec.settings, &mut parts);
    if let Some(complaint) = parts.broken {
        return Err(Fault::failed(complaint.code, complaint.to_string()));
    }
    made?;
    // below the job's name, where what a lost attempt leaves is looked for
    let key = format!("avatars/{job}/{}", ulid::Ulid::new().to_string().to_lowercase());
    let kept = keep(larder, &key, &local, (spec, kind, opened.fps), &parts.files);
    match kept {
        Ok(source_sha256) => Ok(Prepared { key, engine: spec.engine.clone(), source_sha256 }),
        Err(fault) => {
            // without its manifest it is nothing, but it takes room
            let _ = larder.runtime.block_on(larder.store.remove(&key));
            Err(fault)
        }
    }
}

struct Opened {
    source: Box<dyn FrameSource>,
    fps: Option<Fps>,
    /// 0 where it is not known.
    frames: u64,
    warnings: Vec<contract::Warning>,
}

fn open(
    studio: &Studio,
    engine: &dyn Engine,
    (local, kind): (&Local, Kind),
    stop: &Stop,
) -> Result<Opened, Fault> {
    let card = engine.card();
    let (tools, limits) = (&studio.tools, &studio.limits);
    match kind {
        Kind::Picture => {
            let spec = PictureSpec { layout: card.source_layout, longest: card.source_longest };
            let picture = media::picture(tools, &local.path, spec, limits, stop);
            let picture = picture.map_err(|error| inputs::naming(local, error))?;
            Ok(Opened { source: picture.source, fps: None, frames: 1, warnings: picture.warnings })
        }
        Kind::Clip => {
            let clip = media::clip_once(tools, &local.path, inputs::clip_spec(card, None), limits, stop);
            let clip = clip.map_err(|error| inputs::naming(local, error))?;
            let frames = clip.seconds.map_or(0, |seconds| (seconds * clip.fps.as_f64()).round() as u64);
            Ok(Opened { source: clip.source, fps: Some(clip.fps), frames, warnings: clip.warnings })
        }
    }
}

/// Puts all of it into the store; returns the source's sha256.
fn keep(
    larder: &Larder<'_>,
    key: &str,
    local: &Local,
    (spec, kind, fps): (&PrepareSpec, Kind, Option<Fps>),
    files: &BTreeMap<String, PathBuf>,
) -> Result<String, Fault> {
    let broken = |complaint: Complaint| Fault::failed(complaint.code, complaint.to_string());
    let put = |path: &Path, file: String| {
        let there = format!("{key}/{file}");
        let stored = larder.wait(async { larder.store.put(path, &there).await.map_err(broken) })?;
        Ok::<_, Fault>(Part { file, bytes: stored.bytes, sha256: stored.sha256 })
    };
    // what the store moves must be ours to give
    let copy = larder.scratch.path().join("avatar-source");
    std::fs::copy(&local.path, &copy).map_err(|error| broken(scratch::failed(&copy, &error)))?;
    let source = put(&copy, "source".to_owned())?;
    let parts = files.iter().map(|(name, path)| Ok((name.clone(), put(path, format!("part-{name}"))?)));
    let parts = parts.collect::<Result<_, Fault>>()?;
    let source_sha256 = source.sha256.clone();
    let settings = spec.settings.clone();
    let manifest =
        Manifest { format: FORMAT, engine: spec.engine.clone(), kind, fps, source, settings, parts };
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| Fault::failed("internal", format!("the manifest cannot be written: {error}")))?;
    let path = larder.scratch.path().join(MANIFEST);
    std::fs::write(&path, text).map_err(|error| broken(scratch::failed(&path, &error)))?;
    put(&path, MANIFEST.to_owned())?;
    Ok(source_sha256)
}

/// Brings an avatar here and checks that `engine` can use it.
pub fn fetch(asset: &AvatarAsset, engine: &str, larder: &Larder<'_>) -> Result<Person, Fault> {
    let damaged = |why: &str| {
        Fault::failed("avatar_damaged", format!("the avatar cannot be used: {why}; make it anew"))
    };
    let room = larder.scratch.room("avatar")?;
    let bring = |file: &str| {
        let key = format!("{}/{file}", asset.key);
        let (store, room) = (larder.store, &room);
        async move {
            let local = store.local(&key, room).await;
            local.map_err(|complaint| Fault::failed(complaint.code, complaint.to_string()))
        }
    };
    let text = std::fs::read(larder.wait(bring(MANIFEST))?).map_err(|error| damaged(&error.to_string()))?;
    let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(damaged(&format!("its format is {}, this program's is {FORMAT}", manifest.format)));
    }
    if manifest.engine != engine {
        return Err(Complaint::new(
            "wrong_engine",
            format!("the avatar was made by {}, {engine} cannot use it", manifest.engine),
            "make it anew with this engine",
        )
        .into());
    }
    if manifest.source.sha256 != asset.source_sha256 {
        return Err(damaged("it is another person's"));
    }
    let source = larder.wait(bring(&manifest.source.file))?;
    let parts = manifest.parts.iter().map(|(name, part)| Ok((name.clone(), larder.wait(bring(&part.file))?)));
    let parts = parts.collect::<Result<_, Fault>>()?;
    Ok(Person { manifest, source, parts })
}

/// A source that tells how far it has been read, and ends when the job does.
struct Watched {
    source: Box<dyn FrameSource>,
    done: u64,
    of: u64,
    progress: Progress,
    stop: Stop,
}

impl FrameSource for Watched {
    fn format(&self) -> SourceFormat {
        self.source.format()
    }

    fn next(&mut self) -> Result<Option<Frame>, SourceError> {
        if self.stop.is_stopped() {
            return Err(SourceError::Stopped);
        }
        let frame = self.source.next()?;
        if frame.is_some() {
            self.done += 1;
            let of = if self.of == 0 { 0 } else { self.of.max(self.done) };
            self.progress.stage(Stage::Preparing, self.done, of);
        }
        Ok(frame)
    }
}

/// The engine's parts, on their way.
struct Parts {
    folder: PathBuf,
    files: BTreeMap<String, PathBuf>,
    broken: Option<Complaint>,
}

impl AvatarSink for Parts {
    fn part(&mut self, name: &str, bytes: &[u8]) -> Result<(), Stopped> {
        let path = self.folder.join(format!("{}", self.files.len()));
        if let Err(error) = std::fs::write(&path, bytes) {
            self.broken = Some(scratch::failed(&path, &error));
            return Err(Stopped);
        }
        self.files.insert(name.to_owned(), path);
        Ok(())
    }
}
