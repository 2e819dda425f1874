//! The programs this room works with: ffmpeg and ffprobe (needed), espeak-ng (nice to have). Found once, by name in
//! PATH or as configured; only `ffmpeg -version` is run at the start, everything else is asked when it is needed.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use contract::{Complaint, Stop};

use crate::child::{Child, Feed, Order, Spawner};
use crate::error::plain_line;
use crate::sandbox::{Confinement, SandboxReport};
use crate::{Limits, MediaError};

const INSTALL: &str = "install it: sudo apt-get install ffmpeg";

/// Where to look; `None` is "in PATH".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolPaths {
    pub ffmpeg: Option<PathBuf>,
    pub ffprobe: Option<PathBuf>,
}

/// `major.minor` of ffmpeg, and the words it used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub text: String,
}

/// Who makes H.264.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    Nvenc,
    X264,
}

impl Encoder {
    pub fn name(self) -> &'static str {
        match self {
            Self::Nvenc => "h264_nvenc",
            Self::X264 => "libx264",
        }
    }
}

/// Cheap to clone; clones share what was found.
#[derive(Clone)]
pub struct Tools {
    found: Arc<Found>,
}

struct Found {
    ffmpeg: PathBuf,
    ffprobe: PathBuf,
    version: Version,
    /// ffmpeg's `configuration:` line.
    configuration: String,
    search: Vec<PathBuf>,
    library_path: Option<OsString>,
    spawner: Spawner,
    encoder: OnceLock<Result<Encoder, Complaint>>,
    sandbox: OnceLock<SandboxReport>,
    espeak: OnceLock<Option<PathBuf>>,
}

impl Tools {
    /// Oldest ffmpeg that has every option used here (Ubuntu 22.04 brings it).
    pub const MINIMUM: (u32, u32) = (4, 4);

    /// Reads PATH (and LD_LIBRARY_PATH, for caged children whose environment is cleared): looking programs up there
    /// is what "in PATH" means.
    pub fn find(paths: &ToolPaths) -> Result<Self, Complaint> {
        let search: Vec<PathBuf> =
            std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
        let ffmpeg = locate("ffmpeg", paths.ffmpeg.as_deref(), &search)?;
        let beside = ffmpeg.with_file_name("ffprobe");
        let ffprobe = match &paths.ffprobe {
            None if paths.ffmpeg.is_some() && runnable(&beside) => beside,
            given => locate("ffprobe", given.as_deref(), &search)?,
        };
        let failed =
            |e: &std::io::Error| Complaint::new("machine_failed", format!("cannot start a thread: {e}"), "");
        let spawner = Spawner::start().map_err(|e| failed(&e))?;
        let told = ask(&spawner, &ffmpeg, &["-version"])?;
        let version = Version::parse(&told).ok_or_else(|| {
            let shown = ffmpeg.display();
            Complaint::new("ffmpeg_broken", format!("{shown} does not tell its version"), INSTALL)
        })?;
        if (version.major, version.minor) < Self::MINIMUM {
            let (major, minor) = Self::MINIMUM;
            return Err(Complaint::new(
                "ffmpeg_too_old",
                format!(
                    "{} is ffmpeg {}, the oldest that works is {major}.{minor}",
                    ffmpeg.display(),
                    version.text
                ),
                "install a newer one, or name another with --ffmpeg",
            ));
        }
        let configuration =
            told.lines().find_map(|l| l.strip_prefix("configuration:")).unwrap_or("").to_owned();
        let found = Found {
            ffmpeg,
            ffprobe,
            version,
            configuration,
            search,
            library_path: std::env::var_os("LD_LIBRARY_PATH"),
            spawner,
            encoder: OnceLock::new(),
            sandbox: OnceLock::new(),
            espeak: OnceLock::new(),
        };
        Ok(Self { found: Arc::new(found) })
    }

    pub fn ffmpeg(&self) -> &Path {
        &self.found.ffmpeg
    }

