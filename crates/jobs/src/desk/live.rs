//! A live session as its reader sees it: packets from the worker's socket, `[u32 LE length][bytes]`, the last one empty. The
//! kernel does the back-pressure; hanging up is dropping it. A voice goes the other way in the same form.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::{Inner, upload};
use crate::dispatch::Ask;
use crate::record::settle::server_failure;
use crate::{Blame, Ending, Failure, JobId};

/// Longest packet, in bytes: a JPEG or a piece of an MP4 is far below.
const PACKET_LIMIT: usize = 16 << 20;
/// Bytes of a voice in one packet; even, so that no sample is cut.
const VOICE_PIECE: usize = 64 << 10;
/// How long a broken stream waits to be told why.
const REASON_WAIT: Duration = Duration::from_secs(10);

/// A live session under way. Dropping it is hanging up: the session is canceled.
pub struct Live {
    pub id: JobId,
    /// Not what keeps the desk alive.
    inner: Weak<Inner>,
    asks: mpsc::UnboundedSender<Ask>,
    stall: Duration,
    stream: OwnedReadHalf,
    /// Open as long as the session: its end would be hanging up.
    voice: Option<OwnedWriteHalf>,
    received: BytesMut,
    ending: Option<oneshot::Receiver<Ending>>,
    over: bool,
    _carried: Option<Carried>,
}

/// Files that an order for a session brought: they go with it.
pub(super) struct Carried {
    inner: Weak<Inner>,
    keys: Vec<String>,
}

impl Carried {
    pub fn new(inner: &Arc<Inner>, keys: Vec<String>) -> Self {
        Self { inner: Arc::downgrade(inner), keys }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        let (Some(inner), keys) = (self.inner.upgrade(), std::mem::take(&mut self.keys)) else { return };
        // a drop cannot wait; outside a runtime (the server is gone) retention does it
        if !keys.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { upload::put_back(&inner, &keys).await });
        }
    }
}

/// The two ends: ours, and the one that the worker gets.
pub fn socket() -> std::io::Result<(UnixStream, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let ours = std::os::unix::net::UnixStream::from(ours);
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}

impl Live {
    pub(crate) fn new(
        inner: &Arc<Inner>,
        id: JobId,
        stream: UnixStream,
        ending: oneshot::Receiver<Ending>,
    ) -> Self {
        let (stream, voice) = stream.into_split();
        Self {
            id,
            inner: Arc::downgrade(inner),
            asks: inner.asks.clone(),
            stall: inner.stall,
            stream,
            voice: Some(voice),
            received: BytesMut::new(),
            ending: Some(ending),
            over: false,
            _carried: None,
        }
    }

    pub(super) fn with(mut self, carried: Carried) -> Self {
        self._carried = Some(carried);
        self
    }

    /// With the way in for its voice (`VoiceSpec::Arriving`).
    ///
    /// # Panics
    /// When it was taken before.
    pub fn with_voice(mut self) -> (Self, LiveVoice) {
        let voice = self.voice.take().expect("taken once, by whoever opened the session");
        (self, LiveVoice(voice))
    }

    /// The next packet: a JPEG, or a piece of MP4. `None`: the end; `Err`: it broke off, and why.
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            if self.over {
                return None;
            }
            match self.packet() {
                Ok(Some(packet)) if packet.is_empty() => self.over = true,
                Ok(Some(packet)) => return Some(Ok(packet)),
                Ok(None) => {
                    let stall = self.stall;
                    match tokio::time::timeout(stall, self.stream.read_buf(&mut self.received)).await {
                        Ok(Ok(1..)) => {}
                        Ok(Ok(0) | Err(_)) => return self.broken_off().await,
                        // its stages may go on while there is no picture yet: weights are being loaded
                        Err(_) if self.is_heard_of() => {}
                        Err(_) => {
                            let message = format!("the session told nothing for {} s", stall.as_secs_f64());
                            return self.give_up(server_failure("stalled", &message));
                        }
                    }
                }
                Err(failure) => return self.give_up(failure),
            }
        }
    }

    fn is_heard_of(&self) -> bool {
        self.inner.upgrade().is_some_and(|desk| desk.progress.heard_within(&self.id, self.stall))
    }

    fn packet(&mut self) -> Result<Option<Bytes>, Failure> {
        let Some((head, rest)) = self.received.split_first_chunk::<4>() else {
            self.received.reserve(64 << 10);
            return Ok(None);
        };
        let length = u32::from_le_bytes(*head) as usize;
        if length > PACKET_LIMIT {
            let message = format!("a packet of {length} bytes came, the limit is {PACKET_LIMIT}");
            return Err(server_failure("internal", &message));
        }
        if rest.len() < length {
            let missing = length - rest.len();
            self.received.reserve(missing);
            return Ok(None);
        }
        self.received.advance(4);
        Ok(Some(self.received.split_to(length).freeze()))
    }

    async fn broken_off(&mut self) -> Option<Result<Bytes, Failure>> {
        let unknown = || server_failure("worker_died", "the session broke off");
        let Some(ending) = &mut self.ending else { return self.give_up(unknown()) };
        let told = tokio::time::timeout(REASON_WAIT, ending).await;
        self.ending = None;
        let failure = match told {
            Ok(Ok(Ending::Failed(failure))) => failure,
            Ok(Ok(Ending::Canceled)) => Failure {
                blame: Blame::Client,
                code: "canceled".to_owned(),
                message: "the session was canceled".to_owned(),
                hint: String::new(),
            },
            Ok(Ok(Ending::Made(_) | Ending::Prepared(_)) | Err(_)) | Err(_) => unknown(),
        };
        self.give_up(failure)
    }

    fn give_up(&mut self, failure: Failure) -> Option<Result<Bytes, Failure>> {
        self.hang_up();
        Some(Err(failure))
    }

    fn hang_up(&mut self) {
        if !self.over {
            self.over = true;
            // if nobody listens the desk is closed, and its sessions with it
            let _ = self.asks.send(Ask::HangUp(self.id.clone()));
        }
    }
}

/// Where the voice of a session is said: its rate, then sound, then its end. Dropped before the session's end, it hangs up.
pub struct LiveVoice(OwnedWriteHalf);

impl LiveVoice {
    /// Comes first, unless the voice ends without a sound.
    pub async fn begin(&mut self, rate_hz: u32) -> std::io::Result<()> {
        self.packet(&rate_hz.to_le_bytes()).await
    }

    /// s16le, mono. Waits while the engine has enough to do.
    pub async fn say(&mut self, sound: &[u8]) -> std::io::Result<()> {
        for piece in sound.chunks(VOICE_PIECE).filter(|piece| !piece.is_empty()) {
            self.packet(piece).await?;
        }
        Ok(())
    }

    /// No more of it will come.
    pub async fn end(&mut self) -> std::io::Result<()> {
        self.packet(&[]).await
    }

    async fn packet(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(&(bytes.len() as u32).to_le_bytes()).await?;
        self.0.write_all(bytes).await
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.hang_up();
    }
}
