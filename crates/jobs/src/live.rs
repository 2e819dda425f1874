//! A live session's way out: packets `[length: u32, little endian][bytes]` on a socket of its own, the last of length 0.
//! The kernel does the back-pressure, and a reader that hangs up stops the job. A stream without its last packet broke off.
//! The other way comes, in the same form, the voice of a session that speaks while it is spoken to.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use contract::{Complaint, Stop, StopGuard, VideoFormat};
use media::{Jpeg, MediaError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendFlags, send};

use crate::crew::{LiveForm, Pace};
use crate::take::{Frames, Next};

/// Silence of the engine after which the last picture is sent again: there are clients that hang up after 5 s.
const REPEAT_AFTER: Duration = Duration::from_secs(2);
/// What the kernel may hold for a reader in real time, bytes: more would be pictures of the past.
const HELD_BYTES: usize = 64 << 10;
/// How long a reader may take nothing at all before it counts as gone: its place is somebody else's.
const STALL: Duration = Duration::from_secs(60);

/// The writing end. Dropped without `end`, the reader sees that it broke off.
pub struct Live {
    pub form: LiveForm,
    out: Packets,
    ended: Arc<AtomicBool>,
    voice: Option<Receiver<Vec<u8>>>,
    _breaker: StopGuard,
}

/// Pieces of a voice that wait for the engine; then the speaker waits.
const HEARD_AHEAD: usize = 16;
/// Longest piece of a voice, bytes.
const PIECE_LIMIT: usize = 1 << 20;

impl Live {
    pub fn open(form: LiveForm, stream: OwnedFd, stop: &Stop) -> Self {
        let out = Packets { socket: Arc::new(stream.into()), bytes: Arc::default(), stall: STALL };
        let ended = Arc::new(AtomicBool::new(false));
        let (speak, voice) = sync_channel(HEARD_AHEAD);
        let guard = {
            let (socket, stop, ended) = (Arc::clone(&out.socket), stop.clone(), Arc::clone(&ended));
            std::thread::Builder::new().name("live-guard".into()).spawn(move || {
                listen(&socket, &speak);
                drop(speak);
                if !ended.load(Ordering::SeqCst) {
                    stop.stop();
                }
            })
        };
        if let Err(error) = guard {
            tracing::warn!(%error, "no thread could be started: a hang-up will be noticed at the next frame");
        }
        let breaker = stop.on_stop({
            let socket = Arc::clone(&out.socket);
            move || drop(socket.shutdown(Shutdown::Both))
        });
        Self { form, out, ended, voice: Some(voice), _breaker: breaker }
    }

    /// What the other side says, to be taken once; its end is an empty piece.
    pub fn voice(&mut self) -> Option<Receiver<Vec<u8>>> {
        self.voice.take()
    }

    pub fn packets(&self) -> Packets {
        self.out.clone()
    }

    /// The clean end; returns how many bytes were sent.
    pub fn end(self) -> Result<u64, MediaError> {
        self.ended.store(true, Ordering::SeqCst);
        self.out.send(&[]).map_err(|_| MediaError::Stopped)?;
        Ok(self.out.bytes.load(Ordering::Relaxed))
    }
}

/// Hands on what the other side says, until it hangs up.
fn listen(mut socket: &UnixStream, speak: &SyncSender<Vec<u8>>) {
    let mut length = [0; 4];
    while socket.read_exact(&mut length).is_ok() {
        let length = u32::from_le_bytes(length) as usize;
        let mut piece = vec![0; length.min(PIECE_LIMIT)];
        if length > PIECE_LIMIT || socket.read_exact(&mut piece).is_err() {
            return;
        }
        // where nobody listens it is read all the same: the end of the socket comes after it
        let _ = speak.send(piece);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // both ways: the guard's thread holds the socket too, and wakes up by this
        let _ = self.out.socket.shutdown(Shutdown::Both);
    }
}

/// Clones write to one socket.
#[derive(Clone)]
pub struct Packets {
    socket: Arc<UnixStream>,
    bytes: Arc<AtomicU64>,
    stall: Duration,
}

impl Packets {
    /// Blocks until the reader has taken it, or the kernel for it; not for a reader that takes nothing.
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.packet(bytes).flush(self, Patience::WhileItMoves)
    }

    fn packet(&self, bytes: &[u8]) -> Packet {
        let mut framed = Vec::with_capacity(4 + bytes.len());
        framed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        framed.extend_from_slice(bytes);
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Packet { bytes: framed, sent: 0, moved: Instant::now() }
    }
}

