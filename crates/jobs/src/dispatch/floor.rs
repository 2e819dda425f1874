//! The workers and their places, and who may take the next one. A job that has cost a worker before works alone, so that no
//! bystander is blamed for what it does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::JobId;
use crate::crew::WorkerId;

/// How long a suspect waits for live sessions to end; after that it works beside them. Jobs are always waited for: an attempt of
/// theirs would be blamed, a session is not tried again anyway.
const LIVE_PATIENCE: Duration = Duration::from_secs(60);

/// One attempt at one job.
pub type Key = (JobId, u32);

#[derive(Default)]
pub struct Floor {
    posts: BTreeMap<WorkerId, Post>,
    /// Kept free of new work until it is empty and a suspect can have it.
    reserved: Option<WorkerId>,
    /// Since when a suspect waits.
    waits: Option<Instant>,
    /// A suspect wanted a place in this round.
    wanted: bool,
    /// It waits for live sessions no longer.
    impatient: bool,
}

#[derive(Default)]
struct Post {
    slots: usize,
    live_slots: usize,
    files: BTreeSet<Key>,
    live: BTreeSet<Key>,
    /// A suspect works here.
    alone: bool,
    /// It is being killed, for what these did.
    culprits: Vec<(Key, String)>,
}

impl Post {
    fn is_idle(&self) -> bool {
        self.has_no_jobs() && self.live.is_empty()
    }

    fn has_no_jobs(&self) -> bool {
        self.files.is_empty() && self.culprits.is_empty()
    }

    fn takes_more(&self) -> bool {
        !self.alone && self.culprits.is_empty()
    }
}

/// What a worker that is gone leaves behind.
pub struct Left {
    pub attempts: Vec<Key>,
    /// Those for whose sake it was killed, and why; empty if it went by itself.
    pub culprits: Vec<(Key, String)>,
}

impl Floor {
    pub fn ready(&mut self, worker: WorkerId, slots: usize, live_slots: usize) {
        let post = self.posts.entry(worker).or_default();
        (post.slots, post.live_slots) = (slots, live_slots);
    }

    pub fn gone(&mut self, worker: WorkerId) -> Option<Left> {
        if self.reserved == Some(worker) {
            self.reserved = None;
        }
        let post = self.posts.remove(&worker)?;
        Some(Left { attempts: post.files.into_iter().chain(post.live).collect(), culprits: post.culprits })
    }

    pub fn workers(&self) -> usize {
        self.posts.len()
    }

    pub fn slots(&self) -> usize {
        self.posts.values().map(|post| post.slots).sum()
    }

    pub fn running(&self) -> usize {
        self.posts.values().map(|post| post.files.len()).sum()
    }

    pub fn live(&self) -> usize {
        self.posts.values().map(|post| post.live.len()).sum()
    }

    /// Places for jobs that are no suspects.
    pub fn free(&self) -> usize {
        let open = self.posts.values().filter(|post| post.takes_more());
        open.map(|post| post.slots.saturating_sub(post.files.len())).sum()
    }

    /// The reservation is made anew in every round.
    pub fn begin_round(&mut self) {
        self.reserved = None;
        if !std::mem::take(&mut self.wanted) {
            (self.waits, self.impatient) = (None, false);
        }
    }

    pub fn patience_ends(&self) -> Option<Instant> {
        self.waits.filter(|_| !self.impatient).map(|since| since + LIVE_PATIENCE)
    }

    /// True once, when a suspect has waited long enough for live sessions.
    pub fn loses_patience(&mut self, now: Instant) -> bool {
        let now_it_does = self.patience_ends().is_some_and(|end| end <= now);
        self.impatient |= now_it_does;
        now_it_does
    }

    /// The worker with the most free places.
    pub fn seat_for_job(&self) -> Option<WorkerId> {
        self.most_free(|post| post.slots.saturating_sub(post.files.len()))
    }

    pub fn seat_for_live(&self) -> Option<WorkerId> {
        self.most_free(|post| post.live_slots.saturating_sub(post.live.len()))
    }

    fn most_free(&self, free: impl Fn(&Post) -> usize) -> Option<WorkerId> {
        self.posts
            .iter()
            .filter(|(worker, post)| Some(**worker) != self.reserved && post.takes_more() && free(post) > 0)
            .max_by_key(|(worker, post)| (free(post), std::cmp::Reverse(**worker)))
            .map(|(worker, _)| *worker)
    }

