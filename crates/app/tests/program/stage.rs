//! A stage for tests of the program: a private folder with the samples in it, the real binary, and a look at what it left behind.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub struct Stage {
    folder: tempfile::TempDir,
}

/// What a run of the program came to.
pub struct Run {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Stage {
    /// A folder with `out/` (for takes) and `tmp/` (the program's TMPDIR); orphans of this test come to us, so that we can see them.
    pub fn new() -> Self {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for name in ["out", "tmp"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Makes a fixture with ffmpeg: `args` between the program and the output's name.
    pub fn ffmpeg(&self, args: &[&str], name: &str) -> PathBuf {
        let path = self.path(name);
        let status = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y"])
            .args(args)
            .arg(&path)
            .current_dir(self.folder.path())
            .status()
            .unwrap();
        assert!(status.success(), "ffmpeg {args:?}");
        path
    }

    /// Seconds of the sample speech, small enough for a quick take.
    pub fn short_speech(&self, seconds: &str) -> PathBuf {
        self.ffmpeg(&["-i", sample("speech.wav").to_str().unwrap(), "-t", seconds], "short.wav")
    }

    /// The sample portrait, small enough for a quick take.
    pub fn small_portrait(&self) -> PathBuf {
        self.ffmpeg(&["-i", sample("portrait.png").to_str().unwrap(), "-vf", "scale=-2:320"], "small.png")
    }

    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_talkie"));
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("TMPDIR", self.path("tmp")).env("XDG_CONFIG_HOME", self.path("tmp"));
        command
    }

    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
        Run::of(self.command(args).output().unwrap())
    }

    pub fn spawn(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Names in `out/`, hidden ones too.
    pub fn takes(&self) -> Vec<String> {
        names(&self.path("out"))
    }

    /// Nothing half-written, no temporary file, no process.
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.takes(), Vec::<String>::new(), "half-written output");
        assert_eq!(names(&self.path("tmp")), Vec::<String>::new(), "stray temporary files");
        assert_eq!(children(), Vec::<String>::new(), "stray processes");
    }
}

impl Run {
    pub fn of(output: Output) -> Self {
        let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or(0));
        Self { code, stdout: output.stdout, stderr: String::from_utf8(output.stderr).unwrap() }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stderr))
    }

    /// One clear line that holds all of `words`, and an exit code that says no.
    pub fn assert_refused(&self, words: &[&str]) {
        assert_eq!(self.code, 1, "exit code; it said: {}", self.stderr);
        let lines: Vec<&str> = self.stderr.lines().filter(|line| !line.starts_with("warning: ")).collect();
        assert_eq!(lines.len(), 1, "one line, not: {}", self.stderr);
        assert!(lines[0].starts_with("talkie: "), "{}", lines[0]);
        for word in words {
            assert!(lines[0].contains(word), "`{word}` is missing in: {}", lines[0]);
        }
    }
}

pub fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(name).canonicalize().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Command names of this test's children: it is a subreaper, so a talkie's orphans would be among them.
fn children() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .flat_map(|task| {
            let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        })
        .map(|id| std::fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default())
        .collect()
}

/// A field of ffprobe's report, e.g. `stream=codec_name` of stream `v:0`.
pub fn probe(path: &Path, stream: &str, entry: &str) -> String {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-of", "default=noprint_wrappers=1:nokey=1", "-show_entries", entry]);
    if !stream.is_empty() {
        command.args(["-select_streams", stream]);
    }
    if entry.contains("nb_read_frames") {
        command.arg("-count_frames");
    }
    let output = command.arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
