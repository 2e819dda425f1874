//! Ctrl-C, SIGTERM and a closed terminal: the first signal cancels (a job ends within a frame and cleans up); only whoever
//! insists a third time gets out without the cleaning.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use contract::Complaint;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The signal that came, if one did.
#[derive(Clone, Default)]
pub struct Caught(Arc<AtomicI32>);

impl Caught {
    /// 128 + signal, as shells count.
    pub fn exit_code(&self) -> Option<u8> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(128 + signal as u8),
        }
    }
}

/// From now on `cancel` runs at the first signal.
pub fn watch(cancel: impl FnOnce() + Send + 'static) -> Result<Caught, Complaint> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Complaint::new("internal", format!("signals cannot be caught: {error}"), ""))?;
    let caught = Caught::default();
    let seen = caught.clone();
    std::thread::spawn(move || {
        let mut cancel = Some(cancel);
        for (nth, signal) in signals.forever().enumerate() {
            match (cancel.take(), nth) {
                (Some(cancel), _) => {
                    seen.0.store(signal, Ordering::SeqCst);
                    cancel();
                }
                (None, ..2) => {}
                (None, _) => std::process::exit(128 + signal),
            }
        }
    });
    Ok(caught)
}
