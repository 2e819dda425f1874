//! From counts to events: a stage's remaining time, told often enough to watch and seldom enough not to matter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Stage, Warning};

use crate::{Event, Watcher};

const INTERVAL: Duration = Duration::from_millis(100);

pub struct Progress {
    watcher: Arc<dyn Watcher>,
    stage: Option<(Stage, Instant)>,
    told: Option<Instant>,
}

impl Progress {
    pub fn new(watcher: Arc<dyn Watcher>) -> Self {
        Self { watcher, stage: None, told: None }
    }

    pub fn warn(&self, warning: Warning) {
        self.watcher.event(&Event::Warning(warning.into()));
    }

    pub fn stage(&mut self, stage: Stage, done: u64, of: u64) {
        let now = Instant::now();
        let begun = match self.stage {
            Some((current, begun)) if current == stage => begun,
            _ => {
                self.stage = Some((stage, now));
                self.told = None;
                now
            }
        };
        let last = of > 0 && done >= of;
        if !last && self.told.is_some_and(|told| now - told < INTERVAL) {
            return;
        }
        self.told = Some(now);
        self.watcher.event(&Event::Stage { stage, done, of, eta: remaining(now - begun, done, of) });
    }
}

/// The time the rest takes if it goes on as before; `None` while there is nothing to go by.
fn remaining(elapsed: Duration, done: u64, of: u64) -> Option<Duration> {
    if done == 0 || of == 0 {
        return None;
    }
    Some(elapsed.mul_f64(of.saturating_sub(done) as f64 / done as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_told_in_proportion() {
        let second = Duration::from_secs(1);
        let rows = [
            (1, 4, Some(second * 3)),
            (4, 4, Some(Duration::ZERO)),
            (0, 4, None),
            (3, 0, None),
            (5, 4, Some(Duration::ZERO)),
        ];
        for (done, of, expected) in rows {
            assert_eq!(remaining(second, done, of), expected, "{done}/{of}");
        }
    }
}
