//! Under the fast profile f32 cases stay within the bounds of bf16 products; the nets that decide between values which seeded
//! weights leave almost equal (BiSeNet's classes, RTMPose's places, S3FD's boxes) are loaded strictly. The kernels are configured
//! once for a process, so this is a program of its own.

use std::path::Path;

use golden::{DType, Device, Profile, Registry, Settings, Verdict, verify};
use layers::kernels::{Choice, Config};

#[test]
fn no_net_is_farther_than_bf16_allows() {
    let choice = Choice::Counted; // a clock would pick other ways on another day
    layers::configure(Config { profile: Profile::Fast, choice, ..Config::default() }).unwrap();
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
    let failed: Vec<_> =
        report.cases.iter().filter(|c| c.verdict != Verdict::Passed).map(|c| c.case.as_str()).collect();
    assert!(failed.is_empty(), "{failed:?}: {}", report.summary());
    assert_eq!(report.count(Verdict::Passed), 19, "{}", report.summary());
}
