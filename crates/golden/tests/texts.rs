//! A case of texts (`.json`, rows of what is given and what is expected): verified row by row, dumped in rows.

use std::path::Path;

use candle_core::Device;
use golden::{Case, CaseError, Given, Outputs, Profile, Registry, Report, Settings, Verdict, verify};

/// In capitals, but for what it does not know.
struct Shout(&'static [&'static str]);

impl Case for Shout {
    fn components(&self) -> &[&str] {
        &["shouting"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        let shouted = |text: &str| if self.0.contains(&text) { text.to_owned() } else { text.to_uppercase() };
        let mut outputs = Outputs::new();
        outputs.texts("loud", given.file.texts("quiet")?.into_iter().map(shouted).collect());
        Ok(outputs)
    }
}

fn run(folder: &Path, case: &'static dyn Case, dump: Option<&Path>) -> Report {
    let settings = Settings {
        root: folder.to_owned(),
        only: None,
        dtype: None,
        device: Device::Cpu,
        profile: Profile::Strict,
        dump: dump.map(Path::to_owned),
    };
    verify(&settings, &Registry { cases: vec![case], nets: Vec::new() }, &mut |_| {}).unwrap()
}

fn kit(folder: &Path, rows: &str) {
    std::fs::create_dir_all(folder.join("words")).unwrap();
    let text = format!(r#"{{"golden": {{"component": "shouting"}}, "rows": {rows}}}"#);
    std::fs::write(folder.join("words/shout.json"), text).unwrap();
}

static KNOWS_ALL: Shout = Shout(&[]);
static KNOWS_SOME: Shout = Shout(&["é"]);

#[test]
fn every_row_counts() {
    let folder = tempfile::tempdir().unwrap();
    kit(folder.path(), r#"[{"quiet": "a", "loud": "A"}, {"quiet": "é", "loud": "É"}]"#);
    let report = run(folder.path(), &KNOWS_ALL, None);
    assert_eq!(report.cases[0].verdict, Verdict::Passed, "{}", report.cases[0].lines());
    let report = run(folder.path(), &KNOWS_SOME, None);
    assert_eq!(report.cases[0].verdict, Verdict::Failed);
    let lines = report.cases[0].lines();
    assert!(lines.contains(r#"50.000 % differ; row 1 became Some("é") instead of Some("É")"#), "{lines}");
}

#[test]
fn rows_that_are_none_are_told() {
    let folder = tempfile::tempdir().unwrap();
    kit(folder.path(), r#"[{"quiet": "a", "loud": "A"}, {"quiet": 7, "loud": "7"}]"#);
    let report = run(folder.path(), &KNOWS_ALL, None);
    assert!(report.cases[0].lines().contains("row 1 has no text `quiet`"), "{}", report.cases[0].lines());
}

#[test]
fn what_was_computed_can_be_had() {
    let (folder, dump) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    kit(folder.path(), r#"[{"quiet": "a", "loud": "A"}, {"quiet": "b", "loud": "?"}]"#);
    run(folder.path(), &KNOWS_ALL, Some(dump.path()));
    let text = std::fs::read_to_string(dump.path().join("words/shout.json")).unwrap();
    assert_eq!(text, r#"{"rows":[{"loud":"A"},{"loud":"B"}]}"#);
}
