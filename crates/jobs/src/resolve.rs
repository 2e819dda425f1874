//! From where an input is said to lie to a file on this machine, and what a user knows it by. Fetching can be broken off.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use contract::{Complaint, Size, Stage, Stop};
use futures_util::future::try_join_all;
use store::Store;
use tokio::runtime::Handle;

use crate::person::Person;
use crate::scratch::Scratch;
use crate::{Event, Fault, Source, SubjectSpec, TakeSpec, VoiceSpec, Watcher};

/// A file that is here.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    pub path: PathBuf,
    /// Its path if the user named one, else what the user called it.
    pub name: String,
}

/// The inputs of a take, here.
pub struct Locals {
    pub subject: LocalSubject,
    pub voice: Option<LocalVoice>,
}

pub enum LocalVoice {
    File(Local),
    /// One for each person; `None` is silent.
    Several(Vec<Option<Local>>),
    /// Pieces of s16le, as they are said; an empty one is the end.
    Arriving(Receiver<Vec<u8>>),
}

impl LocalVoice {
    /// `files`: those of the specification's sources, in their order.
    fn of(spec: &VoiceSpec, files: Vec<Local>) -> Option<Self> {
        let mut files = files.into_iter();
        match spec {
            VoiceSpec::Several { voices, .. } => {
                let file = |voice: &Option<Source>| voice.as_ref().and_then(|_| files.next());
                Some(Self::Several(voices.iter().map(file).collect()))
            }
            VoiceSpec::File { .. } | VoiceSpec::Text(_) | VoiceSpec::Arriving | VoiceSpec::Idle { .. } => {
                files.next().map(Self::File)
            }
        }
    }

    /// The files that are here.
    pub fn files(&self) -> Vec<&Local> {
        match self {
            Self::File(local) => vec![local],
            Self::Several(locals) => locals.iter().flatten().collect(),
            Self::Arriving(_) => Vec::new(),
        }
    }
}

pub enum LocalSubject {
    /// With the sizes of which it is to fill one.
    Picture(Local, Vec<Size>),
    Clip(Local),
    PictureOrClip(Local),
    Avatar(Person),
}

/// Of a take whose inputs are all files of this machine: the command line's.
pub fn named(spec: &TakeSpec) -> Result<Locals, Complaint> {
    let here = |source: &Source| match source {
        Source::Path(path) => Ok(Local { path: path.clone(), name: name(source) }),
        Source::Stored(_) | Source::Url(_) | Source::S3(_) => {
            let message = format!("{} is no file of this machine", name(source));
            Err(Complaint::new("bad_request", message, "download it first"))
        }
    };
    let subject = match &spec.subject {
        SubjectSpec::Picture(source) => LocalSubject::Picture(here(source)?, Vec::new()),
        SubjectSpec::Filling { picture, sizes } => LocalSubject::Picture(here(picture)?, in_pixels(sizes)),
        SubjectSpec::Clip(source) => LocalSubject::Clip(here(source)?),
        SubjectSpec::PictureOrClip(source) => LocalSubject::PictureOrClip(here(source)?),
        SubjectSpec::Avatar(avatar) => {
            let message = format!("the avatar {} is known to a server only", avatar.name);
            return Err(Complaint::new("bad_request", message, "give the picture or clip itself"));
        }
    };
    let voices = spec.voice.sources().into_iter().map(here).collect::<Result<Vec<_>, _>>()?;
    Ok(Locals { subject, voice: LocalVoice::of(&spec.voice, voices) })
}

fn in_pixels(sizes: &[(u32, u32)]) -> Vec<Size> {
    sizes.iter().map(|&(width, height)| Size::new(width, height)).collect()
}

/// How often a file on its way tells that the job is alive, and for how long at most: what the store does has limits of its own
/// (`FetchLimits`, S3's time-outs), and if they fail the desk's watch over stalled jobs takes over.
const HEARTBEAT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Brings inputs here.
pub struct Larder<'a> {
    pub store: &'a Store,
    pub runtime: &'a Handle,
    pub scratch: &'a Scratch,
    pub stop: &'a Stop,
    pub watcher: &'a dyn Watcher,
}

