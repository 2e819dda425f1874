//! One still: any picture ffmpeg reads -> one upright `Frame` without alpha. Animated pictures give their first frame.

use std::path::Path;

use contract::{Frame, FrameSource, Layout, Size, SourceError, SourceFormat, Stop, Warning};

use crate::error::plain_line;
use crate::input::{Args, Input, Kind};
use crate::probe::examine_still;
use crate::scale::{filling, filters, fit, pixel_format, scaled};
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
    picture_filling(tools, path, (spec, &[]), limits, stop)
}

/// The same, scaled up or down until it fills the one of `sizes` that is nearest to it in shape, and cut at its centre.
pub fn picture_filling(
    tools: &Tools,
    path: &Path,
    (spec, sizes): (PictureSpec, &[Size]),
    limits: &Limits,
    stop: &Stop,
) -> Result<Picture, MediaError> {
    let mut input = Input::open(path, Kind::Picture, limits)?;
    let (probe, animated) = examine_still(tools, &mut input, limits, stop)?;
    let Some(video) = &probe.video else {
        return Err(MediaError::new(
            "no_picture",
            "the picture file holds no picture",
            "send a JPEG, PNG or WebP",
        ));
    };
    let natural = video.turn.apply(video.stored);
    let filled = nearest(natural, sizes).map(|size| fit(size, spec.layout, spec.longest));
    let size = filled.unwrap_or_else(|| fit(natural, spec.layout, spec.longest));
    let format = SourceFormat { size, natural, layout: spec.layout, fps: None };
    let mut warnings = warnings(&probe.format, video, animated);
    let decoded = decode((tools, &input, video), (format, filled.is_some()), limits, stop)?;
    // what was cut off is no part of the picture that the engine knows
    let format = if filled.is_some() { SourceFormat { natural: size, ..format } } else { format };
    if decoded.transparent {
        warnings.push(Warning::new("picture_alpha", "the picture has transparency: it was laid on white"));
    }
    if let Some(line) = decoded.damage {
        let message = format!("the picture is damaged, part of it may be missing: {line}");
        warnings.push(Warning::new("picture_damaged", message));
    }
    Ok(Picture { source: Box::new(Still { format, frame: Some(decoded.frame) }), warnings })
}

struct Decoded {
    frame: Frame,
    transparent: bool,
    /// What the decoder complained about although it gave a picture.
    damage: Option<String>,
}

/// By height over width; of two that are equally near, the first.
fn nearest(natural: Size, sizes: &[Size]) -> Option<Size> {
    let shape = |size: Size| f64::from(size.height) / f64::from(size.width);
    let off = |size: &Size| (shape(*size) - shape(natural)).abs();
    sizes.iter().copied().min_by(|a, b| off(a).total_cmp(&off(b)))
}

fn decode(
    (tools, input, video): (&Tools, &Input, &VideoProbe),
    (format, fills): (SourceFormat, bool),
    limits: &Limits,
    stop: &Stop,
) -> Result<Decoded, MediaError> {
    let SourceFormat { size, natural, layout, .. } = format;
    // JFIF's pixel density is a printer's matter: no viewer stretches a still by it
    let video = &VideoProbe { upright: natural, ..video.clone() };
    let chain = if fills { filling(video, layout, size) } else { filters(video, layout, size) };
    let (graph, (raw, bytes)) = if video.alpha {
        // the alpha comes along, so that a picture that merely could be transparent draws no warning
        let side = match layout {
            Layout::I420 => "yuva420p",
            Layout::Rgb24 => "rgba",
        };
        let turn: String = video.turn.filters().iter().map(|filter| format!(",{filter}")).collect();
        let graph = format!(
            "color=c=white:s={}:r=1,format=gbrp[paper];[0:v:0]format=gbrap,split[ink][mask];\
             [paper][ink]overlay=format=gbrp:shortest=1,{chain}[laid];\
             [mask]alphaextract{turn},{},format=gray[alpha];[laid][alpha]alphamerge,format={side}[out]",
            video.stored,
            scaled(size, fills, "flags=area")
        );
        (graph, (side, layout.bytes(size) + size.pixels() as usize))
    } else {
        (format!("[0:v:0]{chain}[out]"), (pixel_format(layout), layout.bytes(size)))
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
        raw,
        "pipe:1",
    ];
    let args = Args { before: &["-noautorotate", "-threads", "1", "-an"], after: &after };
    let mut child = input.decode(tools, args, limits, stop)?;
    let mut data = vec![0; bytes];
    let filled = child.fill(&mut data)?;
    let exit = child.finish()?;
    if filled < data.len() {
        return Err(input.refuse(&exit.stderr, limits));
    }
    let transparent = video.alpha && drop_alpha(&mut data, layout, size);
    let frame =
        Frame::new(size, layout, data).expect("`fit` gives legal sizes and the buffer has their bytes");
    let damage = Some(plain_line(&exit.stderr)).filter(|line| !line.is_empty());
    Ok(Decoded { frame, transparent, damage })
}

/// Cuts the alpha off; whether any of it was less than opaque.
fn drop_alpha(data: &mut Vec<u8>, layout: Layout, size: Size) -> bool {
    /// Of 255; scaling may round an opaque neighbourhood down by a little.
    const OPAQUE: u8 = 250;
    match layout {
        Layout::I420 => data.split_off(layout.bytes(size)).iter().any(|&alpha| alpha < OPAQUE),
        Layout::Rgb24 => {
            let transparent = data.chunks_exact(4).any(|pixel| pixel[3] < OPAQUE);
            *data = data.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
            transparent
        }
    }
}

fn warnings(format: &str, video: &VideoProbe, animated: bool) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if animated || (matches!(format, "gif" | "apng" | "jpegxl_anim") && video.frames != Some(1)) {
        warnings.push(Warning::new("picture_animated", "the picture is animated: its first frame is used"));
    } else if !format.ends_with("_pipe") && video.frames.is_some_and(|n| n > 1) {
        let message = "the picture is a video: its first frame is used; --video animates all of it";
        warnings.push(Warning::new("picture_is_clip", message));
    }
    if video.hdr {
        let message = "the picture has a high dynamic range: its colours may look pale";
        warnings.push(Warning::new("picture_hdr", message));
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
