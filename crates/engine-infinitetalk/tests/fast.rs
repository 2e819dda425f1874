//! Under the fast profile f32 cases of InfiniteTalk stay within the bounds of bf16 products. The kernels are configured once for a process,
//! so this is a program of its own.

use std::path::Path;

use candle_core::{DType, Device};
use golden::{CaseReport, OutputReport, Profile, Registry, Settings, Verdict, verify};
use layers::kernels::{Choice, Config};

/// One forward of a net in bf16, relative L2.
const ONE_FORWARD: f64 = 0.05;

/// What may be farther off than the kit says.
fn may_differ(case: &str, output: &OutputReport) -> bool {
    let name = output.name.as_str();
    // guidance exaggerates what rounding changes in nets without training, and every chunk begins with the frames of the one before: only of
    // the first chunk's latents is there something to expect
    let of_take = name.starts_with("out.video") || name.starts_with("out.latent") && name != "out.latent0";
    // a velocity whose own bound in the kit is one of f32
    let of_forward = name.ends_with("_last_pred") && output.rel_l2.is_some_and(|error| error < ONE_FORWARD);
    case.starts_with("loop_") && of_take || case == "teacache" && of_forward
}

fn passed(case: &CaseReport) -> bool {
    let compared = case.error.is_none() && !case.outputs.is_empty();
    compared && case.outputs.iter().all(|output| output.passed || may_differ(&case.case, output))
}

#[test]
fn no_net_is_farther_than_bf16_allows() {
    let choice = Choice::Counted; // a clock would pick other ways on another day
    layers::configure(Config { profile: Profile::Fast, choice, ..Config::default() }).unwrap();
    let mut registry = Registry::default();
    engine_infinitetalk::register(&mut registry);
    let settings = Settings {
        root: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens"),
        only: Some("infinitetalk".into()),
        dtype: Some(DType::F32),
        device: Device::Cpu,
        profile: Profile::Fast,
        dump: None,
    };
    let report = verify(&settings, &registry, &mut |case| println!("{}", case.lines())).unwrap();
    let ran: Vec<_> = report.cases.iter().filter(|case| case.verdict != Verdict::Missing).collect();
    let failed: Vec<_> = ran.iter().filter(|case| !passed(case)).map(|c| &c.case).collect();
    assert!(failed.is_empty(), "{failed:?}: {}", report.summary());
    assert_eq!(ran.len(), 25, "{}", report.summary());
}
