//! An avatar that is here: its manifest read and believed, its parts and its source ready for an engine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use contract::{AvatarSource, Complaint, EngineCard, Fps, FrameSource, SourceError, Stop};
use media::{Limits, MediaError, PictureSpec, Tools};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::recipe::Studio;
use crate::{inputs, stored};

/// Name of the part that says what the others are; written last.
pub const MANIFEST: &str = "manifest.json";
/// Of the manifest and the folder's layout.
pub const FORMAT: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Picture,
    Clip,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub engine: String,
    pub kind: Kind,
    /// Of a clip: the frame rate at which the engine saw it.
    #[serde(with = "stored::fps")]
    pub fps: Option<Fps>,
    pub source: Part,
    #[serde(with = "stored::settings")]
    pub settings: contract::Settings,
    /// What the engine wrote, by its names.
    pub parts: BTreeMap<String, Part>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Part {
    /// In the avatar's folder.
    pub file: String,
    pub bytes: u64,
    /// hex
    pub sha256: String,
}

pub struct Person {
    pub manifest: Manifest,
    /// The source's file, and the parts' by the engine's names.
    pub source: PathBuf,
    pub parts: BTreeMap<String, PathBuf>,
}

impl Person {
    pub fn fps(&self) -> Option<Fps> {
        self.manifest.fps
    }

    /// Its frames are opened at once: that takes processes, and time.
    pub fn open(self, studio: &Studio, card: &EngineCard, stop: &Stop) -> Result<OpenPerson, MediaError> {
        let (tools, limits) = (studio.tools.clone(), studio.limits.clone());
        let mut open =
            OpenPerson { person: self, tools, limits, card: card.clone(), stop: stop.clone(), opened: None };
        open.opened = Some(open.open_frames()?);
        Ok(open)
    }
}

/// What an engine sees of it.
pub struct OpenPerson {
    person: Person,
    tools: Tools,
    limits: Limits,
    card: EngineCard,
    stop: Stop,
    opened: Option<Box<dyn FrameSource>>,
}

impl OpenPerson {
    fn open_frames(&self) -> Result<Box<dyn FrameSource>, MediaError> {
        let (tools, path, limits, stop) = (&self.tools, &self.person.source, &self.limits, &self.stop);
        match self.person.manifest.kind {
            Kind::Picture => {
                let spec = PictureSpec { layout: self.card.source_layout, longest: self.card.source_longest };
                Ok(media::picture(tools, path, spec, limits, stop)?.source)
            }
            Kind::Clip => {
                let spec = inputs::clip_spec(&self.card, self.person.manifest.fps);
                Ok(media::clip(tools, path, spec, limits, stop)?.source)
            }
        }
    }
}

impl AvatarSource for OpenPerson {
    fn frames(&mut self) -> Result<Box<dyn FrameSource>, SourceError> {
        match self.opened.take() {
            Some(frames) => Ok(frames),
            None => Ok(self.open_frames()?),
        }
    }

    fn part(&mut self, name: &str) -> Result<Vec<u8>, SourceError> {
        let gone = |why: String| {
            let hint = "make the avatar anew";
            Complaint::new("avatar_damaged", format!("the avatar's part {name} {why}"), hint)
        };
        let manifest = self.person.manifest.parts.get(name);
        let Some((part, path)) = manifest.zip(self.person.parts.get(name)) else {
            return Err(gone("is not there".to_owned()).into());
        };
        let bytes = std::fs::read(path).map_err(|error| gone(format!("cannot be read: {error}")))?;
        if hex::encode(Sha256::digest(&bytes)) != part.sha256 {
            return Err(gone("is not what was written".to_owned()).into());
        }
        Ok(bytes)
    }
}
