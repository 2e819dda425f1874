//! ffprobe's answer, typed: what is in a file and whether it is within the limits, before anything is decoded from it.

use std::path::Path;

use contract::{Fps, Size, Stop};
use serde::Deserialize;

use crate::child::Child;
use crate::input::{Args, Input, Kind, Program, UNREADABLE_WEBP, too_large, too_many_streams};
use crate::turn::Turn;
use crate::{Limits, MediaError, Tools};

#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// ffmpeg's name of the container.
    pub format: String,
    /// Length of the whole, where the container tells.
    pub seconds: Option<f64>,
    pub streams: usize,
    /// The first video stream that is not a cover picture.
    pub video: Option<VideoProbe>,
    /// The first sound track.
    pub audio: Option<AudioProbe>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct VideoProbe {
    pub codec: String,
    /// As stored, before turning.
    pub stored: Size,
    /// As seen: turned upright, pixels square.
    pub upright: Size,
    pub fps: Option<Fps>,
    pub seconds: Option<f64>,
    pub frames: Option<u64>,
    pub pixel_format: String,
    pub alpha: bool,
    /// Perceptual quantiser or hybrid log-gamma.
    pub hdr: bool,
    /// One frame rate from beginning to end, as far as the container knows.
    pub(crate) steady: bool,
    /// `false`: the stream does not say which matrix made its colours.
    pub(crate) matrix_told: bool,
    pub(crate) turn: Turn,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AudioProbe {
    pub codec: String,
    pub rate_hz: u32,
    pub channels: u32,
    pub seconds: Option<f64>,
}

/// What is in a file. Refuses what cannot be read, and more streams or pixels than the limits allow.
pub fn probe(tools: &Tools, path: &Path, limits: &Limits, stop: &Stop) -> Result<Probe, MediaError> {
    let mut input = Input::open(path, Kind::Any, limits)?;
    examine_still(tools, &mut input, limits, stop).map(|(probe, _)| probe)
}

/// An animated WebP that ffmpeg cannot read becomes its first frame, a still; whether it did.
pub(crate) fn examine_still(
    tools: &Tools,
    input: &mut Input,
    limits: &Limits,
    stop: &Stop,
) -> Result<(Probe, bool), MediaError> {
    match examine(tools, input, limits, stop) {
        Err(MediaError::Rejected(complaint)) if complaint.code == UNREADABLE_WEBP => {
            *input = input.with_first_frame().ok_or(complaint)?;
            Ok((examine(tools, input, limits, stop)?, true))
        }
        outcome => Ok((outcome?, false)),
    }
}

pub(crate) fn examine(
    tools: &Tools,
    input: &Input,
    limits: &Limits,
    stop: &Stop,
) -> Result<Probe, MediaError> {
    // a picture's orientation stands with its frame, not with its stream
    let shown: &[&str] = match input.kind {
        Kind::Picture => &["-select_streams", "v", "-show_frames", "-read_intervals", "%+#1"],
        Kind::Any => &["-show_frames", "-read_intervals", "%+#1"],
        Kind::Sound | Kind::Clip => &[],
    };
    let after = [&["-show_streams", "-show_format", "-print_format", "json"], shown].concat();
    let args = Args { before: &[], after: &after };
    let mut child =
        Child::start(tools.spawner(), input.order(tools, Program::Ffprobe, limits, args), limits, stop)?;
    let mut told = Vec::new();
    let mut chunk = [0; 16 << 10];
    while let n @ 1.. = child.read(&mut chunk)? {
        told.extend_from_slice(&chunk[..n]);
        if told.len() > ANSWER_BYTES {
            let hint = "strip its metadata: ffmpeg -i in -map_metadata -1 -c copy out";
            let message =
                format!("the {} describes itself in more than {ANSWER_BYTES} bytes", input.kind.noun());
            return Err(MediaError::new("unreadable_media", message, hint));
        }
    }
    let exit = child.finish()?;
    let answer: Option<Answer> = serde_json::from_slice(&told).ok();
    let answer = answer.filter(|a| exit.well() && !a.streams.is_empty());
    let Some(answer) = answer else { return Err(input.refuse(&exit.stderr, limits)) };
    let streams = answer.streams.len();
    if streams as u64 > u64::from(limits.streams) {
        return Err(too_many_streams(input.kind.noun(), &streams.to_string(), limits));
    }
    let probe = answer.typed();
    match &probe.video {
        Some(video) if input.kind != Kind::Sound => {
            if video.stored.width == 0 || video.stored.height == 0 {
                return Err(input.refuse(&exit.stderr, limits));
            }
            check_size(input.kind.noun(), video.stored, limits)?;
        }
        _ => {}
    }
    Ok(probe)
}

fn check_size(noun: &str, size: Size, limits: &Limits) -> Result<(), MediaError> {
    if size.longest() > limits.picture_side || size.pixels() > limits.picture_pixels {
        return Err(too_large(noun, (size.width.into(), size.height.into()), limits));
    }
    if size.width.min(size.height) < limits.picture_min_side {
        return Err(MediaError::new(
            "picture_too_small",
            format!("the {noun} is {size}, the least is {0}x{0}", limits.picture_min_side),
            "send a larger one",
        ));
    }
    Ok(())
}

const ANSWER_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    frames: Vec<ShownFrame>,
    #[serde(default)]
    format: Format,
}