impl Larder<'_> {
    /// Subject and voice at the same time.
    pub fn bring(&self, spec: &TakeSpec, person: Option<Person>) -> Result<Locals, Fault> {
        let (subject, voices) = (spec.subject.source(), spec.voice.sources());
        if subject.into_iter().chain(voices.iter().copied()).any(is_far) {
            self.watcher.event(&Event::Stage { stage: Stage::Fetching, done: 0, of: 0, eta: None });
        }
        let rooms = (0..voices.len()).map(|at| self.scratch.room(&format!("voice-{at}")));
        let (room, rooms) = (self.scratch.room("subject")?, rooms.collect::<Result<Vec<_>, _>>()?);
        let voices =
            try_join_all(voices.into_iter().zip(&rooms).map(|(voice, room)| self.local(voice, room)));
        let (subject, voices) = self.wait(async { tokio::try_join!(self.maybe(subject, &room), voices) })?;
        let subject = match (&spec.subject, subject, person) {
            (SubjectSpec::Picture(_), Some(local), _) => LocalSubject::Picture(local, Vec::new()),
            (SubjectSpec::Filling { sizes, .. }, Some(local), _) => {
                LocalSubject::Picture(local, in_pixels(sizes))
            }
            (SubjectSpec::Clip(_), Some(local), _) => LocalSubject::Clip(local),
            (SubjectSpec::PictureOrClip(_), Some(local), _) => LocalSubject::PictureOrClip(local),
            (SubjectSpec::Avatar(_), _, Some(person)) => LocalSubject::Avatar(person),
            (SubjectSpec::Avatar(avatar), _, None) => {
                let message = format!("there is no avatar {}", avatar.name);
                return Err(Complaint::new("no_avatar", message, "make it first").into());
            }
            (_, None, _) => return Err(Fault::failed("internal", "the subject was not fetched")),
        };
        Ok(Locals { subject, voice: LocalVoice::of(&spec.voice, voices) })
    }

    pub fn one(&self, source: &Source, room: &str) -> Result<Local, Fault> {
        let room = self.scratch.room(room)?;
        self.wait(self.local(source, &room))
    }

    /// The outcome of what the store does, unless the job is stopped before. Meanwhile the job tells that it is alive.
    pub fn wait<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let (stopped, told) = tokio::sync::oneshot::channel();
        let _breaker = self.stop.on_stop(move || {
            let _ = stopped.send(());
        });
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = told => Err(Fault::Canceled),
                outcome = work => outcome,
                never = self.beat() => match never {},
            }
        })
    }

    async fn beat(&self) -> Infallible {
        let mut ticks = tokio::time::interval(HEARTBEAT);
        let begun = tokio::time::Instant::now();
        while ticks.tick().await - begun < LONGEST_WAIT {
            self.watcher.event(&Event::Alive);
        }
        std::future::pending().await
    }

    async fn maybe(&self, source: Option<&Source>, room: &Path) -> Result<Option<Local>, Fault> {
        match source {
            Some(source) => self.local(source, room).await.map(Some),
            None => Ok(None),
        }
    }

    async fn local(&self, source: &Source, room: &Path) -> Result<Local, Fault> {
        let path = match source {
            Source::Path(path) => still_allowed(self.store, path)?,
            Source::Stored(key) => self.store.local(key, room).await?,
            Source::Url(url) => self.store.fetch(url, room).await?,
            Source::S3(s3) => self.store.download(s3, room).await?,
        };
        Ok(Local { path, name: name(source) })
    }
}

/// The file that was allowed when it was asked for: whoever may write in its folder can have put a link in its place since.
fn still_allowed(store: &Store, path: &Path) -> Result<PathBuf, Complaint> {
    // of what is not there, the reader says so in its own words
    if path.symlink_metadata().is_err() {
        return Ok(path.to_owned());
    }
    let shown = path.display();
    let now = store.allow_path(&shown.to_string())?;
    if now == path {
        return Ok(now);
    }
    let message = format!("`{shown}` was put in place of what was asked for");
    Err(Complaint::new("path_not_allowed", message, "send the request again"))
}

fn is_far(source: &Source) -> bool {
    match source {
        Source::Path(_) | Source::Stored(_) => false,
        Source::Url(_) | Source::S3(_) => true,
    }
}

/// Of a `data:` URL or one with secrets in its query, only so much.
fn name(source: &Source) -> String {
    match source {
        Source::Path(path) => path.display().to_string(),
        Source::Stored(key) => key.rsplit('/').next().unwrap_or(key).to_owned(),
        Source::Url(url) if url.starts_with("data:") => "the data: URL".to_owned(),
        Source::Url(url) => url.split(['?', '#']).next().unwrap_or(url).to_owned(),
        Source::S3(s3) => s3.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn a_link_that_was_put_there_while_the_job_waited_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
        for name in ["root", "data"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        for name in ["root/a.wav", "root/b.wav", "secret.wav"] {
            std::fs::write(at(name), b"x").unwrap();
        }
        let config = store::StoreConfig {
            folder: at("data"),
            media_roots: vec![at("root")],
            ..store::StoreConfig::default()
        };
        let store = Store::open(config).await.unwrap();
        let asked = store.allow_path(at("root/a.wav").to_str().unwrap()).unwrap();
        let told = || still_allowed(&store, &asked).map_err(|complaint| complaint.code);
        assert_eq!(told(), Ok(asked.clone()));
        for target in ["secret.wav", "root/b.wav", "nothing"] {
            std::fs::remove_file(&asked).unwrap();
            symlink(at(target), &asked).unwrap();
            assert_eq!(told(), Err("path_not_allowed"), "{target}");
        }
        std::fs::remove_file(&asked).unwrap();
        assert_eq!(told(), Ok(asked.clone()), "the reader tells what is missing");
        // as the SVD dialect names a picture that is not there
        let never = Path::new("/dev/null/uploads/x");
        assert_eq!(still_allowed(&store, never).unwrap(), never);
    }
}
