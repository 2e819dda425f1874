//! Named intermediate values of a forward, for locating where a net leaves its reference. Off, it costs one branch.

use std::sync::Mutex;

use candle_core::{Result, Tensor};

#[derive(Debug, Default)]
pub struct Probe {
    taken: Option<Mutex<Vec<(String, Tensor)>>>,
}

impl Probe {
    pub fn off() -> Self {
        Self { taken: None }
    }

    pub fn on() -> Self {
        Self { taken: Some(Mutex::new(Vec::new())) }
    }

    /// Takes `value` under `name`; the order of notes is the order of the forward.
    pub fn note(&self, name: &str, value: &Tensor) {
        if let Some(taken) = &self.taken {
            taken
                .lock()
                .expect("nothing panics while it holds this lock")
                .push((name.to_owned(), value.clone()));
        }
    }

    /// The same of a value that is made for it alone, where somebody looks.
    pub fn note_by(&self, name: &str, value: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        if self.taken.is_some() {
            self.note(name, &value()?);
        }
        Ok(())
    }

    pub fn into_taken(self) -> Vec<(String, Tensor)> {
        self.taken
            .map(|taken| taken.into_inner().expect("nothing panics while it holds this lock"))
            .unwrap_or_default()
    }
}
