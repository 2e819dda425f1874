//! Sound -> mono f32, streamed out of a caged ffmpeg. The first tenth of a second is read before `voice` returns, so
//! that what is empty, too short or broken is refused before an engine is taken.

use std::path::Path;

use contract::{Pcm, SourceError, Stop, VoiceSource, Warning};

use crate::child::Child;
use crate::input::{Args, Input, Kind};
use crate::probe::{Probe, examine};
use crate::{Limits, MediaError, Tools};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VoiceSpec {
    pub rate_hz: u32,
    /// Seconds to skip.
    pub start: Option<f64>,
    /// Seconds to use.
    pub duration: Option<f64>,
}

pub struct Voice {
    pub source: Box<dyn VoiceSource>,
    /// What the container says, less `start`, at most `duration`; `None` where it does not say.
    pub seconds_estimate: Option<f64>,
    pub warnings: Vec<Warning>,
}

/// Opens the first sound track of any sound or video file.
pub fn voice(
    tools: &Tools,
    path: &Path,
    spec: VoiceSpec,
    limits: &Limits,
    stop: &Stop,
) -> Result<Voice, MediaError> {
    let input = Input::open(path, Kind::Sound, limits)?;
    let probe = examine(tools, &input, limits, stop)?;
    let Some(audio) = &probe.audio else {
        return Err(MediaError::new("no_audio", "the file has no sound track", "send a file with sound"));
    };
    let cut = Cut::new("audio", spec.start, spec.duration)?;
    let whole = audio.seconds.or(probe.seconds);
    let estimate = whole.map(|whole| cut.of(whole));
    cut.check_start("audio", whole)?;
    if let Some(seconds) = estimate.filter(|&s| s > limits.audio_seconds) {
        return Err(too_long(seconds, limits));
    }
    // a little more than the limit, so that a file which says nothing of its length is caught and not cut
    let most = spec.duration.unwrap_or(f64::MAX).min(limits.audio_seconds + 1.0);
    let (start, most, rate) = (cut.start.to_string(), most.to_string(), spec.rate_hz.to_string());
    let mut before = vec!["-vn", "-sn", "-dn", "-threads", "1"];
    if cut.start > 0.0 {
        before.extend(["-ss", &start]);
    }
    before.extend(["-t", &most]);
    let after = ["-map", "0:a:0", "-ac", "1", "-ar", &rate, "-f", "f32le", "-c:a", "pcm_f32le", "pipe:1"];
    let child = input.decode(tools, Args { before: &before, after: &after }, limits, stop)?;
    let mut reader = Reader {
        child: Some(child),
        input,
        limits: limits.clone(),
        rate_hz: spec.rate_hz,
        estimate,
        expected: estimate.filter(|_| length_is_exact(&probe)),
        delivered: 0,
        first: Vec::new(),
        rest: Vec::new(),
    };
    reader.pull_first(&cut)?;
    Ok(Voice { source: Box::new(reader), seconds_estimate: estimate, warnings: warnings(&probe) })
}

/// All of a sound at that rate.
impl From<u32> for VoiceSpec {
    fn from(rate_hz: u32) -> Self {
        Self { rate_hz, start: None, duration: None }
    }
}

/// A whole short sound at once, as `score` needs it.
pub fn audio(
    tools: &Tools,
    path: &Path,
    spec: impl Into<VoiceSpec>,
    limits: &Limits,
    stop: &Stop,
) -> Result<Pcm, MediaError> {
    let spec = spec.into();
    let mut source = voice(tools, path, spec, limits, stop)?.source;
    let mut samples = Vec::new();
    let mut chunk = vec![0.0; 16 << 10];
    while let n @ 1.. = source.read(&mut chunk)? {
        samples.extend_from_slice(&chunk[..n]);
    }
    Ok(Pcm { rate_hz: spec.rate_hz, samples })
}

/// `start` and `duration`, checked.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) start: f64,
    pub(crate) duration: Option<f64>,
}

impl Cut {
    pub(crate) fn new(noun: &str, start: Option<f64>, duration: Option<f64>) -> Result<Self, MediaError> {
        let start = start.unwrap_or(0.0);
        if !(start.is_finite() && start >= 0.0) {
            return Err(MediaError::new(
                "bad_start",
                format!("the {noun}'s start is {start} s, it must be 0 or more"),
                "correct the start",
            ));
        }
        if let Some(duration) = duration.filter(|d| !(d.is_finite() && *d > 0.0)) {
            return Err(MediaError::new(
                "bad_duration",
                format!("the {noun}'s duration is {duration} s, it must be more than 0"),
                "correct the duration",
            ));
        }
        Ok(Self { start, duration })
    }

    /// How much of `whole` seconds it leaves.
    pub(crate) fn of(&self, whole: f64) -> f64 {
        (whole - self.start).max(0.0).min(self.duration.unwrap_or(f64::MAX))
    }

    pub(crate) fn check_start(&self, noun: &str, whole: Option<f64>) -> Result<(), MediaError> {
        match whole {
            Some(whole) if self.start > 0.0 && self.start >= whole => Err(MediaError::new(
                "start_beyond_end",
                format!("the start is at {:.2} s, but the {noun} is {whole:.2} s long", self.start),
                "choose an earlier start",
            )),
            _ => Ok(()),
        }
    }
}

/// Containers whose length is counted, not estimated from a bit rate; and it must be the sound's own: a film's pictures may
/// go on after it.
fn length_is_exact(probe: &Probe) -> bool {
    let own = probe.audio.as_ref().is_some_and(|audio| audio.seconds.is_some());
    if !own && probe.video.is_some() {
        return false;
    }
    let counted = ["mov", "matroska", "flac", "ogg", "wav", "aiff", "caf"];
    probe.format.split(',').any(|name| counted.contains(&name))
}

