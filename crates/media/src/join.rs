//! Segments of one take, each an MP4 that begins with a key frame, and the take's sound -> MP4. The pictures are not encoded again: the
//! segments were made by `Mp4Sink::file` of one format and one encoder, and are ours.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use contract::{Fps, Stop};

use crate::child::{Child, Feed, Order};
use crate::error::machine;
use crate::mp4::{self, FINISH_PATIENCE};
use crate::sandbox::Confinement;
use crate::soundtrack::{SoundPump, Soundtrack};
use crate::{Limits, MediaError, Tools};

pub struct Segment {
    pub path: PathBuf,
    pub frames: u64,
}

/// What becomes of segments.
pub struct Joining<'a> {
    pub segments: &'a [Segment],
    pub fps: Fps,
    /// `None`: the take has no sound track.
    pub sound: Option<Soundtrack>,
    /// The `comment` tag.
    pub comment: Option<String>,
}

/// Writes to `draft`, whose name the caller replaces when all is done. `list`: a file for the segments' names, which the caller removes.
pub fn join(
    tools: &Tools,
    joining: Joining<'_>,
    (draft, list): (&Path, &Path),
    limits: &Limits,
    stop: &Stop,
) -> Result<(), MediaError> {
    write_list(list, &joining)?;
    let (sound, inherited) = match &joining.sound {
        None => (None, None),
        Some(track) => {
            let (reader, writer) = std::io::pipe().map_err(|e| machine("cannot make a pipe", &e))?;
            let pump = SoundPump::start(tools, track, (joining.fps, writer), limits, stop)?;
            (Some(pump), Some(OwnedFd::from(reader)))
        }
    };
    let order = Order {
        program: tools.ffmpeg().to_owned(),
        args: arguments(&joining, inherited.as_ref().map(AsRawFd::as_raw_fd), (draft, list)),
        confinement: Confinement::Encoder,
        stdin: Feed::Nothing,
        inputs: Vec::new(),
        pipes: inherited.into_iter().collect(),
        library_path: None,
    };
    let mut child = Child::start(tools.spawner(), order, limits, stop)?;
    if let Some(sound) = sound {
        sound.complete_at(joining.segments.iter().map(|segment| segment.frames).sum())?;
    }
    let exit = child.wait_for(FINISH_PATIENCE)?;
    if !exit.well() {
        return Err(mp4::encode_failed(&exit));
    }
    mp4::check_boxes(draft)
}

/// In ffmpeg's own form: a quote ends the text, is said, and begins it again. Segments tell their lengths in thousandths of a second, which add up; here
/// each ends where the next frame of the take begins.
fn write_list(list: &Path, joining: &Joining<'_>) -> Result<(), MediaError> {
    use std::os::unix::ffi::OsStrExt;
    let micros = |frames| (joining.fps.seconds_at(frames) * 1e6).round() as u64;
    let mut text = b"ffconcat version 1.0\n".to_vec();
    let mut begin = 0;
    for Segment { path, frames } in joining.segments {
        text.extend_from_slice(b"file 'file:");
        for byte in path.as_os_str().as_bytes() {
            match byte {
                b'\'' => text.extend_from_slice(b"'\\''"),
                byte => text.push(*byte),
            }
        }
        let end = begin + frames;
        text.extend_from_slice(format!("'\nduration {}us\n", micros(end) - micros(begin)).as_bytes());
        begin = end;
    }
    let written = std::fs::File::create(list).and_then(|mut file| file.write_all(&text));
    written.map_err(|error| machine("cannot write the list of segments", &error))
}

fn arguments(joining: &Joining<'_>, sound: Option<i32>, (draft, list): (&Path, &Path)) -> Vec<OsString> {
    let named = |path: &Path| {
        let mut name = OsString::from("file:");
        name.push(path);
        name
    };
    let mut args = Vec::new();
    let mut add = |list: &[&str]| args.extend(list.iter().map(OsString::from));
    add(&["-nostdin", "-hide_banner", "-loglevel", "error", "-xerror"]);
    add(&["-protocol_whitelist", "file", "-f", "concat", "-safe", "0", "-i"]);
    args.push(named(list));
    let mut add = |list: &[&str]| args.extend(list.iter().map(OsString::from));
    match sound {
        Some(fd) => {
            add(&["-nofind_stream_info", "-f", "au", "-i", &format!("pipe:{fd}")]);
            add(&["-map", "0:v", "-map", "1:a", "-c:a", "aac", "-b:a", "160k"]);
        }
        None => add(&["-map", "0:v"]),
    }
    add(&["-c:v", "copy", "-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]);
    if let Some(comment) = &joining.comment {
        add(&["-metadata", &format!("comment={comment}")]);
    }
    add(&["-movflags", "+faststart", "-y", "-f", "mp4"]);
    args.push(named(draft));
    args
}
