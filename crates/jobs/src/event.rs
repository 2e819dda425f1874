//! What a job tells while it lives.

use std::time::Duration;

use contract::Stage;
use serde::{Deserialize, Serialize};

use crate::{Remark, stored};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// `of` is 0 and `eta` is `None` while the end is not known.
    Stage {
        #[serde(with = "stored::stage")]
        stage: Stage,
        done: u64,
        of: u64,
        eta: Option<Duration>,
    },
    Warning(Remark),
    /// What the take looks like at this frame.
    Preview {
        frame: u64,
        #[serde(with = "stored::bytes")]
        jpeg: Vec<u8>,
    },
    /// Nothing to count, but it goes on: a file is on its way.
    Alive,
}

/// Whoever wants to know. Called from the job's threads: it must not block.
pub trait Watcher: Send + Sync {
    fn event(&self, event: &Event);

    /// Whether it has a use for `Event::Preview`.
    fn wants_pictures(&self) -> bool {
        false
    }
}

impl<F: Fn(&Event) + Send + Sync> Watcher for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}
