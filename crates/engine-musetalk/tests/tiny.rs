//! The tiny models in `models/assets/tiny`, which `talkie models seed --scale tiny` writes, have the keys that the nets ask for under their configs.
//! `TALKIE_WRITE_KEYS=1` writes the inventories anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use candle_core::Result;
use encoders::kl_vae::{KlDecoder, KlEncoder};
use engine_musetalk::nets::unet::Unet;
use engine_musetalk::nets::whisper::WhisperEncoder;
use layers::weights::{Inventory, Outline};
use serde::de::DeserializeOwned;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/assets/tiny")
}

fn config<T: DeserializeOwned>(name: &str) -> T {
    let text = std::fs::read_to_string(folder().join(format!("{name}.config.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn outline(load: impl FnOnce(&Outline) -> Result<()>) -> Inventory {
    let outline = Outline::new();
    load(&outline).unwrap();
    outline.inventory()
}

/// In the form of `goldens/keys`.
fn written(inventory: &Inventory) -> String {
    let elements: usize = inventory.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let mut text = format!("{{\"tensors\":{},\"elements\":{elements},\"entries\":[\n", inventory.len());
    for (i, (key, shape)) in inventory.iter().enumerate() {
        let comma = if i + 1 < inventory.len() { "," } else { "" };
        writeln!(text, "[\"{key}\",{shape:?},\"F32\"]{comma}").unwrap();
    }
    text + "]}\n"
}

#[test]
fn the_inventories_are_the_nets() {
    let nets = [
        (
            "musetalk_unet",
            outline(|outline| Unet::load(&config("musetalk_unet"), outline.builder()).map(drop)),
        ),
        (
            "sd_vae",
            outline(|outline| {
                KlEncoder::load(&config("sd_vae"), outline.builder())?;
                KlDecoder::load(&config("sd_vae"), outline.builder()).map(drop)
            }),
        ),
        ("whisper", outline(|outline| WhisperEncoder::load(&config("whisper"), outline.builder()).map(drop))),
    ];
    for (name, inventory) in nets {
        let path = folder().join(format!("{name}.json"));
        if std::env::var_os("TALKIE_WRITE_KEYS").is_some() {
            std::fs::write(&path, written(&inventory)).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), written(&inventory), "{name}");
    }
}