fn warnings(probe: &Probe) -> Vec<Warning> {
    let channels = probe.audio.as_ref().map_or(0, |a| a.channels);
    if channels > 2 {
        vec![Warning::new(
            "audio_channels",
            format!("the sound has {channels} channels: they were mixed to one voice"),
        )]
    } else {
        Vec::new()
    }
}

fn too_long(seconds: f64, limits: &Limits) -> MediaError {
    MediaError::new(
        "audio_too_long",
        format!("the audio is {seconds:.1} s long, the limit is {:.1} s", limits.audio_seconds),
        "take a part with --start and --duration, or raise the limit with --max-audio-seconds",
    )
}

struct Reader {
    child: Option<Child>,
    input: Input,
    limits: Limits,
    rate_hz: u32,
    /// Seconds that should come, as the container tells.
    estimate: Option<f64>,
    /// The same, where it is known for sure.
    expected: Option<f64>,
    delivered: u64,
    /// Bytes read at the start, not yet handed out.
    first: Vec<u8>,
    /// Part of a sample left by the last read.
    rest: Vec<u8>,
}

impl Reader {
    fn pull_first(&mut self, cut: &Cut) -> Result<(), MediaError> {
        let least = (self.limits.audio_min_seconds * f64::from(self.rate_hz)).ceil().max(1.0) as usize;
        let mut bytes = vec![0; least * 4];
        let child = self.child.as_mut().expect("a reader starts with a child");
        let filled = child.fill(&mut bytes)?;
        bytes.truncate(filled - filled % 4);
        if bytes.len() == least * 4 {
            self.first = bytes;
            return Ok(());
        }
        let exit = self.child.take().map(Child::finish).transpose()?;
        let failed = exit.filter(|e| !e.well() || !e.stderr.trim().is_empty());
        if let Some(exit) = failed {
            return Err(self.input.refuse(&exit.stderr, &self.limits));
        }
        if bytes.is_empty() && cut.start > 0.0 {
            let message = format!("the audio ends before its start at {:.2} s", cut.start);
            return Err(MediaError::new("start_beyond_end", message, "choose an earlier start"));
        }
        if bytes.is_empty() {
            let hint = "check that it plays, then send it again";
            return Err(MediaError::new("audio_empty", "the audio is 0.0 s long: it holds no sound", hint));
        }
        let seconds = bytes.len() as f64 / 4.0 / f64::from(self.rate_hz);
        Err(MediaError::new(
            "audio_too_short",
            format!("the audio is {seconds:.3} s long, the least is {:.3} s", self.limits.audio_min_seconds),
            "send a longer sound",
        ))
    }

    fn end(&mut self, child: Child) -> Result<(), MediaError> {
        let exit = child.finish()?;
        let seconds = self.delivered as f64 / f64::from(self.rate_hz);
        if !exit.well() {
            return Err(self.broke_off(seconds, &crate::error::plain_line(&exit.stderr)));
        }
        // codecs end up to a frame short of what their container counts
        let missing = self.expected.map_or(0.0, |expected| expected - seconds);
        if missing > 0.5 && missing > 0.02 * seconds {
            return Err(self.broke_off(seconds, &format!("{missing:.1} s are missing")));
        }
        Ok(())
    }

    fn broke_off(&self, seconds: f64, why: &str) -> MediaError {
        MediaError::new(
            "audio_broken",
            format!("the audio breaks off after {seconds:.2} s: {why}"),
            format!(
                "send an undamaged file, or take what is there with --duration {:.1}",
                (seconds - 0.05).max(0.1)
            ),
        )
    }

    fn read_bytes(&mut self, out: &mut [u8]) -> Result<usize, MediaError> {
        if !self.first.is_empty() {
            let n = self.first.len().min(out.len());
            out[..n].copy_from_slice(&self.first[..n]);
            self.first.drain(..n);
            return Ok(n);
        }
        let carried = self.rest.len();
        out[..carried].copy_from_slice(&self.rest);
        let mut filled = carried;
        self.rest.clear();
        while filled < 4 {
            let Some(child) = &mut self.child else { return Ok(0) };
            match child.read(&mut out[filled..])? {
                0 => {
                    let child = self.child.take().expect("it was read from just now");
                    return self.end(child).map(|()| 0);
                }
                n => filled += n,
            }
        }
        let whole = filled - filled % 4;
        self.rest.extend_from_slice(&out[whole..filled]);
        Ok(whole)
    }
}

impl VoiceSource for Reader {
    fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    fn expected(&self) -> Option<u64> {
        self.estimate.map(|seconds| (seconds * f64::from(self.rate_hz)) as u64)
    }

    fn read(&mut self, out: &mut [f32]) -> Result<usize, SourceError> {
        if out.is_empty() {
            return Ok(0);
        }
        let mut bytes = [0; 16 << 10];
        let room = bytes.len().min(out.len() * 4);
        let n = self.read_bytes(&mut bytes[..room])? / 4;
        for (sample, raw) in out.iter_mut().zip(bytes[..n * 4].chunks_exact(4)) {
            let value = f32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
            *sample = if value.is_finite() { value } else { 0.0 };
        }
        self.delivered += n as u64;
        if self.delivered as f64 > (self.limits.audio_seconds + 0.5) * f64::from(self.rate_hz) {
            self.child = None;
            return Err(too_long(self.limits.audio_seconds + 0.5, &self.limits).into());
        }
        Ok(n)
    }
}
