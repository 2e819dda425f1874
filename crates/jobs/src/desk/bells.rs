//! Who waits for news of a job is woken here. A bell counts; whoever took its receiver before it read the record misses nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::JobId;

#[derive(Default)]
pub struct Bells {
    belfry: Mutex<Belfry>,
}

#[derive(Default)]
struct Belfry {
    bells: HashMap<JobId, watch::Sender<u64>>,
    silent: bool,
}

impl Bells {
    pub fn watch(&self, id: &str) -> watch::Receiver<u64> {
        let mut belfry = self.lock();
        if let Some(bell) = belfry.bells.get(id) {
            return bell.subscribe();
        }
        belfry.bells.retain(|_, bell| bell.receiver_count() > 0);
        let (bell, receiver) = watch::channel(0);
        if !belfry.silent {
            belfry.bells.insert(id.to_owned(), bell);
        }
        receiver
    }

    pub fn ring(&self, id: &str) {
        if let Some(bell) = self.lock().bells.get(id) {
            bell.send_modify(|count| *count += 1);
        }
    }

    /// Something may have changed without our knowing: another server of the fleet works too.
    pub fn ring_all(&self) {
        for bell in self.lock().bells.values() {
            bell.send_modify(|count| *count += 1);
        }
    }

    /// There will be no more news: who waits for some hears of the last ones, then that there is nobody to tell.
    pub fn fall_silent(&self) {
        let mut belfry = self.lock();
        belfry.silent = true;
        belfry.bells.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Belfry> {
        // nothing in here can panic half-way
        self.belfry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn news_between_taking_the_receiver_and_waiting_is_seen() {
        let bells = Bells::default();
        let (mut one, two) = (bells.watch("a"), bells.watch("b"));
        bells.ring("a");
        assert!(one.has_changed().unwrap() && !two.has_changed().unwrap());
        one.mark_unchanged();
        bells.ring_all();
        assert!(one.has_changed().unwrap() && two.has_changed().unwrap());
        drop((one, two));
        let _other = bells.watch("c");
        assert_eq!(bells.lock().bells.len(), 1, "bells that nobody hears are taken down");
    }

    #[test]
    fn the_last_news_are_heard_before_the_silence() {
        let bells = Bells::default();
        let (mut told, mut untold) = (bells.watch("a"), bells.watch("b"));
        bells.ring("a");
        bells.fall_silent();
        assert!(told.changed().now_or_never().unwrap().is_ok(), "rung before");
        for silent in [&mut told, &mut untold, &mut bells.watch("c")] {
            assert!(silent.changed().now_or_never().unwrap().is_err());
        }
    }
}
