//! The take's own sound, from the user's file to the encoder: a caged decoder writes PCM at its native rate into a
//! pipe, a thread moves it on into the encoder's pipe (`splice`: the samples never enter this process), exactly as much
//! as the picture is long. So sound and picture end together, whatever the lengths of the files are.

use std::io::{ErrorKind, PipeWriter, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use contract::{Fps, Stop, Turns};
use rustix::event::PollFlags;
use rustix::pipe::{SpliceFlags, splice};

use crate::child::{ready, widen};
use crate::choir::{Choir, Decoder, Shape};
use crate::error::machine;
use crate::{Limits, MediaError, Tools};

/// Which sound the take gets: the original files, not what an engine heard of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Soundtrack {
    /// At least one.
    pub tracks: Vec<Track>,
    pub turns: Turns,
}

/// A file, or a part of it, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    pub path: PathBuf,
    pub start: Option<f64>,
    pub duration: Option<f64>,
}

impl From<Track> for Soundtrack {
    fn from(track: Track) -> Self {
        Self { tracks: vec![track], turns: Turns::Together }
    }
}

/// Rates AAC has; ffmpeg takes the nearest.
const NATIVE: &str = "aformat=sample_fmts=flt:channel_layouts=mono|stereo:\
    sample_rates=48000|44100|32000|24000|22050|16000|12000|11025|8000";
/// Of several tracks, which are added up.
const MIXABLE: &str = "aformat=sample_fmts=flt:channel_layouts=stereo:sample_rates=48000";
/// The picture may be this far ahead of the sound before it waits, whichever is more.
const LEAD_SECONDS: f64 = 2.0;
const LEAD_FRAMES: u64 = 32;

pub(crate) struct SoundPump {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    kill: Box<dyn Fn() + Send + Sync>,
    fps: Fps,
    idle: Duration,
    stop: Stop,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Frames the sound may cover by now.
    frames: u64,
    /// Frames it covers.
    covered: u64,
    /// `frames` is final.
    complete: bool,
    outcome: Option<Result<(), MediaError>>,
}