#[derive(Default, Deserialize)]
struct Format {
    #[serde(default)]
    format_name: String,
    duration: Option<String>,
}

#[derive(Deserialize)]
struct Stream {
    codec_type: Option<String>,
    codec_name: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    sample_aspect_ratio: Option<String>,
    pix_fmt: Option<String>,
    color_space: Option<String>,
    color_transfer: Option<String>,
    avg_frame_rate: Option<String>,
    r_frame_rate: Option<String>,
    nb_frames: Option<String>,
    duration: Option<String>,
    sample_rate: Option<String>,
    channels: Option<u32>,
    #[serde(default)]
    disposition: Disposition,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Default, Deserialize)]
struct Disposition {
    #[serde(default)]
    attached_pic: u8,
}

#[derive(Deserialize)]
struct SideData {
    displaymatrix: Option<String>,
}

#[derive(Deserialize)]
struct ShownFrame {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    side_data_list: Vec<SideData>,
    #[serde(default)]
    tags: FrameTags,
}

#[derive(Default, Deserialize)]
struct FrameTags {
    #[serde(rename = "Orientation")]
    orientation: Option<String>,
}

impl Answer {
    fn typed(self) -> Probe {
        let seconds = positive(self.format.duration.as_deref());
        let frame = self.frames.iter().find(|f| f.media_type.is_empty() || f.media_type == "video");
        let of_kind = |kind: &str| {
            let kind = kind.to_owned();
            move |s: &&Stream| s.codec_type.as_deref() == Some(&kind) && s.disposition.attached_pic == 0
        };
        Probe {
            format: self.format.format_name,
            seconds,
            streams: self.streams.len(),
            video: self.streams.iter().find(of_kind("video")).map(|s| s.video(frame)),
            audio: self.streams.iter().find(of_kind("audio")).map(Stream::audio),
        }
    }
}

impl Stream {
    fn video(&self, frame: Option<&ShownFrame>) -> VideoProbe {
        let stored = Size::new(self.width.unwrap_or(0), self.height.unwrap_or(0));
        let matrix =
            |list: &[SideData]| list.iter().find_map(|s| Turn::from_matrix(s.displaymatrix.as_deref()?));
        let tag = || frame.and_then(|f| Turn::from_exif(f.tags.orientation.as_deref()?.trim().parse().ok()?));
        let turn = matrix(&self.side_data_list)
            .or_else(|| frame.and_then(|f| matrix(&f.side_data_list)))
            .or_else(tag)
            .unwrap_or_default();
        let rate = |rate: &Option<String>| rate.as_deref()?.parse::<Fps>().ok();
        let (average, base) = (rate(&self.avg_frame_rate), rate(&self.r_frame_rate));
        let steady = average.zip(base).is_some_and(|(a, b)| (a.as_f64() / b.as_f64() - 1.0).abs() < 0.01);
        let fps = if steady { base } else { average.or(base) };
        let pixel_format = self.pix_fmt.clone().unwrap_or_default();
        let codec = self.codec_name.clone().unwrap_or_default();
        VideoProbe {
            stored,
            upright: turn.apply(square(stored, self.sample_aspect_ratio.as_deref())),
            fps,
            steady,
            seconds: positive(self.duration.as_deref()),
            frames: self.nb_frames.as_deref().and_then(|n| n.parse().ok()),
            alpha: has_alpha(&codec, &pixel_format),
            hdr: matches!(self.color_transfer.as_deref(), Some("smpte2084" | "arib-std-b67")),
            matrix_told: self.color_space.as_deref().is_some_and(|s| s != "unknown" && s != "reserved"),
            turn,
            pixel_format,
            codec,
        }
    }

    fn audio(&self) -> AudioProbe {
        AudioProbe {
            codec: self.codec_name.clone().unwrap_or_default(),
            rate_hz: self.sample_rate.as_deref().and_then(|r| r.parse().ok()).unwrap_or(0),
            channels: self.channels.unwrap_or(0),
            seconds: positive(self.duration.as_deref()),
        }
    }
}

fn positive(seconds: Option<&str>) -> Option<f64> {
    seconds?.parse().ok().filter(|s: &f64| s.is_finite() && *s > 0.0)
}

/// Width stretched by the sample aspect ratio, where that is plausible.
fn square(stored: Size, ratio: Option<&str>) -> Size {
    let parse = || -> Option<f64> {
        let (num, den) = ratio?.split_once(':')?;
        Some(num.parse::<f64>().ok()? / den.parse::<f64>().ok()?)
    };
    match parse().filter(|r| (0.25..=4.0).contains(r)) {
        Some(ratio) => Size::new((f64::from(stored.width) * ratio).round() as u32, stored.height),
        None => stored,
    }
}

/// A CMYK JPEG comes as `gbrap` too, but JPEG has no alpha.
fn has_alpha(codec: &str, pixel_format: &str) -> bool {
    let named = ["rgba", "bgra", "argb", "abgr", "gbrap", "yuva", "ya8", "ya16", "pal8", "rgb32", "bgr32"];
    codec != "mjpeg" && named.iter().any(|name| pixel_format.starts_with(name))
}
