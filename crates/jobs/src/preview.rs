//! Pictures of a take under way, for whoever watches its job: the first frame, then one a second at most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::Frame;
use media::Jpeg;

use crate::{Event, Watcher};

const EVERY: Duration = Duration::from_secs(1);
const QUALITY: u8 = 70;
/// Bytes; a larger one is not told of.
const LIMIT: usize = 512 << 10;

pub struct Previews {
    /// `None`: nobody wants any, or none can be made.
    encoder: Option<Jpeg>,
    watcher: Arc<dyn Watcher>,
    seen: u64,
    last: Option<Instant>,
}

impl Previews {
    /// `seen`: frames of the take that were made before.
    pub fn new(watcher: Arc<dyn Watcher>, seen: u64) -> Self {
        let encoder = if watcher.wants_pictures() { Jpeg::new(QUALITY).ok() } else { None };
        Self { encoder, watcher, seen, last: None }
    }

    /// A take does not fail for want of its preview.
    pub fn see(&mut self, frame: &Frame) {
        let number = self.seen;
        self.seen += 1;
        let Some(encoder) = &mut self.encoder else { return };
        if self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        match encoder.encode(frame) {
            Ok(jpeg) if jpeg.len() <= LIMIT => {
                self.watcher.event(&Event::Preview { frame: number, jpeg: jpeg.to_vec() });
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "no preview"),
        }
    }
}
