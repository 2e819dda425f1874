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

/// Every frame of a video, once, at its own frame rate; one of uneven rate, or of a rate that is not believed, is evened out.
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
    let steady = video.fps.filter(|&fps| video.steady && is_believed(fps));
    let fps = steady.or(video.fps.map(usual)).unwrap_or(FALLBACK_FPS);
    let grid = if steady.is_some() { None } else { Some(fps) };
    let reel = Reel::new((tools, input, video), (spec.layout, spec.longest, grid), limits, stop);
    let format = SourceFormat { fps: Some(fps), ..reel.format };
    let child = reel.open(Range { first: 0, count: None })?;
    Ok(Box::new(Once { format, ..Once::new(reel, child) }))
}

pub(crate) const FALLBACK_FPS: Fps = Fps::whole(25);

/// A phone's uneven 29.83 is meant as 29.97; outside 1..120 the container is not believed.
pub(crate) fn usual(fps: Fps) -> Fps {
    let known = [(24_000, 1001), (24, 1), (25, 1), (30_000, 1001), (30, 1), (50, 1), (60_000, 1001), (60, 1)];
    let known = known.into_iter().filter_map(|(num, den)| Fps::new(num, den));
    let off = |known: &Fps| (known.as_f64() / fps.as_f64() - 1.0).abs();
    let nearest = known.min_by(|a, b| off(a).total_cmp(&off(b))).filter(|known| off(known) < 0.01);
    let hundredths = Fps::new((fps.as_f64() * 100.0).round() as u32, 100);
    match nearest.or(hundredths) {
        Some(fps) if is_believed(fps) => fps,
        _ => FALLBACK_FPS,
    }
}

fn is_believed(fps: Fps) -> bool {
    (1.0..=120.0).contains(&fps.as_f64())
}

/// `told`: what is said of its length.
pub(crate) fn too_long(told: String, limits: &Limits) -> MediaError {
    MediaError::new(
        "clip_too_long",
        format!("the clip {told}, the limit is {:.1} s", limits.clip_seconds),
        "send a shorter clip, or raise clip_seconds in the configuration",
    )
}

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
    /// Frames that it may have.
    at_most: Option<u64>,
}

/// Lays what is transparent on white.
const ON_WHITE: &str = "format=gbrap,split[ink][under];[under]lutrgb=r=255:g=255:b=255:a=255[paper];[paper][ink]overlay=format=gbrp,";

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
            chain: format!("{}{}", if video.alpha { ON_WHITE } else { "" }, filters(video, layout, size)),
            at_most: None,
        }
    }

    /// Refused where it turns out to have more frames.
    pub(crate) fn of_at_most(self, frames: u64) -> Self {
        Self { at_most: Some(frames), ..self }
    }

    /// `frames`: that came out of it.
    pub(crate) fn holds(&self, frames: u64) -> Result<(), MediaError> {
        match self.at_most {
            Some(most) if frames > most => {
                Err(too_long("does not tell its length and is longer than allowed".to_owned(), &self.limits))
            }
            _ => Ok(()),
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
            Some(_) => {
                self.delivered += 1;
                self.reel.holds(self.delivered)?;
            }
            None if self.delivered == 0 => return Err(self.reel.empty().into()),
            None => {}
        }
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_rates_are_what_was_meant() {
        let rows = [
            ((30_000, 1001), (30_000, 1001)),
            ((24_000, 1001), (24_000, 1001)),
            ((25, 1), (25, 1)),
            ((2_983, 100), (30_000, 1001)),
            ((90_000, 1), (25, 1)),
            ((12_490, 1000), (1249, 100)),
        ];
        for ((num, den), (meant, over)) in rows {
            assert_eq!(usual(Fps::new(num, den).unwrap()), Fps::new(meant, over).unwrap(), "{num}/{den}");
        }
    }
}
