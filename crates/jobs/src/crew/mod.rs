//! The workers as the desk sees them: child processes, one a device, each with a number of slots. The desk assigns,
//! cancels and kills; the crew tells what happens. Nothing here touches the record.

pub(crate) mod link;
mod stand_in;
mod supervisor;

use std::os::fd::OwnedFd;

pub use stand_in::give_way;
pub use supervisor::{WORKER_FD, WorkerCommand, Workers};

use crate::{Delivery, Ending, Event, JobId, Work};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

/// One attempt at one job.
#[derive(Debug)]
pub struct Assignment {
    pub job: JobId,
    /// Fences what a late worker says: only the newest attempt is heard.
    pub attempt: u32,
    pub work: Work,
    pub deliver: Delivery,
    pub form: Form,
    /// The avatar that the work names, as it was when the attempt began: a newer one of that name is not this one.
    pub avatar: Option<AvatarAsset>,
}

/// A prepared person, in the store.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AvatarAsset {
    /// Folder of its parts.
    pub key: String,
    pub engine: String,
    pub source_sha256: String,
}

#[derive(Debug)]
pub enum Form {
    /// A file in the store.
    File,
    /// Packets on a socket, as they are made.
    Live { live: LiveForm, stream: OwnedFd },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveForm {
    /// One packet is one JPEG.
    Jpeg { pace: Pace, quality: u8 },
    /// Packets are pieces of one fragmented MP4, with sound.
    Mp4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// At the frame rate; a reader that is too slow loses frames, never memory.
    RealTime,
    /// As fast as they are made and read; no frame is lost.
    AsFastAsPossible,
}

/// What the crew tells the desk, in the order in which it happens.
#[allow(clippy::large_enum_variant, reason = "one a job, never many at a time")]
#[derive(Debug)]
pub enum CrewEvent {
    /// A worker is up: `slots` jobs and `live_slots` live sessions at a time.
    Ready {
        worker: WorkerId,
        slots: usize,
        live_slots: usize,
    },
    /// A worker is gone, and whatever it was doing with it. Its successor will be announced by `Ready`.
    Gone {
        worker: WorkerId,
        why: String,
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

/// The workers. Methods never block for long; results come as `CrewEvent`s.
pub trait Crew: Send + Sync {
    /// Hands the job to the worker; if that fails the worker is going, and `Gone` follows.
    fn assign(&self, worker: WorkerId, assignment: Assignment);
    fn cancel(&self, worker: WorkerId, job: &JobId, attempt: u32);
    /// Kills the worker; `Gone` follows.
    fn kill(&self, worker: WorkerId, why: &str);
    /// No new workers after this; the ones there are end when idle, at the latest after `grace`.
    fn dismiss(&self, grace: std::time::Duration);
}
