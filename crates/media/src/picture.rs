//! One still: any picture ffmpeg reads -> one upright `Frame` without alpha. Animated pictures give their first frame.

use std::path::Path;

use contract::{Frame, FrameSource, Layout, SourceError, SourceFormat, Stop, Warning};

use crate::input::{Args, Input, Kind};
use crate::probe::examine;
use crate::scale::{filters, fit, pixel_format};
use crate::{Limits, MediaError, Tools, VideoProbe};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureSpec {
    pub layout: Layout,
    /// The longer side is scaled down to this, never up.
    pub longest: u32,
}

pub struct Picture {
    /// Gives one frame.
    pub source: Box<dyn FrameSource>,
    pub warnings: Vec<Warning>,
}

/// Decodes a still. Transparency is laid on white.
pub fn picture(
    tools: &Tools,
    path: &Path,
    spec: PictureSpec,
    limits: &Limits,
    stop: &Stop,
) -> Result<Picture, MediaError> {
    let input = Input::open(path, Kind::Picture, limits)?;
    let probe = examine(tools, &input, limits, stop)?;
    let Some(video) = &probe.video else {
        return Err(MediaError::new(
            "no_picture",
            "the picture file holds no picture",
            "send a JPEG, PNG or WebP",
        ));
    };
    let size = fit(video.upright_of_still(), spec.layout, spec.longest);
    let still = VideoProbe { upright: video.upright_of_still(), ..video.clone() };
    let chain = filters(&still, spec.layout, size);
    let graph = if video.alpha {
        let stored = video.stored;
        format!(
            "color=c=white:s={stored}:r=1,format=gbrp[paper];[0:v:0]format=gbrap[ink];\
             [paper][ink]overlay=format=gbrp:shortest=1,{chain}[out]"
        )
    } else {
        format!("[0:v:0]{chain}[out]")
    };
    let after = [
        "-filter_complex",
        &graph,
        "-map",
        "[out]",
        "-frames:v",
        "1",
        "-f",
        "rawvideo",
        "-pix_fmt",
        pixel_format(spec.layout),
        "pipe:1",
    ];
    let args = Args { before: &["-noautorotate", "-threads", "1", "-an"], after: &after };
    let mut child = input.decode(tools, args, limits, stop)?;
    let mut data = vec![0; spec.layout.bytes(size)];
    let filled = child.fill(&mut data)?;
    let exit = child.finish()?;
    if filled < data.len() {
        return Err(input.refuse(&exit.stderr, limits));
    }
    let frame =
        Frame::new(size, spec.layout, data).expect("`fit` gives legal sizes and the buffer has their bytes");
    let mut warnings = warnings(&probe.format, video);
    if !exit.stderr.trim().is_empty() {
        let line = crate::error::plain_line(&exit.stderr);
        warnings.push(Warning::new(
            "picture_damaged",
            format!("the picture is damaged, part of it may be missing: {line}"),
        ));
    }
    let format = SourceFormat { size, natural: video.upright_of_still(), layout: spec.layout, fps: None };
    Ok(Picture { source: Box::new(Still { format, frame: Some(frame) }), warnings })
}

impl VideoProbe {
    /// JFIF's pixel density is a printer's matter: no viewer stretches a still by it.
    fn upright_of_still(&self) -> contract::Size {
        self.turn.apply(self.stored)
    }
}

fn warnings(format: &str, video: &VideoProbe) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let animated = matches!(format, "gif" | "apng" | "jpegxl_anim") && video.frames != Some(1);
    if animated {
        warnings.push(Warning::new("picture_animated", "the picture is animated: its first frame is used"));
    } else if !format.ends_with("_pipe") && video.frames.is_some_and(|n| n > 1) {
        warnings.push(Warning::new(
            "picture_is_clip",
            "the picture is a video: its first frame is used; --video animates all of it",
        ));
    }
    let maybe_alpha = video.alpha && video.codec != "gif" && video.pixel_format != "pal8";
    if maybe_alpha {
        warnings.push(Warning::new("picture_alpha", "the picture has transparency: it was laid on white"));
    }
    if video.hdr {
        warnings.push(Warning::new(
            "picture_hdr",
            "the picture has a high dynamic range: its colours may look pale",
        ));
    }
    warnings
}

struct Still {
    format: SourceFormat,
    frame: Option<Frame>,
}

impl FrameSource for Still {
    fn format(&self) -> SourceFormat {
        self.format
    }

    fn next(&mut self) -> Result<Option<Frame>, SourceError> {
        Ok(self.frame.take())
    }
}
