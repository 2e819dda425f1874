//! The waiting line as this server knows it without asking: how many jobs wait, and whether the places in it are still those
//! that somebody was told. Whatever changes it is committed first and counted here at once; where a commit was not heard of, or
//! other servers work too, the record is counted instead.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug)]
pub struct Line {
    now: Mutex<Now>,
    moved: Notify,
}

#[derive(Debug)]
struct Now {
    /// Committed, and on their way into it.
    waiting: u64,
    entering: u64,
    /// The lowest priority of any job that was ever in it: whoever comes with no more than that goes to the end.
    lowest: i32,
    /// Of everything that happened to it.
    changes: u64,
    /// Of what gave somebody who waits another place.
    moves: u64,
    /// Whether something may have happened that was not heard of.
    unsure: bool,
}

/// A job on its way into the line; dropped, it does not go there.
#[must_use]
pub struct Entering<'a> {
    line: &'a Line,
    /// How many go before it, where that is known.
    pub position: Option<u64>,
    /// Nobody goes after it.
    last: bool,
}

impl Line {
    pub fn new(waiting: u64, lowest: Option<i32>) -> Self {
        let now = Now {
            waiting,
            entering: 0,
            lowest: lowest.unwrap_or(i32::MAX),
            changes: 0,
            moves: 0,
            unsure: false,
        };
        Self { now: Mutex::new(now), moved: Notify::new() }
    }

    /// Inside the transaction that writes the row, so that places follow the order of the rows. `Err`: so many wait already.
    pub fn enter(&self, priority: i32, limit: u64) -> Result<Entering<'_>, u64> {
        let mut now = self.lock();
        if now.waiting >= limit {
            return Err(now.waiting);
        }
        let last = priority <= now.lowest;
        let position = (last && !now.unsure).then_some(now.waiting);
        now.lowest = now.lowest.min(priority);
        now.changes += 1;
        now.waiting += 1;
        now.entering += 1;
        Ok(Entering { line: self, position, last })
    }

    /// One has left it, or came back into it.
    pub fn left(&self) {
        self.shift(|waiting| waiting.saturating_sub(1));
    }

    pub fn returned(&self) {
        self.shift(|waiting| waiting + 1);
    }

    fn shift(&self, change: impl FnOnce(u64) -> u64) {
        let mut now = self.lock();
        now.waiting = change(now.waiting);
        now.changes += 1;
        now.moves += 1;
        drop(now);
        self.moved.notify_one();
    }

    /// The record did not say whether it took a change.
    pub fn doubt(&self) {
        self.lock().unsure = true;
        self.shift(|waiting| waiting);
    }

    /// `None` while it is not known.
    pub fn waiting(&self) -> Option<u64> {
        let now = self.lock();
        (!now.unsure).then_some(now.waiting)
    }

    pub fn changes(&self) -> u64 {
        self.lock().changes
    }

    /// A place that was read after this number was taken is good for as long as it stays.
    pub fn moves(&self) -> u64 {
        self.lock().moves
    }

    /// The record has so many, counted after `changes` was taken: believed if nothing happened meanwhile.
    pub fn counted(&self, changes: u64, waiting: u64) {
        let mut now = self.lock();
        if now.changes == changes && now.entering == 0 {
            (now.waiting, now.unsure) = (waiting, false);
        }
    }

    /// Whoever waits may have another place.
    pub async fn moved(&self) {
        self.moved.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        // nothing in here can panic half-way
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entering<'_> {
    /// Its row is committed.
    pub fn entered(self) {
        let mut now = self.line.lock();
        now.entering -= 1;
        // not before: who asked the record until now was told the place it had then
        now.moves += u64::from(!self.last);
        drop(now);
        if !self.last {
            self.line.moved.notify_one();
        }
        std::mem::forget(self);
    }
}

impl Drop for Entering<'_> {
    fn drop(&mut self) {
        let mut now = self.line.lock();
        now.entering -= 1;
        // of a fleet's line this server may have seen others leave
        now.waiting = now.waiting.saturating_sub(1);
        now.changes += 1;
        now.moves += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joins(line: &Line, priority: i32) -> Option<u64> {
        let entering = line.enter(priority, 100).unwrap();
        let position = entering.position;
        entering.entered();
        position
    }

    #[test]
    fn places_are_told_to_those_who_go_to_the_end() {
        let line = Line::new(2, Some(0));
        let before = line.moves();
        assert_eq!((joins(&line, 0), joins(&line, -1), joins(&line, -1)), (Some(2), Some(3), Some(4)));
        assert_eq!(line.moves(), before, "nobody who waited has another place");
        assert_eq!((joins(&line, 0), joins(&line, 5)), (None, None), "others go after them");
        assert_eq!((line.moves(), line.waiting()), (before + 2, Some(7)));
        line.left();
        assert_eq!((line.moves(), line.waiting()), (before + 3, Some(6)));
        assert_eq!(joins(&line, -1), Some(6));
        assert_eq!(joins(&Line::new(0, None), 7), Some(0), "nobody has ever been there");
    }

    #[test]
    fn who_does_not_get_in_leaves_no_trace() {
        let line = Line::new(0, None);
        let first = line.enter(0, 1).unwrap();
        assert_eq!(line.enter(0, 1).err(), Some(1), "the last place is being taken");
        drop(first);
        assert_eq!(line.waiting(), Some(0));
        let (_, second) = (line.moves(), line.enter(0, 1).unwrap());
        second.entered();
        assert_eq!((line.waiting(), line.enter(0, 1).err()), (Some(1), Some(1)));
    }

    #[test]
    fn doubt_ends_with_a_count_that_nothing_disturbed() {
        let line = Line::new(3, Some(0));
        line.doubt();
        assert_eq!((line.waiting(), joins(&line, 0)), (None, None));
        let changes = line.changes();
        line.left();
        line.counted(changes, 9);
        assert_eq!(line.waiting(), None, "somebody left while it was counted");
        let entering = line.enter(0, 100).unwrap();
        line.counted(line.changes(), 9);
        assert_eq!(line.waiting(), None, "somebody is entering: counted or not?");
        entering.entered();
        line.counted(line.changes(), 9);
        assert_eq!((line.waiting(), joins(&line, 0)), (Some(9), Some(9)));
    }
}
