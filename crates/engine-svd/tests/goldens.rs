//! The nets of Stable Video Diffusion against the golden kit: outputs of the official implementation, and the keys of the released files.

use std::path::Path;

use candle_core::Device;
use golden::{Profile, Registry, Settings, Verdict, verify};

fn goldens() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens")
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    engine_svd::register(&mut registry);
    registry
}

fn check(area: &str, wanted: &[&str]) {
    let settings = Settings {
        root: goldens(),
        only: Some(area.into()),
        dtype: None,
        device: Device::Cpu,
        profile: Profile::Strict,
        dump: None,
    };
    let report = verify(&settings, &registry(), &mut |_| {}).unwrap();
    let ran: Vec<_> = report.cases.iter().filter(|case| case.verdict != Verdict::Missing).collect();
    for case in &ran {
        println!("{}", case.lines());
        assert_eq!(case.verdict, Verdict::Passed, "{}", case.lines());
    }
    assert_eq!(ran.iter().map(|case| case.case.as_str()).collect::<Vec<_>>(), wanted);
}

#[test]
fn give_what_the_official_implementation_gives() {
    check("svd", &["unet", "unet_bf16", "vae"]);
}

#[test]
fn ask_for_the_keys_of_the_released_files() {
    check("keys", &["svd_unet", "svd_vae"]);
}
