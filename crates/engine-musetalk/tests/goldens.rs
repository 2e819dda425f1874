//! Every golden case and key inventory that belongs to this crate passes, probes included.

use std::path::{Path, PathBuf};

use candle_core::Device;
use golden::{Bound, CaseFile, Kit, Profile, Registry, Settings, Verdict, compare, run_case, verify};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens")
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    engine_musetalk::register(&mut registry);
    registry
}

/// Cases of the kit in `goldens/` that this crate answers to.
const CASES: [&str; 19] = [
    "bbox_logic",
    "bisenet",
    "classic_v1_audio",
    "classic_v1_blend",
    "end_to_end",
    "image_ops",
    "masks_blend",
    "masks_blend_offline",
    "masks_blend_out_of_frame",
    "mel",
    "mel_two_segments",
    "pe",
    "rtmpose",
    "s3fd",
    "unet",
    "unet_bf16",
    "unet_fp16",
    "whisper_chunks",
    "whisper_encoder",
];

#[test]
fn every_case_passes_and_no_probe_diverges() {
    let registry = registry();
    let (mut ran, mut failures) = (Vec::new(), Vec::new());
    for path in Kit::open(&root()).unwrap().cases {
        let file = CaseFile::open(&path).unwrap();
        let Some(case) = registry.case(&file.meta.component) else { continue };
        let (report, outputs) = run_case(case, &file, &Device::Cpu);
        println!("{}", report.lines());
        if report.verdict != Verdict::Passed {
            failures.push(report.lines());
        }
        let Some(outputs) = outputs else {
            ran.push(file.name);
            continue;
        };
        let bound = Bound::Floats { rel_l2: Some(file.meta.tolerance.probe()), max_abs: None };
        // half-precision cases store what f32 makes of the same
        for (probe, _) in file.stored("probe.").filter(|(probe, _)| !probe.starts_with("probe.f32_")) {
            match outputs.get(probe) {
                None => failures.push(format!("{} does not note {probe}", file.name)),
                Some(got) => {
                    let comparison = compare(&file.tensor(probe).unwrap(), got, bound, 0).unwrap();
                    if !comparison.passed {
                        failures.push(format!("{} {probe}: {comparison:?}", file.name));
                    }
                }
            }
        }
        ran.push(file.name);
    }
    ran.sort();
    assert_eq!(ran, CASES);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_net_asks_for_the_keys_of_its_file() {
    let registry = registry();
    let settings = Settings {
        root: root(),
        only: Some("keys".into()),
        dtype: None,
        device: Device::Cpu,
        profile: Profile::Strict,
        dump: None,
    };
    let report = verify(&settings, &registry, &mut |_| {}).unwrap();
    for net in &registry.nets {
        let case = report.cases.iter().find(|case| case.case == net.inventory).unwrap();
        assert_eq!(case.verdict, Verdict::Passed, "{}", case.lines());
    }
}
