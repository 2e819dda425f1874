//! From counts to events: a stage's remaining time, told often enough to watch and seldom enough not to matter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Stage, Warning};

use crate::{Event, Watcher};

const INTERVAL: Duration = Duration::from_millis(100);

pub struct Progress {
    watcher: Arc<dyn Watcher>,
    /// When it began, and with how much done: a stage that comes again goes on counting.
    stage: Option<(Stage, Instant, u64)>,
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
        let (begun, before) = match self.stage {
            Some((current, begun, before)) if current == stage => (begun, before),
            _ => {
                self.stage = Some((stage, now, done));
                self.told = None;
                (now, done)
            }
        };
        let last = of > 0 && done >= of;
        if !last && self.told.is_some_and(|told| now - told < INTERVAL) {
            return;
        }
        self.told = Some(now);
        self.watcher.event(&Event::Stage {
            stage,
            done,
            of,
            eta: remaining(now - begun, (before, done, of)),
        });
    }
}

/// The time the rest takes if it goes on as before; `None` while there is nothing to go by.
fn remaining(elapsed: Duration, (before, done, of): (u64, u64, u64)) -> Option<Duration> {
    let gained = done.checked_sub(before).filter(|&gained| gained > 0 && of > 0)?;
    Some(elapsed.mul_f64(of.saturating_sub(done) as f64 / gained as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_told_in_proportion() {
        let second = Duration::from_secs(1);
        let rows = [
            ((0, 1, 4), Some(second * 3)),
            ((0, 4, 4), Some(Duration::ZERO)),
            ((0, 0, 4), None),
            ((0, 3, 0), None),
            ((0, 5, 4), Some(Duration::ZERO)),
            // the last of four windows of 25 steps, one step into it
            ((75, 76, 100), Some(second * 24)),
            ((75, 75, 100), None),
            ((4, 3, 100), None),
        ];
        for (counts, expected) in rows {
            assert_eq!(remaining(second, counts), expected, "{counts:?}");
        }
    }
}
