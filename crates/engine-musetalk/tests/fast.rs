//! Under the fast profile every f32 case stays within the bounds of bf16 products. The kernels are configured once for a process, so
//! this is a program of its own.

use std::path::Path;

use golden::{DType, Device, Profile, Registry, Settings, Verdict, verify};
use layers::kernels::Config;

#[test]
fn every_f32_case_is_as_near_as_bf16_allows() {
    layers::configure(Config { profile: Profile::Fast, ..Config::default() }).unwrap();
    let mut registry = Registry::default();
    encoders::register(&mut registry);
    engine_musetalk::register(&mut registry);
    let settings = Settings {
        root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens"),
        only: Some("musetalk".into()),
        dtype: Some(DType::F32),
        device: Device::Cpu,
        profile: Profile::Fast,
        dump: None,
    };
    let report = verify(&settings, &registry, &mut |case| println!("{}", case.lines())).unwrap();
    assert!(report.count(Verdict::Passed) >= 8, "{}", report.summary());
    assert_eq!(report.count(Verdict::Failed), 0, "{}", report.summary());
}
