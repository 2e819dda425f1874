//! What a job tells while it lives.

use std::time::Duration;

use contract::{Stage, Warning};

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// `of` is 0 and `eta` is `None` while the end is not known.
    Stage {
        stage: Stage,
        done: u64,
        of: u64,
        eta: Option<Duration>,
    },
    Warning(Warning),
}

/// Whoever wants to know. Called from the job's threads: it must not block.
pub trait Watcher: Send + Sync {
    fn event(&self, event: &Event);
}

impl<F: Fn(&Event) + Send + Sync> Watcher for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}
