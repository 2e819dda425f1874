//! Stable Video Diffusion's files as they lie on this machine: where the configuration or `SVD_DIR` say, else in the models folder or the hub's cache.

use std::path::{Path, PathBuf};

use contract::{Complaint, Settings, Weights};
use engine_svd::weights::{BadFiles, Configs, Files, Variant};
use engine_svd::{Setup, Svd};
use models::Places;

use crate::config::Config;
use crate::device::Device;
use crate::serve::originals::Originals;
use crate::serve::settings::engine_settings;
use crate::weights::Shelf;

const VARIABLE: &str = "SVD_DIR";

/// Components of the catalogue, the one that is taken first first: 25 frames before 14, and files half as large before those that say the same in f32.
const FOLDERS: [(&str, Variant); 6] = [
    ("svd-img2vid-xt-1-1", Variant::Fp16),
    ("svd-img2vid-xt", Variant::Fp16),
    ("svd-img2vid", Variant::Fp16),
    ("svd-img2vid-xt-1-1-f32", Variant::Full),
    ("svd-img2vid-xt-f32", Variant::Full),
    ("svd-img2vid-f32", Variant::Full),
];
const SINGLE: [(&str, &str); 2] =
    [("svd-img2vid-xt-single", "svd_xt.safetensors"), ("svd-img2vid-single", "svd.safetensors")];

/// The engine, or why there is none: which file is missing and how to get it.
pub fn engine(
    places: &Places,
    originals: &Originals,
    (config, device): (&Config, &Device),
) -> Result<Svd, Complaint> {
    let shelf = Shelf::new(places);
    let files = match named(originals, config) {
        Some((path, by)) => at(&path).map_err(|error| {
            let complaint = Complaint::from(error);
            let message = format!("{by} names {}: {}", path.display(), complaint.message);
            Complaint { message, ..complaint }
        })?,
        None => found(&shelf)?,
    };
    let weights = cards(&shelf, &files)?;
    let setup = Setup { files, device: device.clone(), idle_unload: config.compute.idle_unload() };
    let sent = engine_settings("svd", &config.svd.settings)?;
    Svd::new(setup, weights, &Settings { sent })
}

/// With what named it.
fn named(originals: &Originals, config: &Config) -> Option<(PathBuf, &'static str)> {
    let configured = config.svd.dir.clone().map(|path| (path, "svd.dir"));
    configured.or_else(|| originals.text(VARIABLE).map(|path| (PathBuf::from(path), VARIABLE)))
}

/// A folder in diffusers' layout, or the original program's file.
fn at(path: &Path) -> Result<Files, BadFiles> {
    if path.is_file() {
        Files::single(path, Configs::named(path))
    } else {
        Files::diffusers(path, Variant::Fp16)
    }
}

/// The first that is whole; one that lacks something is told of where there is no other.
fn found(shelf: &Shelf) -> Result<Files, Complaint> {
    let mut torn = None;
    for (component, variant) in FOLDERS {
        let stem = "unet/diffusion_pytorch_model";
        let name = match variant {
            Variant::Fp16 => format!("{stem}.fp16.safetensors"),
            Variant::Full => format!("{stem}.safetensors"),
        };
        let Some(unet) = shelf.path(component, &name) else { continue };
        let Some(folder) = unet.parent().and_then(Path::parent) else { continue };
        match Files::diffusers(folder, variant) {
            Ok(files) => return Ok(files),
            Err(error) => torn = torn.or(Some(error)),
        }
    }
    for (component, name) in SINGLE {
        if let Some(path) = shelf.path(component, name) {
            return Ok(Files::single(&path, Configs::named(&path))?);
        }
    }
    if let Some(error) = torn {
        return Err(error.into());
    }
    Err(Complaint::new(
        "no_weights",
        "svd has no weights here",
        "talkie models pull svd-xt; `talkie models path svd-xt` shows what is where",
    ))
}

/// Each file by its component, or as somebody's own, and by the part it is of the model.
fn cards(shelf: &Shelf, files: &Files) -> Result<Vec<Weights>, Complaint> {
    let card = |file: engine_svd::weights::WeightsFile<'_>| {
        let known = shelf.named(file.part, file.path)?;
        let name = match known.card.name.as_str() {
            // of a large file the sum is that of a sample, and its name says so
            own if own.ends_with("-sampled") => format!("own-svd-{}-sampled", file.part),
            own if own.starts_with("own-") => format!("own-svd-{}", file.part),
            component => format!("{component}-{}", file.part),
        };
        Ok(Weights { name, ..known.card })
    };
    files.of_weights().into_iter().map(card).collect()
}
