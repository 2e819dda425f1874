//! `Stop`: the one token by which a job is canceled. Whoever blocks on something outside (a child process, a socket)
//! registers how to break it off; whoever loops asks `is_stopped`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Breaker = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    stopped: bool,
    next: u64,
    breakers: BTreeMap<u64, Breaker>,
}

/// Clones share one state. Terminal: a stopped token stays stopped.
#[derive(Clone, Default)]
pub struct Stop {
    state: Arc<Mutex<State>>,
}

/// Forgets the breaker when dropped.
#[must_use = "the breaker is forgotten when this is dropped"]
pub struct StopGuard {
    state: Arc<Mutex<State>>,
    key: u64,
}

impl Stop {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Sets the token and runs every registered breaker, once, in this thread.
    pub fn stop(&self) {
        let breakers = {
            let mut state = self.lock();
            state.stopped = true;
            std::mem::take(&mut state.breakers)
        };
        for breaker in breakers.into_values() {
            breaker();
        }
    }

    /// `breaker` runs when the token is set, at once if it is set already. It must not block.
    pub fn on_stop(&self, breaker: impl FnOnce() + Send + 'static) -> StopGuard {
        let mut state = self.lock();
        let key = state.next;
        state.next += 1;
        if state.stopped {
            drop(state);
            breaker();
        } else {
            state.breakers.insert(key, Box::new(breaker));
        }
        StopGuard { state: Arc::clone(&self.state), key }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // the state is a flag and a map: a panic elsewhere cannot leave it half changed
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StopGuard {
    fn drop(&mut self) {
        let breaker = self.state.lock().unwrap_or_else(PoisonError::into_inner).breakers.remove(&self.key);
        drop(breaker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn breakers_run_once_and_late_ones_at_once() {
        let (stop, ran) = (Stop::new(), Arc::new(AtomicU32::new(0)));
        let count = |ran: &Arc<AtomicU32>, by: u32| {
            let ran = Arc::clone(ran);
            move || {
                ran.fetch_add(by, Ordering::SeqCst);
            }
        };
        let kept = stop.on_stop(count(&ran, 1));
        drop(stop.on_stop(count(&ran, 10)));
        assert!(!stop.is_stopped());
        stop.clone().stop();
        stop.stop();
        assert!(stop.is_stopped());
        assert_eq!(ran.load(Ordering::SeqCst), 1, "the kept one ran once, the dropped one never");
        let _late = stop.on_stop(count(&ran, 100));
        assert_eq!(ran.load(Ordering::SeqCst), 101);
        drop(kept);
    }
}
