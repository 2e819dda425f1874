//! MuseTalk's checkpoints as they lie on this machine: in the models folder, in folders that were named, in the hub's and torch's caches, or where
//! the variables of the original server say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contract::{Complaint, Settings, Value, Weights};
use engine_musetalk::{Checkpoints, FaceFiles, File, Memory, Musetalk, Version};
use models::{Catalogue, Found, Places, identity};

use crate::config::Config;
use crate::serve::originals::Originals;
use crate::{free_memory, say};

/// The engine, or why there is none: which file is missing and how to get it.
pub fn engine(places: &Places, originals: &Originals, config: &Config) -> Result<Musetalk, Complaint> {
    let files = checkpoints(places, originals)?;
    let defaults = defaults(originals, &config.musetalk.settings)?;
    let memory = Memory { idle_unload: config.compute.idle_unload(), free: free_memory::free };
    Musetalk::new(files, candle_core::Device::Cpu, (defaults, memory))
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
    for (name, value) in configured {
        let value = match value {
            toml::Value::String(text) => Value::Text(text.clone()),
            toml::Value::Integer(number) => Value::Int(*number),
            toml::Value::Float(number) => Value::Float(*number),
            toml::Value::Boolean(switch) => Value::Bool(*switch),
            other => {
                let message = format!(
                    "musetalk.settings.{name} is {other}, it must be a text, a number, true or false"
                );
                return Err(Complaint::new("bad_config", message, "correct it"));
            }
        };
        sent.insert(name.clone(), value);
    }
    Ok(Settings { preset: None, sent })
}

fn checkpoints(places: &Places, originals: &Originals) -> Result<Checkpoints, Complaint> {
    let shelf = Shelf { catalogue: Catalogue::built_in(), places };
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
    for (version, component, file) in published {
        if let Some(file) = shelf.file(component, &[file], Some("musetalk.json"))? {
            unets.insert(version, file);
        }
    }
    if let Some(path) = originals.text("MUSETALK_UNET_MODEL_PATH") {
        let config = originals.text("MUSETALK_UNET_CONFIG").map(PathBuf::from);
        unets.insert(version, shelf.named("MUSETALK_UNET_MODEL_PATH", Path::new(path), config)?);
    }
    let set = format!("musetalk-{}", version.name());
    if unets.is_empty() {
        return Err(missing("the UNet", &set));
    }
    let whisper = match originals.text("MUSETALK_WHISPER_DIR") {
        None => {
            shelf.file("whisper-tiny", &["pytorch_model.bin", "model.safetensors"], Some("config.json"))?
        }
        Some(folder) => {
            let folder = Path::new(folder);
            let names = ["pytorch_model.bin", "model.safetensors"];
            let there = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
            let path = there.unwrap_or_else(|| folder.join(names[0]));
            let config = Some(folder.join("config.json")).filter(|path| path.is_file());
            Some(shelf.named("MUSETALK_WHISPER_DIR", &path, config)?)
        }
    };
    let vae = ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"];
    Ok(Checkpoints {
        unets,
        vae: shelf.file("sd-vae", &vae, Some("config.json"))?.ok_or_else(|| missing("the VAE", &set))?,
        whisper: whisper.ok_or_else(|| missing("Whisper", &set))?,
        face: shelf.face(&set)?,
    })
}

fn missing(what: &str, set: &str) -> Complaint {
    Complaint::new(
        "no_weights",
        format!("musetalk has no weights here: {what} is missing"),
        format!("talkie models pull {set}; `talkie models path {set}` shows what is where"),
    )
}

/// The catalogue and where its files may lie.
struct Shelf<'a> {
    catalogue: Catalogue,
    places: &'a Places,
}

impl Shelf<'_> {
    /// The first of `names` that is there, of a component, with its config.
    fn file(&self, component: &str, names: &[&str], config: Option<&str>) -> Result<Option<File>, Complaint> {
        let Some((found, sum)) = names.iter().find_map(|name| self.found(component, name)) else {
            return Ok(None);
        };
        let sha256 = self.sum(&found)?;
        // a file under an official name may be anybody's: it has its name only with its sum
        let official = match &sum {
            Some(sum) => sha256.starts_with(sum.as_str()),
            None => found.receipt.is_some(),
        };
        let name = if official { component.to_owned() } else { format!("own-{component}") };
        let config = config.and_then(|name| Some(self.found(component, name)?.0.path));
        Ok(Some(File { path: found.path, config, card: Weights { name, sha256, embedded: false } }))
    }

    /// Where a file of a component lies, and its published sum.
    fn found(&self, component: &str, name: &str) -> Option<(Found, Option<String>)> {
        let selection = self.catalogue.select(&[component.to_owned()]).ok()?;
        let files = self.catalogue.component(component)?;
        let file = files
            .files
            .iter()
            .find(|file| Path::new(file.path.as_str()).file_name() == Some(name.as_ref()))?;
        let wanted = selection.files.first()?;
        let found = self.places.find(models::Wanted { component: wanted.component, file })?;
        Some((found, file.sha256.clone()))
    }

    /// A file that a variable names.
    fn named(&self, variable: &str, path: &Path, config: Option<PathBuf>) -> Result<File, Complaint> {
        let bytes =
            std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        let bytes = bytes.ok_or_else(|| {
            let message = format!("{variable} names {}, but there is no such file", path.display());
            Complaint::new("weights_unloadable", message, format!("correct or unset {variable}"))
        })?;
        let found = Found {
            path: path.to_owned(),
            kind: models::Kind::Folder,
            bytes,
            hub_sha256: None,
            receipt: None,
        };
        let sha256 = self.sum(&found)?;
        let known = self.catalogue.components.iter().find(|component| {
            component
                .files
                .iter()
                .any(|file| file.sha256.as_deref().is_some_and(|sum| sha256.starts_with(sum)))
        });
        let own = || format!("own-{}", path.file_name().map_or("file".into(), |name| name.to_string_lossy()));
        let name = known.map_or_else(own, |component| component.name.clone());
        Ok(File { path: path.to_owned(), config, card: Weights { name, sha256, embedded: false } })
    }

    fn sum(&self, found: &Found) -> Result<String, Complaint> {
        identity(&self.places.root, found, &mut |path| {
            say::aside(format_args!("talkie: reading {} once, to know what it is", path.display()));
        })
    }

    fn face(&self, set: &str) -> Result<Result<FaceFiles, Complaint>, Complaint> {
        let found = [
            ("s3fd", "s3fd-619a316812.pth"),
            ("dwpose", "dw-ll_ucoco_384.pth"),
            ("face-parse", "79999_iter.pth"),
        ];
        let mut files = Vec::new();
        for (component, name) in found {
            match self.file(component, &[name], None)? {
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
}
