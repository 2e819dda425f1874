//! A long take, written piece by piece: each piece is a segment of its own, in the take's reel as soon as the engine has said how it could go on
//! behind it. In the end the segments are joined with the sound.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::{Complaint, Stop, VideoFormat};
use media::{Joining, MediaError, Mp4Options, Mp4Sink, Part};

use crate::Watcher;
use crate::preview::Previews;
use crate::recipe::{Finish, Studio};
use crate::reel::Reel;
use crate::take::{self, Frames, Next};

/// What the writer's thread does with the frames. `draft`: where the whole take is written.
pub fn write(
    studio: &Studio,
    (reel, draft): (Reel, &Path),
    finish: Finish,
    watcher: Arc<dyn Watcher>,
    stop: &Stop,
) -> take::Write {
    let (tools, limits) = (studio.tools.clone(), studio.limits.clone());
    let (draft, stop) = (draft.to_owned(), stop.clone());
    Box::new(move |format, frames| {
        let Finish { sound, crf, content, comment } = finish;
        if !reel.fits(format) {
            let message = format!("the pieces that are kept are not {} at {} fps", format.size, format.fps);
            let hint = "remove the reel, and the take begins anew";
            return Err(Complaint::new("reel_of_another_take", message, hint).into());
        }
        let begin = |path: PathBuf| {
            let options = Mp4Options { crf, content, part: Part::Segment, ..Mp4Options::new(format) };
            Mp4Sink::file(&tools, &path, options, &limits, &stop)
        };
        let mut previews = Previews::new(watcher, reel.frames());
        let reel = segments((reel, format), frames, &mut previews, begin)?;
        let segments = reel.segments();
        let joining = Joining { segments: &segments, fps: format.fps, sound, comment: Some(comment) };
        media::join(&tools, joining, (&draft, &reel.list()), &limits, &stop)
    })
}

/// All frames into segments, each begun with its first frame.
fn segments(
    (mut reel, format): (Reel, VideoFormat),
    frames: &Frames,
    previews: &mut Previews,
    begin: impl Fn(PathBuf) -> Result<Mp4Sink, MediaError>,
) -> Result<Reel, MediaError> {
    let mut open: Option<(Mp4Sink, u64)> = None;
    loop {
        match frames.within(Duration::MAX)? {
            Next::Silence => {}
            Next::Frame(frame) => {
                previews.see(&frame);
                let (sink, count) = match &mut open {
                    Some(open) => open,
                    None => open.insert((begin(reel.next_segment())?, 0)),
                };
                sink.frame(&frame)?;
                *count += 1;
            }
            Next::Cut(state) => {
                complete((&mut reel, format), &mut open)?;
                reel.keep(&state)?;
            }
            Next::End => {
                complete((&mut reel, format), &mut open)?;
                return Ok(reel);
            }
        }
    }
}

fn complete(
    (reel, format): (&mut Reel, VideoFormat),
    open: &mut Option<(Mp4Sink, u64)>,
) -> Result<(), MediaError> {
    if let Some((sink, count)) = open.take() {
        sink.finish()?;
        reel.add(format, count)?;
    }
    Ok(())
}
