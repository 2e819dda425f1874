//! Components whose files only the hub can name: what its listing said when it was last asked, kept beside the models, so that
//! `check` and `path` know what belongs together without asking again.

use std::path::{Path, PathBuf};

use contract::Complaint;
use serde::{Deserialize, Serialize};

use crate::catalogue::{Component, File};
use crate::fresh::{Fresh, unwritable};
use crate::name::Name;
use crate::pull::OWN_FOLDER;

#[derive(Serialize, Deserialize)]
struct Entry {
    path: String,
    bytes: Option<u64>,
    sha256: Option<String>,
}

/// Writes down the files of a component.
pub fn write(root: &Path, component: &Component, files: &[File]) -> Result<(), Complaint> {
    let path = path(root, component);
    let entry = |file: &File| Entry {
        path: file.path.as_str().to_owned(),
        bytes: file.bytes,
        sha256: file.sha256.clone(),
    };
    let entries: Vec<Entry> = files.iter().map(entry).collect();
    let fresh = Fresh::create(&path)?;
    serde_json::to_writer_pretty(&fresh.file, &entries).map_err(|error| unwritable(&path, &error.into()))?;
    fresh.finish()
}

/// What was written down; nothing where the component was never pulled here.
pub fn read(root: &Path, component: &Component) -> Vec<File> {
    let text = std::fs::read(path(root, component)).unwrap_or_default();
    let entries: Vec<Entry> = serde_json::from_slice(&text).unwrap_or_default();
    let file = |entry: Entry| {
        let mut file = component.listed(Name::parse(&entry.path).ok()?);
        (file.bytes, file.sha256) = (entry.bytes, entry.sha256);
        Some(file)
    };
    entries.into_iter().filter_map(file).collect()
}

fn path(root: &Path, component: &Component) -> PathBuf {
    root.join(OWN_FOLDER).join("listings").join(format!("{}.json", component.name))
}
