//! Who waits for news of a job is woken here. A bell counts; whoever took its receiver before it read the record misses nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::JobId;

#[derive(Default)]
pub struct Bells {
    bells: Mutex<HashMap<JobId, watch::Sender<u64>>>,
}

impl Bells {
    pub fn watch(&self, id: &str) -> watch::Receiver<u64> {
        let mut bells = self.lock();
        if let Some(bell) = bells.get(id) {
            return bell.subscribe();
        }
        bells.retain(|_, bell| bell.receiver_count() > 0);
        let (bell, receiver) = watch::channel(0);
        bells.insert(id.to_owned(), bell);
        receiver
    }

    pub fn ring(&self, id: &str) {
        if let Some(bell) = self.lock().get(id) {
            bell.send_modify(|count| *count += 1);
        }
    }

    /// Something may have changed without our knowing: another server of the fleet works too.
    pub fn ring_all(&self) {
        for bell in self.lock().values() {
            bell.send_modify(|count| *count += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, watch::Sender<u64>>> {
        // nothing in here can panic half-way
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(bells.lock().len(), 1, "bells that nobody hears are taken down");
    }
}
