//! Frames of a video as they stream out of a caged ffmpeg: plainly, at the video's own rate, and as the ranges on a
//! frame grid of which `clip` makes its endless source.

use std::path::Path;

use contract::{Fps, Frame, FrameSource, Layout, SourceError, SourceFormat, Stop};

use crate::child::Child;
use crate::input::{Args, Input, Kind};
use crate::probe::{VideoProbe, examine};
use crate::scale::{filters, fit, pixel_format};
use crate::{Limits, MediaError, Probe, Tools};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramesSpec {
    pub layout: Layout,
    /// The longer side is scaled down to this, never up.
    pub longest: u32,
}

/// Every frame of a video, once, at its own frame rate; a video of uneven rate is evened out.
pub fn frames(
    tools: &Tools,
    path: &Path,
    spec: FramesSpec,
    limits: &Limits,
    stop: &Stop,
) -> Result<Box<dyn FrameSource>, MediaError> {
    let input = Input::open(path, Kind::Clip, limits)?;
    let probe = examine(tools, &input, limits, stop)?;
    let video = moving_picture(&probe)?;
    let fps = video.fps.unwrap_or(FALLBACK_FPS);
    let grid = if video.steady { None } else { Some(fps) };
    let reel = Reel::new((tools, input, video), (spec.layout, spec.longest, grid), limits, stop);
    let format = SourceFormat { fps: Some(fps), ..reel.format };
    let child = reel.open(Range { first: 0, count: None })?;
    Ok(Box::new(Once { format, ..Once::new(reel, child) }))
}

pub(crate) const FALLBACK_FPS: Fps = Fps::whole(25);

pub(crate) fn moving_picture(probe: &Probe) -> Result<&VideoProbe, MediaError> {
    probe.video.as_ref().ok_or_else(|| {
        MediaError::new(
            "no_video",
            "the clip has no picture, only sound",
            "send a video, or a portrait with --image",
        )
    })
}

/// Frames `first..first + count` of a reel's grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u64,
    /// `None`: to the end.
    pub(crate) count: Option<u64>,
}

/// A video that any range of frames can be read from, again and again, always the same.
pub(crate) struct Reel {
    tools: Tools,
    pub(crate) input: Input,
    pub(crate) limits: Limits,
    stop: Stop,
    pub(crate) format: SourceFormat,
    chain: String,
}

impl Reel {
    /// `grid` is the frame rate to be delivered; `None` takes frames as they are, and then only whole.
    pub(crate) fn new(
        (tools, input, video): (&Tools, Input, &VideoProbe),
        (layout, longest, grid): (Layout, u32, Option<Fps>),
        limits: &Limits,
        stop: &Stop,
    ) -> Self {
        let size = fit(video.upright, layout, longest);
        Self {
            tools: tools.clone(),
            input,
            limits: limits.clone(),
            stop: stop.clone(),
            format: SourceFormat { size, natural: video.upright, layout, fps: grid },
            chain: filters(video, layout, size),
        }
    }

    pub(crate) fn open(&self, range: Range) -> Result<Child, MediaError> {
        let mut before = vec!["-noautorotate", "-an", "-sn", "-dn", "-threads", "1"];
        let mut chain = String::new();
        let seek;
        if let Some(fps) = self.format.fps {
            // from a little earlier, so that the frame on show at the seek point is the same as in one long run
            let seconds = (fps.seconds_at(range.first) - RUN_UP_SECONDS).max(0.0);
            let grid_start = (seconds * fps.as_f64()).floor() / fps.as_f64();
            seek = format!("{grid_start:.6}");
            if grid_start > 0.0 {
                before.extend(["-ss", &seek]);
            }
            before.extend(["-copyts", "-start_at_zero"]);
            let end =
                range.count.map(|count| format!(":end_pts={}", range.first + count)).unwrap_or_default();
            chain = format!("fps=fps={fps}:start_time={seek},trim=start_pts={}{end},", range.first);
        }
        chain.push_str(&self.chain);
        let mut after = vec!["-map", "0:V:0", "-vf", &chain];
        after.extend(self.tools.version().keep_frames());
        let count = range.count.map(|count| count.to_string());
        if let Some(count) = &count {
            after.extend(["-frames:v", count]);
        }
        after.extend(["-f", "rawvideo", "-pix_fmt", pixel_format(self.format.layout), "pipe:1"]);
        self.input.decode(&self.tools, Args { before: &before, after: &after }, &self.limits, &self.stop)
    }

    /// One frame out of an open range; `None` at its end, where `child` is done and `Err` says what broke it.
    pub(crate) fn next(&self, child: &mut Option<Child>) -> Result<Option<Frame>, MediaError> {
        let Some(open) = child else { return Ok(None) };
        let SourceFormat { size, layout, .. } = self.format;
        let mut data = vec![0; layout.bytes(size)];
        if open.fill(&mut data)? == data.len() {
            let frame = Frame::new(size, layout, data);
            return Ok(Some(frame.expect("`fit` gives legal sizes and the buffer has their bytes")));
        }
        let exit = child.take().map(Child::finish).transpose()?;
        match exit {
            Some(exit) if !exit.well() => Err(self.input.refuse(&exit.stderr, &self.limits)),
            _ => Ok(None),
        }
    }

    pub(crate) fn empty(&self) -> MediaError {
        MediaError::new("clip_empty", "the clip holds 0 frames that can be decoded", "check that it plays")
    }
}

const RUN_UP_SECONDS: f64 = 0.5;

/// A video from one end to the other.
pub(crate) struct Once {
    reel: Reel,
    format: SourceFormat,
    child: Option<Child>,
    delivered: u64,
}

impl Once {
    pub(crate) fn new(reel: Reel, child: Child) -> Self {
        Self { format: reel.format, reel, child: Some(child), delivered: 0 }
    }
}

impl FrameSource for Once {
    fn format(&self) -> SourceFormat {
        self.format
    }

    fn next(&mut self) -> Result<Option<Frame>, SourceError> {
        let frame = self.reel.next(&mut self.child)?;
        match frame {
            Some(_) => self.delivered += 1,
            None if self.delivered == 0 => return Err(self.reel.empty().into()),
            None => {}
        }
        Ok(frame)
    }
}
