//! LoRA files merged into the seeded DiT: by the official program's rules, where the file's keys are the case's inputs, and as written,
//! where files of each spelling lie beside the case.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use golden::{Case, CaseError, DType, Device, Given, Outputs, Seeded, every};
use layers::weights::{Checkpoint, Inventory};
use serde::Deserialize;

use crate::nets::dit::DitConfig;
use crate::weights::{Computed, Lora, Loras, Rules, Source, dit_keys};

pub struct Merge;

impl Case for Merge {
    fn components(&self) -> &[&str] {
        &["LoRA merge"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(flatten)]
            net: DitConfig,
            scale: f64,
        }
        let config: Config = given.config()?;
        let net = dit_keys(&config.net)?;
        let mut loras = Loras::of(&net);
        let inputs = Checkpoint::open(given.file.path())?.below("in.");
        loras.lay(inputs, config.scale, Rules::AsOfficial)?;
        let mut outputs = Outputs::new();
        merged(given, "", (loras, &net), &mut outputs)?;
        Ok(outputs)
    }
}

pub struct MergeAsWritten;

impl Case for MergeAsWritten {
    fn components(&self) -> &[&str] {
        &["LoRA merge with alpha / rank"]
    }

    fn run(&self, given: &Given) -> Result<Outputs, CaseError> {
        #[derive(Deserialize)]
        struct Config {
            #[serde(flatten)]
            net: DitConfig,
            scales: BTreeMap<String, f64>,
        }
        let config: Config = given.config()?;
        let net = dit_keys(&config.net)?;
        let folder = given.file.folder();
        let lora = |(name, &scale): (&String, &f64)| Lora { path: file(&folder, name), scale };
        let all: Vec<Lora> = config.scales.iter().map(lora).collect();
        let of = |name: &str| -> Vec<Lora> {
            let wanted = |(other, _): &(&String, &f64)| match name {
                "all" => true,
                "peft_and_dotted" => ["peft", "kohya_dotted"].contains(&other.as_str()),
                name => other.as_str() == name,
            };
            config.scales.iter().filter(wanted).map(lora).collect()
        };
        let mut outputs = Outputs::new();
        let sets: BTreeSet<&str> =
            given.file.stored("out.").filter_map(|(name, _)| name.split('.').nth(1)).collect();
        for set in sets {
            let files = of(set);
            if files.is_empty() {
                return Err(format!("`{set}` is none of {all:?}").into());
            }
            let loras = Loras::open(&files, Rules::AsWritten, &net)?;
            merged(given, &format!("{set}."), (loras, &net), &mut outputs)?;
        }
        Ok(outputs)
    }
}

/// PEFT's lies in a folder, with its config.
fn file(folder: &Path, name: &str) -> std::path::PathBuf {
    if name == "peft" { folder.to_owned() } else { folder.join(name).with_extension("safetensors") }
}

/// The tensors of a set, thinned as they are stored. That exactly these are changed is part of the case.
fn merged(
    given: &Given,
    set: &str,
    (loras, net): (Loras, &Inventory),
    outputs: &mut Outputs,
) -> Result<(), CaseError> {
    let prefix = format!("out.{set}");
    let expected: Vec<&str> = given.file.stored(&prefix).map(|(name, _)| &name[prefix.len()..]).collect();
    let changed: Vec<String> = loras.changed().map(str::to_owned).collect();
    if changed != expected {
        return Err(format!("{set} changes {changed:?}, expected {expected:?}").into());
    }
    let salt = given.file.meta.salt.as_deref().ok_or("the case has no salt, so it has no weights")?;
    let weights =
        Source::of(Computed::new(Seeded::new(salt), net)).with(loras).into_builder(DType::F32, &Device::Cpu);
    for key in expected {
        let stored = given.file.tensor(&format!("{prefix}{key}"))?;
        let (_, shape) =
            net.iter().find(|(name, _)| *name == key).ok_or("a key that the net does not have")?;
        let tensor = weights.get(shape, key)?;
        let last = shape.len() - 1;
        let thinned = every(shape[last] / stored.dims()[last], &tensor, last)?;
        outputs.out(&format!("{set}{key}"), thinned);
    }
    Ok(())
}
