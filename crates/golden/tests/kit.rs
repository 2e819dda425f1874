//! The kit in `goldens/`: every loader file loads to its expected tensors, and every file is understood.

use std::path::{Path, PathBuf};

use candle_core::Device;
use golden::{CaseFile, Kit, Profile, Registry, Settings, Verdict, verify};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens")
}

#[test]
fn every_loader_file_gives_its_tensors() {
    let settings = Settings {
        root: root(),
        only: Some("loaders".into()),
        dtype: None,
        device: Device::Cpu,
        profile: Profile::Strict,
        dump: None,
    };
    let report = verify(&settings, &Registry::default(), &mut |_| {}).unwrap();
    assert_eq!(report.cases.len(), 9);
    for case in &report.cases {
        assert_eq!(case.verdict, Verdict::Passed, "{}", case.lines());
    }
}

#[test]
fn every_case_is_understood() {
    let kit = Kit::open(&root()).unwrap();
    assert!(kit.cases.len() >= 16 && kit.keys.len() == 15, "{kit:?}");
    for path in &kit.cases {
        let file = CaseFile::open(path).unwrap();
        for prefix in ["in.", "out.", "probe."] {
            for (name, _) in file.stored(prefix) {
                file.tensor(name).unwrap();
            }
        }
        for name in file.meta.seeded_inputs.keys() {
            file.tensor(name).unwrap();
        }
    }
}