    pub fn ffprobe(&self) -> &Path {
        &self.found.ffprobe
    }

    pub fn version(&self) -> &Version {
        &self.found.version
    }

    /// NVENC if it makes a frame here, else libx264. Asked once.
    pub fn encoder(&self) -> Result<Encoder, Complaint> {
        self.found.encoder.get_or_init(|| self.choose_encoder()).clone()
    }

    /// Which walls stand around a decoder, as one of them tells from inside. Asked once.
    pub fn sandbox(&self) -> SandboxReport {
        *self.found.sandbox.get_or_init(|| self.ask_sandbox().unwrap_or_default())
    }

    /// ffmpeg can speak: it was built with flite.
    pub fn has_flite(&self) -> bool {
        self.found.configuration.contains("--enable-libflite")
    }

    pub fn espeak(&self) -> Option<&Path> {
        let look = || self.found.search.iter().map(|dir| dir.join("espeak-ng")).find(|path| runnable(path));
        self.found.espeak.get_or_init(look).as_deref()
    }

    pub(crate) fn spawner(&self) -> &Spawner {
        &self.found.spawner
    }

    pub(crate) fn library_path(&self) -> Option<OsString> {
        self.found.library_path.clone()
    }

    fn choose_encoder(&self) -> Result<Encoder, Complaint> {
        let gpu = ["/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg"].iter().any(|node| Path::new(node).exists());
        if gpu && self.configured("nvenc") && self.encodes_one_frame(Encoder::Nvenc) {
            return Ok(Encoder::Nvenc);
        }
        // the configuration tells of x264 for free; a broken one shows itself in the first take, with its own words
        if self.configured("--enable-libx264") || self.encodes_one_frame(Encoder::X264) {
            return Ok(Encoder::X264);
        }
        Err(Complaint::new(
            "encoder_missing",
            format!("{} makes no H.264: neither libx264 nor NVENC works", self.ffmpeg().display()),
            "install an ffmpeg with libx264 (Debian's and Ubuntu's have it)",
        ))
    }

    /// Static builds that autodetect say nothing of nvenc, so only a plain "no" counts against it.
    fn configured(&self, what: &str) -> bool {
        let text = &self.found.configuration;
        if what == "nvenc" { !text.contains("--disable-nvenc") } else { text.contains(what) }
    }

    fn encodes_one_frame(&self, encoder: Encoder) -> bool {
        let args = [
            "-nostdin",
            "-hide_banner",
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            "color=size=256x256:rate=25",
            "-frames:v",
            "1",
            "-pix_fmt",
            "yuv420p",
            "-c:v",
            encoder.name(),
            "-f",
            "null",
            "-",
        ];
        let order = self.order(self.ffmpeg(), &args, Confinement::Encoder);
        let patience = (Duration::from_secs(10), &Stop::new());
        let child = Child::start_reporting(self.spawner(), order, None, patience);
        child.and_then(Child::finish).is_ok_and(|exit| exit.well())
    }

    fn ask_sandbox(&self) -> Option<SandboxReport> {
        let (mut reader, writer) = std::io::pipe().ok()?;
        let order = self.order(self.ffmpeg(), &["-version"], Confinement::decoder(&Limits::default()));
        let patience = (Duration::from_secs(10), &Stop::new());
        let child = Child::start_reporting(self.spawner(), order, Some(writer.into()), patience).ok()?;
        let mut held = [0];
        std::io::Read::read_exact(&mut reader, &mut held).ok()?;
        child.finish().ok()?;
        Some(SandboxReport::from_byte(held[0]))
    }

    fn order(&self, program: &Path, args: &[&str], confinement: Confinement) -> Order {
        Order {
            program: program.to_owned(),
            args: args.iter().map(OsString::from).collect(),
            confinement,
            stdin: Feed::Nothing,
            inputs: Vec::new(),
            pipes: Vec::new(),
            library_path: self.library_path(),
        }
    }
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tools({} {})", self.ffmpeg().display(), self.version().text)
    }
}

