//! A user's file on its way to a caged ffmpeg or ffprobe: opened once here, handed over as an inherited descriptor.
//! So its name is never interpreted (`-`, `%03d`, `concat:`), and what was checked is what is decoded.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::Stop;

use crate::child::{Child, Feed, Order};
use crate::error::plain_line;
use crate::sandbox::Confinement;
use crate::{Limits, MediaError, Tools};

/// What a file is to be used as; decides which containers are let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Picture,
    Sound,
    Clip,
    Any,
}

// No hls, dash, concat, sdp, image2 (patterns), lavfi, svg, ffmetadata or subtitles: nothing that names other files.
const PICTURES: &str = "jpeg_pipe,png_pipe,apng,webp_pipe,gif,tiff_pipe,bmp_pipe,ppm_pipe,pgm_pipe,pgmyuv_pipe,\
    pbm_pipe,pam_pipe,pfm_pipe,jpegxl_pipe,jpegxl_anim,j2k_pipe,jpegls_pipe,qoi_pipe,psd_pipe,exr_pipe,dds_pipe,\
    hdr_pipe,sgi_pipe,ico";
const SOUNDS: &str = "wav,w64,aiff,caf,au,mp3,aac,flac,ogg,ac3,eac3,dts,truehd,amr,amrnb,amrwb,ape,wv,tta,tak,voc,mpc,mpc8,\
    spx,g722,gsm,sbc";
const CLIPS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,dv,nut,ivf,\
    h264,hevc,av1,obu,mjpeg,m4v,yuv4mpegpipe,rm,wtv,gif,apng,jpegxl_anim";

impl Kind {
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Picture => "picture",
            Self::Sound => "sound",
            Self::Clip => "clip",
            Self::Any => "file",
        }
    }

    /// Containers let in. A picture may be a clip's first frame, a sound may be a clip's track.
    fn formats(self) -> String {
        match self {
            Self::Picture => format!("{PICTURES},{CLIPS}"),
            Self::Sound | Self::Clip => format!("{SOUNDS},{CLIPS}"),
            Self::Any => format!("{PICTURES},{SOUNDS},{CLIPS}"),
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Picture => "send a JPEG, PNG or WebP picture",
            Self::Sound => "send a WAV, MP3, M4A, OGG or FLAC file",
            Self::Clip => "send an MP4, MOV, MKV or WebM file",
            Self::Any => "send a common picture, sound or video file",
        }
    }
}

/// Code of the complaint about a WebP that `webp` may be able to open.
pub(crate) const UNREADABLE_WEBP: &str = "unreadable_webp";

#[derive(Clone)]
pub(crate) struct Input {
    file: Arc<File>,
    pub(crate) kind: Kind,
}

