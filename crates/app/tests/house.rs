//! The plan of the house, as tests: which room may know which, and what only one room may do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Room -> rooms it may use. Everything not listed here does not exist yet: add it to ARCHITECTURE.md first.
const ARROWS: &[(&str, &[&str])] = &[
    ("allocator", &[]),
    ("contract", &[]),
    ("media", &["contract"]),
    ("store", &["contract"]),
    ("face", &["contract"]),
    ("speech", &["contract"]),
    ("models", &["contract"]),
    ("damage", &[]),
    ("pictures", &[]),
    ("stagehand", &["contract"]),
    ("kernels", &["allocator"]),
    ("cuda-kernels", &[]),
    ("jobs", &["contract", "media", "store"]),
    ("dialects", &["contract", "jobs"]),
    ("engine-puppet", &["contract", "face", "speech"]),
    ("engine-huggingface", &["contract", "media", "stagehand"]),
    ("score", &["contract", "face", "media", "speech"]),
    ("layers", &["allocator", "cuda-kernels", "kernels"]),
    ("golden", &["layers"]),
    ("encoders", &["golden", "layers"]),
    ("engine-infinitetalk", &["contract", "encoders", "golden", "layers", "pictures", "stagehand"]),
    ("engine-musetalk", &["contract", "encoders", "face", "golden", "layers", "pictures"]),
    ("engine-svd", &["contract", "encoders", "golden", "layers", "pictures", "stagehand"]),
    (
        "app",
        &[
            "allocator",
            "contract",
            "dialects",
            "encoders",
            "engine-huggingface",
            "engine-infinitetalk",
            "engine-musetalk",
            "engine-puppet",
            "engine-svd",
            "face",
            "golden",
            "jobs",
            "layers",
            "media",
            "models",
            "score",
            "speech",
            "store",
        ],
    ),
];

/// Builds and tests without a tensor framework; the rest is the neural half. `app` is light without its feature `neural`.
const LIGHT: &[&str] = &[
    "allocator",
    "contract",
    "media",
    "store",
    "jobs",
    "dialects",
    "face",
    "speech",
    "engine-huggingface",
    "engine-puppet",
    "models",
    "damage",
    "pictures",
    "score",
    "stagehand",
];

/// Crates that would make the light half heavy.
const HEAVY: &[&str] = &["candle-core", "candle-nn", "candle-transformers", "tch", "ort"];

/// What `contract` refuses, so that every room can afford it.
const NOT_IN_CONTRACT: &[&str] = &["tokio", "axum", "serde", "candle-core"];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("app lies in crates/").to_owned()
}

fn dependencies(room: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(room.join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    manifest
        .get("dependencies")
        .and_then(|d| d.as_table())
        .map(|d| d.keys().cloned().collect())
        .unwrap_or_default()
}

fn rooms() -> BTreeMap<String, PathBuf> {
    std::fs::read_dir(crates())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path))
        .collect()
}

fn sources(room: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![room.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

#[test]
fn arrows_point_where_the_plan_says() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let rooms = rooms();
    assert_eq!(rooms.keys().map(String::as_str).collect::<Vec<_>>(), {
        let mut names: Vec<_> = allowed.keys().copied().collect();
        names.sort_unstable();
        names
    });
    for (room, path) in &rooms {
        for dependency in dependencies(path).iter().filter(|d| rooms.contains_key(*d)) {
            assert!(
                allowed[room.as_str()].contains(&dependency.as_str()),
                "{room} may not use {dependency}: the arrows are in ARCHITECTURE.md"
            );
        }
    }
}

#[test]
fn the_light_half_stays_light() {
    let rooms = rooms();
    for room in LIGHT {
        // a light room may only use light rooms, so none comes to a heavy crate through another
        for dependency in dependencies(&rooms[*room]) {
            assert!(
                !HEAVY.contains(&dependency.as_str()),
                "{room} is in the light half and uses {dependency}"
            );
            let room_too = rooms.contains_key(&dependency);
            assert!(
                !room_too || LIGHT.contains(&dependency.as_str()),
                "{room} is light, {dependency} is not"
            );
        }
    }
    let neural: Vec<_> = ARROWS.iter().map(|(room, _)| *room).filter(|room| !LIGHT.contains(room)).collect();
    let app: toml::Table = std::fs::read_to_string(crates().join("app/Cargo.toml")).unwrap().parse().unwrap();
    for (dependency, how) in app["dependencies"].as_table().unwrap() {
        let heavy = HEAVY.contains(&dependency.as_str()) || neural.contains(&dependency.as_str());
        let optional = how.get("optional").and_then(|o| o.as_bool()).unwrap_or(false);
        assert!(!heavy || optional, "app uses {dependency} without its feature `neural`");
    }
    let contract = dependencies(&crates().join("contract"));
    assert!(!NOT_IN_CONTRACT.iter().any(|heavy| contract.contains(*heavy)), "{contract:?}");
}

#[test]
fn contract_stays_small() {
    let lines: usize = sources(&crates().join("contract")).iter().map(|(_, text)| text.lines().count()).sum();
    assert!(lines < 1100, "contract has {lines} lines");
}

#[test]
fn only_media_and_the_crew_start_programs() {
    for (room, path) in rooms().into_iter().filter(|(room, _)| room != "media") {
        let crew = path.join("src/crew");
        for (file, text) in sources(&path).into_iter().filter(|(file, _)| !file.starts_with(&crew)) {
            let commands = text.matches("Command::new").count() - text.matches("clap::Command::new").count();
            assert!(
                commands == 0 && !text.contains("std::process::Command"),
                "{room} starts a program in {}: that is media's work, or for workers the crew's",
                file.display()
            );
        }
    }
}

#[test]
fn only_app_reads_the_environment() {
    // `damage` is for tests, which are told by variables how long to go on
    for (room, path) in rooms().into_iter().filter(|(room, _)| room != "app" && room != "damage") {
        for (file, text) in sources(&path) {
            // looking programs up in PATH is what media is for
            let text =
                text.replace("env::var_os(\"PATH\")", "").replace("env::var_os(\"LD_LIBRARY_PATH\")", "");
            assert!(!text.contains("env::var"), "{room} reads the environment in {}", file.display());
        }
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    for (_, path) in rooms() {
        for (file, text) in sources(&path) {
            assert!(text.starts_with("//!"), "{} does not open with `//!`", file.display());
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let lines = code.lines().count();
            assert!(lines <= 800, "{} has {lines} lines without tests: split it by noun", file.display());
        }
    }
}