impl Version {
    /// Arguments by which ffmpeg neither doubles nor drops a frame on output.
    pub(crate) fn keep_frames(&self) -> [&'static str; 2] {
        if (self.major, self.minor) >= (5, 1) {
            ["-fps_mode", "passthrough"]
        } else {
            ["-vsync", "passthrough"]
        }
    }

    /// `ffmpeg version 5.1.9-0+deb12u1 …`, `n6.0`, or a development build, which is dated by its libavutil.
    fn parse(told: &str) -> Option<Self> {
        let text = told.lines().next()?.split(" version ").nth(1)?.split_whitespace().next()?.to_owned();
        let numbers = text.strip_prefix('n').unwrap_or(&text);
        let mut parts = numbers.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
        let major = parts.next().flatten().filter(|&major| major < 1000);
        if let Some(major) = major {
            return Some(Self { major, minor: parts.next().flatten().unwrap_or(0), text });
        }
        let line = told.lines().find_map(|line| line.strip_prefix("libavutil"))?;
        let library: u32 = line.trim().split('.').next()?.trim().parse().ok()?;
        Some(Self { major: library.checked_sub(52)?, minor: 4, text })
    }
}

fn locate(name: &'static str, given: Option<&Path>, search: &[PathBuf]) -> Result<PathBuf, Complaint> {
    match given {
        Some(path) if runnable(path) => Ok(path.to_owned()),
        Some(path) => Err(Complaint::new(
            "ffmpeg_missing",
            format!("there is no program {}", path.display()),
            format!("correct the path to {name}, or {INSTALL}"),
        )),
        None => search
            .iter()
            .map(|dir| dir.join(name))
            .find(|path| runnable(path))
            .ok_or_else(|| Complaint::new("ffmpeg_missing", format!("{name} is not installed"), INSTALL)),
    }
}

fn runnable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn ask(spawner: &Spawner, program: &Path, args: &[&str]) -> Result<String, Complaint> {
    let order = Order {
        program: program.to_owned(),
        args: args.iter().map(OsString::from).collect(),
        confinement: Confinement::Encoder,
        stdin: Feed::Nothing,
        inputs: Vec::new(),
        pipes: Vec::new(),
        library_path: None,
    };
    let run = || -> Result<(String, crate::child::Exit), MediaError> {
        let mut child =
            Child::start_reporting(spawner, order, None, (Duration::from_secs(10), &Stop::new()))?;
        let (mut told, mut chunk) = (Vec::new(), [0; 4096]);
        while let n @ 1.. = child.read(&mut chunk)? {
            told.extend_from_slice(&chunk[..n]);
            if told.len() > 1 << 16 {
                break;
            }
        }
        Ok((String::from_utf8_lossy(&told).into_owned(), child.finish()?))
    };
    let (told, exit) = run().map_err(|error| error.complaint())?;
    if exit.well() {
        return Ok(told);
    }
    let shown = program.display();
    let why = plain_line(&exit.stderr);
    Err(Complaint::new("ffmpeg_broken", format!("{shown} does not run: {why}"), INSTALL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        let rows = [
            ("ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026\n", Some((5, 1))),
            ("ffmpeg version n6.0 Copyright\n", Some((6, 0))),
            ("ffmpeg version 4.2.7-0ubuntu0.1 Copyright\n", Some((4, 2))),
            ("ffmpeg version 7 Copyright\n", Some((7, 0))),
            (
                "ffmpeg version N-118193-g5f38c82536 Copyright\nlibavutil      59. 49.100 / 59. 49.100\n",
                Some((7, 4)),
            ),
            (
                "ffmpeg version 2024-10-02-git-358fdf3083 Copyright\nlibavutil      59. 41.100 / 59. 41.100\n",
                Some((7, 4)),
            ),
            ("something else", None),
        ];
        for (told, expected) in rows {
            assert_eq!(Version::parse(told).map(|v| (v.major, v.minor)), expected, "{told}");
        }
    }
}