impl SoundPump {
    /// Starts the decoder and the thread; an AU stream comes out of `into`.
    pub(crate) fn start(
        tools: &Tools,
        track: &Soundtrack,
        (fps, into): (Fps, PipeWriter),
        limits: &Limits,
        stop: &Stop,
    ) -> Result<Self, MediaError> {
        let filter = if track.tracks.len() == 1 { NATIVE } else { MIXABLE };
        let decoders = track.tracks.iter().map(|track| Decoder::start(tools, (track, filter), limits, stop));
        let decoders = decoders.collect::<Result<Vec<_>, _>>()?;
        widen(Some(into.as_fd()));
        let killers: Vec<_> = decoders.iter().map(|decoder| decoder.child.killer()).collect();
        let kill = Box::new(move || killers.iter().for_each(|kill| kill()));
        let shared = Arc::new(Shared::default());
        let choir = Choir { decoders, turns: track.turns };
        let pump = Pump { choir, into, fps, limits: limits.clone(), shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new().name("media-sound".into()).spawn(move || pump.run());
        let thread = thread.map_err(|e| machine("cannot start a thread", &e))?;
        Ok(Self { shared, thread: Some(thread), kill, fps, idle: limits.idle_timeout, stop: stop.clone() })
    }

    /// `frames` pictures exist: the sound may come that far. Waits while the sound is far behind.
    pub(crate) fn grant(&self, frames: u64) -> Result<(), MediaError> {
        let lead = ((self.fps.as_f64() * LEAD_SECONDS).ceil() as u64).max(LEAD_FRAMES);
        let mut state = self.shared.lock();
        state.frames = frames;
        self.shared.changed.notify_all();
        while state.outcome.is_none() && state.frames.saturating_sub(state.covered) > lead {
            if self.stop.is_stopped() {
                return Err(MediaError::Stopped);
            }
            let (next, waited) = self.shared.wait(state, self.idle);
            state = next;
            if waited.timed_out() {
                return Err(silent(self.idle));
            }
        }
        state.failure()
    }

    /// There are `frames` pictures, all at once: waits until the sound is as long as they are.
    pub(crate) fn complete_at(self, frames: u64) -> Result<(), MediaError> {
        self.shared.lock().frames = frames;
        self.complete()
    }

    /// No more pictures come: waits until the sound is as long as they are.
    pub(crate) fn complete(mut self) -> Result<(), MediaError> {
        {
            let mut state = self.shared.lock();
            state.complete = true;
            self.shared.changed.notify_all();
            let mut covered = state.covered;
            while state.outcome.is_none() {
                let (next, waited) = self.shared.wait(state, self.idle);
                state = next;
                if waited.timed_out() && state.outcome.is_none() && state.covered == covered {
                    drop(state);
                    (self.kill)();
                    // it may be held by the encoder's pipe, which is the caller's to end: the thread ends with it
                    drop(self.thread.take());
                    return Err(silent(self.idle));
                }
                covered = state.covered;
            }
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.shared.lock().failure()
    }
}

impl Drop for SoundPump {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.lock().complete = true;
            self.shared.changed.notify_all();
            // the encoder is gone by now, so a write into its pipe fails and the thread ends
            (self.kill)();
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Duration,
    ) -> (MutexGuard<'a, State>, std::sync::WaitTimeoutResult) {
        self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn failure(&self) -> Result<(), MediaError> {
        match &self.outcome {
            Some(Err(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

fn silent(idle: Duration) -> MediaError {
    let seconds = idle.as_secs_f64();
    let message = format!("the sound's decoder gave nothing for {seconds:.0} s, the limit is {seconds:.0} s");
    MediaError::new("media_timeout", message, "convert the sound to WAV first")
}

/// The thread's side.
struct Pump {
    choir: Choir,
    into: PipeWriter,
    fps: Fps,
    limits: Limits,
    shared: Arc<Shared>,
}

impl Pump {
    fn run(mut self) {
        let outcome = self.pump();
        let shared = Arc::clone(&self.shared);
        // the encoder's sound ends before anyone is told, so that whoever waits finds it complete
        drop(self);
        let mut state = shared.lock();
        state.outcome = Some(outcome);
        shared.changed.notify_all();
    }

    fn pump(&mut self) -> Result<(), MediaError> {
        let shape = self.choir.shape(&self.limits)?;
        // ours, not the decoder's: the encoder is not caged and must not parse what a user's file may have shaped
        if self.into.write_all(&au_header(shape)).is_err() {
            return Ok(()); // the encoder is gone and tells why itself
        }
        let sample_bytes = u64::from(shape.channels) * 4;
        let mut sent = 0;
        let mut decoding = true;
        loop {
            let (frames, complete) = self.next_grant(sent, shape);
            let target = samples_in(frames, self.fps, shape.rate_hz) * sample_bytes;
            while sent < target {
                let room = (target - sent).min(1 << 16) as usize;
                let moved = if decoding { self.forward(room)? } else { self.pad(room) };
                match moved {
                    Some(0) => decoding = self.choir.ended(sent, &self.limits)?,
                    Some(n) => sent += n as u64,
                    None => return Ok(()),
                }
            }
            let mut state = self.shared.lock();
            state.covered = frames;
            self.shared.changed.notify_all();
            if complete && state.frames == frames {
                return Ok(());
            }
        }
    }

    /// Waits until more may be sent. A second at a time, so that whoever waits sees it come.
    fn next_grant(&self, sent: u64, shape: Shape) -> (u64, bool) {
        let second = self.fps.as_f64().ceil().max(1.0) as u64;
        let mut state = self.shared.lock();
        loop {
            let frames = state.frames.min(state.covered + second);
            let target = samples_in(frames, self.fps, shape.rate_hz) * u64::from(shape.channels) * 4;
            if state.complete || target > sent {
                return (frames, state.complete);
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Bytes moved; 0 at the decoders' end, `None` when the encoder is gone.
    fn forward(&mut self, room: usize) -> Result<Option<usize>, MediaError> {
        let Some(only) = self.choir.only() else { return self.mixed(room) };
        let Some(from) = only.stdout() else { return Ok(Some(0)) };
        if !ready(from, PollFlags::IN, self.limits.idle_timeout) {
            return Err(silent(self.limits.idle_timeout));
        }
        match splice(from, None, self.into.as_fd(), None, room, SpliceFlags::MOVE) {
            Ok(n) => Ok(Some(n)),
            Err(rustix::io::Errno::PIPE) => Ok(None),
            // some kernels in some containers refuse it: then by hand
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => self.mixed(room),
            Err(error) => Err(machine("cannot move sound between processes", &error.into())),
        }
    }

    fn mixed(&mut self, room: usize) -> Result<Option<usize>, MediaError> {
        let mut chunk = vec![0; room];
        let n = self.choir.read(&mut chunk)?;
        Ok(self.into.write_all(&chunk[..n]).is_ok().then_some(n))
    }

    /// Silence after the sound's end.
    fn pad(&mut self, room: usize) -> Option<usize> {
        let zeros = [0; 1 << 16];
        loop {
            match self.into.write(&zeros[..room]) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                outcome => return outcome.ok(),
            }
        }
    }
}

/// Samples that last as long as `frames` frames, to the nearest.
fn samples_in(frames: u64, fps: Fps, rate_hz: u32) -> u64 {
    let num = u128::from(frames) * u128::from(fps.den()) * u128::from(rate_hz);
    let den = u128::from(fps.num());
    ((num * 2 + den) / (den * 2)) as u64
}

/// The header of an AU file of unknown length in big-endian f32. AU, because ffmpeg takes its end, wherever it comes,
/// for an end, and WAV's for damage.
fn au_header(shape: Shape) -> [u8; 32] {
    let words = [0x2e73_6e64, 32, u32::MAX, 6, shape.rate_hz, shape.channels, 0, 0];
    let mut out = [0; 32];
    for (bytes, word) in out.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&u32::to_be_bytes(word));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_as_long_as_the_picture() {
        let ntsc = Fps::new(30_000, 1001).unwrap();
        assert_eq!(samples_in(25, Fps::whole(25), 48_000), 48_000);
        assert_eq!(samples_in(30_000, ntsc, 48_000), 48_048_000);
        assert_eq!(samples_in(1, ntsc, 44_100), 1471); // 1471.47
    }

    #[test]
    fn the_header_is_a_plain_au_header() {
        let header = au_header(Shape { rate_hz: 44_100, channels: 2 });
        assert_eq!(&header[..8], b".snd\0\0\0\x20");
        assert_eq!(&header[16..24], [0, 0, 0xac, 0x44, 0, 0, 0, 2]);
    }
}
