//! Under the fast profile f32 cases of Stable Video Diffusion stay within the bounds of bf16 products. The kernels are configured once for a process,
//! so this is a program of its own.

use std::path::Path;

use candle_core::{DType, Device};
use golden::{Profile, Registry, Settings, Verdict, verify};
use layers::kernels::{Choice, Config};

#[test]
fn no_net_is_farther_than_bf16_allows() {
    let choice = Choice::Counted; // a clock would pick other ways on another day
    layers::configure(Config { profile: Profile::Fast, choice, ..Config::default() }).unwrap();
    let mut registry = Registry::default();
    engine_svd::register(&mut registry);
    let settings = Settings {
        root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens"),
        only: Some("svd".into()),
        dtype: Some(DType::F32),
        device: Device::Cpu,
        profile: Profile::Fast,
        dump: None,
    };
    let report = verify(&settings, &registry, &mut |case| println!("{}", case.lines())).unwrap();
    let ran: Vec<_> = report.cases.iter().filter(|case| case.verdict != Verdict::Missing).collect();
    let failed: Vec<_> = ran.iter().filter(|c| c.verdict != Verdict::Passed).map(|c| &c.case).collect();
    assert!(failed.is_empty(), "{failed:?}: {}", report.summary());
    assert_eq!(ran.len(), 5, "{}", report.summary());
}
