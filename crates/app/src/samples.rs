//! The sample portrait and speech that travel inside the program, so that `talkie bench` works anywhere.

use std::path::{Path, PathBuf};

use contract::Complaint;

const PORTRAIT: &[u8] = include_bytes!("../../../assets/portrait.png");
const SPEECH: &[u8] = include_bytes!("../../../assets/speech.wav");

/// The samples as files, for as long as this value lives.
pub struct Samples {
    folder: media::Scratch,
}

impl Samples {
    pub fn unpack() -> Result<Self, Complaint> {
        let folder = media::Scratch::new().map_err(|error| error.complaint())?;
        let samples = Self { folder };
        for (path, bytes) in [(samples.portrait(), PORTRAIT), (samples.speech(), SPEECH)] {
            std::fs::write(&path, bytes).map_err(|error| {
                Complaint::new(
                    "scratch_unwritable",
                    format!("{} cannot be written: {error}", path.display()),
                    "free some space, or set TMPDIR to a folder that can be written",
                )
            })?;
        }
        Ok(samples)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn portrait(&self) -> PathBuf {
        self.folder.path().join("portrait.png")
    }

    pub fn speech(&self) -> PathBuf {
        self.folder.path().join("speech.wav")
    }
}
