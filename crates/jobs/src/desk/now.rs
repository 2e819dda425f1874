//! What is known between two writes to the record: how far the running jobs are, how long the last ones took, and the counts
//! for health and metrics.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{JobId, ProgressView};

/// Jobs whose duration counts for an estimate.
const REMEMBERED: usize = 32;

/// For health, `/metrics` and the start screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    pub queued: u64,
    pub running: u64,
    pub live: u64,
    pub workers: u64,
    pub slots: u64,
}

#[derive(Default)]
pub struct Running {
    told: Mutex<HashMap<JobId, Told>>,
    /// The last picture of each, and its number.
    shown: Mutex<HashMap<JobId, (u64, Bytes)>>,
}

#[derive(Clone, Copy)]
struct Told {
    attempt: u32,
    progress: ProgressView,
    at: Instant,
}

impl Running {
    pub fn tell(&self, id: &str, attempt: u32, progress: ProgressView) {
        lock(&self.told).insert(id.to_owned(), Told { attempt, progress, at: Instant::now() });
    }

    pub fn get(&self, id: &str, attempt: u32) -> Option<ProgressView> {
        lock(&self.told).get(id).filter(|told| told.attempt == attempt).map(|told| told.progress)
    }

    pub fn heard_within(&self, id: &str, span: Duration) -> bool {
        lock(&self.told).get(id).is_some_and(|told| told.at.elapsed() < span)
    }

    pub fn show(&self, id: &str, frame: u64, jpeg: Bytes) {
        lock(&self.shown).insert(id.to_owned(), (frame, jpeg));
    }

    pub fn preview(&self, id: &str) -> Option<(u64, Bytes)> {
        lock(&self.shown).get(id).cloned()
    }

    /// What an attempt that does not count any more has told, unless another of the job tells here by now.
    pub fn forget_attempt(&self, id: &str, attempt: u32) {
        if lock(&self.told).get(id).is_none_or(|told| told.attempt == attempt) {
            self.forget(id);
        }
    }

    pub fn forget(&self, id: &str) {
        lock(&self.told).remove(id);
        lock(&self.shown).remove(id);
    }
}

pub struct Counts {
    vitals: Mutex<Vitals>,
    durations: Mutex<VecDeque<Duration>>,
}

impl Counts {
    /// Told from the first on: a gauge that is not there is no zero to whoever reads it.
    pub fn new() -> Self {
        let counts = Self { vitals: Mutex::default(), durations: Mutex::default() };
        counts.set(Vitals::default());
        counts
    }

    pub fn vitals(&self) -> Vitals {
        lock(&self.vitals).clone()
    }

    pub fn set(&self, vitals: Vitals) {
        metrics::gauge!("talkie_queue_depth").set(vitals.queued as f64);
        metrics::gauge!("talkie_jobs_running").set(vitals.running as f64);
        metrics::gauge!("talkie_live_sessions").set(vitals.live as f64);
        metrics::gauge!("talkie_workers").set(vitals.workers as f64);
        metrics::gauge!("talkie_slots").set(vitals.slots as f64);
        *lock(&self.vitals) = vitals;
    }

    pub fn took(&self, duration: Duration) {
        let mut durations = lock(&self.durations);
        if durations.len() == REMEMBERED {
            durations.pop_front();
        }
        durations.push_back(duration);
    }

    /// When a place is likely to come free.
    pub fn retry_s(&self) -> u32 {
        let usual = self.between_ends().unwrap_or(Duration::from_secs(10)); // nothing has ended yet
        usual.as_secs_f64().ceil().clamp(1.0, 600.0) as u32
    }

    /// When a job with so many before it is likely to begin; `None` while nothing is known of how long jobs take.
    pub fn wait(&self, before: u64) -> Option<Duration> {
        Some(self.between_ends()?.saturating_mul(u32::try_from(before + 1).unwrap_or(u32::MAX)))
    }

    /// The slots end one job each in the time a job takes.
    fn between_ends(&self) -> Option<Duration> {
        let durations = lock(&self.durations);
        let mean = durations.iter().sum::<Duration>().checked_div(durations.len() as u32)?;
        Some(mean / self.vitals().slots.max(1) as u32)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // what is under these locks is replaced whole
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_as_long_as_the_jobs_before_it_took() {
        let counts = Counts::new();
        assert_eq!((counts.wait(0), counts.retry_s()), (None, 10));
        counts.set(Vitals { slots: 2, ..Vitals::default() });
        counts.took(Duration::from_secs(6));
        counts.took(Duration::from_secs(10));
        assert_eq!(counts.wait(0), Some(Duration::from_secs(4)));
        assert_eq!((counts.wait(4), counts.retry_s()), (Some(Duration::from_secs(20)), 4));
    }
}
