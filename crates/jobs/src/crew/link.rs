//! The one socket between the server and a worker: messages as JSON, each after its length (u32, little endian). With the
//! assignment of a live session the end of that session's own socket travels along. Never frames, never files.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{AvatarAsset, LiveForm};
use crate::{Delivery, Ending, Event, JobId, Work};

/// Longest message of a worker, bytes; an ending is a few kilobytes.
pub const WORKER_LIMIT: usize = 1 << 20;
/// Longest message of the server, bytes; an input may be a `data:` URL.
pub const SERVER_LIMIT: usize = 1 << 30;

/// Sockets that may wait for the rest of their messages.
const MOST_FDS: usize = 64;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    Assign(Box<Parcel>),
    Cancel {
        job: JobId,
        attempt: u32,
    },
    /// End when idle.
    Leave,
}

/// An assignment; the socket of a live session comes with it.
#[derive(Serialize, Deserialize)]
pub struct Parcel {
    pub job: JobId,
    pub attempt: u32,
    pub work: Work,
    pub deliver: Delivery,
    pub avatar: Option<AvatarAsset>,
    pub live: Option<LiveForm>,
}

#[allow(clippy::large_enum_variant, reason = "one a job, never many at a time")]
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// Comes first, once.
    Ready {
        slots: usize,
        live_slots: usize,
    },
    Told {
        job: JobId,
        attempt: u32,
        event: Event,
    },
    Ended {
        job: JobId,
        attempt: u32,
        ending: Ending,
    },
}

/// Blocks while the other side does not read.
pub fn send(socket: &UnixStream, message: &impl Serialize, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - 4).map_err(|_| io::Error::other("a message is too long"))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    let mut sent = 0;
    if let Some(fd) = fd {
        let fds = [fd];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sent = sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    }
    (&mut &*socket).write_all(&bytes[sent..])
}

/// What comes in on a socket.
pub struct Inbox<'a> {
    socket: &'a UnixStream,
    /// Longest message, bytes.
    limit: usize,
    bytes: Vec<u8>,
    fds: VecDeque<OwnedFd>,
}

impl<'a> Inbox<'a> {
    pub fn new(socket: &'a UnixStream, limit: usize) -> Self {
        Self { socket, limit, bytes: Vec::new(), fds: VecDeque::new() }
    }

    /// The next message; `None` when the other side has closed. What is too long or no message is an error.
    pub fn next<M: DeserializeOwned>(&mut self) -> io::Result<Option<M>> {
        loop {
            if let Some((head, rest)) = self.bytes.split_first_chunk::<4>() {
                let length = u32::from_le_bytes(*head) as usize;
                if length > self.limit {
                    let why = format!("a message of {length} bytes, the limit is {}", self.limit);
                    return Err(io::Error::new(ErrorKind::InvalidData, why));
                }
                if let Some(message) = rest.get(..length) {
                    let message = serde_json::from_slice(message)?;
                    self.bytes.drain(..4 + length);
                    return Ok(Some(message));
                }
            }
            if self.receive()? == 0 {
                return Ok(None);
            }
        }
    }

    /// The socket that came with a message, in the order of the messages that announce one.
    pub fn take_fd(&mut self) -> Option<OwnedFd> {
        self.fds.pop_front()
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 << 10];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut chunk)];
        let read = loop {
            match recvmsg(self.socket.as_fd(), &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(read) => break read.bytes,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET) => break 0,
                Err(error) => return Err(error.into()),
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if self.fds.len() > MOST_FDS {
            return Err(io::Error::new(ErrorKind::InvalidData, "sockets that belong to no message"));
        }
        self.bytes.extend_from_slice(&chunk[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn messages_come_whole_with_their_sockets_and_nothing_too_long_does() {
        let (here, there) = UnixStream::pair().unwrap();
        let (carried, kept) = UnixStream::pair().unwrap();
        let cancel = |attempt| ToWorker::Cancel { job: "j".repeat(20_000), attempt };
        send(&here, &cancel(1), None).unwrap();
        send(&here, &cancel(2), Some(carried.as_fd())).unwrap();
        drop(carried);
        let mut inbox = Inbox::new(&there, SERVER_LIMIT);
        for expected in [1, 2] {
            match inbox.next::<ToWorker>().unwrap() {
                Some(ToWorker::Cancel { attempt, .. }) => assert_eq!(attempt, expected),
                _ => panic!("another message"),
            }
        }
        let arrived = UnixStream::from(inbox.take_fd().expect("it came with the second message"));
        (&kept).write_all(b"x").unwrap();
        assert_eq!((&arrived).read(&mut [0; 4]).unwrap(), 1);

        send(&there, &FromWorker::Ready { slots: 1, live_slots: 2 }, None).unwrap();
        assert!(Inbox::new(&here, 5).next::<FromWorker>().is_err(), "longer than the limit");
        (&there).write_all(b"\x02\0\0\0{]").unwrap();
        let mut inbox = Inbox::new(&here, WORKER_LIMIT);
        assert!((0..9).any(|_| inbox.next::<FromWorker>().is_err()), "no message");
        drop(there);
        assert!(matches!(Inbox::new(&here, 5).next::<FromWorker>(), Ok(None)));
    }
}