/// A piece of a fragmented MP4 is a packet.
impl Write for Packets {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            self.send(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One on its way: it leaves whole, however slowly.
struct Packet {
    bytes: Vec<u8>,
    sent: usize,
    /// When the kernel last took some of it.
    moved: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    None,
    WhileItMoves,
}

impl Packet {
    fn is_gone(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Hands the kernel what it takes.
    fn flush(&mut self, out: &Packets, patience: Patience) -> io::Result<()> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        while !self.is_gone() {
            match send(out.socket.as_fd(), &self.bytes[self.sent..], flags) {
                Ok(n) => {
                    self.sent += n;
                    self.moved = Instant::now();
                }
                Err(rustix::io::Errno::AGAIN) => {
                    let rest = out.stall.saturating_sub(self.moved.elapsed());
                    if rest.is_zero() {
                        return Err(io::Error::new(ErrorKind::BrokenPipe, "the reader takes nothing"));
                    }
                    match patience {
                        Patience::None => return Ok(()),
                        Patience::WhileItMoves => wait(out, PollFlags::OUT, rest)?,
                    };
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn wait(out: &Packets, wanted: PollFlags, at_most: Duration) -> io::Result<PollFlags> {
    let mut fds = [PollFd::from_borrowed_fd(out.socket.as_fd(), wanted)];
    let at_most = Timespec::try_from(at_most).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&at_most)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(fds[0].revents()),
        Err(error) => Err(error.into()),
    }
}

/// Writes frames as JPEGs, one a packet.
pub fn jpegs(
    out: &Packets,
    (pace, quality): (Pace, u8),
    format: VideoFormat,
    frames: &Frames,
) -> Result<(), MediaError> {
    let mut encoder = Jpeg::new(quality)?;
    match pace {
        Pace::AsFastAsPossible => {
            while let Some(frame) = frames.next()? {
                out.send(encoder.encode(&frame)?).map_err(hung_up)?;
            }
            Ok(())
        }
        Pace::RealTime => in_real_time(out, &mut encoder, format, frames),
    }
}

fn in_real_time(
    out: &Packets,
    encoder: &mut Jpeg,
    format: VideoFormat,
    frames: &Frames,
) -> Result<(), MediaError> {
    // a limit that cannot be set leaves the kernel's own, which is a few frames longer
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&*out.socket, HELD_BYTES);
    let tick = Duration::from_secs_f64(1.0 / format.fps.as_f64());
    let mut clock = None;
    let (mut shown, mut sent, mut late) = (0_u64, 0_u64, 0_u64);
    let mut packet = Packet { bytes: Vec::new(), sent: 0, moved: Instant::now() };
    loop {
        // an unfinished packet is not left lying while the engine takes its time
        let patience = if packet.is_gone() { REPEAT_AFTER } else { tick.min(REPEAT_AFTER) };
        let frame = match frames.within(patience)? {
            Next::Frame(frame) => frame,
            Next::Cut(_) => continue,
            Next::Silence => {
                if packet.is_gone() && sent > 0 {
                    (packet.sent, packet.moved) = (0, Instant::now());
                }
                packet.flush(out, Patience::None).map_err(hung_up)?;
                continue;
            }
            Next::End => break,
        };
        let begun = *clock.get_or_insert_with(Instant::now);
        let due = begun + Duration::from_secs_f64(format.fps.seconds_at(shown));
        shown += 1;
        until(due, out, &mut packet)?;
        late += u64::from(Instant::now() > due + tick);
        if packet.is_gone() {
            packet = out.packet(encoder.encode(&frame)?);
            packet.flush(out, Patience::None).map_err(hung_up)?;
            sent += 1;
        }
    }
    tracing::debug!(shown, sent, late, "a live session in real time has ended");
    packet.flush(out, Patience::WhileItMoves).map_err(hung_up)
}

/// Waits for a frame's time; meanwhile what is left of the last packet leaves as the reader takes it.
fn until(due: Instant, out: &Packets, packet: &mut Packet) -> Result<(), MediaError> {
    loop {
        let rest = due.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return packet.flush(out, Patience::None).map_err(hung_up);
        }
        let wanted = if packet.is_gone() { PollFlags::empty() } else { PollFlags::OUT };
        if wait(out, wanted, rest).map_err(hung_up)?.intersects(PollFlags::HUP | PollFlags::ERR) {
            return Err(MediaError::Stopped);
        }
        packet.flush(out, Patience::None).map_err(hung_up)?;
    }
}

/// A reader who leaves cancels; anything else is this machine's trouble.
fn hung_up(error: io::Error) -> MediaError {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => MediaError::Stopped,
        _ => MediaError::Rejected(Complaint::new(
            "machine_failed",
            format!("a live session cannot be written: {error}"),
            "",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_takes_nothing_is_gone_and_a_slow_one_is_not() {
        let stall = Duration::from_millis(500);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let out = Packets { socket: Arc::new(ours), bytes: Arc::default(), stall };
        let reader = std::thread::spawn(move || {
            let mut taken = 0;
            // slowly, but something comes and goes all the time
            while taken < 2 << 20 {
                std::thread::sleep(Duration::from_millis(20));
                taken += theirs.read(&mut vec![0; 64 << 10]).unwrap();
            }
            (taken, theirs)
        });
        let begun = Instant::now();
        let packet = vec![7; 1 << 20];
        let ended = loop {
            assert!(begun.elapsed() < Duration::from_secs(30), "it waits for ever");
            if let Err(error) = out.send(&packet) {
                break error;
            }
        };
        assert_eq!(ended.kind(), ErrorKind::BrokenPipe, "{ended}");
        assert!(out.bytes.load(Ordering::Relaxed) > 2 << 20, "the slow reader was served");
        // in real time, where packets are not waited for
        let mut packet = out.packet(&packet);
        packet.flush(&out, Patience::None).unwrap();
        std::thread::sleep(stall);
        assert!(matches!(packet.flush(&out, Patience::None).map_err(hung_up), Err(MediaError::Stopped)));
        drop(reader.join().unwrap());
    }
}
