//! CLIP's vision tower against the golden kit: outputs of the official implementation, and the keys of the released file.

use std::path::Path;

use candle_core::Device;
use golden::{Registry, Settings, Verdict, verify};

fn check(area: &str, wanted: &[&str]) {
    let mut registry = Registry::default();
    encoders::clip_vision::register(&mut registry);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens");
    let settings = Settings { root, only: Some(area.into()), dtype: None, device: Device::Cpu, dump: None };
    let report = verify(&settings, &registry, &mut |_| {}).unwrap();
    let ran: Vec<_> = report.cases.iter().filter(|case| case.verdict != Verdict::Missing).collect();
    for case in &ran {
        println!("{}", case.lines());
        assert_eq!(case.verdict, Verdict::Passed, "{}", case.lines());
    }
    assert_eq!(ran.iter().map(|case| case.case.as_str()).collect::<Vec<_>>(), wanted);
}

#[test]
fn gives_what_the_official_implementation_gives() {
    check("svd", &["image_encoder"]);
}

#[test]
fn asks_for_the_keys_of_the_released_file() {
    check("keys", &["svd_image_encoder"]);
}
