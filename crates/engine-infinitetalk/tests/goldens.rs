//! The nets of InfiniteTalk against the golden kit: outputs of the official implementation, and the keys of the released files.

use std::path::Path;

use candle_core::Device;
use golden::{Bound, CaseFile, Given, Profile, Registry, Settings, Verdict, compare, verify};

fn goldens() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens")
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    engine_infinitetalk::register(&mut registry);
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
    check(
        "infinitetalk",
        &[
            "audio_io",
            "chunk_plan",
            "clip_visual",
            "colour_match",
            "dit_p1",
            "dit_p2",
            "loop_apg",
            "loop_cfg3",
            "loop_lora2",
            "loop_multi",
            "loop_tea",
            "loop_video",
            "lora_merge",
            "lora_peft",
            "quanto_fp8",
            "quanto_int8",
            "resample",
            "resize_buckets",
            "sampler",
            "teacache",
            "text_clean",
            "tokenizer",
            "umt5",
            "wan_vae",
            "wan_vae_bf16",
            "wav2vec2",
        ],
    );
}

#[test]
fn ask_for_the_keys_of_the_released_files() {
    check(
        "keys",
        &[
            "clip_xlm_roberta",
            "infinitetalk_audio",
            "umt5_xxl",
            "wan_i2v_14b_dit",
            "wan_vae",
            "wav2vec2_base",
        ],
    );
}

/// A probe only speaks up when an output fails, so nothing else shows that it is noted in the right place.
#[test]
fn note_what_the_official_implementation_has_at_that_point() {
    for name in ["clip_visual", "dit_p1", "dit_p2", "loop_tea", "wav2vec2"] {
        let path = goldens().join("infinitetalk").join(name).with_extension("safetensors");
        let file = CaseFile::open(&path).unwrap();
        let case = registry().case(&file.meta.component).unwrap();
        let outputs = case.run(&Given::new(&file, &Device::Cpu)).unwrap();
        let bound = Bound::Floats { rel_l2: Some(file.meta.tolerance.probe()), max_abs: None };
        // the reference makes the map of one person too, and throws it away
        let idle = |probe: &str| name == "dit_p1" && probe == "probe.b0_ref_map";
        for (probe, _) in file.stored("probe.").filter(|(probe, _)| !idle(probe)) {
            let noted = outputs.get(probe).unwrap_or_else(|| panic!("{name} does not note {probe}"));
            let comparison = compare(&file.tensor(probe).unwrap(), noted, bound, 0).unwrap();
            assert!(comparison.passed, "{name} {probe}: {comparison:?}");
        }
    }
}

/// The sharper of the two bounds of a half-precision case: not farther from f32 than twice what PyTorch's bf16 is.
#[test]
fn stay_near_f32_in_bf16() {
    let file = CaseFile::open(&goldens().join("infinitetalk/wan_vae_bf16.safetensors")).unwrap();
    let case = registry().case(&file.meta.component).unwrap();
    let outputs = case.run(&Given::new(&file, &Device::Cpu)).unwrap();
    let bound = file.meta.tolerance.against_f32().unwrap();
    for (probe, _) in file.stored("probe.f32_") {
        let output = probe.replace("probe.f32_", "out.");
        let comparison =
            compare(&file.tensor(probe).unwrap(), outputs.get(&output).unwrap(), bound, 0).unwrap();
        println!("{output}: rel L2 {:.2e}, max {:.2e}", comparison.rel_l2, comparison.max_abs);
        assert!(comparison.passed, "{output}: {comparison:?}");
    }
}
