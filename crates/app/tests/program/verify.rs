//! `talkie verify` as a user runs it: a kit passes, a wrong value in it does not, and what is not here is said.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::stage::{Run, Stage};

fn kit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../goldens")
}

/// A kit of some files of ours.
fn some(stage: &Stage, files: &[&str]) -> PathBuf {
    let folder = stage.path("kit");
    for file in files {
        let to = folder.join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(kit().join(file), to).unwrap();
    }
    folder
}

fn verify(stage: &Stage, kit: &Path, more: &[&str]) -> Run {
    let args = ["verify", "--goldens", kit.to_str().unwrap()];
    stage.run(args.iter().chain(more))
}

fn told(run: &Run) -> String {
    format!("{}{}", String::from_utf8_lossy(&run.stdout), run.stderr)
}

#[test]
fn a_kit_passes_and_its_outputs_can_be_had() {
    let stage = Stage::new();
    let files = ["musetalk/pe.safetensors", "musetalk/whisper_encoder.safetensors", "keys/whisper_tiny.json"];
    let kit = some(&stage, &files);
    let dump = stage.path("dump");
    let run = verify(&stage, &kit, &["--json", "--dump", dump.to_str().unwrap()]);
    assert_eq!(run.code, 0, "{}", told(&run));
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(report["summary"], serde_json::json!({ "passed": 3, "failed": 0, "missing": 0 }));
    assert!(dump.join("musetalk/whisper_encoder.safetensors").is_file());
}

#[test]
fn a_wrong_value_fails_and_is_named() {
    let stage = Stage::new();
    let kit = some(&stage, &["musetalk/pe.safetensors", "loaders/zip_plain.pth"]);
    std::fs::copy(
        self::kit().join("loaders/zip_views.expected.safetensors"),
        kit.join("loaders/zip_plain.expected.safetensors"),
    )
    .unwrap();
    // the last bytes of the file are the last values of its last tensor
    let case = kit.join("musetalk/pe.safetensors");
    let mut bytes = std::fs::read(&case).unwrap();
    let end = bytes.len();
    bytes[end - 400..].iter_mut().for_each(|byte| *byte ^= 0x40);
    std::fs::write(&case, bytes).unwrap();
    let run = verify(&stage, &kit, &[]);
    let told = told(&run);
    assert_eq!(run.code, 1, "{told}");
    assert!(told.contains("pe") && told.contains("zip_plain"), "{told}");
}

#[test]
fn what_is_not_here_is_said() {
    let stage = Stage::new();
    let kit = some(&stage, &["keys/svd_vae.json"]);
    std::fs::rename(kit.join("keys/svd_vae.json"), kit.join("keys/a_net_to_come.json")).unwrap();
    let run = verify(&stage, &kit, &[]);
    assert_eq!(run.code, 1, "a net that is missing is not proven: {}", told(&run));
    assert_eq!(verify(&stage, &kit, &["--allow-missing"]).code, 1, "nothing at all was proven");
    let known = some(&stage, &["keys/svd_vae.json"]).join("keys/svd_vae.json");
    assert!(known.exists() && kit.join("keys/a_net_to_come.json").exists());
    assert_eq!(verify(&stage, &kit, &["--allow-missing"]).code, 0);
    verify(&stage, &stage.path("nowhere"), &[]).assert_refused(&["nowhere"]);
    // no kit in the folder it is run in
    stage.run(["verify"]).assert_refused(&["./goldens", "--goldens"]);
}

#[test]
fn a_card_is_the_business_of_the_program_beside_it() {
    let stage = Stage::new();
    let alone = stage.path("talkie");
    std::fs::copy(env!("CARGO_BIN_EXE_talkie"), &alone).unwrap();
    let ask = || Command::new(&alone).args(["verify", "--device", "cuda", "--only", "svd"]).output().unwrap();
    Run::of(ask()).assert_refused(&["built without CUDA", "talkie-worker-cuda", "scripts/cuda.sh"]);

    let beside = stage.write("talkie-worker-cuda", "#!/bin/sh\necho \"$@\"\nexit 7\n");
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = Run::of(ask());
    assert_eq!(
        (run.code, run.stdout.as_slice()),
        (7, &b"verify --device cuda --only svd\n"[..]),
        "{}",
        run.stderr
    );

    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o644)).unwrap();
    Run::of(ask()).assert_refused(&["talkie-worker-cuda could not be started", "scripts/cuda.sh"]);
}
