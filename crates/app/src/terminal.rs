//! A job's events on a terminal: a bar with stage and remaining time, warnings above it. Nothing where nobody looks.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jobs::{Event, Watcher};

use crate::say;

/// Who is looking.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A person at a terminal: bar and warnings.
    Terminal,
    /// A log file or a pipe: warnings.
    Log,
    /// Nobody, or a program that gets JSON.
    Silent,
}

impl Audience {
    pub fn of(quiet: bool, json: bool) -> Self {
        match (quiet || json, std::io::stderr().is_terminal()) {
            (true, _) => Audience::Silent,
            (false, true) => Audience::Terminal,
            (false, false) => Audience::Log,
        }
    }
}

pub struct Screen {
    audience: Audience,
    bar: ProgressBar,
}

impl Screen {
    pub fn new(audience: Audience) -> Self {
        let bar = match audience {
            Audience::Terminal => ProgressBar::new(0).with_style(style(0)).with_message("opening"),
            Audience::Log | Audience::Silent => ProgressBar::hidden(),
        };
        Self { audience, bar }
    }
}

/// The bar has a total and a remaining time only once the end is known.
fn style(of: u64) -> ProgressStyle {
    let template =
        if of > 0 { "{msg:<12} [{bar:32}] {pos}/{len} {prefix}" } else { "{msg:<12} {spinner} {pos}" };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Watcher for Screen {
    fn event(&self, event: &Event) {
        match event {
            Event::Stage { stage, done, of, eta } => {
                if self.bar.length() != Some(*of) {
                    self.bar.set_length(*of);
                    self.bar.set_style(style(*of));
                }
                self.bar.set_message(stage.name());
                self.bar.set_prefix(eta.map(remaining).unwrap_or_default());
                self.bar.set_position(*done);
            }
            Event::Alive => {}
            Event::Preview { .. } => {}
            Event::Warning(warning) => match self.audience {
                Audience::Terminal | Audience::Log => {
                    self.bar.suspend(|| say::aside(format_args!("warning: {}", warning.message)));
                }
                Audience::Silent => {}
            },
        }
    }
}

fn remaining(eta: Duration) -> String {
    let seconds = eta.as_secs_f64().ceil() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s} s left"),
        (0, m, s) => format!("{m}:{s:02} left"),
        (h, m, s) => format!("{h}:{m:02}:{s:02} left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_reads_like_a_clock() {
        let rows = [(0.2, "1 s left"), (59.0, "59 s left"), (61.0, "1:01 left"), (3723.0, "1:02:03 left")];
        for (seconds, expected) in rows {
            assert_eq!(remaining(Duration::from_secs_f64(seconds)), expected);
        }
    }
}