    /// An idle worker; if there is none, one is kept free until it is idle.
    pub fn seat_for_suspect(&mut self, now: Instant) -> Option<WorkerId> {
        self.wanted = true;
        let able = || self.posts.iter().filter(|(_, post)| post.slots > 0);
        let idle = able()
            .find(|(_, post)| post.is_idle())
            .or_else(|| able().find(|(_, post)| self.impatient && post.has_no_jobs()))
            .map(|(worker, _)| *worker);
        match idle {
            Some(_) => (self.waits, self.impatient) = (None, false),
            None => self.waits = self.waits.or(Some(now)),
        }
        if idle.is_none() && self.reserved.is_none() {
            let soonest = able()
                .filter(|(_, post)| post.takes_more())
                .min_by_key(|(_, post)| post.files.len() + post.live.len());
            self.reserved = soonest.map(|(worker, _)| *worker);
        }
        idle
    }

    pub fn seat(&mut self, worker: WorkerId, key: Key, place: Place) {
        let Some(post) = self.posts.get_mut(&worker) else { return };
        match place {
            Place::Job => post.files.insert(key),
            Place::Alone => {
                post.alone = true;
                post.files.insert(key)
            }
            Place::Live => post.live.insert(key),
        };
    }

    pub fn leave(&mut self, worker: WorkerId, key: &Key) {
        let Some(post) = self.posts.get_mut(&worker) else { return };
        if post.files.remove(key) {
            post.alone = false;
        }
        post.live.remove(key);
    }

    /// True if the worker is to be killed now; false if that has been done, or it is gone.
    pub fn condemn(&mut self, worker: WorkerId, key: Key, why: String) -> bool {
        let Some(post) = self.posts.get_mut(&worker) else { return false };
        if post.culprits.iter().any(|(culprit, _)| *culprit == key) {
            return false;
        }
        post.culprits.push((key, why));
        post.culprits.len() == 1
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Job,
    Alone,
    Live,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (name.to_owned(), 1)
    }

    #[test]
    fn a_suspect_works_alone_and_is_waited_for() {
        let mut floor = Floor::default();
        let (a, b) = (WorkerId(1), WorkerId(2));
        floor.ready(a, 2, 1);
        floor.seat(a, key("one"), Place::Job);
        floor.begin_round();
        assert_eq!(floor.seat_for_suspect(Instant::now()), None);
        assert_eq!((floor.seat_for_job(), floor.seat_for_live()), (None, None), "it is kept free");
        floor.ready(b, 2, 1);
        floor.begin_round();
        assert_eq!(floor.seat_for_suspect(Instant::now()), Some(b));
        floor.seat(b, key("suspect"), Place::Alone);
        assert_eq!((floor.seat_for_job(), floor.seat_for_live()), (Some(a), Some(a)));
        floor.leave(a, &key("one"));
        floor.leave(b, &key("suspect"));
        assert_eq!((floor.free(), floor.running()), (4, 0));
    }

    #[test]
    fn a_condemned_worker_gets_nothing_and_is_killed_once() {
        let mut floor = Floor::default();
        let a = WorkerId(1);
        floor.ready(a, 2, 1);
        floor.seat(a, key("one"), Place::Job);
        floor.seat(a, key("show"), Place::Live);
        assert!(floor.condemn(a, key("one"), "stalled".into()));
        assert!(
            !floor.condemn(a, key("one"), "stalled".into()) && !floor.condemn(a, key("show"), "x".into())
        );
        assert_eq!(
            (floor.seat_for_job(), floor.seat_for_live(), floor.seat_for_suspect(Instant::now())),
            (None, None, None)
        );
        let left = floor.gone(a).unwrap();
        assert_eq!((left.attempts.len(), left.culprits.len(), floor.workers()), (2, 2, 0));
        assert!(floor.gone(a).is_none());
    }

    #[test]
    fn a_suspect_waits_for_sessions_only_so_long() {
        let mut floor = Floor::default();
        let (a, begun) = (WorkerId(1), Instant::now());
        floor.ready(a, 1, 2);
        floor.seat(a, key("show"), Place::Live);
        floor.seat(a, key("job"), Place::Job);
        floor.begin_round();
        assert_eq!(floor.seat_for_suspect(begun), None);
        let end = floor.patience_ends().unwrap();
        assert!(!floor.loses_patience(end - Duration::from_millis(1)));
        assert!(floor.loses_patience(end) && !floor.loses_patience(end), "it is told once");
        assert_eq!(floor.patience_ends(), None);
        floor.begin_round();
        assert_eq!(floor.seat_for_suspect(end), None, "a job is waited for");
        floor.leave(a, &key("job"));
        floor.begin_round();
        assert_eq!(floor.seat_for_suspect(end), Some(a));
        floor.seat(a, key("suspect"), Place::Alone);
        assert_eq!((floor.seat_for_live(), floor.live()), (None, 1), "the session goes on");
        floor.leave(a, &key("suspect"));
        floor.begin_round();
        assert_eq!(floor.seat_for_suspect(end), None, "the next one is patient again");
    }
}
