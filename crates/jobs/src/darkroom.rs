//! Pictures of strangers, made anew: decoded in media's cage and encoded again, so that what is kept and served has nothing of
//! the sender's bytes in it (no scripts, no places, no second file behind the first).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use contract::{Complaint, Layout, Stop};
use media::{Jpeg, Limits, MediaError, PictureSpec, ToolPaths, Tools};

/// JPEG quality, 1 to 100: the picture will be encoded once more in a video.
const QUALITY: u8 = 93;
/// Longest side that is kept, in pixels.
const LONGEST: u32 = 4096;

/// Clones are one darkroom. The tools are looked for when the first picture comes.
#[derive(Clone)]
pub struct Darkroom {
    paths: ToolPaths,
    limits: Limits,
    tools: Arc<Mutex<Option<Tools>>>,
}

impl Darkroom {
    pub fn new(paths: ToolPaths, limits: Limits) -> Self {
        Self { paths, limits, tools: Arc::default() }
    }

    /// Writes a JPEG of the picture in `from` to `to`.
    pub async fn develop(&self, from: PathBuf, to: PathBuf) -> Result<(), Complaint> {
        let (darkroom, stop) = (self.clone(), Stop::new());
        // whoever asked may hang up: then the decoder ends too
        let hang_up = HangUp(stop.clone());
        let work = tokio::task::spawn_blocking(move || darkroom.expose(&from, &to, &stop));
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
