//! The golden cases in `goldens/musetalk` whose nets are here, and the inventories of their released files.

use std::path::Path;

use golden::{Device, Registry, Settings, Verdict, verify};

fn check(area: &str, expected: &[&str]) {
    let registry =
        Registry { cases: engine_musetalk::goldens::cases(), nets: engine_musetalk::goldens::nets() };
    let settings = Settings {
        root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens"),
        only: Some(area.to_owned()),
        dtype: None,
        device: Device::Cpu,
        dump: None,
    };
    let report = verify(&settings, &registry, &mut |case| println!("{}", case.lines())).unwrap();
    let ran: Vec<_> = report.cases.iter().filter(|case| case.verdict != Verdict::Missing).collect();
    assert_eq!(ran.iter().map(|case| case.case.as_str()).collect::<Vec<_>>(), expected);
    for case in ran {
        assert_eq!(case.verdict, Verdict::Passed, "{}", case.lines());
    }
}

#[test]
fn nets() {
    check("musetalk", &["pe", "whisper_encoder"]);
}

#[test]
fn keys() {
    check("keys", &["whisper_tiny"]);
}
