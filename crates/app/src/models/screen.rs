//! What a person, a log or a program sees while files are fetched, read or written.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use models::{PullEvent, readable};
use serde_json::{Value, json};

use crate::say;
use crate::terminal::Audience;

/// Between two lines of progress in a log.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// A bar of bytes on a terminal, a line now and then in a log, nothing for a program.
pub struct ByteBar {
    audience: Audience,
    bar: ProgressBar,
    said: Mutex<Instant>,
}

impl ByteBar {
    pub fn new(audience: Audience) -> Self {
        let bar = match audience {
            Audience::Terminal => ProgressBar::new(0).with_style(style()),
            Audience::Log | Audience::Silent => ProgressBar::hidden(),
        };
        Self { audience, bar, said: Mutex::new(Instant::now()) }
    }

    pub fn begin(&self, label: &str, bytes: u64) {
        self.bar.reset();
        self.bar.set_length(bytes);
        self.bar.set_message(label.to_owned());
    }

    pub fn at(&self, label: &str, done: u64, of: u64) {
        self.bar.set_position(done);
        // a panic while a line is said leaves a time that is still a time
        let mut said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if self.audience == Audience::Log && said.elapsed() >= LOG_EVERY {
            *said = Instant::now();
            say::aside(format_args!("{label}: {} of {}", readable(done), readable(of)));
        }
    }

    pub fn more(&self, label: &str, bytes: u64) {
        self.bar.inc(bytes);
        self.at(label, self.bar.position(), self.bar.length().unwrap_or_default());
    }

    pub fn line(&self, text: impl std::fmt::Display) {
        if self.audience != Audience::Silent {
            self.bar.suspend(|| say::aside(text));
        }
    }
}

impl Drop for ByteBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{wide_msg} [{bar:24}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
    .progress_chars("=> ")
}

/// An event of `pull` on the bar.
pub fn show(bar: &ByteBar, event: &PullEvent<'_>) {
    match event {
        PullEvent::Present { label, found } => {
            bar.line(format_args!("{label}: there, {}", found.path.display()))
        }
        PullEvent::Terms(component) => {
            let licence = component.licence.as_deref().unwrap_or("unknown");
            let commercial = component.commercial.as_deref().unwrap_or("unknown");
            let gate = match component.gated {
                Some(true) => {
                    "; its owner gives it to accounts that have accepted the licence there: make a token at https://huggingface.co/settings/tokens and give it as HF_TOKEN"
                }
                Some(false) | None => "",
            };
            bar.line(format_args!(
                "{}: licence {licence}, commercial use {commercial}; {}{gate}",
                component.name,
                component.page()
            ));
        }
        PullEvent::Plan { files: 0, .. } => bar.line("nothing is missing"),
        PullEvent::Plan { files, bytes } => {
            let plural = if *files == 1 { "" } else { "s" };
            bar.line(format_args!("{files} file{plural} to fetch, {} missing", readable(*bytes)));
        }
        PullEvent::Begun { label, bytes, resumed } => {
            if *resumed > 0 {
                bar.line(format_args!("{label}: goes on after {}", readable(*resumed)));
            }
            bar.begin(label, *bytes);
        }
        PullEvent::Changed { label, why } => bar.line(format_args!("{label}: begins anew, {why}")),
        PullEvent::Progress { label, done, of } => bar.at(label, *done, *of),
        PullEvent::Waiting { label, why, wait } => {
            bar.line(format_args!("{label}: {why}; again in {:.1} s", wait.as_secs_f64()));
        }
        PullEvent::Mirror { label, source, why } => bar.line(format_args!("{label}: {why}; trying {source}")),
        PullEvent::Verifying { label, bytes } => bar.begin(&format!("{label}, checksum"), *bytes),
        PullEvent::Done { label, path, bytes, checked } => {
            let sum = if checked.is_some() { "checksum right" } else { "no checksum known" };
            bar.line(format_args!("{label}: {}, {sum}, {}", readable(*bytes), path.display()));
        }
    }
}

/// An event of `pull` as one line of JSON; its keys are public.
pub fn as_json(event: &PullEvent<'_>) -> Value {
    match event {
        PullEvent::Present { label, found } => {
            json!({ "event": "present", "file": label, "path": found.path.display().to_string(), "place": found.kind.name() })
        }
        PullEvent::Terms(component) => json!({
            "event": "terms",
            "component": component.name,
            "licence": component.licence,
            "commercial": component.commercial,
            "gated": component.gated,
            "page": component.page(),
        }),
        PullEvent::Plan { files, bytes } => json!({ "event": "plan", "files": files, "bytes": bytes }),
        PullEvent::Begun { label, bytes, resumed } => {
            json!({ "event": "begun", "file": label, "bytes": bytes, "resumed": resumed })
        }
        PullEvent::Changed { label, why } => json!({ "event": "changed", "file": label, "why": why }),
        PullEvent::Progress { label, done, of } => {
            json!({ "event": "progress", "file": label, "done": done, "of": of })
        }
        PullEvent::Waiting { label, why, wait } => {
            json!({ "event": "waiting", "file": label, "why": why, "seconds": wait.as_secs_f64() })
        }
        PullEvent::Mirror { label, source, why } => {
            json!({ "event": "mirror", "file": label, "source": source, "why": why })
        }
        PullEvent::Verifying { label, bytes } => {
            json!({ "event": "verifying", "file": label, "bytes": bytes })
        }
        PullEvent::Done { label, path, bytes, checked } => json!({
            "event": "done",
            "file": label,
            "path": path.display().to_string(),
            "bytes": bytes,
            "checksum": checked.map(|sum| sum.text()),
        }),
    }
}
