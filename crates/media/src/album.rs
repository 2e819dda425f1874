//! A folder of pictures as a clip: one frame each, in the order of the numbers in their names, at the frame rate of the take; forwards and backwards
//! for ever, as `clip`. Each is decoded when it is due, in a cage of its own. Refuses pictures of different sizes, and a folder without any.

use std::path::{Path, PathBuf};

use contract::{Fps, Frame, FrameSource, SourceError, SourceFormat, Stop, Warning};

use crate::clip::{Clip, ClipSpec, bounce};
use crate::frames::FALLBACK_FPS;
use crate::picture::{Picture, PictureSpec, picture};
use crate::{Limits, MediaError, Tools};

/// Endings of files that are taken for pictures.
const PICTURES: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// Opens a folder. Its first picture is decoded before this returns; what is told of a folder is what is told of that one.
pub fn album(
    tools: &Tools,
    folder: &Path,
    spec: ClipSpec,
    limits: &Limits,
    stop: &Stop,
) -> Result<Clip, MediaError> {
    let paths = pictures(folder)?;
    let fps = spec.fps.unwrap_or(FALLBACK_FPS);
    let seconds = fps.seconds_at(paths.len() as u64);
    if seconds > limits.clip_seconds {
        return Err(MediaError::new(
            "clip_too_long",
            format!("{} pictures are {seconds:.1} s, the limit is {:.1} s", paths.len(), limits.clip_seconds),
            "name a folder with fewer, or raise clip_seconds in the configuration",
        ));
    }
    let spec = PictureSpec { layout: spec.layout, longest: spec.longest };
    let (tools, limits, stop) = (tools.clone(), limits.clone(), stop.clone());
    let mut album = Album { paths, spec, tools, limits, stop, format: None, fps, step: 0, ahead: None };
    let (first, warnings) = album.decode(0)?;
    album.ahead = Some(first);
    Ok(Clip { source: Box::new(album), fps, seconds: Some(seconds), warnings })
}

/// By the numbers that are their names, then by name.
fn pictures(folder: &Path) -> Result<Vec<PathBuf>, MediaError> {
    let unreadable = |error: std::io::Error| {
        let message = format!("the folder {} cannot be read: {error}", folder.display());
        MediaError::new("file_unreadable", message, "check who may read it")
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // a link may lead out of what a request may name
        let is_file = entry.file_type().map_err(unreadable)?.is_file();
        let path = entry.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        if ending.is_some_and(|ending| PICTURES.contains(&ending.as_str())) && is_file {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(MediaError::new(
            "no_picture",
            format!("the folder {} holds no picture; looked for: {}", folder.display(), PICTURES.join(", ")),
            "name a folder of pictures, or a video",
        ));
    }
    let number = |path: &PathBuf| path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
    found.sort_by(|a, b| (number(a).unwrap_or(u64::MAX), a).cmp(&(number(b).unwrap_or(u64::MAX), b)));
    Ok(found)
}

struct Album {
    paths: Vec<PathBuf>,
    spec: PictureSpec,
    tools: Tools,
    limits: Limits,
    stop: Stop,
    /// Of the first picture, which all have to have.
    format: Option<SourceFormat>,
    fps: Fps,
    step: usize,
    ahead: Option<Frame>,
}

impl Album {
    fn decode(&mut self, at: usize) -> Result<(Frame, Vec<Warning>), MediaError> {
        let path = &self.paths[at];
        let Picture { source: mut decoded, warnings } =
            picture(&self.tools, path, self.spec, &self.limits, &self.stop)?;
        let format = SourceFormat { fps: Some(self.fps), ..decoded.format() };
        let first = *self.format.get_or_insert(format);
        if first != format {
            let message = format!(
                "{} is {}, the first picture of the folder is {}",
                path.display(),
                format.natural,
                first.natural
            );
            return Err(MediaError::new("picture_size", message, "bring all pictures to one size"));
        }
        match decoded.next() {
            Ok(Some(frame)) => Ok((frame, warnings)),
            Ok(None) => Err(MediaError::new(
                "no_picture",
                format!("{} holds no picture", path.display()),
                "remove it",
            )),
            Err(SourceError::Rejected(complaint)) => Err(MediaError::Rejected(complaint)),
            Err(SourceError::Stopped) => Err(MediaError::Stopped),
        }
    }
}

impl FrameSource for Album {
    fn format(&self) -> SourceFormat {
        self.format.expect("the first picture was decoded when it was opened")
    }

    fn next(&mut self) -> Result<Option<Frame>, SourceError> {
        let at = bounce(self.step, self.paths.len());
        self.step += 1;
        match self.ahead.take() {
            Some(frame) => Ok(Some(frame)),
            None => Ok(Some(self.decode(at)?.0)),
        }
    }

    fn turns_after(&self) -> Option<u64> {
        (self.step > self.paths.len()).then_some(self.paths.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_come_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["10.png", "9.JPG", "00000002.jpeg", "notes.txt", "b.webp", "a.png"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        std::fs::create_dir(folder.path().join("11.png")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("10.png"), folder.path().join("12.png")).unwrap();
        let names = pictures(folder.path()).unwrap();
        let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["00000002.jpeg", "9.JPG", "10.png", "a.png", "b.webp"]);
        let empty = tempfile::tempdir().unwrap();
        assert!(pictures(empty.path()).unwrap_err().to_string().contains("holds no picture"));
    }
}