impl Input {
    pub(crate) fn open(path: &Path, kind: Kind, limits: &Limits) -> Result<Self, MediaError> {
        let noun = kind.noun();
        // O_NONBLOCK: opening a pipe nobody writes to must not hang
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
        let file = opened.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                MediaError::new("file_missing", format!("the {noun} file does not exist"), "check its name")
            }
            ErrorKind::PermissionDenied => MediaError::new(
                "file_unreadable",
                format!("the {noun} file may not be read"),
                "give yourself the right to read it: chmod u+r",
            ),
            _ => MediaError::new("file_unreadable", format!("the {noun} file cannot be opened: {error}"), ""),
        })?;
        let meta = file.metadata().map_err(|e| crate::error::machine("cannot look at a file", &e))?;
        if !meta.is_file() {
            let what = if meta.is_dir() { "a folder" } else { "a device or pipe" };
            return Err(MediaError::new(
                "not_a_file",
                format!("the {noun} is {what}, a file is needed"),
                "name a file",
            ));
        }
        if meta.len() == 0 {
            let code = if kind == Kind::Sound { "audio_empty" } else { "file_empty" };
            return Err(MediaError::new(code, format!("the {noun} file is empty: 0 bytes"), kind.remedy()));
        }
        if meta.len() > limits.file_bytes {
            return Err(MediaError::new(
                "file_too_large",
                format!("the {noun} file has {} bytes, the limit is {}", meta.len(), limits.file_bytes),
                "send a smaller file, or raise file_mib in the configuration",
            ));
        }
        Ok(Self { file: Arc::new(file), kind })
    }

    /// The still in an animated WebP, if that is what this is.
    pub(crate) fn with_first_frame(&self) -> Option<Self> {
        let found = crate::webp::first_frame(&self.file);
        found.ok().flatten().map(|file| Self { file: Arc::new(file), kind: self.kind })
    }

    /// ffmpeg or ffprobe, caged, reading this file: `<guards> before -i <the file> after`.
    pub(crate) fn order(&self, tools: &Tools, program: Program, limits: &Limits, args: Args<'_>) -> Order {
        let memory = limits.decode_memory_bytes.to_string();
        // one more, so that ffprobe can count what is too much
        let streams = (limits.streams + 1).to_string();
        let pixels = limits.picture_pixels.to_string();
        let formats = self.kind.formats();
        let guards = ["-hide_banner", "-loglevel", "error", "-max_alloc", &memory];
        let mut all: Vec<OsString> = Vec::new();
        if program == Program::Ffmpeg {
            all.extend(
                ["-nostdin", "-filter_threads", "1", "-filter_complex_threads", "1"].map(OsString::from),
            );
        }
        all.extend(guards.map(OsString::from));
        let input = [
            "-protocol_whitelist",
            "file",
            "-format_whitelist",
            &formats,
            "-max_streams",
            &streams,
            "-max_pixels",
            &pixels,
        ];
        all.extend(input.map(OsString::from));
        all.extend(args.before.iter().map(OsString::from));
        all.push("-i".into());
        all.push(format!("file:/proc/self/fd/{}", self.file.as_raw_fd()).into());
        all.extend(args.after.iter().map(OsString::from));
        Order {
            program: PathBuf::from(match program {
                Program::Ffmpeg => tools.ffmpeg(),
                Program::Ffprobe => tools.ffprobe(),
            }),
            args: all,
            confinement: Confinement::decoder(limits),
            stdin: Feed::Nothing,
            inputs: vec![Arc::clone(&self.file)],
            pipes: Vec::new(),
            library_path: tools.library_path(),
        }
    }

    /// Starts a caged ffmpeg that decodes this file to its stdout.
    pub(crate) fn decode(
        &self,
        tools: &Tools,
        args: Args<'_>,
        limits: &Limits,
        stop: &Stop,
    ) -> Result<Child, MediaError> {
        let order = self.order(tools, Program::Ffmpeg, limits, args);
        let child = Child::start(tools.spawner(), order, limits, stop)?;
        child.widen_pipes();
        Ok(child)
    }

    /// What a failed child's words mean to the user.
    pub(crate) fn refuse(&self, stderr: &str, limits: &Limits) -> MediaError {
        let noun = self.kind.noun();
        if let Some((format, _)) =
            stderr.split_once(" @ ").filter(|_| stderr.contains("Format not on whitelist"))
        {
            let format = format.rsplit('[').next().unwrap_or_default();
            let what = match format {
                "hls" | "dash" | "concat" | "sdp" | "rtsp" | "imf" => "a playlist that names other files",
                "svg_pipe" => "an SVG drawing",
                _ => "of a kind that is not let in",
            };
            return MediaError::new(
                "format_not_allowed",
                format!("the {noun} is {what} (`{format}`): nothing in it was opened"),
                self.kind.remedy(),
            );
        }
        if let Some((width, height)) = told_size(stderr) {
            return too_large(noun, (width, height), limits);
        }
        if stderr.contains("max_streams") {
            return too_many_streams(noun, &format!("more than {}", limits.streams), limits);
        }
        if stderr.contains("image data not found") {
            let message = format!("the {noun} is a WebP that this ffmpeg cannot read, animated or damaged");
            return MediaError::new(UNREADABLE_WEBP, message, "save one frame of it as PNG or JPEG");
        }
        if stderr.contains("error while loading shared libraries") || stderr.contains("cannot execute") {
            let line = plain_line(stderr);
            return MediaError::new(
                "ffmpeg_broken",
                format!("ffmpeg does not start in its sandbox: {line}"),
                "install ffmpeg from the distribution's packages",
            );
        }
        let line = plain_line(stderr);
        let why = if line.is_empty() { "nothing in it could be decoded".to_owned() } else { line };
        MediaError::new("unreadable_media", format!("the {noun} cannot be read: {why}"), self.kind.remedy())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Ffmpeg,
    Ffprobe,
}

/// Arguments around `-i`.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a> {
    pub(crate) before: &'a [&'a str],
    pub(crate) after: &'a [&'a str],
}

pub(crate) fn too_many_streams(noun: &str, counted: &str, limits: &Limits) -> MediaError {
    MediaError::new(
        "too_many_streams",
        format!("the {noun} has {counted} streams, the limit is {}", limits.streams),
        "keep one picture and one sound track: ffmpeg -i in -map 0:v:0 -map 0:a:0 -c copy out",
    )
}

pub(crate) fn too_large(noun: &str, (width, height): (u64, u64), limits: &Limits) -> MediaError {
    MediaError::new(
        "picture_too_large",
        format!(
            "the {noun} is {width}x{height}, the limit is {} px a side and {:.0} million pixels",
            limits.picture_side,
            limits.picture_pixels as f64 / 1e6
        ),
        "scale it down, or raise picture_side or picture_megapixels in the configuration",
    )
}

/// libavutil: `Picture size 30000x30000 is invalid` or `… exceeds specified max pixel count`.
fn told_size(stderr: &str) -> Option<(u64, u64)> {
    let after = stderr.split("Picture size ").nth(1)?;
    let (width, height) = after.split_whitespace().next()?.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}
