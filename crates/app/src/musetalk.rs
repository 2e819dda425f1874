//! MuseTalk's checkpoints as they lie on this machine: in the models folder, in folders that were named, in the hub's and torch's caches, or where
//! the variables of the original server say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contract::{Complaint, Settings, Value};
use engine_musetalk::{Checkpoints, FaceFiles, File, Memory, Musetalk, Version};
use models::Places;

use crate::config::Config;
use crate::device::Device;
use crate::serve::originals::Originals;
use crate::serve::settings::engine_settings;
use crate::weights::{Known, Shelf};

/// The engine, or why there is none: which file is missing and how to get it.
pub fn engine(
    places: &Places,
    originals: &Originals,
    (config, device): (&Config, &Device),
) -> Result<Musetalk, Complaint> {
    let files = checkpoints(places, originals)?;
    let defaults = defaults(originals, &config.musetalk.settings)?;
    let memory = Memory { idle_unload: config.compute.idle_unload(), free: layers::free_memory::of };
    Musetalk::new(files, device.clone(), (defaults, memory))
}

/// The variables of the original server that are settings of the engine, and those settings. What it keeps for requests
/// (`MUSETALK_BBOX_SHIFT`, `MUSETALK_BATCH_SIZE`) its dialect sends.
const VARIABLES: [(&str, &str); 6] = [
    ("MUSETALK_EXTRA_MARGIN", "extra_margin"),
    ("MUSETALK_AUDIO_PADDING_LENGTH_LEFT", "audio_padding_length_left"),
    ("MUSETALK_AUDIO_PADDING_LENGTH_RIGHT", "audio_padding_length_right"),
    ("MUSETALK_PARSING_MODE", "parsing_mode"),
    ("MUSETALK_LEFT_CHEEK_WIDTH", "left_cheek_width"),
    ("MUSETALK_RIGHT_CHEEK_WIDTH", "right_cheek_width"),
];

/// `[musetalk.settings]` over the variables.
fn defaults(
    originals: &Originals,
    configured: &BTreeMap<String, toml::Value>,
) -> Result<Settings, Complaint> {
    let variables =
        VARIABLES.into_iter().filter_map(|(variable, name)| Some((name, originals.text(variable)?)));
    let mut sent: BTreeMap<String, Value> =
        variables.map(|(name, text)| (name.to_owned(), Value::Text(text.to_owned()))).collect();
    if let Some(version) = originals.text("MUSETALK_VERSION") {
        sent.insert("version".to_owned(), Value::Text(version.to_owned()));
    }
    sent.extend(engine_settings("musetalk", configured)?);
    Ok(Settings { sent })
}

fn checkpoints(places: &Places, originals: &Originals) -> Result<Checkpoints, Complaint> {
    let shelf = &Shelf::new(places);
    let version = match originals.text("MUSETALK_VERSION") {
        None | Some("v15") => Version::V15,
        Some("v1") => Version::V1,
        Some(other) => {
            let message = format!("MUSETALK_VERSION is {other}, it must be v1 or v15");
            return Err(Complaint::new("bad_config", message, "correct or unset it"));
        }
    };
    let mut unets = BTreeMap::new();
    let published = [
        (Version::V1, "musetalk-v1-unet", "pytorch_model.bin"),
        (Version::V15, "musetalk-v15-unet", "unet.pth"),
    ];
    for (version, component, name) in published {
        if let Some(unet) = file(shelf, component, &[name], Some("musetalk.json"))? {
            unets.insert(version, unet);
        }
    }
    if let Some(path) = originals.text("MUSETALK_UNET_MODEL_PATH") {
        let config = originals.text("MUSETALK_UNET_CONFIG").map(PathBuf::from);
        unets.insert(version, named(shelf, "MUSETALK_UNET_MODEL_PATH", Path::new(path), config)?);
    }
    let set = format!("musetalk-{}", version.name());
    if unets.is_empty() {
        return Err(missing("the UNet", &set));
    }
    let whisper = match originals.text("MUSETALK_WHISPER_DIR") {
        None => {
            file(shelf, "whisper-tiny", &["pytorch_model.bin", "model.safetensors"], Some("config.json"))?
        }
        Some(folder) => {
            let folder = Path::new(folder);
            let names = ["pytorch_model.bin", "model.safetensors"];
            let there = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
            let path = there.unwrap_or_else(|| folder.join(names[0]));
            let config = Some(folder.join("config.json")).filter(|path| path.is_file());
            Some(named(shelf, "MUSETALK_WHISPER_DIR", &path, config)?)
        }
    };
    let vae = ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"];
    Ok(Checkpoints {
        unets,
        vae: file(shelf, "sd-vae", &vae, Some("config.json"))?.ok_or_else(|| missing("the VAE", &set))?,
        whisper: whisper.ok_or_else(|| missing("Whisper", &set))?,
        face: face(shelf, &set)?,
    })
}

fn missing(what: &str, set: &str) -> Complaint {
    Complaint::new(
        "no_weights",
        format!("musetalk has no weights here: {what} is missing"),
        format!("talkie models pull {set}; `talkie models path {set}` shows what is where"),
    )
}

/// One of `names` of a component, with its config.
fn file(
    shelf: &Shelf,
    component: &str,
    names: &[&str],
    config: Option<&str>,
) -> Result<Option<File>, Complaint> {
    let Some(Known { path, card }) = shelf.known(component, names)? else { return Ok(None) };
    let config = config.and_then(|name| shelf.path(component, name));
    Ok(Some(File { path, config, card }))
}

/// A file that a variable names.
fn named(shelf: &Shelf, variable: &str, path: &Path, config: Option<PathBuf>) -> Result<File, Complaint> {
    let Known { path, card } = shelf.named(variable, path)?;
    Ok(File { path, config, card })
}

fn face(shelf: &Shelf, set: &str) -> Result<Result<FaceFiles, Complaint>, Complaint> {
    let found = [
        ("s3fd", "s3fd-619a316812.pth"),
        ("dwpose", "dw-ll_ucoco_384.pth"),
        ("face-parse", "79999_iter.pth"),
    ];
    let mut files = Vec::new();
    for (component, name) in found {
        match file(shelf, component, &[name], None)? {
            Some(file) => files.push(file),
            None => {
                return Ok(Err(Complaint::new(
                    "no_weights",
                    format!("the official face detector needs {component}, which is missing"),
                    format!("talkie models pull {set}, or use the built-in detector: --detector face"),
                )));
            }
        }
    }
    let [detector, pose, parser]: [File; 3] =
        files.try_into().map_err(|_| Complaint::new("internal", "three files were found", ""))?;
    Ok(Ok(FaceFiles { detector, pose, parser }))
}
