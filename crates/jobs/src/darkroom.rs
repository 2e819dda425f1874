//! Pictures of strangers, made anew: decoded in media's cage and encoded again, so that what is kept and served has nothing of
//! the sender's bytes in it (no scripts, no places, no second file behind the first).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::{Complaint, Layout, Stop};
use media::{Jpeg, Limits, MediaError, PictureSpec, ToolPaths, Tools};
use tokio::sync::Semaphore;

/// JPEG quality, 1 to 100: the picture will be encoded once more in a video.
const QUALITY: u8 = 93;
/// Longest side that is kept, in pixels.
const LONGEST: u32 = 4096;
/// Pictures at a time: each has a decoder with hundreds of MiB to itself.
const TABLES: usize = 2;
/// A picture takes well below a second; whoever waits longer stands in a crowd.
const WAIT: Duration = Duration::from_secs(10);

/// Clones are one darkroom. The tools are looked for when the first picture comes.
#[derive(Clone)]
pub struct Darkroom {
    paths: ToolPaths,
    limits: Limits,
    tools: Arc<Mutex<Option<Tools>>>,
    tables: Arc<Semaphore>,
    wait: Duration,
}

impl Darkroom {
    pub fn new(paths: ToolPaths, limits: Limits) -> Self {
        let tables = Arc::new(Semaphore::new(TABLES));
        Self { paths, limits, tools: Arc::default(), tables, wait: WAIT }
    }

    /// Writes a JPEG of the picture in `from` to `to`. `busy` if too many others are at it.
    pub async fn develop(&self, from: PathBuf, to: PathBuf) -> Result<(), Complaint> {
        let table = tokio::time::timeout(self.wait, Arc::clone(&self.tables).acquire_owned()).await;
        let table = table.map_err(|_| busy(self.wait))?;
        let (darkroom, stop) = (self.clone(), Stop::new());
        // whoever asked may hang up: then the decoder ends too
        let hang_up = HangUp(stop.clone());
        let work = tokio::task::spawn_blocking(move || {
            // until the decoder has ended, whoever has hung up
            let _table = table;
            darkroom.expose(&from, &to, &stop)
        });
        let developed = work.await.unwrap_or_else(|_| {
            Err(Complaint::new(
                "internal",
                "a picture broke the darkroom",
                "try another picture, and report this one",
            ))
        });
        drop(hang_up);
        developed
    }

    fn expose(&self, from: &Path, to: &Path, stop: &Stop) -> Result<(), Complaint> {
        let tools = self.tools()?;
        let wanted = PictureSpec { layout: Layout::I420, longest: LONGEST };
        let picture = media::picture(&tools, from, wanted, &self.limits, stop).map_err(told)?;
        let mut source = picture.source;
        let frame = source
            .next()
            .map_err(|error| Complaint::new("bad_picture", error.to_string(), "send another picture"))?;
        let frame = frame.ok_or_else(|| {
            Complaint::new("bad_picture", "there is no picture in the file", "send another")
        })?;
        let mut jpeg = Jpeg::new(QUALITY).map_err(told)?;
        let bytes = jpeg.encode(&frame).map_err(told)?;
        std::fs::write(to, bytes).map_err(|error| {
            let code = if error.kind() == std::io::ErrorKind::StorageFull {
                "disk_full"
            } else {
                "upload_unwritable"
            };
            Complaint::new(
                code,
                format!("the picture cannot be written: {error}"),
                "check the data folder and its disk",
            )
        })
    }

    fn tools(&self) -> Result<Tools, Complaint> {
        let mut found = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tools) = found.as_ref() {
            return Ok(tools.clone());
        }
        let tools = Tools::find(&self.paths)?;
        *found = Some(tools.clone());
        Ok(tools)
    }
}

fn busy(waited: Duration) -> Complaint {
    Complaint::new(
        "busy",
        format!("{TABLES} pictures are being decoded, and none was done in {} s", waited.as_secs()),
        "send the picture again in a moment",
    )
}

struct HangUp(Stop);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn told(error: MediaError) -> Complaint {
    match error {
        MediaError::Rejected(complaint) => complaint,
        MediaError::Stopped => Complaint::new("canceled", "the client is gone", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_crowd_is_sent_away_and_those_inside_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, b"no picture").unwrap();
        let mut darkroom = Darkroom::new(ToolPaths::default(), Limits::default());
        darkroom.wait = Duration::from_millis(5);
        let inside = Arc::clone(&darkroom.tables).acquire_many_owned(TABLES as u32).await.unwrap();
        assert_eq!(darkroom.develop(from.clone(), to.clone()).await.unwrap_err().code, "busy");
        drop(inside);
        for _ in 0..=TABLES {
            let told = darkroom.develop(from.clone(), to.clone()).await.unwrap_err();
            assert_ne!(told.code, "busy", "{told}");
        }
    }
}
