//! What the kernels found out about this machine (which way each layer is computed fastest), kept in the data folder from one process to the
//! next: a net's first picture then costs no trying out. Another version, processor or number of threads begins anew.

use std::path::{Path, PathBuf};

/// Writes it down when it is dropped, if something was learned.
pub struct Learned {
    place: Option<PathBuf>,
    head: String,
    before: String,
}

impl Learned {
    /// To be called after the kernels were configured. Without a place nothing is kept.
    pub fn open(data: Option<&Path>, threads: usize) -> Self {
        let set = layers::instruction_set().unwrap_or("none");
        let head =
            format!("talkie {}, {set}, {threads} threads, {}\n", env!("CARGO_PKG_VERSION"), processor());
        let place = data.map(|data| data.join("kernels.txt"));
        let text = place.as_deref().and_then(|place| std::fs::read_to_string(place).ok()).unwrap_or_default();
        let before = text.strip_prefix(&head).unwrap_or_default().to_owned();
        layers::learn(&before);
        Self { place, head, before }
    }

    /// Atomically, so that two processes that end at once leave the work of one of them.
    pub fn save(&mut self) {
        let Some(place) = &self.place else { return };
        let now = layers::learned();
        if now == self.before || now.is_empty() {
            return;
        }
        let draft = place.with_extension(format!("{}.draft", std::process::id()));
        let folder = place.parent().unwrap_or(Path::new("."));
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&draft, format!("{}{now}", self.head)))
            .and_then(|()| std::fs::rename(&draft, place));
        match written {
            Ok(()) => self.before = now,
            // it costs the next process some seconds, nothing else
            Err(error) => tracing::debug!(%error, "what the kernels learned could not be kept"),
        }
    }
}

impl Drop for Learned {
    fn drop(&mut self) {
        self.save();
    }
}

/// As the system calls it.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
