//! What was verified and how it went: for people as lines, for programs as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::compare::Comparison;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Passed,
    Failed,
    /// Nothing here computes it yet.
    Missing,
}

#[derive(Clone, Debug, Serialize)]
pub struct OutputReport {
    pub name: String,
    pub passed: bool,
    pub rel_l2: Option<f64>,
    pub max_abs: Option<f64>,
    pub differing: Option<f64>,
    /// (where, what it is, what it should be)
    pub first_bad: Option<(Vec<usize>, f64, f64)>,
    pub hint: Option<String>,
}

impl OutputReport {
    pub(crate) fn of(name: &str, comparison: Comparison) -> Self {
        Self {
            name: name.to_owned(),
            passed: comparison.passed,
            rel_l2: Some(comparison.rel_l2),
            max_abs: Some(comparison.max_abs),
            differing: comparison.differing,
            first_bad: comparison.first_bad,
            hint: comparison.hint,
        }
    }

    pub(crate) fn absent(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            passed: false,
            rel_l2: None,
            max_abs: None,
            differing: None,
            first_bad: None,
            hint: Some("it was not computed".into()),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct CaseReport {
    pub area: String,
    pub case: String,
    pub component: String,
    pub verdict: Verdict,
    /// Why it could not be compared at all.
    pub error: Option<String>,
    pub outputs: Vec<OutputReport>,
    /// The first intermediate value, in the order of the net, that differs; and by how much (relative L2).
    pub first_diverging_probe: Option<(String, f64)>,
    pub seconds: f64,
}

impl CaseReport {
    /// One line, and below it what went wrong.
    pub fn lines(&self) -> String {
        let verdict = match self.verdict {
            Verdict::Passed => "ok",
            Verdict::Failed => "FAILED",
            Verdict::Missing => "missing",
        };
        let worst =
            |f: fn(&OutputReport) -> Option<f64>| self.outputs.iter().filter_map(f).fold(0.0, f64::max);
        let name = format!("{}/{}", self.area, self.case);
        let mut text = format!("{verdict:<8}{name:<40}");
        if self.verdict != Verdict::Missing && !self.outputs.is_empty() {
            let (rel_l2, max_abs) = (worst(|o| o.rel_l2), worst(|o| o.max_abs));
            let _ = write!(text, "rel L2 {rel_l2:<9.2e} max {max_abs:<9.2e} {:.2} s", self.seconds);
        }
        text.truncate(text.trim_end().len());
        if let Some(error) = &self.error {
            let _ = write!(text, "\n        {error}");
        }
        for output in self.outputs.iter().filter(|output| !output.passed) {
            let _ = write!(text, "\n        {}", output.name);
            if let (Some(rel_l2), Some(max_abs)) = (output.rel_l2, output.max_abs) {
                let _ = write!(text, ": rel L2 {rel_l2:.2e}, max {max_abs:.2e}");
            }
            if let Some(differing) = output.differing {
                let _ = write!(text, ", {:.3} % differ", differing * 100.0);
            }
            if let Some((at, have, want)) = &output.first_bad {
                let _ = write!(text, "; first at {at:?}: {have} instead of {want}");
            }
            if let Some(hint) = &output.hint {
                let _ = write!(text, "; {hint}");
            }
        }
        if let Some((probe, rel_l2)) = &self.first_diverging_probe {
            let _ = write!(
                text,
                "\n        the first value to leave the reference is {probe} (rel L2 {rel_l2:.2e})"
            );
        }
        text
    }
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub cases: Vec<CaseReport>,
}

impl Report {
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cases.iter().filter(|case| case.verdict == verdict).count()
    }

    /// `12 passed, 1 failed, 3 missing`
    pub fn summary(&self) -> String {
        let [passed, failed, missing] =
            [Verdict::Passed, Verdict::Failed, Verdict::Missing].map(|v| self.count(v));
        format!("{passed} passed, {failed} failed, {missing} missing")
    }
}
