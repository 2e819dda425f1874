//! Ctrl-C and SIGTERM: the first one cancels (a job ends within a frame and cleans up), the second one leaves at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use contract::Complaint;
use signal_hook::consts::{SIGINT, SIGTERM};
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
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Complaint::new("internal", format!("signals cannot be caught: {error}"), ""))?;
    let caught = Caught::default();
    let seen = caught.clone();
    std::thread::spawn(move || {
        let mut cancel = Some(cancel);
        for signal in signals.forever() {
            match cancel.take() {
                Some(cancel) => {
                    seen.0.store(signal, Ordering::SeqCst);
                    cancel();
                }
                None => std::process::exit(128 + signal),
            }
        }
    });
    Ok(caught)
}
